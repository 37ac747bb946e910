//! From the bytes of a manifest to [`Manifest`]: words become types here, so that nobody parses text later.
//!
//! This checks each word by itself; [`crate::check`] checks how they fit together.

use crate::builtin::Builtin;
use crate::limits::Limits;
use crate::manifest::{Calibration, LayerRow, Manifest, ModelInfo, PartEntry, StateEntry, TensorEntry, TextInfo};
use crate::plan::{Buffer, BufferKind, BuiltinCall, Entry, Launch, Port, Step};
use crate::{cuda, scan, wire};
use actc_types::braced::Fields;
use actc_types::{Braced, DType, Diagnostic, Dim, Encoding, Place, Result, Role, Symbol, Target};
use prost::Message;
use std::collections::BTreeSet;

/// Most terms of a dimension, and most factors of a term: far above what shapes need, low enough that products of
/// dimensions stay small.
const MAX_TERMS: usize = 16;
const MAX_DEGREE: usize = 8;

pub(crate) fn malformed(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("artifact-manifest", headline)
}

impl Manifest {
    /// Reads the manifest section.
    pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Manifest> {
        if bytes.len() as u64 > limits.manifest_bytes {
            let headline =
                format!("the manifest has {} bytes, at most {} are read", bytes.len(), limits.manifest_bytes);
            return Err(Diagnostic::new("artifact-limit", headline));
        }
        scan::count_messages(bytes, limits.messages)?;
        let m = wire::Manifest::decode(bytes).map_err(|e| malformed(format!("the manifest is no message: {e}")))?;
        let model = m.model.unwrap_or_default();
        let mut versions = BTreeSet::new();
        for listed in &m.builtins {
            let builtin = Builtin::parse(&listed.name)?;
            if builtin.version() != listed.version {
                let (name, here) = (builtin.name(), builtin.version());
                let headline = format!("the plan is made for `{name}` {}, this build has {here}", listed.version);
                return Err(Diagnostic::new("artifact-builtin", headline).help("compile the model again"));
            }
            versions.insert(builtin);
        }
        let manifest = Manifest {
            model: ModelInfo {
                name: model.name,
                family: model.family,
                source_format: model.source_format,
                source_digest: model.source_digest,
                licence: model.licence,
                context_length: model.context_length,
            },
            pipeline: m.pipeline,
            calibration: m.calibration.map(|c| Calibration {
                digest: c.digest,
                description: c.description,
                windows: c.windows,
                window_len: c.window_len,
                tokens: c.tokens,
            }),
            targets: m.targets.iter().map(|t| target(t)).collect::<Result<_>>()?,
            tensors: m.tensors.into_iter().map(tensor).collect::<Result<_>>()?,
            states: m
                .states
                .into_iter()
                .map(|s| Ok(StateEntry { dtype: dtype(&s.dtype)?, dims: dims(&s.dims)?, name: s.name }))
                .collect::<Result<_>>()?,
            kernels: m.kernels,
            entries: m.entries.into_iter().map(|e| entry(e, limits)).collect::<Result<_>>()?,
            cuda: m.cuda.map(|c| cuda::decode(c, limits)).transpose()?,
            layers: m
                .layers
                .into_iter()
                .map(|l| LayerRow {
                    name: l.name,
                    encoding: l.encoding,
                    bits: l.bits,
                    stored_bits: l.stored_bits,
                    weak_columns: l.weak_columns,
                    bytes: l.bytes,
                    error: l.error,
                    reason: l.reason,
                })
                .collect(),
            text: m.text.map(|t| TextInfo {
                bos: t.bos,
                add_bos: t.add_bos,
                stop: t.stop,
                chat_template: t.chat_template,
                context: t.context,
            }),
            metadata: m.metadata.into_iter().map(|p| (p.key, p.value)).collect(),
        };
        match manifest.builtins().difference(&versions).next() {
            None => Ok(manifest),
            Some(b) => {
                Err(Diagnostic::new("artifact-builtin", format!("the manifest gives no version of `{}`", b.name())))
            }
        }
    }
}

pub(crate) fn target(text: &str) -> Result<Target> {
    let target = Target::parse(text)?;
    // `host` would mean another machine on every machine.
    if target.to_string() == text { Ok(target) } else { Err(malformed(format!("`{text}` is no full target name"))) }
}

fn dtype(text: &str) -> Result<DType> {
    DType::parse(text).ok_or_else(|| malformed(format!("unknown element type `{text}`")))
}

fn role(text: &str) -> Result<Role> {
    Role::parse(text).ok_or_else(|| malformed(format!("unknown part `{text}`")))
}

fn symbol(text: &str) -> Result<Symbol> {
    Symbol::new(text).ok_or_else(|| malformed(format!("`{text}` is no symbol")))
}

