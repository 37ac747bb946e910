//! `gemv` of GPUs: up to four matrices times one to eight tokens, read once at the speed of memory.
//!
//! Weights are left operands of matrix instructions, tokens right ones, of which there is room for eight whether they are used
//! or not: the cost of a weight is a mask, and a shift for some. The text of `templates/cuda/gemv.cu.tera` says how a block shares
//! the work.

use super::SHARED;
use super::call;
use super::geometry::{Blocks, Geometry, Sizes};
use super::matrix::{chunk_bytes, grids, matrix};
use super::record::{Products, Record};
use super::text::parameters;
use crate::spec::Buffer;
use crate::spec::linear::{Linear, Tokens};
use actc_templates::cuda;
use actc_types::packed::{CHUNK, mma16};
use actc_types::{Diagnostic, Group, Result};
use std::fmt;

/// Stages of a warp's stream.
const STAGES: usize = 4;

/// Bytes of shared memory of a block that leave room for others beside it.
const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of a stage that are worth a round trip to memory.
const STAGE_BYTES: usize = 512;

/// Matrices times a few tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemv {
    /// The matrices, in the order of GPUs, and what happens to the sums.
    pub linear: Linear,
    /// How inputs enter products.
    pub products: Products,
}

/// How a block shares the work.
struct Shape {
    warps: usize,
    gang: usize,
    stage_chunks: usize,
    ring: usize,
    warp_bytes: usize,
    /// Most tiles of a matrix.
    tiles: usize,
    /// Matrices that a block computes.
    together: usize,
}

impl Shape {
    fn threads(&self) -> usize {
        32 * self.warps * self.together
    }

    fn sums_at(&self) -> usize {
        self.warps * self.together * self.warp_bytes
    }

    fn warp_sums(&self) -> usize {
        self.tiles * 8 * self.gang * mma16::PANEL
    }

    fn shared(&self) -> usize {
        self.sums_at() + 4 * self.warps * self.together * self.warp_sums()
    }
}

impl Gemv {
    /// What each matrix reads.
    pub fn records(&self) -> Result<Vec<Record>> {
        call::records(&self.linear, self.products)
    }

    fn tokens(&self) -> usize {
        match self.linear.tokens {
            Tokens::Few(n) => n.into(),
            Tokens::Many => 0,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.linear.tokens == Tokens::Many {
            return Err(Diagnostic::new("kernel-shape", "gemv takes 1 to 8 tokens"));
        }
        let records = self.records()?;
        call::check(&self.linear, &records)?;
        let shared = self.shape(&records).shared();
        if shared > SHARED {
            let headline = format!("gemv needs {shared} bytes of shared memory, there are {SHARED}");
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// As many warps as there are chunks for and shared memory.
    fn shape(&self, records: &[Record]) -> Shape {
        let chunks = records.iter().map(Record::chunks).min().unwrap_or(1);
        let fits = |warps: &usize| *warps <= chunks && self.shape_of(records, *warps).shared() <= BLOCK_BYTES;
        self.shape_of(records, [8, 4, 2].into_iter().find(fits).unwrap_or(1))
    }

    fn shape_of(&self, records: &[Record], warps: usize) -> Shape {
        let chunks = records.iter().map(Record::chunks).min().unwrap_or(1);
        let tiles = records.iter().map(|r| r.tiles(self.tokens())).max().unwrap_or(1);
        let largest = self.linear.mats.iter().map(chunk_bytes).max().unwrap_or(1);
        let smallest = self.linear.mats.iter().map(chunk_bytes).min().unwrap_or(1);
        // Several tiles of inputs are worth more rows; two chunks of the narrow widths make a stage.
        let gang = if tiles > 1 { 2 } else { 1 };
        let stage_chunks = if gang * smallest < STAGE_BYTES && chunks > 1 { 2 } else { 1 };
        let ring = STAGES * gang * stage_chunks * largest;
        let grid = self.linear.mats.iter().zip(records).map(|(mat, r)| {
            let Some(p) = mat.codes() else { return 0 };
            let steps = r.chunks().div_ceil(warps) * CHUNK / mma16::STEP;
            let groups = match (grids(p, r), p.group) {
                (0, _) | (_, Group::Channel) => 1,
                (_, Group::Columns(n)) => (steps * mma16::STEP).div_ceil(n as usize) + 1,
            };
            gang * groups * (mma16::PANEL * p.scale.size() + p.zero_group_bytes())
        });
        let warp_bytes = (ring + grid.max().unwrap_or(0)).next_multiple_of(128);
        let together = if self.linear.gated() { 2 } else { 1 };
        Shape { warps, gang, stage_chunks, ring, warp_bytes, tiles, together }
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
        let shape = self.shape(&self.records()?);
        let blocks = call::blocks(&self.linear, shape.gang * mma16::PANEL);
        let grid = [Blocks::fixed(blocks), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: shape.threads() as u32, shared: shape.shared() as u32 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let records = self.records()?;
        let shape = self.shape(&records);
        let mats = self.linear.mats.iter().zip(&records).enumerate();
        let mats: Vec<cuda::Matrix> =
            mats.map(|(i, (mat, record))| matrix(i, mat, record, record.tiles(self.tokens()))).collect();
        let product = cuda::Product {
            symbol,
            spec: &self.to_string(),
            epilogue: self.linear.epilogue.name(),
            layout: &crate::listing::layout(&self.linear.mats),
            parameters: &parameters(&self.buffers(), &self.dims(), Sizes::Int),
            mats: &mats,
            outputs: &call::outputs(&self.linear, &records, shape.gang * mma16::PANEL),
            gate: call::gate(self.linear.epilogue),
        };
        let text = cuda::Gemv {
            product: &product,
            tokens: self.tokens(),
            warps: shape.warps,
            gang: shape.gang,
            rows: shape.gang * mma16::PANEL,
            threads: shape.threads(),
            stages: STAGES,
            stage_chunks: shape.stage_chunks,
            ring_bytes: shape.ring,
            warp_bytes: shape.warp_bytes,
            sums_at: shape.sums_at(),
            warp_sums: shape.warp_sums(),
        };
        text.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Gemv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_gemv{{products={}}} {}", self.products, self.linear)
    }
}
