//! The CUDA plan as protobuf messages, from and to its types.
//!
//! Field numbers are the format: they are never used again for something else. [`crate::scan`] knows which fields are
//! messages.

use super::{Blocks, CudaKernel, CudaTarget, Sizes};
use crate::decode::{dim, entry, malformed, target};
use crate::limits::Limits;
use actc_types::Result;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CudaPlan {
    #[prost(message, repeated, tag = "1")]
    pub kernels: Vec<Kernel>,
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<crate::wire::Entry>,
    #[prost(message, repeated, tag = "3")]
    pub targets: Vec<GpuTarget>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Kernel {
    #[prost(string, tag = "1")]
    pub symbol: String,
    /// Three: x, y, z.
    #[prost(message, repeated, tag = "2")]
    pub grid: Vec<Axis>,
    #[prost(uint32, tag = "3")]
    pub threads: u32,
    #[prost(uint32, tag = "4")]
    pub shared: u32,
    #[prost(string, tag = "5")]
    pub sizes: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Axis {
    #[prost(string, tag = "1")]
    pub work: String,
    #[prost(uint32, tag = "2")]
    pub share: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct GpuTarget {
    #[prost(string, tag = "1")]
    pub target: String,
    #[prost(uint32, tag = "2")]
    pub driver: u32,
}

/// The message that says `plan`.
pub(crate) fn encode(plan: &super::CudaPlan) -> CudaPlan {
    CudaPlan {
        kernels: plan.kernels.iter().map(kernel).collect(),
        entries: plan.entries.iter().map(crate::encode::entry).collect(),
        targets: (plan.targets.iter()).map(|t| GpuTarget { target: t.target.to_string(), driver: t.driver }).collect(),
    }
}

fn kernel(k: &CudaKernel) -> Kernel {
    Kernel {
        symbol: k.symbol.clone(),
        grid: k.grid.iter().map(|b| Axis { work: b.work.to_string(), share: b.share }).collect(),
        threads: k.threads,
        shared: k.shared,
        sizes: k.sizes.name().into(),
    }
}

/// The plan that `plan` says, each word checked by itself.
pub(crate) fn decode(plan: CudaPlan, limits: &Limits) -> Result<super::CudaPlan> {
    let gpu = |t: &GpuTarget| Ok(CudaTarget { target: target(&t.target)?, driver: t.driver });
    Ok(super::CudaPlan {
        kernels: plan.kernels.into_iter().map(read_kernel).collect::<Result<_>>()?,
        entries: plan.entries.into_iter().map(|e| entry(e, limits)).collect::<Result<_>>()?,
        targets: plan.targets.iter().map(gpu).collect::<Result<_>>()?,
    })
}

fn read_kernel(k: Kernel) -> Result<CudaKernel> {
    let axes = k.grid.iter().map(|a| Ok(Blocks { work: dim(&a.work)?, share: a.share })).collect::<Result<Vec<_>>>()?;
    let axes = <[Blocks; 3]>::try_from(axes);
    let grid = axes.map_err(|a| malformed(format!("`{}` has {} axes of blocks, not 3", k.symbol, a.len())))?;
    let sizes = Sizes::parse(&k.sizes);
    let sizes =
        sizes.ok_or_else(|| malformed(format!("`{}` takes sizes in an unknown way, `{}`", k.symbol, k.sizes)))?;
    Ok(CudaKernel { symbol: k.symbol, grid, threads: k.threads, shared: k.shared, sizes })
}
