//! Kernel families of NVIDIA GPUs, written as CUDA text and compiled by NVRTC.
//!
//! A [`GpuKernel`] is to a GPU what [`KernelSpec`](super::KernelSpec) is to a CPU: its text is canonical, it says which
//! buffers it takes and in which order, and how it is launched. `Linear` is the same struct on both, its packed matrices in
//! [`Order::Mma16`](actc_types::Order::Mma16). A kernel is called with the addresses of its buffers, then its runtime
//! dimensions as `int`. No sum crosses blocks in an order that a run decides: equal inputs give equal bits.

mod call;
mod gemm;
mod gemv;
mod matrix;
mod prepare;
mod record;
mod reduce;

pub use gemm::{Gemm, Tile};
pub use gemv::{Gemv, Tuning};
pub use prepare::Prepare;
pub use record::{Columns, Products, Record};
pub use reduce::Reduce;

use super::{Buffer, BufferRole};
use actc_types::{DType, Result};
use std::fmt;

/// A kernel of a GPU, by family.
#[derive(Clone, Debug, PartialEq)]
pub enum GpuKernel {
    /// Inputs of matrices as operands of matrix instructions.
    Prepare(Prepare),
    /// Matrices times a few tokens.
    Gemv(Gemv),
    /// Matrices times many tokens.
    Gemm(Gemm),
    /// Sums of what the blocks of a `Gemm` that share columns gave.
    Reduce(Reduce),
}

/// How a kernel is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes of shared memory that are given at the launch.
    pub shared: u32,
}

/// Most bytes of shared memory that a block has on every GPU from sm_80 on.
const SHARED: usize = 99 << 10;

impl GpuKernel {
    /// Refuses parameters that make no kernel.
    pub fn check(&self) -> Result<()> {
        match self {
            GpuKernel::Prepare(s) => s.check(),
            GpuKernel::Gemv(s) => s.check(),
            GpuKernel::Gemm(s) => s.check(),
            GpuKernel::Reduce(s) => s.check(),
        }
    }

    /// The buffers in the order of the parameters.
    pub fn buffers(&self) -> Vec<Buffer> {
        match self {
            GpuKernel::Prepare(s) => s.buffers(),
            GpuKernel::Gemv(s) => s.buffers(),
            GpuKernel::Gemm(s) => s.buffers(),
            GpuKernel::Reduce(s) => s.buffers(),
        }
    }

    /// The runtime dimensions, parameters behind the buffers.
    pub fn dims(&self) -> Vec<String> {
        match self {
            GpuKernel::Prepare(s) => s.dims(),
            GpuKernel::Gemv(s) => s.linear.dims(),
            GpuKernel::Gemm(s) => s.linear.dims(),
            GpuKernel::Reduce(s) => s.dims(),
        }
    }

    /// How it is started with runtime dimensions `dims`.
    pub fn launch(&self, dims: &[u32]) -> Result<Launch> {
        match self {
            GpuKernel::Prepare(s) => Ok(s.launch(dims)),
            GpuKernel::Gemv(s) => s.launch(),
            GpuKernel::Gemm(s) => s.launch(dims),
            GpuKernel::Reduce(s) => Ok(s.launch(dims)),
        }
    }

    fn family(&self) -> &'static str {
        match self {
            GpuKernel::Prepare(_) => "prepare",
            GpuKernel::Gemv(_) => "gemv",
            GpuKernel::Gemm(_) => "gemm",
            GpuKernel::Reduce(_) => "reduce",
        }
    }

    /// The symbol: the family and the start of the digest of the text.
    pub fn symbol(&self) -> String {
        format!("{}_{}", self.family(), &blake3::hash(self.to_string().as_bytes()).to_hex()[..12])
    }

    /// The CUDA text. The parameters must have passed [`Self::check`].
    pub fn source(&self) -> Result<String> {
        match self {
            GpuKernel::Prepare(s) => s.source(&self.symbol()),
            GpuKernel::Gemv(s) => s.source(&self.symbol()),
            GpuKernel::Gemm(s) => s.source(&self.symbol()),
            GpuKernel::Reduce(s) => s.source(&self.symbol()),
        }
    }
}

impl fmt::Display for GpuKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GpuKernel::Prepare(s) => write!(f, "{s}"),
            GpuKernel::Gemv(s) => write!(f, "{s}"),
            GpuKernel::Gemm(s) => write!(f, "{s}"),
            GpuKernel::Reduce(s) => write!(f, "{s}"),
        }
    }
}

/// Parameters as CUDA declares them: floats as floats, weights and records as bytes; numbers of weak columns have a name of their
/// own.
fn parameters(buffers: &[Buffer], dims: &[String]) -> String {
    let buffers = buffers.iter().map(|buffer| {
        let constant = if buffer.access == super::Access::Read { "const " } else { "" };
        let element = match (buffer.role, buffer.elem) {
            (BufferRole::WeakIndex(_), _) => "u32",
            (BufferRole::Weight { .. }, _) => "u8",
            (_, DType::F32) => "float",
            _ => "u8",
        };
        format!("{constant}{element}* {}", buffer.name())
    });
    buffers
        .chain(dims.iter().map(|dim| format!("int {}", dim.replace("weak", "weak_count"))))
        .collect::<Vec<_>>()
        .join(", ")
}
