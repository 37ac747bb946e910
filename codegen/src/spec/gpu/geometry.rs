//! How a kernel is started: what a plan stores of it, and what that is once sizes are known.

use super::TWO_WAVES;
use actc_types::dim::{Bindings, Symbol};
use actc_types::{Diagnostic, Dim, Result};
use std::fmt;

/// Most blocks along each axis of a grid.
const MOST_BLOCKS: [u64; 3] = [(1 << 31) - 1, 65535, 65535];

/// How a kernel is handed its sizes, behind its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sizes {
    /// By value, each an `int`.
    Int,
    /// By one address of `long long` in device memory. What such a kernel's [`Geometry`] names does not change from one decode
    /// step to the next, so that one graph of launches serves all of them.
    Memory,
}

/// Blocks along an axis of a grid: `max(1, ceil(work / share))`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Units of work, over `d0`, `d1`, …: the kernel's sizes in their order.
    pub work: Dim,
    /// Units that a block has.
    pub share: u32,
}

/// How a kernel is started, for any sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Blocks along each axis.
    pub grid: [Blocks; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory that are given at the launch.
    pub shared: u32,
}

/// How a kernel is started, with numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Launch {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: u32,
    /// Bytes of shared memory that are given at the launch.
    pub shared: u32,
}

/// The product of the sizes numbered `which`; `None` where it is more than can be counted.
pub(super) fn product(which: impl IntoIterator<Item = usize>) -> Option<Dim> {
    which.into_iter().try_fold(Dim::from(1), |n, i| n.checked_mul(&size(i)))
}

/// The symbol of size `i`.
pub(super) fn size(i: usize) -> Dim {
    Dim::sym(&format!("d{i}"))
}

impl Sizes {
    /// What stands behind a kernel's other parameters.
    pub(super) fn said(self) -> &'static str {
        match self {
            Sizes::Int => "",
            Sizes::Memory => ", sizes in memory",
        }
    }
}

impl Blocks {
    /// One block.
    pub fn one() -> Blocks {
        Blocks::fixed(1)
    }

    /// As many as are said.
    pub fn fixed(blocks: usize) -> Blocks {
        Blocks { work: Dim::from(blocks as u64), share: 1 }
    }

    /// One for each `share` of `work`.
    pub fn of(work: Dim, share: usize) -> Blocks {
        Blocks { work, share: share as u32 }
    }

    /// How many there are with sizes bound. Errors where a size is not, the work is no number, or a share is nothing.
    pub fn count(&self, sizes: &Bindings) -> Result<u64> {
        if self.share == 0 {
            return Err(Diagnostic::new("kernel-launch", "a block without work"));
        }
        Ok(self.work.eval(sizes)?.div_ceil(self.share.into()).max(1))
    }
}

impl Geometry {
    /// Blocks of `threads` threads that go round units of work, `share` of them at once: one for each share of `work`, or where sizes
    /// are in memory, so that the grid may not depend on them, as many as keep a large GPU busy. An error where `work`, in `units`, is
    /// more than can be counted.
    pub(super) fn round(sizes: Sizes, work: Option<Dim>, units: &str, share: usize, threads: u32) -> Result<Geometry> {
        let across = match (sizes, work) {
            (Sizes::Memory, _) => Blocks::fixed(TWO_WAVES as usize),
            (Sizes::Int, Some(work)) => Blocks::of(work, share),
            (Sizes::Int, None) => return Err(Diagnostic::new("kernel-shape", format!("too many {units}"))),
        };
        Ok(Geometry { grid: [across, Blocks::one(), Blocks::one()], threads, shared: 0 })
    }

    /// The launch with sizes `sizes`, in the order of the kernel. Errors where the grid is larger than a GPU takes.
    pub fn launch(&self, sizes: &[u64]) -> Result<Launch> {
        let symbol = |i: usize| Symbol::new(&format!("d{i}")).expect("a letter and digits");
        let sizes: Bindings = sizes.iter().enumerate().map(|(i, n)| (symbol(i), *n)).collect();
        let mut grid = [1; 3];
        for ((to, blocks), most) in grid.iter_mut().zip(&self.grid).zip(MOST_BLOCKS) {
            let count = blocks.count(&sizes)?;
            if count > most {
                return Err(Diagnostic::new(
                    "kernel-launch",
                    format!("{count} blocks along an axis of at most {most}"),
                ));
            }
            *to = count as u32;
        }
        Ok(Launch { grid, block: self.threads, shared: self.shared })
    }
}

impl fmt::Display for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.share {
            1 => write!(f, "{}", self.work),
            share => write!(f, "({})/{share}", self.work),
        }
    }
}

impl fmt::Display for Geometry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Geometry { grid: [x, y, z], threads, shared } = self;
        write!(f, "geometry{{grid={x} x {y} x {z}, threads={threads}, shared={shared}}}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_say_the_grid() {
        let rows = Blocks::of(size(0).checked_mul(&Dim::from(3)).unwrap(), 8);
        let geometry = Geometry { grid: [rows, Blocks::of(size(1), 1), Blocks::one()], threads: 64, shared: 0 };
        assert_eq!(geometry.launch(&[5, 7]).unwrap(), Launch { grid: [2, 7, 1], block: 64, shared: 0 });
        assert_eq!(geometry.launch(&[0, 0]).unwrap().grid, [1, 1, 1], "a block where there is no work");
        assert_eq!(geometry.launch(&[5]).unwrap_err().code, "dim-unbound");
        assert_eq!(geometry.launch(&[5, 70_000]).unwrap_err().code, "kernel-launch");
        assert_eq!(geometry.to_string(), "geometry{grid=(3*d0)/8 x d1 x 1, threads=64, shared=0}");
    }
}
