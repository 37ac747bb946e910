//! `gram` and `channel_stats` of GPUs: what calibration learns about activations, added to accumulators in place.
//!
//! Sums of products are of single precision, those of channels of double; both are in an order that depends on sizes alone.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block of `gram`, and of `channel_stats`.
const THREADS: [u32; 2] = [256, 1024];

/// Rows and columns of a tile of `gram`, and those of a thread.
const TILE: [u32; 2] = [64, 4];

/// Rows of the input that are in shared memory at once.
const DEPTH: u32 = 16;

/// Blocks along each side where the grid does not depend on sizes.
const ACROSS: usize = 16;

/// Columns of a block of `channel_stats`.
const COLUMNS: usize = 32;

/// Products of columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Gram {
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

/// Statistics of columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ChannelStats {
    /// Whether those of the first row are apart.
    pub first: bool,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

/// `x [M, K]`, the accumulator.
fn buffers() -> Vec<Buffer> {
    let acc = Buffer { role: BufferRole::Output(0), elem: DType::F32, access: Access::ReadWrite };
    vec![Buffer::read(BufferRole::Input(0), DType::F32), acc]
}

/// Rows and columns.
fn dims() -> Vec<String> {
    ["M", "K"].map(str::to_owned).into()
}

impl Gram {
    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }

    /// `x [M, K]`, the accumulator `[K, K]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        buffers()
    }

    pub(super) fn dims(&self) -> Vec<String> {
        dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let tiles = || match self.sizes {
            Sizes::Memory => Blocks::fixed(ACROSS),
            Sizes::Int => Blocks::of(size(1), TILE[0] as usize),
        };
        Ok(Geometry { grid: [tiles(), tiles(), Blocks::one()], threads: THREADS[0], shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &buffers(), &dims(), self.sizes, THREADS[0]);
        let [tile, own] = TILE;
        let text = cuda::Gram { head: &text.head(), tile, own, depth: DEPTH }.render();
        text.map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl ChannelStats {
    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }

    /// `x [M, K]`, the accumulator `[4, K]`, or `[8, K]` with the first row apart.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        buffers()
    }

    pub(super) fn dims(&self) -> Vec<String> {
        dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, Some(size(1)), "channels", COLUMNS, THREADS[1])
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &buffers(), &dims(), self.sizes, THREADS[1]);
        let text = cuda::ChannelStats { head: &text.head(), first: self.first, warps: THREADS[1] / 32 }.render();
        text.map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Gram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.sizes {
            Sizes::Int => "gpu_gram{}",
            Sizes::Memory => "gpu_gram{sizes in memory}",
        })
    }
}

impl fmt::Display for ChannelStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChannelStats { first, sizes } = self;
        match sizes {
            Sizes::Int => write!(f, "gpu_channel_stats{{first={first}}}"),
            Sizes::Memory => write!(f, "gpu_channel_stats{{first={first}, sizes in memory}}"),
        }
    }
}
