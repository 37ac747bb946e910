//! Kernel families: what a CPU kernel computes, the buffers and runtime dimensions that it takes, and its `kir`.
//!
//! The text of a [`KernelSpec`] is canonical: equal texts are equal kernels, so it is the key under which compiled code is
//! kept, and the seed of the symbol's name. All kernels are called as
//! `extern "C" fn(bufs: *const *mut u8, dims: *const i64, part: u32, parts: u32)` and share their work among the parts
//! without reductions across parts. Inputs may be read up to 64 bytes past their end; what is read there does not matter.

pub mod attention;
pub mod elementwise;
pub mod gpu;
pub mod linear;
pub mod norm;
pub mod prepare;
pub mod rope;
mod teams;

#[cfg(feature = "emit-llvm")]
use crate::emit::llvm::ptx::PtxKernel;
use crate::emit::{Backend, CompiledKernel, Emitter, Image, SizesIn};
use crate::kir::Kernel;
use actc_types::{DType, Result, Role, Target};
use std::fmt;

/// Bytes of a line of memory.
const LINE: usize = 64;

pub use attention::Attention;
pub use elementwise::{Elementwise, Step};
pub use linear::{Act, Epilogue, Input, Linear, Mat, Tokens};
pub use norm::{LayerNorm, RmsNorm};
pub use prepare::{Prepare, Prepared, WeakSet};
pub use rope::{Rope, RopeStyle, RopeTable};

/// A kernel, by family.
#[derive(Clone, Debug, PartialEq)]
pub enum KernelSpec {
    /// Matrices times a few tokens.
    Linear(Linear),
    /// Inputs of quantised matrices: weak columns out, sums, rounding.
    Prepare(Prepare),
    /// Root-mean-square norm of rows.
    RmsNorm(RmsNorm),
    /// Layer norm of rows.
    LayerNorm(LayerNorm),
    /// Cosines and sines of positions.
    RopeTable(RopeTable),
    /// Rotary positions of heads.
    Rope(Rope),
    /// Softmax attention against a cache.
    Attention(Attention),
    /// A chain of elementwise operations.
    Elementwise(Elementwise),
}

/// What a buffer is to its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferRole {
    /// Activations read; several inputs are numbered.
    Input(u8),
    /// A stored part of matrix `mat`.
    Weight {
        /// Which matrix of the launch.
        mat: u8,
        /// Which part of its encoding.
        part: Role,
    },
    /// Bias of a matrix, or of a norm.
    Bias(u8),
    /// Scale of a norm.
    Scale,
    /// Prepared input of matrix or set number n.
    Prepared(u8),
    /// Ascending weak columns of set number n.
    WeakIndex(u8),
    /// What the epilogue adds.
    Residual,
    /// Cosines and sines of positions.
    Table,
    /// Divisors of frequencies.
    Factors,
    /// Keys `[P + S, kv heads * head dim]`.
    Keys,
    /// Values `[P + S, kv heads * head dim]`.
    Values,
    /// What is added to the scores of an attention.
    Mask,
    /// A word that says that something was out of range.
    Error,
    /// Working memory; its size is a function of dims and parts.
    Scratch,
    /// Results; several outputs are numbered.
    Output(u8),
}

/// How a kernel uses a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Reads.
    Read,
    /// Writes every element that belongs to the units of the launch.
    Write,
    /// Writes and reads back.
    ReadWrite,
}

/// A buffer that a kernel takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// What it is.
    pub role: BufferRole,
    /// Its elements; `U8` for packed bytes.
    pub elem: DType,
    /// How it is used.
    pub access: Access,
}

impl Buffer {
    pub(crate) fn read(role: BufferRole, elem: DType) -> Buffer {
        Buffer { role, elem, access: Access::Read }
    }

    /// The word that kernels set where something is out of range.
    pub(crate) fn error() -> Buffer {
        Buffer { role: BufferRole::Error, elem: DType::I32, access: Access::ReadWrite }
    }

    pub(crate) fn write(role: BufferRole) -> Buffer {
        Buffer { role, elem: DType::F32, access: Access::Write }
    }

    fn name(&self) -> String {
        match self.role {
            BufferRole::Weight { mat, part } => format!("{}{mat}", part.name()),
            BufferRole::Input(n) => format!("in{n}"),
            BufferRole::Bias(n) => format!("bias{n}"),
            BufferRole::Prepared(n) => format!("prepared{n}"),
            BufferRole::WeakIndex(n) => format!("weak_index{n}"),
            BufferRole::Output(n) => format!("out{n}"),
            BufferRole::Scale
            | BufferRole::Residual
            | BufferRole::Table
            | BufferRole::Factors
            | BufferRole::Keys
            | BufferRole::Values
            | BufferRole::Mask
            | BufferRole::Error
            | BufferRole::Scratch => format!("{:?}", self.role).to_lowercase(),
        }
    }
}

impl KernelSpec {
    /// Refuses parameters that make no kernel.
    pub fn check(&self) -> Result<()> {
        match self {
            KernelSpec::Linear(s) => s.check(),
            KernelSpec::Prepare(s) => s.check(),
            KernelSpec::RmsNorm(s) => s.check(),
            KernelSpec::LayerNorm(s) => s.check(),
            KernelSpec::RopeTable(s) => s.check(),
            KernelSpec::Rope(s) => s.check(),
            KernelSpec::Attention(s) => s.check(),
            KernelSpec::Elementwise(s) => s.check(),
        }
    }

