//! `prepare` of GPUs: inputs `f32[tokens, cols]` as [`Record`]s, one block a token.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::record::{Columns, Record, Weak};
use super::text::parameters;
use crate::spec::Buffer;
use crate::spec::linear::Act;
use actc_templates::cuda;
use actc_types::packed::mma16;
use actc_types::{Diagnostic, Result};
use std::fmt;

/// Makes the records of one kind of input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepare {
    /// What is made.
    pub record: Record,
}

impl Prepare {
    /// Threads of a block: one for each eight columns, within bounds.
    fn threads(&self) -> usize {
        (self.record.chunks() * 8).next_power_of_two().clamp(64, 512)
    }

    pub(super) fn check(&self) -> Result<()> {
        // A bit for each column says whether it is weak.
        let (cols, most) = (self.record.cols, 1 << 18);
        if cols == 0 || cols > most {
            return Err(Diagnostic::new("kernel-shape", format!("{cols} columns, a GPU kernel takes 1 to {most}")));
        }
        Ok(())
    }

    /// `x f32[tokens, cols]`; where weak columns are scattered their index; the records.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        self.record.buffers()
    }

    /// The number of tokens; where there are weak columns their number.
    pub(super) fn dims(&self) -> Vec<String> {
        self.record.dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let tokens = usize::from(self.record.tokens);
        let grid = [Blocks::of(size(0), tokens), Blocks::fixed(tokens), Blocks::one()];
        Ok(Geometry { grid, threads: self.threads() as u32, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let r = &self.record;
        let (brain, packed) = match r.columns {
            Columns::Bytes | Columns::Codes => (false, true),
            Columns::Half => (false, false),
            Columns::Brain => (true, false),
        };
        let bytes = r.columns == Columns::Bytes;
        let part_bits = if brain { 8 } else { 11 };
        let worths: Vec<String> = (0..3).map(|i| format!("{:?}f", 0.5f32.powi(i * part_bits))).collect();
        let text = cuda::Prepare {
            symbol,
            spec: &self.to_string(),
            parameters: &parameters(&self.buffers(), &self.dims(), Sizes::Int),
            threads: self.threads(),
            cols: r.cols as usize,
            chunks: r.chunks(),
            slots: r.slots(),
            parts: r.parts.into(),
            per_tile: r.tokens.into(),
            part_bits: part_bits as u32,
            element: if brain { "bf16" } else { "f16" },
            x_at: 0,
            sums_at: r.sums_at(),
            factors_at: r.factors_at(),
            tail_at: r.tail_at(),
            weak_at: r.weak_at(),
            sum_unit: if r.columns == Columns::Codes { "5.9604644775390625e-8" } else { "1.0" },
            units: r.units(),
            unit: if r.fine { mma16::STEP } else { actc_types::packed::CHUNK },
            brain,
            packed,
            bytes,
            rounded: r.act == Act::Int8,
            factors: r.has_factors(),
            scattered: r.weak == Weak::Scattered,
            fine: r.fine,
            weak: r.weak_expression(),
            weak_given: r.weak != Weak::None,
            part_worth: &format!("{:?}f", 2f32.powi(part_bits)),
            part_worths: &worths.join(", "),
        };
        text.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_prepare {}", self.record)
    }
}
