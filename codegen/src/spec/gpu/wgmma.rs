//! `wgmma` of GPUs of compute capability 9.0: matrices times many tokens, by groups of four warps.
//!
//! Weights are left operands in registers, `(code - zero) scale` rounded to f16; inputs come from shared memory, where the copy engine
//! puts the tiles that [`Swizzle`](super::Swizzle) made.

use super::call::{self, Parts};
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::record::{Products, Record};
use crate::spec::Buffer;
use crate::spec::linear::{Act, Linear, Mat, Tokens};
use actc_templates::cuda;
use actc_types::packed::mma16;
use actc_types::target::Arch;
use actc_types::{Diagnostic, Result, Zero};
use std::fmt;

/// Rows of the two groups of warps of a block, once.
const ROWS: usize = 128;

/// Processors of a large GPU, roughly: fewer blocks leave some without work.
const PROCESSORS: usize = 112;

/// Threads of a block: one group of warps that brings inputs, two that multiply.
const THREADS: u32 = 384;

/// Bytes of shared memory for stages.
const STAGES_BYTES: usize = 192 << 10;

/// Matrices times many tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Wgmma {
    /// The matrices, all packed, in the order of GPUs, and what happens to the sums; no gate.
    pub linear: Linear,
    /// Times 64 rows that a group of warps has: 1 or 2.
    pub down: u8,
    /// Tokens of a block: 64, 128 or 256, of 256 with 64 rows a group only. More of both read less, fewer keep more of a GPU busy.
    pub tile: u16,
}

impl Wgmma {
    /// What has groups of warps.
    pub const ARCH: Arch = Arch::Sm90a;

    /// What each matrix reads, in tiles of [`Swizzle`](super::Swizzle).
    pub fn records(&self) -> Result<Vec<Record>> {
        call::records(&self.linear, Products::Half)
    }

    /// Whether there is such a kernel for `linear`.
    pub fn takes(linear: &Linear) -> bool {
        Wgmma::refusal(linear).is_none()
    }

    /// Why there is no such kernel for `linear`.
    pub fn refusal(linear: &Linear) -> Option<String> {
        match linear.tokens {
            Tokens::Many => {}
            Tokens::Few(n) => return Some(format!("{n} token(s)")),
        }
        if linear.gated() {
            return Some("a gate".into());
        }
        let records = match call::records(linear, Products::Half) {
            Ok(records) => records,
            Err(d) => return Some(d.headline),
        };
        let of_mat = |(record, mat): (&Record, &Mat)| {
            if record.scaled(mat) {
                return None;
            }
            Some(match (record.act, mat.codes()) {
                (Act::Int8, _) => "activations are rounded to int8".to_owned(),
                (Act::F32, None) => format!("dense weights of {}", mat.dtype),
                (Act::F32, Some(p)) if record.fine => format!("groups of {} columns", p.group),
                (Act::F32, Some(p)) if p.zero == Zero::Minimum => "codes with minima".to_owned(),
                (Act::F32, Some(p)) => format!("scales of {}", p.scale),
            })
        };
        records.iter().zip(&linear.mats).find_map(of_mat)
    }

    pub(super) fn check(&self) -> Result<()> {
        let sums = matches!((self.down, self.tile), (1, 64 | 128 | 256) | (2, 64 | 128));
        if !Wgmma::takes(&self.linear) || !sums {
            let headline = format!("no groups of warps multiply {} in tiles of {}", self.linear, self.tile);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        call::check(&self.linear, &self.records()?)
    }

    /// The kernel for about so many tokens: the largest blocks that keep a large GPU busy.
    pub fn of(linear: Linear, tokens: usize) -> Wgmma {
        let blocks = |down: u8, tile: u16| {
            call::blocks(&linear, ROWS * usize::from(down)) * tokens.div_ceil(tile.into()) >= PROCESSORS
        };
        let shapes = [(1, 256), (1, 128), (1, 64)];
        let (down, tile) = shapes.into_iter().find(|(down, tile)| blocks(*down, *tile)).unwrap_or((1, 64));
        Wgmma { linear, down, tile }
    }

    fn rows(&self) -> usize {
        ROWS * usize::from(self.down)
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
        let blocks = Blocks::fixed(call::blocks(&self.linear, self.rows()));
        let grid = [blocks, Blocks::of(size(0), self.tile.into()), Blocks::one()];
        // Stages start on whole kilobytes.
        Ok(Geometry { grid, threads: THREADS, shared: (self.stages() * self.stage_bytes() + 1024) as u32 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let records = self.records()?;
        let parts = Parts::new(self.to_string(), &self.linear, &records, &|_| 0, self.rows());
        let sums = usize::from(self.tile) / 2;
        let each =
            |of: &dyn Fn(usize) -> String, range: std::ops::Range<usize>| range.map(of).collect::<Vec<_>>().join(", ");
        let operand = |i: usize| format!("%{i}");
        let text = cuda::Wgmma {
            product: &parts.product(symbol),
            block_rows: self.rows(),
            down: self.down.into(),
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
        write!(f, "gpu_wgmma{{down={}, tile={}}} {}", self.down, self.tile, self.linear)
    }
}

/// Rows of a panel stand in a warp, four warps in a group.
const _: () = assert!(ROWS == 2 * 4 * mma16::PANEL);
