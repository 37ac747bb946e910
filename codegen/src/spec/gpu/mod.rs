//! Kernel families of NVIDIA GPUs, written as CUDA text and compiled by NVRTC.
//!
//! A [`GpuKernel`] is to a GPU what [`KernelSpec`](super::KernelSpec) is to a CPU: its text is canonical, it says which
//! buffers it takes and in which order, and how it is launched. `Linear` is the same struct on both, its packed matrices in
//! [`Order::Mma16`](actc_types::Order::Mma16). A kernel is called with the addresses of its buffers, then its runtime
//! sizes as [`Sizes`] says. No sum crosses blocks in an order that a run decides: equal inputs give equal bits.

mod append;
mod attend;
mod builtin;
mod call;
mod combine;
mod conv;
mod copy;
mod decode;
mod det;
mod each;
mod element;
mod embedding;
mod flash;
mod fold;
mod gemm;
mod gemv;
mod geometry;
mod grid_sample;
mod linear_attention;
mod matmul;
mod matrix;
mod norm;
mod place;
mod pool;
mod prepare;
mod record;
mod recurrent;
mod reduce;
mod region_pool;
mod rowwise;
mod scatter;
mod squash;
mod statistics;
mod swizzle;
mod table;
mod text;
mod top_k;
mod wgmma;
mod window;
mod windows;

pub use append::{Append, Destination, Rows, Turn};
pub use attend::Attend;
pub use combine::Combine;
pub use conv::{Conv, Terms};
pub use copy::Copy;
pub use decode::Decode;
pub use det::Det;
pub use each::{Each, What};
pub use element::Element;
pub use embedding::Embedding;
pub use flash::Flash;
pub use fold::Fold;
pub use gemm::{Gemm, Tile};
pub use gemv::{Gemv, Tuning};
pub use geometry::{Blocks, Geometry, Launch, Sizes};
pub use grid_sample::GridSample;
pub use linear_attention::LinearAttention;
pub use matmul::Matmul;
pub use norm::RowNorm;
pub use place::{Choose, Place};
pub use pool::Pool;
pub use prepare::Prepare;
pub use record::{Columns, Products, Record, Weak};
pub use recurrent::Recurrent;
pub use reduce::Reduce;
pub use region_pool::RegionPool;
pub use rowwise::{Of, Rowwise};
pub use scatter::{Put, Scatter, To};
pub use statistics::{ChannelStats, Gram};
pub use swizzle::Swizzle;
pub use top_k::TopK;
pub use wgmma::Wgmma;
pub use window::Axis;
pub use windows::Windows;

use super::Buffer;
use actc_types::target::Arch;
use actc_types::{Diagnostic, Result};
use std::fmt;

