//! Whether the words of a manifest fit together: parts inside the weights, sizes that agree, indices that exist.
//!
//! The writer runs the same checks before it writes, so no artifact is written that cannot be read.

use crate::cuda::{self, CudaPlan};
use crate::header::ALIGN;
use crate::limits::Limits;
use crate::manifest::{Manifest, StateEntry, TensorEntry};
use crate::plan::{BufferKind, Entry, Port, Step};
use crate::section::Section;
use actc_types::{DType, Diagnostic, Dim, Encoding, Place, Result, Role, Symbol};
use std::collections::BTreeSet;

/// Highest rank of a port or state.
const MAX_RANK: usize = 8;
/// Most terms of a byte size.
const MAX_PRODUCT: usize = 256;
/// Bytes of a buffer for errors.
const ERROR_BYTES: u64 = 64;
/// Most symbols of an entry.
const MAX_SYMBOLS: usize = 4096;

pub(crate) fn wrong(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("artifact-plan", headline)
}

/// Checks `m` against `weights`, the bytes of the weights section.
pub(crate) fn check(m: &Manifest, weights: u64, limits: &Limits) -> Result<()> {
    unique("tensor", m.tensors.iter().map(|t| t.name.as_str()))?;
    unique("state", m.states.iter().map(|s| s.name.as_str()))?;
    unique("entry", m.entries.iter().map(|e| e.name.as_str()))?;
    unique("kernel", m.kernels.iter().map(String::as_str))?;
    for t in &m.tensors {
        tensor(t, weights).map_err(|e| e.at(Place::Tensor(t.name.clone())))?;
    }
    disjoint(&m.tensors)?;
    for s in &m.states {
        state(s).map_err(|e| e.at(Place::Tensor(s.name.clone())))?;
    }
    for e in &m.entries {
        entry(e, &Room { manifest: m, cuda: None }, limits).map_err(|d| match d.place {
            Place::Request => d.at(Place::Node(e.name.clone())),
            Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) | Place::Span { .. } => d,
        })?;
    }
    m.cuda.as_ref().map_or(Ok(()), |plan| cuda::check(plan, m, limits))
}

/// What an entry is part of.
pub(crate) struct Room<'a> {
    pub manifest: &'a Manifest,
    /// The plan that it belongs to where it is one for GPUs.
    pub cuda: Option<&'a CudaPlan>,
}

impl Room<'_> {
    /// Number of kernels that launches may name.
    fn kernels(&self) -> usize {
        self.cuda.map_or(self.manifest.kernels.len(), |plan| plan.kernels.len())
    }
}

pub(crate) fn unique<'a>(what: &str, names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(wrong(format!("{what} `{name}` is there twice")));
        }
    }
    Ok(())
}

fn tensor(t: &TensorEntry, weights: u64) -> Result<()> {
    let wrong = |headline: String| Diagnostic::new("artifact-tensor", headline);
    let (rows, cols) = t.matrix()?;
    if t.encoding != Encoding::Dense && (rows == 0 || cols == 0) {
        return Err(wrong(format!("an empty matrix [{rows}, {cols}] is stored as {}", t.encoding)));
    }
    let wanted = t.encoding.parts(t.dtype, rows, cols)?;
    let roles = |i: usize| t.parts.get(i).map(|p| p.role);
    if t.parts.len() != wanted.len() || wanted.iter().enumerate().any(|(i, (role, _))| roles(i) != Some(*role)) {
        let names: Vec<&str> = wanted.iter().map(|(role, _)| role.name()).collect();
        return Err(wrong(format!("the parts of {} are {}, in this order", t.encoding, names.join(", "))));
    }
    for (part, (role, length)) in t.parts.iter().zip(&wanted) {
        let role = role.name();
        if part.length != *length {
            return Err(wrong(format!("part `{role}` has {} bytes, its shape needs {length}", part.length)));
        }
        if part.offset % ALIGN != 0 {
            return Err(wrong(format!("part `{role}` starts at {}, no multiple of {ALIGN}", part.offset)));
        }
        let end = part.offset.checked_add(part.length).and_then(|e| e.checked_add(ALIGN));
        if end.is_none_or(|end| end > weights) {
            let headline = format!(
                "part `{role}` of {} bytes at {} with its padding leaves the {weights} bytes of weights",
                part.length, part.offset
            );
            return Err(wrong(headline));
        }
    }
    Ok(())
}

/// Every part has its own place.
fn disjoint(tensors: &[TensorEntry]) -> Result<()> {
    let mut places: Vec<(u64, u64, &str)> = tensors
        .iter()
        .flat_map(|t| t.parts.iter().map(|p| (p.offset, p.offset.saturating_add(p.length), t.name.as_str())))
        .collect();
    places.sort_unstable();
    match places.windows(2).find(|w| w[1].0 < w[0].1) {
        None => Ok(()),
        Some(w) => Err(Diagnostic::new("artifact-tensor", format!("parts of `{}` and `{}` overlap", w[0].2, w[1].2))),
    }
}

