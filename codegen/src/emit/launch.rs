//! How a kernel is launched on a GPU.

use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Dim, Result};
use std::fmt;

/// Most blocks of a launch.
const MOST_BLOCKS: u64 = (1 << 31) - 1;

/// Where a kernel finds its runtime dimensions, 64-bit integers each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SizesIn {
    /// In its parameters, behind the buffers: a launch is of one size.
    Parameters,
    /// In the device's memory, whose address is the parameter behind the buffers: one recorded launch serves any size.
    Memory,
}

/// Blocks along x, threads along x. A kernel is right with any number of blocks; this is how many it is fast with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Units of work, over the names of the kernel's runtime dimensions.
    pub work: Dim,
    /// Units that a block has.
    pub share: u32,
    /// Threads of a block, exactly.
    pub threads: u32,
    /// Bytes of shared memory that the kernel declares; none are given at the launch.
    pub shared: u32,
}

impl Launch {
    /// The number of blocks, at least one. Errors where a dimension is not bound or the work is no number.
    pub fn blocks(&self, dims: &Bindings) -> Result<u32> {
        if self.share == 0 {
            return Err(Diagnostic::new("kernel-launch", "a block without work"));
        }
        let blocks = self.work.eval(dims)?.div_ceil(self.share.into());
        Ok(blocks.clamp(1, MOST_BLOCKS) as u32)
    }
}

impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Launch { work, share, threads, shared } = self;
        write!(f, "launch{{work={work}, share={share}, threads={threads}, shared={shared}}}")
    }
}
