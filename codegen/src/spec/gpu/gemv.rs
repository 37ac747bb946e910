//! `gemv` of GPUs: up to four matrices times one to sixteen tokens, read once at the speed of memory.
//!
//! Weights are left operands of matrix instructions, tokens right ones, of which there is room for eight whether they are used
//! or not: the cost of a weight is a mask, and a shift for some. The text of `templates/cuda/gemv.cu.tera` says how a block shares
//! the work.

use super::SHARED;
use super::call::{self, Parts};
use super::geometry::{Blocks, Geometry, Sizes};
use super::matrix::{chunk_bytes, grids};
use super::record::{Columns, Products, Record};
use crate::spec::Buffer;
use crate::spec::linear::{Linear, Tokens};
use actc_templates::cuda;
use actc_types::packed::{CHUNK, mma16};
use actc_types::{Diagnostic, Group, Result};
use std::fmt;

/// Bytes of shared memory of a block that leave room for others beside it.
const BLOCK_BYTES: usize = 98 << 10;

/// Threads of a processor that there are registers for.
const PROCESSOR_THREADS: usize = 768;

/// Shared memory of the largest processors, and what each block takes of it beside its own.
const PROCESSOR_SHARED: usize = 228 << 10;
const BLOCK_OWN: usize = 1 << 10;

/// Most stages of a warp's stream.
const MOST_STAGES: u8 = 16;

/// Bytes of a stage that are worth a round trip to memory.
const STAGE_BYTES: usize = 2048;

/// Matrices times a few tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Gemv {
    /// The matrices, in the order of GPUs, and what happens to the sums.
    pub linear: Linear,
    /// How inputs enter products.
    pub products: Products,
    /// How a block shares the work.
    pub tuning: Tuning,
}

/// How a block shares the work: what it is as fast as it is with, right with any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// Warps that share the columns of a matrix.
    pub warps: u8,
    /// Panels of sixteen rows that a block computes.
    pub gang: u8,
    /// Stages of a warp's stream: all but one are on their way while one is multiplied.
    pub stages: u8,
}

/// What follows from the tuning.
struct Shape {
    warps: usize,
    gang: usize,
    stages: usize,
    stage_chunks: usize,
    ring: usize,
    grid_bytes: usize,
    warp_bytes: usize,
    /// Most tiles of a matrix.
    tiles: usize,
    /// Matrices that a block computes.
    together: usize,
    /// Whether no lane has more than four words of a chunk.
    narrow: bool,
}

impl Shape {
    fn threads(&self) -> usize {
        32 * self.warps * self.together
    }

    /// Blocks that a processor is to have room for: warps enough to hide each other's waits, where a lane's sums leave registers,
    /// and no more than shared memory holds.
    fn blocks(&self) -> usize {
        let (warps, shared) = (PROCESSOR_THREADS / self.threads(), PROCESSOR_SHARED / (self.shared() + BLOCK_OWN));
        if self.tiles == 1 && self.narrow { warps.min(shared).max(1) } else { 1 }
    }

    fn sums_at(&self) -> usize {
        self.warps * self.together * self.warp_bytes
    }

    fn warp_sums(&self) -> usize {
        // Warps' sums of a row lie in different banks.
        self.tiles * 8 * self.gang * mma16::PANEL + 32 / self.warps
    }

    fn shared(&self) -> usize {
        self.sums_at() + 4 * self.warps * self.together * self.warp_sums()
    }
}

impl Gemv {
    /// Most tokens. With more than eight, and products that may be rounded, weights enter them as f16.
    pub const MOST_TOKENS: u8 = 16;

