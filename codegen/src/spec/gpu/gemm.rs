//! `gemm` of GPUs: up to four matrices times any number of tokens, in blocks that fill tensor cores.
//!
//! Codes travel to shared memory as they are stored and become operands in registers; prepared inputs are operands already. The
//! text of `templates/cuda/gemm.cu.tera` says how a block shares the work.

use super::SHARED;
use super::call::{self, Parts};
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::matrix::{chunk_bytes, grids};
use super::record::{Products, Record};
use crate::spec::Buffer;
use crate::spec::linear::{Act, Epilogue, Linear, Tokens};
use actc_templates::cuda;
use actc_types::packed::mma16;
use actc_types::{Diagnostic, Packed, Result};
use std::fmt;

/// Processors of a large GPU, roughly: fewer blocks leave some without work.
const PROCESSORS: usize = 96;

/// How much a block computes: more reads less, less keeps more of a GPU busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// 64 rows by 16 slots.
    Small,
    /// 128 rows by 32 slots.
    Medium,
    /// 128 rows by 128 slots.
    Large,
}

/// A tile in panels of sixteen rows and tiles of eight slots.
struct Shape {
    /// Panels of a warp.
    down: usize,
    /// Tiles of a warp.
    across: usize,
    warps_down: usize,
    warps_across: usize,
}

impl Tile {
    /// All tiles, the smallest first.
    pub const ALL: [Tile; 3] = [Tile::Small, Tile::Medium, Tile::Large];

    fn name(self) -> &'static str {
        match self {
            Tile::Small => "small",
            Tile::Medium => "medium",
            Tile::Large => "large",
        }
    }

    fn shape(self) -> Shape {
        match self {
            Tile::Small => Shape { down: 1, across: 2, warps_down: 4, warps_across: 1 },
            Tile::Medium => Shape { down: 2, across: 4, warps_down: 4, warps_across: 1 },
            Tile::Large => Shape { down: 2, across: 8, warps_down: 4, warps_across: 2 },
        }
    }

    /// Rows and slots of a block.
    fn size(self) -> (usize, usize) {
        let shape = self.shape();
        (shape.panels() * mma16::PANEL, shape.tiles() * 8)
    }

    /// How `rows` rows of `chunks` chunks are shared out for `slots` slots: the largest tile that is not half empty and makes
    /// a block for most processors; where none does, several blocks share the chunks, not fewer than four each.
    pub fn of(rows: usize, chunks: usize, slots: usize) -> (Tile, u8) {
        let blocks = |tile: Tile| rows.div_ceil(tile.size().0) * slots.div_ceil(tile.size().1);
        let fits = |tile: &Tile| blocks(*tile) >= PROCESSORS && slots > tile.size().1 / 2;
        if let Some(tile) = Tile::ALL.into_iter().rev().find(fits) {
            return (tile, 1);
        }
        let tile = if slots > Tile::Small.size().1 { Tile::Medium } else { Tile::Small };
        let splits = PROCESSORS.div_ceil(blocks(tile)).min(chunks / 4).clamp(1, 8);
        (tile, splits as u8)
    }
}

impl Shape {
    fn warps(&self) -> usize {
        self.warps_down * self.warps_across
    }

    fn panels(&self) -> usize {
        self.down * self.warps_down
    }

    fn tiles(&self) -> usize {
        self.across * self.warps_across
    }
}

/// Matrices times many tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemm {
    /// The matrices, in the order of GPUs, and what happens to the sums.
    pub linear: Linear,
    /// How inputs enter products.
    pub products: Products,
    /// How much a block computes.
    pub tile: Tile,
    /// Blocks that share a matrix's columns. More than one give `f32[splits, tokens, rows]`, without bias and epilogue, which
    /// [`Reduce`](super::Reduce) adds up.
    pub splits: u8,
}

