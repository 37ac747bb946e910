//! `wgmma` of GPUs of compute capability 9.0: matrices times many tokens, by groups of four warps.
//!
//! Weights are left operands in registers, `(code - zero) scale` rounded to f16; inputs come from shared memory, where the copy engine
//! puts the tiles that [`Swizzle`](super::Swizzle) made.

use super::call;
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::matrix::matrix;
use super::record::{Columns, Products, Record};
use super::text::parameters;
use crate::spec::Buffer;
use crate::spec::linear::{Linear, Tokens};
use actc_templates::cuda;
use actc_types::packed::mma16;
use actc_types::{Diagnostic, Result};
use std::fmt;

/// Rows of a block.
const ROWS: usize = 128;

/// Threads of a block: one group of warps that brings inputs, two that multiply.
const THREADS: u32 = 384;

/// Bytes of shared memory for stages.
const STAGES_BYTES: usize = 192 << 10;

/// Matrices times many tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Wgmma {
    /// The matrices, all packed, in the order of GPUs, and what happens to the sums; no gate.
    pub linear: Linear,
    /// Tokens of a block: 64, 128 or 256.
    pub tile: u16,
}

impl Wgmma {
    /// What each matrix reads, in tiles of [`Swizzle`](super::Swizzle).
    pub fn records(&self) -> Result<Vec<Record>> {
        call::records(&self.linear, Products::Half)
    }

    /// Whether there is such a kernel for `linear`.
    pub fn takes(linear: &Linear) -> bool {
        let records = call::records(linear, Products::Half).unwrap_or_default();
        let packed = records.iter().zip(&linear.mats).all(|(r, mat)| r.scaled(mat) && r.columns == Columns::Codes);
        linear.tokens == Tokens::Many && !linear.gated() && packed
    }

    pub(super) fn check(&self) -> Result<()> {
        if !Wgmma::takes(&self.linear) || !matches!(self.tile, 64 | 128 | 256) {
            let headline = format!("no groups of warps multiply {} in tiles of {}", self.linear, self.tile);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        call::check(&self.linear, &self.records()?)
    }

    fn stages(&self) -> usize {
        STAGES_BYTES / self.stage_bytes()
    }

    fn stage_bytes(&self) -> usize {
        usize::from(self.tile) * 128
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
        let blocks = Blocks::fixed(call::blocks(&self.linear, ROWS));
        let grid = [blocks, Blocks::of(size(0), self.tile.into()), Blocks::one()];
        // Stages start on whole kilobytes.
        Ok(Geometry { grid, threads: THREADS, shared: (self.stages() * self.stage_bytes() + 1024) as u32 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let records = self.records()?;
        let mats = self.linear.mats.iter().zip(&records).enumerate();
        let mats: Vec<cuda::Matrix> = mats.map(|(i, (mat, record))| matrix(i, mat, record, 0)).collect();
        let product = cuda::Product {
            symbol,
            spec: &self.to_string(),
            epilogue: self.linear.epilogue.name(),
            layout: &crate::listing::layout(&self.linear.mats),
            parameters: &parameters(&self.buffers(), &self.dims(), Sizes::Int),
            mats: &mats,
            outputs: &call::outputs(&self.linear, &records, ROWS),
            gate: "",
        };
        let sums = usize::from(self.tile) / 2;
        let each =
            |of: &dyn Fn(usize) -> String, range: std::ops::Range<usize>| range.map(of).collect::<Vec<_>>().join(", ");
        let operand = |i: usize| format!("%{i}");
        let text = cuda::Wgmma {
            product: &product,
            tile: self.tile.into(),
            stages: self.stages(),
            sums: each(&operand, 0..sums),
            operands: format!("{{{}}}, %{}", each(&operand, sums..sums + 4), sums + 4),
            outputs_of_sums: each(&|i| format!("\"+f\"(c[{i}])"), 0..sums),
        };
        text.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Wgmma {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_wgmma{{tile={}}} {}", self.tile, self.linear)
    }
}

/// Rows of a panel stand in a warp, four warps in a group.
const _: () = assert!(ROWS == 2 * 4 * mma16::PANEL);