macro_rules! families {
    ($($(#[doc = $doc:literal])* $family:ident $name:literal),* $(,)?) => {
        /// A kernel of a GPU, by family.
        #[derive(Clone, Debug, PartialEq)]
        pub enum GpuKernel { $($(#[doc = $doc])* $family($family)),* }

        impl GpuKernel {
            /// The names of all families.
            pub const FAMILIES: &[&str] = &[$($name),*];

            /// Refuses parameters that make no kernel.
            pub fn check(&self) -> Result<()> { match self { $(GpuKernel::$family(s) => s.check()),* } }

            /// The buffers in the order of the parameters.
            pub fn buffers(&self) -> Vec<Buffer> { match self { $(GpuKernel::$family(s) => s.buffers()),* } }

            /// The names of the sizes, which stand behind the buffers.
            pub fn dims(&self) -> Vec<String> { match self { $(GpuKernel::$family(s) => s.dims()),* } }

            /// How those are handed over.
            pub fn sizes(&self) -> Sizes { match self { $(GpuKernel::$family(s) => s.sizes()),* } }

            /// How it is started. The parameters must have passed [`Self::check`].
            pub fn geometry(&self) -> Result<Geometry> { match self { $(GpuKernel::$family(s) => s.geometry()),* } }

            /// The CUDA text. The parameters must have passed [`Self::check`].
            pub fn source(&self) -> Result<String> {
                match self { $(GpuKernel::$family(s) => s.source(&self.symbol())),* }
            }

            /// The name of its family.
            pub fn family(&self) -> &'static str { match self { $(GpuKernel::$family(_) => $name),* } }
        }

        impl fmt::Display for GpuKernel {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $(GpuKernel::$family(s) => write!(f, "{s}")),* }
            }
        }
    };
}

families! {
    /// Inputs of matrices as operands of matrix instructions.
    Prepare "prepare",
    /// Places of images as operands of matrix instructions.
    Windows "windows",
    /// Matrices times a few tokens.
    Gemv "gemv",
    /// Matrices times many tokens.
    Gemm "gemm",
    /// Matrices times many tokens, on GPUs of compute capability 9.0.
    Wgmma "wgmma",
    /// Inputs of a `Wgmma`.
    Swizzle "swizzle",
    /// Sums of what the blocks of a `Gemm` that share columns gave.
    Reduce "reduce",
    /// Attention of a few tokens against a cache.
    Attend "attend",
    /// Attention of many tokens, of a batch, or with a mask.
    Flash "flash",
    /// Sums of what the blocks of an `Attend` that share positions gave.
    Combine "combine",
    /// What is computed or moved element by element.
    Each "each",
    /// Rows of bytes from one place to another.
    Copy "copy",
    /// Softmax of rows, or one number for each.
    Rowwise "rowwise",
    /// Where the extreme of each row stands.
    Place "place",
    /// The extreme of a row among those of its runs.
    Choose "choose",
    /// Products of matrices that are both computed.
    Matmul "matmul",
    /// Convolutions.
    Conv "conv",
    /// Functions of windows.
    Pool "pool",
    /// Tensors with parts or elements replaced.
    Scatter "scatter",
    /// The first elements of rows in order.
    TopK "top_k",
    /// Directions of recurrent layers.
    Recurrent "recurrent",
    /// Attention by states.
    LinearAttention "linear_attention",
    /// What stands between points, where coordinates say.
    GridSample "grid_sample",
    /// Images of regions.
    RegionPool "region_pool",
    /// Windows added up.
    Fold "fold",
    /// Determinants.
    Det "det",
    /// Products of columns, added up.
    Gram "gram",
    /// Statistics of columns, added up.
    ChannelStats "channel_stats",
    /// Rows of a stored matrix by ids.
    Embedding "embedding",
    /// All rows of a stored matrix.
    Decode "decode",
    /// New rows of states.
    Append "append",
}

/// Most bytes of shared memory that a block has on every GPU from sm_80 on.
const SHARED: usize = 99 << 10;

/// Blocks that keep a large GPU, of about 132 processors, busy twice.
const TWO_WAVES: u32 = 2 * 132;

impl GpuKernel {
    /// How it is started with sizes `sizes`; refuses those that it cannot be handed.
    pub fn launch(&self, sizes: &[u64]) -> Result<Launch> {
        let names = self.dims();
        if names.len() != sizes.len() {
            let headline = format!("a kernel of {} sizes is given {}", names.len(), sizes.len());
            return Err(Diagnostic::new("kernel-launch", headline));
        }
        let most = match self.sizes() {
            Sizes::Int => i32::MAX as u64,
            Sizes::Memory => i64::MAX as u64,
        };
        if let Some((name, n)) = names.iter().zip(sizes).find(|(_, n)| **n > most) {
            return Err(Diagnostic::new("kernel-launch", format!("`{name}` is {n}, at most {most} can be")));
        }
        self.geometry()?.launch(sizes)
    }

    /// The only architecture that has its instructions, where not all have.
    pub fn only_for(&self) -> Option<Arch> {
        matches!(self, GpuKernel::Wgmma(_)).then_some(Wgmma::ARCH)
    }

    /// The symbol: the family and the start of the digest of the text.
    pub fn symbol(&self) -> String {
        format!("{}_{}", self.family(), &blake3::hash(self.to_string().as_bytes()).to_hex()[..12])
    }
}
