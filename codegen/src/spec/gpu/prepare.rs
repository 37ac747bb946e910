//! `prepare` of GPUs: inputs `f32[tokens, cols]`, or what a norm makes of them, as [`Record`]s, one block a token; and what `windows`
//! has in common with it.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::norm::{self, RowNorm};
use super::record::{Columns, Record, Weak};
use super::text::parameters;
use crate::spec::Buffer;
use crate::spec::linear::Act;
use actc_templates::cuda;
use actc_types::packed::mma16;
use actc_types::{Diagnostic, Dim, Result};
use std::fmt;

/// Makes the records of one kind of input.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepare {
    /// What is made.
    pub record: Record,
    /// What is done to each token's inputs first.
    pub norm: Option<RowNorm>,
}

impl Prepare {
    pub(super) fn check(&self) -> Result<()> {
        self.norm.map_or(Ok(()), RowNorm::check)?;
        check(&self.record)
    }

    /// `x f32[tokens, cols]`; what the norm reads; where weak columns are scattered their index; the records.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        norm::buffers(self.norm, &self.record)
    }

    /// The number of tokens; where there are weak columns their number.
    pub(super) fn dims(&self) -> Vec<String> {
        self.record.dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Ok(geometry(&self.record, size(0)))
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let parameters = parameters(&self.buffers(), &self.dims(), Sizes::Int);
        source(&self.record, symbol, &self.to_string(), &parameters, From::Rows(self.norm))
    }
}

/// What records are made of.
pub(super) enum From<'a> {
    /// Rows, after a norm where there is one.
    Rows(Option<RowNorm>),
    /// Windows of images.
    Windows(&'a cuda::Windows),
}

/// Threads of a block: one for each eight columns, within bounds.
fn threads(record: &Record) -> usize {
    (record.chunks() * 8).next_power_of_two().clamp(64, 512)
}

/// Refuses what no kernel makes.
pub(super) fn check(record: &Record) -> Result<()> {
    // A bit for each column says whether it is weak.
    let (cols, most) = (record.cols, 1 << 18);
    if cols == 0 || cols > most {
        return Err(Diagnostic::new("kernel-shape", format!("{cols} columns, a GPU kernel takes 1 to {most}")));
    }
    Ok(())
}

/// A block for each of `tokens` tokens.
pub(super) fn geometry(record: &Record, tokens: Dim) -> Geometry {
    let of_tile = usize::from(record.tokens);
    let grid = [Blocks::of(tokens, of_tile), Blocks::fixed(of_tile), Blocks::one()];
    Geometry { grid, threads: threads(record) as u32, shared: 0 }
}

/// The text of the kernel that makes `r`.
pub(super) fn source(r: &Record, symbol: &str, spec: &str, parameters: &str, from: From<'_>) -> Result<String> {
    let (rows, norm) = (cuda::Windows::default(), None);
    let (windows, norm) = match from {
        From::Rows(norm) => (&rows, norm),
        From::Windows(windows) => (windows, norm),
    };
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
        spec,
        parameters,
        threads: threads(r),
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
        windows,
        norm: norm.map(RowNorm::shown),
    };
    text.render().map_err(|e| Diagnostic::new("kernel-template", e))
}

impl fmt::Display for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_prepare {}", self.record)?;
        self.norm.map_or(Ok(()), |norm| write!(f, " of {norm}"))
    }
}
