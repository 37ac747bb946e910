//! Whether a CUDA plan fits its manifest and what GPUs can do.

use super::{Blocks, CudaKernel, CudaPlan};
use crate::builtin::Builtin;
use crate::check::{Room, entry, unique, wrong};
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::plan::{Entry, Port, Step};
use actc_types::{Dim, Place, Result};

/// Most threads of a block on any GPU.
const MAX_THREADS: u32 = 1024;
/// Most bytes of shared memory of a block on any GPU.
const MAX_SHARED: u32 = 227 << 10;

/// Checks the CUDA plan of `m`.
pub(crate) fn check(plan: &CudaPlan, m: &Manifest, limits: &Limits) -> Result<()> {
    unique("CUDA kernel", plan.kernels.iter().map(|k| k.symbol.as_str()))?;
    unique("CUDA entry", plan.entries.iter().map(|e| e.name.as_str()))?;
    let names: Vec<String> = plan.targets.iter().map(|t| t.target.to_string()).collect();
    unique("CUDA target", names.iter().map(String::as_str))?;
    for t in &plan.targets {
        if !t.target.arch.is_gpu() || !m.targets.contains(&t.target) {
            let headline = format!("the CUDA plan is for {}, which is no GPU that the manifest lists", t.target);
            return Err(wrong(headline));
        }
    }
    plan.kernels.iter().try_for_each(kernel)?;
    for e in &plan.entries {
        let checked = entry(e, &Room { manifest: m, cuda: Some(plan) }, limits)
            .and_then(|()| launches(plan, &e.steps))
            .and_then(|()| m.entries.iter().find(|of| of.name == e.name).map_or(Ok(()), |of| same(e, of)));
        checked.map_err(|d| match d.place {
            Place::Request => d.at(Place::Node(e.name.clone())),
            Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) | Place::Span { .. } => d,
        })?;
    }
    Ok(())
}

fn kernel(k: &CudaKernel) -> Result<()> {
    let symbol = &k.symbol;
    if symbol.contains('\0') {
        return Err(wrong("the name of a CUDA kernel has a zero byte"));
    }
    if !(1..=MAX_THREADS).contains(&k.threads) {
        return Err(wrong(format!("`{symbol}` has {} threads a block, 1 to {MAX_THREADS} are possible", k.threads)));
    }
    if k.shared > MAX_SHARED {
        return Err(wrong(format!("`{symbol}` has {} bytes of shared memory, at most {MAX_SHARED}", k.shared)));
    }
    for blocks in &k.grid {
        if blocks.share == 0 {
            return Err(wrong(format!("a block of `{symbol}` does nothing of `{}`", blocks.work)));
        }
        if let Some(s) = blocks.work.symbols().into_iter().find(|s| Blocks::size_index(s.as_str()).is_none()) {
            return Err(wrong(format!("the blocks of `{symbol}` depend on `{s}`, which is no size of a launch")));
        }
    }
    Ok(())
}

/// How many sizes a launch of `k` has at least.
fn sizes_needed(k: &CudaKernel) -> usize {
    let of =
        |work: &Dim| work.symbols().iter().filter_map(|s| Blocks::size_index(s.as_str())).max().map_or(0, |i| i + 1);
    k.grid.iter().map(|b| of(&b.work)).max().unwrap_or(0)
}

/// Every launch has the sizes that its kernel's blocks depend on. Indices of kernels were checked.
fn launches(plan: &CudaPlan, list: &[Step]) -> Result<()> {
    for step in list {
        match step {
            Step::Launch(l) => {
                let kernel = &plan.kernels[l.kernel as usize];
                let needed = sizes_needed(kernel);
                if l.dims.len() < needed {
                    let (symbol, given) = (&kernel.symbol, l.dims.len());
                    let headline = format!("`{}` gives `{symbol}` {given} sizes, its blocks need {needed}", l.label);
                    return Err(wrong(headline));
                }
            }
            // Extents are known to the host.
            Step::Builtin(b) if b.builtin == Builtin::Expect => {}
            Step::Builtin(b) => {
                return Err(wrong(format!("`{}` is a builtin of CPUs, which no CUDA plan has", b.label)));
            }
            Step::If { then, otherwise, .. } => {
                launches(plan, then)?;
                launches(plan, otherwise)?;
            }
            Step::Loop { body, .. } => launches(plan, body)?,
            Step::Bind { .. } => {}
        }
    }
    Ok(())
}

/// An entry for GPUs takes and gives what that for CPUs does.
fn same(e: &Entry, cpu: &Entry) -> Result<()> {
    let agree = |a: &[Port], b: &[Port]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (&a.name, a.dtype, &a.dims) == (&b.name, b.dtype, &b.dims))
    };
    if e.fixed != cpu.fixed || !agree(&e.inputs, &cpu.inputs) || !agree(&e.outputs, &cpu.outputs) {
        return Err(wrong(format!("`{}` has other inputs or outputs on GPUs than on CPUs", e.name)));
    }
    Ok(())
}