    /// The kernel for `linear` with as many warps as there are chunks for and shared memory. Refuses what no kernel multiplies.
    pub fn of(linear: Linear, products: Products) -> Result<Gemv> {
        let records = call::records(&linear, products)?;
        let gemv = |tuning| Gemv { linear: linear.clone(), products, tuning };
        let chunks = records.iter().map(Record::chunks).min().unwrap_or(1);
        let several = gemv(Tuning { warps: 1, gang: 1, stages: 2 }).tiles(&records) > 1;
        let three = linear.mats.iter().all(|mat| mat.codes().is_some_and(|p| p.bits == 3));
        let (rows, few_rows) = (call::blocks(&linear, 1), 6000);
        // As `actc-gpu sweep` found: few rows want all blocks at once, three bits in short rows more of them beside each other.
        let first: &[(u8, u8, u8)] = match () {
            () if several => &[(4, 2, 3), (4, 2, 2), (4, 1, 3)],
            () if rows < few_rows => &[(8, 1, 3), (8, 1, 2)],
            () if three && chunks <= 96 => &[(4, 2, 3), (8, 2, 2)],
            () if chunks <= 96 => &[(8, 2, 3), (8, 2, 2), (4, 2, 3)],
            () => &[(8, 2, 4), (8, 2, 3), (8, 2, 2), (4, 2, 3)],
        };
        let tunings = [first, &[(8, 1, 3), (4, 1, 3), (2, 1, 3), (1, 1, 3), (1, 1, 2)]].concat();
        let tunings: Vec<Tuning> =
            tunings.into_iter().map(|(warps, gang, stages)| Tuning { warps, gang, stages }).collect();
        let fits = |t: &Tuning| usize::from(t.warps) <= chunks && gemv(*t).shape(&records).shared() <= BLOCK_BYTES;
        let last = tunings[tunings.len() - 1];
        Ok(gemv(tunings.into_iter().find(fits).unwrap_or(last)))
    }

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
        match self.linear.tokens {
            Tokens::Few(n) if (1..=Gemv::MOST_TOKENS).contains(&n) => {}
            Tokens::Few(_) | Tokens::Many => {
                return Err(Diagnostic::new("kernel-shape", format!("gemv takes 1 to {} tokens", Gemv::MOST_TOKENS)));
            }
        }
        let records = self.records()?;
        call::check(&self.linear, &records)?;
        let chunks = records.iter().map(Record::chunks).min().unwrap_or(0);
        let Tuning { warps, gang, stages } = self.tuning;
        let powers = warps.is_power_of_two() && gang.is_power_of_two();
        let bounded = (1..=chunks.min(16)).contains(&warps.into()) && gang <= 4 && (2..=MOST_STAGES).contains(&stages);
        if !powers || !bounded {
            return Err(Diagnostic::new("kernel-shape", format!("{} for {chunks} chunks", self.tuning)));
        }
        let shared = self.shape(&records).shared();
        if shared > SHARED {
            let headline = format!("gemv needs {shared} bytes of shared memory, there are {SHARED}");
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// Most tiles of a matrix.
    fn tiles(&self, records: &[Record]) -> usize {
        records.iter().map(|r| r.tiles(self.tokens())).max().unwrap_or(1)
    }

    fn shape(&self, records: &[Record]) -> Shape {
        let Tuning { warps, gang, stages } = self.tuning;
        let (warps, gang, stages) = (usize::from(warps), usize::from(gang), usize::from(stages));
        let chunks = records.iter().map(Record::chunks).min().unwrap_or(1);
        let tiles = self.tiles(records);
        let largest = self.linear.mats.iter().map(chunk_bytes).max().unwrap_or(1);
        // A stage is whole units of every matrix, as many as are worth a round.
        let mut stage_chunks = records.iter().map(|r| (copies(r) / gang).max(1)).max().unwrap_or(1);
        let inputs = |r: &Record| r.tiles(self.tokens()) * r.input_bytes() * r.slots();
        let most_inputs = records.iter().map(inputs).max().unwrap_or(0);
        let wanted = |n: usize| gang * n * largest < STAGE_BYTES && n * most_inputs <= STAGE_BYTES && chunks > n;
        while wanted(stage_chunks) {
            stage_chunks *= 2;
        }
        let each = || self.linear.mats.iter().zip(records);
        let stage = each().map(|(mat, r)| stage_chunks * (gang * chunk_bytes(mat) + inputs(r)));
        let share = |r: &Record| r.chunks().div_ceil(warps);
        let grid = each().map(|(mat, r)| {
            let Some(p) = mat.codes() else { return 0 };
            let groups = match (grids(p, r), p.group) {
                (0, _) | (_, Group::Channel) => 1,
                (_, Group::Columns(n)) => (share(r) * CHUNK).div_ceil(n as usize) + 1,
            };
            gang * groups * (mma16::PANEL * p.scale.size() + p.zero_group_bytes())
        });
        let sums = each().map(|(mat, r)| {
            let factors = usize::from(r.has_factors());
            let sums = if r.columns == Columns::Bytes { mat.codes().map_or(0, |p| grids(p, r)) + factors } else { 0 };
            4 * r.tiles(self.tokens()) * r.slots() * share(r) * sums
        });
        // More than all of a warp's are of no use.
        let most = records.iter().map(Record::chunks).max().unwrap_or(1);
        let stages = stages.min(most.div_ceil(warps).div_ceil(stage_chunks));
        let ring = stages * stage.max().unwrap_or(0);
        let grid_bytes = grid.max().unwrap_or(0).next_multiple_of(16);
        let warp_bytes = (ring + grid_bytes + sums.max().unwrap_or(0)).next_multiple_of(128);
        let together = if self.linear.gated() { 2 } else { 1 };
        Shape {
            warps,
            gang,
            stages,
            stage_chunks,
            ring,
            grid_bytes,
            warp_bytes,
            tiles,
            together,
            narrow: largest <= 512,
        }
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
        let tiles = |r: &Record| r.tiles(self.tokens());
        let parts = Parts::new(self.to_string(), &self.linear, &records, &tiles, shape.gang * mma16::PANEL);
        let text = cuda::Gemv {
            product: &parts.product(symbol),
            tokens: self.tokens(),
            warps: shape.warps,
            gang: shape.gang,
            rows: shape.gang * mma16::PANEL,
            threads: shape.threads(),
            blocks: shape.blocks(),
            stages: shape.stages,
            stage_chunks: shape.stage_chunks,
            ring_bytes: shape.ring,
            grid_bytes: shape.grid_bytes,
            warp_bytes: shape.warp_bytes,
            sums_at: shape.sums_at(),
            warp_sums: shape.warp_sums(),
        };
        text.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

/// How many pairs of a panel and a chunk lanes tell apart.
fn copies(record: &Record) -> usize {
    8 / record.slots().next_power_of_two().clamp(2, 8)
}

impl fmt::Display for Gemv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_gemv{{products={}, {}}} {}", self.products, self.tuning, self.linear)
    }
}

impl fmt::Display for Tuning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tuning { warps, gang, stages } = self;
        write!(f, "warps={warps}, gang={gang}, stages={stages}")
    }
}
