//! Problems whose kernels find their sizes in memory: grids do not depend on those then, so that blocks go round what there is.

use crate::{Case, det, folding, sampling, sequence, top_k};
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::gpu::{GpuKernel, Sizes};

/// `kernel` with its sizes in memory, of the families whose problems are made of graphs with sizes that are known.
fn in_memory(mut kernel: GpuKernel) -> GpuKernel {
    let sizes = match &mut kernel {
        GpuKernel::TopK(k) => &mut k.sizes,
        GpuKernel::Recurrent(k) => &mut k.sizes,
        GpuKernel::LinearAttention(k) => &mut k.sizes,
        GpuKernel::GridSample(k) => &mut k.sizes,
        GpuKernel::RegionPool(k) => &mut k.sizes,
        GpuKernel::Fold(k) => &mut k.sizes,
        GpuKernel::Det(k) => &mut k.sizes,
        GpuKernel::Conv(k) => &mut k.sizes,
        GpuKernel::Scatter(k) => &mut k.sizes,
        other => panic!("{other} has problems of its own with sizes in memory"),
    };
    *sizes = Sizes::Memory;
    kernel
}

/// The first problems of each of them.
pub fn sizes_in_memory() -> Vec<Case> {
    let of = |kernel| match kernel {
        Kernel::Template(kernel) => Kernel::Template(in_memory(kernel)),
        Kernel::Generated(..) => panic!("{kernel} is no template"),
    };
    let first = |cases: Vec<Case>, count: usize| cases.into_iter().take(count);
    // A short row and, behind those of every type, a long one.
    let rows = top_k::firsts().into_iter().step_by(5).take(2);
    rows.chain(first(sequence::cells(), 2))
        .chain(first(sequence::states(), 2))
        .chain(first(sampling::grids(), 2))
        .chain(first(sampling::regions(), 2))
        .chain(first(folding::folds(), 2))
        .chain(first(folding::unpools(), 2))
        .chain(first(folding::moved(), 1))
        .chain(first(det::matrices(), 2))
        .map(|case| {
            let name = format!("{}, sizes in memory", case.name);
            case.by(name, of)
        })
        .collect()
}