impl Gemm {
    /// What each matrix reads.
    pub fn records(&self) -> Result<Vec<Record>> {
        call::records(&self.linear, self.products)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.linear.tokens != Tokens::Many {
            return Err(Diagnostic::new("kernel-shape", "gemm takes any number of tokens"));
        }
        let records = self.records()?;
        let most = records.iter().map(Record::chunks).min().unwrap_or(0);
        let whole = self.linear.epilogue != Epilogue::None || self.linear.mats.iter().any(|m| m.bias);
        if !(1..=most).contains(&self.splits.into()) || self.splits > 1 && whole {
            let headline = format!("{} blocks share {most} chunks, bias or epilogue: {whole}", self.splits);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        if self.linear.gated() && records[0].tokens != records[1].tokens {
            let headline = "the matrices of a gate take their inputs in different parts";
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        call::check(&self.linear, &records)
    }

    /// A gate keeps the sums of two matrices: half the panels of each.
    fn shape(&self) -> Shape {
        let shape = self.tile.shape();
        if self.linear.gated() { Shape { down: shape.down.div_ceil(2), ..shape } } else { shape }
    }

    /// Bytes of a stage, the parts in the template's order.
    fn stage_bytes(&self, records: &[Record]) -> usize {
        let shape = self.shape();
        let bytes = self.linear.mats.iter().zip(records).map(|(mat, r)| {
            let grid = |p: &Packed| grids(p, r) * (mma16::PANEL * p.scale.size() + p.zero_group_bytes());
            let sums = mat.codes().map_or(0, |p| grids(p, r)) * 4 * r.slots();
            let factors = if r.act == Act::Int8 { 4 * r.slots() } else { 0 };
            shape.panels() * (chunk_bytes(mat) + mat.codes().map_or(0, grid))
                + shape.tiles() * (128 * r.slots() + sums + factors)
        });
        bytes.max().unwrap_or(0).next_multiple_of(128)
    }

    /// Two to four, as many as a block has memory for.
    fn stages(&self, records: &[Record]) -> usize {
        (SHARED / self.stage_bytes(records)).clamp(2, 4)
    }

    fn shared(&self, records: &[Record]) -> usize {
        self.stages(records) * self.stage_bytes(records)
    }

    pub(super) fn buffers(&self) -> Vec<Buffer> {
        call::buffers(&self.linear)
    }

    pub(super) fn dims(&self) -> Vec<String> {
        self.linear.dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let (records, shape) = (self.records()?, self.shape());
        // Tokens of the smallest tiles: the matrix that has them needs the most blocks.
        let tokens = records.iter().map(|r| usize::from(r.tokens)).min().unwrap_or(1);
        let blocks = call::blocks(&self.linear, shape.panels() * mma16::PANEL);
        let across = Blocks::of(size(0), tokens * shape.tiles());
        Ok(Geometry {
            grid: [Blocks::fixed(blocks), across, Blocks::fixed(self.splits.into())],
            threads: 32 * shape.warps() as u32,
            shared: self.shared(&records) as u32,
        })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let (records, shape) = (self.records()?, self.shape());
        let rows = shape.panels() * mma16::PANEL;
        let parts = Parts::new(self.to_string(), &self.linear, &records, &|_| 0, rows);
        let text = cuda::Gemm {
            product: &parts.product(symbol),
            down: shape.down,
            across: shape.across,
            warps_down: shape.warps_down,
            warps_across: shape.warps_across,
            warps: shape.warps(),
            threads: 32 * shape.warps(),
            block_panels: shape.panels(),
            block_tiles: shape.tiles(),
            stages: self.stages(&records),
            stage_bytes: self.stage_bytes(&records),
            splits: self.splits.into(),
            together: if self.linear.gated() { 2 } else { 1 },
        };
        text.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Gemm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gemm { linear, products, tile, splits } = self;
        write!(f, "gpu_gemm{{products={products}, tile={}, splits={splits}}} {linear}", tile.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_shared_out() {
        assert_eq!(Tile::of(4096, 64, 1024), (Tile::Large, 1), "a block for each of 32 x 8 tiles");
        assert_eq!(Tile::of(11008, 64, 16), (Tile::Small, 1), "172 blocks");
        assert_eq!(Tile::of(4096, 64, 16), (Tile::Small, 2), "64 blocks are too few");
        assert_eq!(Tile::of(576, 9, 16), (Tile::Small, 2), "two blocks of at least four chunks");
        assert_eq!(Tile::of(16, 1, 1), (Tile::Small, 1));
    }
}