    /// The buffers in the order of the ABI.
    pub fn buffers(&self) -> Vec<Buffer> {
        match self {
            KernelSpec::Linear(s) => s.buffers(),
            KernelSpec::Prepare(s) => s.buffers(),
            KernelSpec::RmsNorm(s) => s.buffers(),
            KernelSpec::LayerNorm(s) => s.buffers(),
            KernelSpec::RopeTable(s) => s.buffers(),
            KernelSpec::Rope(s) => s.buffers(),
            KernelSpec::Attention(s) => s.buffers(),
            KernelSpec::Elementwise(s) => s.buffers(),
        }
    }

    /// The runtime dimensions in the order of the ABI.
    pub fn dims(&self) -> Vec<String> {
        let fixed: &[&str] = match self {
            KernelSpec::Linear(s) => return s.dims(),
            KernelSpec::Prepare(s) => return s.dims(),
            KernelSpec::Elementwise(s) => return s.dims(),
            KernelSpec::RmsNorm(_) | KernelSpec::LayerNorm(_) => &["rows"],
            KernelSpec::Rope(_) => &["S"],
            KernelSpec::RopeTable(_) | KernelSpec::Attention(_) => &["S", "P"],
        };
        fixed.iter().map(ToString::to_string).collect()
    }

    fn family(&self) -> &'static str {
        match self {
            KernelSpec::Linear(_) => "linear",
            KernelSpec::Prepare(_) => "prepare",
            KernelSpec::RmsNorm(_) => "rms_norm",
            KernelSpec::LayerNorm(_) => "layer_norm",
            KernelSpec::RopeTable(_) => "rope_table",
            KernelSpec::Rope(_) => "rope",
            KernelSpec::Attention(_) => "attention",
            KernelSpec::Elementwise(_) => "elementwise",
        }
    }

    /// The symbol: the family and the start of the digest of the text.
    pub fn symbol(&self) -> String {
        format!("{}_{}", self.family(), &blake3::hash(self.to_string().as_bytes()).to_hex()[..12])
    }

    /// The symbol on GPUs, where kernels that find their dimensions elsewhere are others.
    pub fn gpu_symbol(&self, sizes: SizesIn) -> String {
        match sizes {
            SizesIn::Parameters => self.symbol(),
            SizesIn::Memory => format!("{}_memory", self.symbol()),
        }
    }

    /// The kernel as it is built, before legalisation. The parameters must have passed [`Self::check`].
    pub fn kernel(&self) -> Kernel {
        let names: Vec<String> = self.buffers().iter().map(Buffer::name).collect();
        let mut k = crate::kir::Builder::new(&self.symbol(), &names, &self.dims());
        match self {
            KernelSpec::Linear(s) => s.build(&mut k),
            KernelSpec::Prepare(s) => s.build(&mut k),
            KernelSpec::RmsNorm(s) => s.build(&mut k),
            KernelSpec::LayerNorm(s) => s.build(&mut k),
            KernelSpec::RopeTable(s) => s.build(&mut k),
            KernelSpec::Rope(s) => s.build(&mut k),
            KernelSpec::Attention(s) => s.build(&mut k),
            KernelSpec::Elementwise(s) => s.build(&mut k),
        }
        k.finish()
    }
}

impl fmt::Display for KernelSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelSpec::Linear(s) => write!(f, "{s}"),
            KernelSpec::Prepare(s) => write!(f, "{s}"),
            KernelSpec::RmsNorm(s) => write!(f, "{s}"),
            KernelSpec::LayerNorm(s) => write!(f, "{s}"),
            KernelSpec::RopeTable(s) => write!(f, "{s}"),
            KernelSpec::Rope(s) => write!(f, "{s}"),
            KernelSpec::Attention(s) => write!(f, "{s}"),
            KernelSpec::Elementwise(s) => write!(f, "{s}"),
        }
    }
}

/// Machine code of one kernel for a CPU target.
pub fn compile(spec: &KernelSpec, backend: Backend, target: &Target) -> Result<CompiledKernel> {
    spec.check()?;
    Emitter::new(backend, target)?.compile(&spec.kernel())
}

/// Machine code of several kernels as one image, in the order given; equal specs become one function.
pub fn compile_all(specs: &[KernelSpec], backend: Backend, target: &Target) -> Result<Image> {
    let emitter = Emitter::new(backend, target)?;
    let mut image = Image::default();
    for spec in specs {
        spec.check()?;
        if image.offset(&spec.symbol()).is_none() {
            image.push(&emitter.compile(&spec.kernel())?)?;
        }
    }
    Ok(image)
}

/// Text of one kernel for NVIDIA GPUs, the same for all of them; it finds its dimensions in `sizes`. Refuses families whose
/// kernels come from templates.
#[cfg(feature = "emit-llvm")]
pub fn compile_ptx(spec: &KernelSpec, sizes: SizesIn) -> Result<PtxKernel> {
    let (team, launch) = spec.on_gpu()?;
    let mut kernel = spec.kernel();
    kernel.name = spec.gpu_symbol(sizes);
    crate::emit::llvm::ptx::compile(&crate::kir::to_threads(&kernel, team), team, sizes, launch)
}