pub(crate) fn dim(text: &str) -> Result<Dim> {
    let dim = Dim::parse(text)?;
    if dim.terms().count() > MAX_TERMS || dim.terms().any(|(_, factors)| factors.len() > MAX_DEGREE) {
        let headline = format!("dimension `{text}` has over {MAX_TERMS} terms or over {MAX_DEGREE} factors");
        return Err(Diagnostic::new("artifact-limit", headline));
    }
    Ok(dim)
}

fn dims(texts: &[String]) -> Result<Vec<Dim>> {
    texts.iter().map(|t| dim(t)).collect()
}

fn encoding(text: &str) -> Result<Encoding> {
    let (item, end) = Braced::parse_at(text, 0)?;
    if end != text.len() {
        return Err(malformed(format!("`{text}` is no encoding")));
    }
    let mut fields = Fields::new(text, item.name.clone(), item.fields);
    let encoding = Encoding::read(&item.name, &mut fields)?;
    fields.finish()?;
    Ok(encoding)
}

fn tensor(t: wire::Tensor) -> Result<TensorEntry> {
    let place = || Place::Tensor(t.name.clone());
    let parts = t
        .parts
        .iter()
        .map(|p| Ok(PartEntry { role: role(&p.role)?, offset: p.offset, length: p.length }))
        .collect::<Result<_>>()
        .map_err(|e: Diagnostic| e.at(place()))?;
    let encoding = encoding(&t.encoding).map_err(|e| e.at(place()))?;
    let dtype = dtype(&t.dtype).map_err(|e| e.at(place()))?;
    Ok(TensorEntry { name: t.name, dtype, dims: t.dims, encoding, parts })
}

pub(crate) fn entry(e: wire::Entry, limits: &Limits) -> Result<Entry> {
    let fixed = e.fixed.iter().map(|f| Ok((symbol(&f.symbol)?, f.value))).collect::<Result<_>>()?;
    Ok(Entry {
        name: e.name,
        symbols: e.symbols.iter().map(|s| symbol(s)).collect::<Result<_>>()?,
        fixed,
        inputs: e.inputs.into_iter().map(port).collect::<Result<_>>()?,
        outputs: e.outputs.into_iter().map(port).collect::<Result<_>>()?,
        buffers: e.buffers.iter().map(buffer).collect::<Result<_>>()?,
        slots: e.slots,
        steps: steps(e.steps, limits.nesting)?,
    })
}

fn port(p: wire::Port) -> Result<Port> {
    Ok(Port { dtype: dtype(&p.dtype)?, dims: dims(&p.dims)?, name: p.name, buffer: p.buffer })
}

fn buffer(b: &wire::Buffer) -> Result<Buffer> {
    let kind = match b.kind.as_ref().ok_or_else(|| malformed("a buffer has no kind"))? {
        wire::BufferKind::Input(i) => BufferKind::Input(*i),
        wire::BufferKind::Output(i) => BufferKind::Output(*i),
        wire::BufferKind::Slot(i) => BufferKind::Slot(*i),
        wire::BufferKind::State(i) => BufferKind::State(*i),
        wire::BufferKind::Tensor(t) => BufferKind::Tensor { tensor: t.tensor, role: role(&t.role)? },
        wire::BufferKind::Errors(_) => BufferKind::Errors,
    };
    Ok(Buffer { kind, bytes: dim(&b.bytes)? })
}

fn steps(list: Vec<wire::Step>, depth: usize) -> Result<Vec<Step>> {
    list.into_iter().map(|s| step(s, depth)).collect()
}

fn step(s: wire::Step, depth: usize) -> Result<Step> {
    let deeper = || {
        depth
            .checked_sub(1)
            .ok_or_else(|| Diagnostic::new("artifact-limit", "`if` and `loop` nest deeper than allowed"))
    };
    Ok(match s.kind.ok_or_else(|| malformed("a step has no kind"))? {
        wire::StepKind::Launch(l) => {
            Step::Launch(Launch { label: l.label, kernel: l.kernel, bufs: l.bufs, dims: dims(&l.dims)? })
        }
        wire::StepKind::Builtin(b) => Step::Builtin(BuiltinCall {
            label: b.label,
            builtin: Builtin::parse(&b.name)?,
            bufs: b.bufs,
            tensors: b.tensors,
            dims: dims(&b.dims)?,
            ints: b.ints,
            floats: b.floats,
        }),
        wire::StepKind::If(i) => {
            let depth = deeper()?;
            Step::If { cond: i.cond, then: steps(i.then, depth)?, otherwise: steps(i.otherwise, depth)? }
        }
        wire::StepKind::Loop(l) => {
            let depth = deeper()?;
            Step::Loop { trips: l.trips, live: l.live, index: l.index, body: steps(l.body, depth)? }
        }
        wire::StepKind::Bind(b) => {
            Step::Bind { symbols: b.symbols.iter().map(|s| symbol(s)).collect::<Result<_>>()?, values: b.values }
        }
    })
}