/// Bytes of `dims` elements of `dtype` with `fixed` symbols replaced.
fn byte_size(dtype: DType, dims: &[Dim], fixed: &[(Symbol, u64)]) -> Result<Dim> {
    let overflow = || wrong("a size exceeds 63 bits");
    if dims.len() > MAX_RANK {
        return Err(wrong(format!("rank {}, at most {MAX_RANK} is read", dims.len())));
    }
    let mut size = Dim::from(dtype.size() as u64);
    for dim in dims {
        if size.terms().count() * dim.terms().count() > MAX_PRODUCT {
            return Err(wrong(format!("a size has over {MAX_PRODUCT} terms")));
        }
        size = size.checked_mul(dim).ok_or_else(overflow)?;
    }
    specialise(&size, fixed)
}

fn specialise(dim: &Dim, fixed: &[(Symbol, u64)]) -> Result<Dim> {
    fixed.iter().try_fold(dim.clone(), |dim, (symbol, value)| {
        let value = i64::try_from(*value).map_err(|_| wrong(format!("`{symbol}` = {value} exceeds 63 bits")))?;
        dim.substitute(symbol, &Dim::from(value.unsigned_abs())).ok_or_else(|| wrong("a size exceeds 63 bits"))
    })
}

fn state(s: &StateEntry) -> Result<()> {
    if s.dims.is_empty() || s.dims[1..].iter().any(|d| d.fixed().is_none()) {
        return Err(wrong(format!("state `{}` needs extents that are fixed but for the first", s.name)));
    }
    byte_size(s.dtype, &s.dims, &[]).map(|_| ())
}

pub(crate) fn entry(e: &Entry, room: &Room<'_>, limits: &Limits) -> Result<()> {
    let m = room.manifest;
    unique("symbol", e.symbols.iter().map(Symbol::as_str))?;
    unique("fixed symbol", e.fixed.iter().map(|(s, _)| s.as_str()))?;
    unique("input", e.inputs.iter().map(|p| p.name.as_str()))?;
    unique("output", e.outputs.iter().map(|p| p.name.as_str()))?;
    if e.symbols.len() > MAX_SYMBOLS {
        return Err(wrong(format!("{} symbols, at most {MAX_SYMBOLS} are read", e.symbols.len())));
    }
    // Every slot has a tenant, so the number of slots is bounded by the file.
    if e.slots as usize > e.buffers.len() {
        return Err(wrong(format!("{} slots for {} buffers", e.slots, e.buffers.len())));
    }
    let symbols: BTreeSet<&Symbol> = e.symbols.iter().collect();
    if let Some((s, _)) = e.fixed.iter().find(|(s, _)| !symbols.contains(s)) {
        return Err(wrong(format!("`{s}` is fixed but no symbol of the entry")));
    }
    bound(e, m)?;
    ports(e, &symbols, &e.inputs, BufferKind::Input)?;
    ports(e, &symbols, &e.outputs, BufferKind::Output)?;
    for (i, b) in e.buffers.iter().enumerate() {
        known(&symbols, [&b.bytes])?;
        let exists = |what: &str, index: u32, count: usize| {
            if (index as usize) < count { Ok(()) } else { Err(wrong(format!("buffer {i}: {what} {index} of {count}"))) }
        };
        let size = match b.kind {
            BufferKind::Input(n) => {
                exists("input", n, e.inputs.len())?;
                port_size(e, &e.inputs[n as usize])?
            }
            BufferKind::Output(n) => {
                exists("output", n, e.outputs.len())?;
                port_size(e, &e.outputs[n as usize])?
            }
            BufferKind::Slot(n) => {
                exists("slot", n, e.slots as usize)?;
                continue;
            }
            BufferKind::State(n) => {
                exists("state", n, m.states.len())?;
                let s = &m.states[n as usize];
                byte_size(s.dtype, &s.dims, &e.fixed)?
            }
            BufferKind::Tensor { tensor, role } => {
                exists("tensor", tensor, m.tensors.len())?;
                Dim::from(part_length(&m.tensors[tensor as usize], role)?)
            }
            BufferKind::Errors if room.cuda.is_some() => Dim::from(ERROR_BYTES),
            BufferKind::Errors => return Err(wrong(format!("buffer {i} is for errors of GPUs, the plan is for CPUs"))),
        };
        if specialise(&b.bytes, &e.fixed)? != size {
            return Err(wrong(format!("buffer {i} has `{}` bytes, what it holds has `{size}`", b.bytes)));
        }
    }
    steps(e, room, &symbols, &e.steps, limits.nesting)
}

fn part_length(t: &TensorEntry, role: Role) -> Result<u64> {
    let part = t.part(role).ok_or_else(|| wrong(format!("tensor `{}` has no part `{}`", t.name, role.name())))?;
    Ok(part.length)
}

fn ports(e: &Entry, symbols: &BTreeSet<&Symbol>, ports: &[Port], kind: fn(u32) -> BufferKind) -> Result<()> {
    for (i, p) in ports.iter().enumerate() {
        known(symbols, &p.dims)?;
        let buffer = e.buffers.get(p.buffer as usize);
        if buffer.map(|b| b.kind) != Some(kind(i as u32)) {
            return Err(wrong(format!("`{}` is said to be in buffer {}, which is not its own", p.name, p.buffer)));
        }
    }
    Ok(())
}

