//! `matmul` of GPUs: products of matrices that are both computed, of single precision.
//!
//! Products and sums are fused and in the order of the terms: what one thread after the other would give.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Terms that are in shared memory at once.
const DEPTH: u32 = 16;

/// Threads of a block.
const THREADS: u32 = 256;

/// A batch of products of f32.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Matmul {
    /// Whether the left matrices are `[B, K, M]`.
    pub ta: bool,
    /// Whether the right ones are `[B, N, K]`.
    pub tb: bool,
    /// Whether results have few rows: tiles are wide then.
    pub few: bool,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl Matmul {
    /// Sums of a thread, down and across.
    fn own(&self) -> [u32; 2] {
        if self.few { [1, 4] } else { [4, 4] }
    }

    /// Rows and columns of a tile.
    fn tile(&self) -> [u32; 2] {
        if self.few { [8, 128] } else { [64, 64] }
    }

    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Left and right matrices, and results `f32[B, M, N]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let read = |i| Buffer::read(BufferRole::Input(i), DType::F32);
        vec![read(0), read(1), Buffer::write(BufferRole::Output(0))]
    }

    /// Batch, rows, terms, columns.
    pub(super) fn dims(&self) -> Vec<String> {
        ["B", "M", "K", "N"].map(str::to_owned).to_vec()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let [rows, cols] = self.tile();
        let grid = match self.sizes {
            Sizes::Int => {
                [Blocks::of(size(3), cols as usize), Blocks::of(size(1), rows as usize), Blocks::of(size(0), 1)]
            }
            // Two waves, whatever there is.
            Sizes::Memory => [Blocks::fixed(8), Blocks::fixed(if self.few { 1 } else { 4 }), Blocks::fixed(32)],
        };
        Ok(Geometry { grid, threads: THREADS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let ([tile_rows, tile_cols], [down, across]) = (self.tile(), self.own());
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        let (ta, tb) = (self.ta, self.tb);
        cuda::Matmul { head: &text.head(), ta, tb, tile_rows, tile_cols, down, across, depth: DEPTH }
            .render()
            .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Matmul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Matmul { ta, tb, few, sizes } = self;
        let sizes = sizes.said();
        write!(f, "gpu_matmul{{ta={ta}, tb={tb}, few={few}{sizes}}}")
    }
}
