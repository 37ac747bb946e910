//! What CUDA devices run: a plan of their own over the manifest's tensors and states, and kernels as PTX.
//!
//! A kernel is called with the addresses of its launch's buffers, in their order, and then with the launch's sizes as
//! [`Sizes`] says. Its text lies in the code section of each target, a [`CodeImage`](crate::CodeImage): at the symbol's offset a
//! whole module of PTX starts, UTF-8 that ends with a zero byte. Several symbols may name one module.
//!
//! Launches follow each other. A kernel that is alone in its module and has `griddepcontrol.wait` may be started while the launch
//! before it runs: up to there, on every path, it reads nothing that a launch before it wrote, and writes nothing.

mod check;
pub(crate) mod wire;

pub(crate) use check::check;
pub(crate) use wire::{CudaPlan as WirePlan, decode, encode};

use crate::plan::Entry;
use actc_types::{Dim, Target};

/// What CUDA devices run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct CudaPlan {
    /// The kernels that launches of [`Self::entries`] refer to by index. Each code section of an NVIDIA GPU has all of them.
    pub kernels: Vec<CudaKernel>,
    /// What can be run. An entry that CPUs have too takes and gives the same there. Steps are of all kinds but builtins.
    pub entries: Vec<Entry>,
    /// The GPUs that code was made for.
    pub targets: Vec<CudaTarget>,
}

/// A GPU that code was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaTarget {
    /// The GPU; the manifest lists it among its targets.
    pub target: Target,
    /// The least version of CUDA that the driver has to know, as it tells its own: 12020 is 12.2.
    pub driver: u32,
}

/// A kernel and how it is launched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaKernel {
    /// Its name in the PTX.
    pub symbol: String,
    /// Blocks along x, y and z.
    pub grid: [Blocks; 3],
    /// Threads of a block, 1 to 1024.
    pub threads: u32,
    /// Bytes of shared memory that are given at the launch.
    pub shared: u32,
    /// How it takes the sizes of a launch.
    pub sizes: Sizes,
}

/// How many blocks there are along an axis: as many as it takes for each to do its share, and at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Work to be shared out, over `d0`, `d1`, ...: the sizes of the launch.
    pub work: Dim,
    /// What a block does of it, not 0.
    pub share: u32,
}

impl Blocks {
    /// So many blocks, whatever the sizes.
    pub fn fixed(count: u32) -> Blocks {
        Blocks { work: Dim::from(u64::from(count)), share: 1 }
    }

    /// The size that `symbol` stands for in [`Self::work`], or `None` where it is none.
    pub fn size_index(symbol: &str) -> Option<usize> {
        let digits = symbol.strip_prefix('d')?;
        let index: usize = digits.parse().ok()?;
        // One name for each: no `d+1`, no `d01`.
        (index.to_string() == digits).then_some(index)
    }
}

/// How a kernel takes the sizes of its launch, behind the addresses of its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sizes {
    /// Each by value as an `i32`.
    Int,
    /// Each by value as an `i64`.
    Long,
    /// By one last parameter, the address of all of them in device memory as `i64`s.
    Memory,
}

impl Sizes {
    /// All ways.
    pub const ALL: [Sizes; 3] = [Sizes::Int, Sizes::Long, Sizes::Memory];

    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Sizes::Int => "int",
            Sizes::Long => "long",
            Sizes::Memory => "memory",
        }
    }

    /// The way called `name`.
    pub fn parse(name: &str) -> Option<Sizes> {
        Sizes::ALL.into_iter().find(|s| s.name() == name)
    }
}