fn port_size(e: &Entry, p: &Port) -> Result<Dim> {
    byte_size(p.dtype, &p.dims, &e.fixed)
}

/// Every symbol in `dims` is one of `symbols`, those of the entry.
fn known<'a>(symbols: &BTreeSet<&Symbol>, dims: impl IntoIterator<Item = &'a Dim>) -> Result<()> {
    for dim in dims {
        if let Some(s) = dim.symbols().into_iter().find(|s| !symbols.contains(s)) {
            return Err(wrong(format!("`{dim}` depends on `{s}`, which is no symbol of the entry")));
        }
    }
    Ok(())
}

/// Symbols that steps give values get them from nowhere else, and what is there before the first step does not depend on them.
fn bound(e: &Entry, m: &Manifest) -> Result<()> {
    let mut all = BTreeSet::new();
    let mut twice = None;
    e.each_step(&mut |step| {
        if let Step::Bind { symbols, .. } = step {
            symbols.iter().filter(|s| !all.insert((*s).clone())).for_each(|s| twice = Some(s));
        }
    });
    if let Some(symbol) = twice {
        return Err(wrong(format!("two steps give `{symbol}` a value")));
    }
    if all.is_empty() {
        return Ok(());
    }
    let early = |dims: &[Dim]| dims.iter().flat_map(Dim::symbols).find(|s| all.contains(*s)).cloned();
    let inputs = e.inputs.iter().find_map(|p| early(&p.dims));
    let states = m.states.iter().find_map(|s| early(&s.dims));
    let fixed = e.fixed.iter().map(|(s, _)| s.clone()).find(|s| all.contains(s));
    match inputs.or(states).or(fixed) {
        None => Ok(()),
        Some(symbol) => Err(wrong(format!("a step gives `{symbol}` a value, but it has one before"))),
    }
}

fn steps(e: &Entry, room: &Room<'_>, symbols: &BTreeSet<&Symbol>, list: &[Step], depth: usize) -> Result<()> {
    let tensors = room.manifest.tensors.len();
    let buffer = |b: u32| {
        let count = e.buffers.len();
        if (b as usize) < count { Ok(()) } else { Err(wrong(format!("a step names buffer {b} of {count}"))) }
    };
    let deeper = || {
        depth
            .checked_sub(1)
            .ok_or_else(|| Diagnostic::new("artifact-limit", "`if` and `loop` nest deeper than allowed"))
    };
    for step in list {
        match step {
            Step::Launch(l) => {
                if l.kernel as usize >= room.kernels() {
                    return Err(wrong(format!("`{}` launches kernel {} of {}", l.label, l.kernel, room.kernels())));
                }
                l.bufs.iter().try_for_each(|b| buffer(*b))?;
                known(symbols, &l.dims)?;
            }
            Step::Builtin(b) => {
                let arity = b.builtin.arity();
                let given = [
                    ("buffers", b.bufs.len(), arity.bufs),
                    ("tensors", b.tensors.len(), arity.tensors),
                    ("sizes", b.dims.len(), arity.dims),
                    ("integers", b.ints.len(), arity.ints),
                    ("floats", b.floats.len(), arity.floats),
                ];
                if let Some((what, n, (least, most))) = given.iter().find(|(_, n, (l, m))| n < l || n > m) {
                    let name = b.builtin.name();
                    return Err(wrong(format!("`{}`: `{name}` takes {least} to {most} {what}, given {n}", b.label)));
                }
                b.bufs.iter().try_for_each(|b| buffer(*b))?;
                known(symbols, &b.dims)?;
                if let Some(t) = b.tensors.iter().find(|t| **t as usize >= tensors) {
                    return Err(wrong(format!("`{}` names tensor {t} of {tensors}", b.label)));
                }
            }
            Step::If { cond, then, otherwise } => {
                buffer(*cond)?;
                let depth = deeper()?;
                steps(e, room, symbols, then, depth)?;
                steps(e, room, symbols, otherwise, depth)?;
            }
            Step::Loop { trips, live, index, body } => {
                buffer(*trips)?;
                live.iter().chain(index).try_for_each(|b| buffer(*b))?;
                steps(e, room, symbols, body, deeper()?)?;
            }
            Step::Bind { symbols: given, values } => {
                buffer(*values)?;
                if let Some(s) = given.iter().find(|s| !symbols.contains(s)) {
                    return Err(wrong(format!("a step gives `{s}` a value, which is no symbol of the entry")));
                }
            }
        }
    }
    Ok(())
}

/// Whether the code sections of an artifact are for targets that its manifest names.
pub(crate) fn sections<'a>(m: &Manifest, sections: impl Iterator<Item = &'a Section>) -> Result<()> {
    for section in sections {
        if let Section::Code(target) = section
            && !m.targets.contains(target)
        {
            return Err(wrong(format!("there is code for {target}, which the manifest does not list")));
        }
    }
    Ok(())
}
