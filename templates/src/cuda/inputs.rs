//! What the kernels that lay out inputs of matrices are rendered from.

use super::{Head, WindowAxis, render};
use serde::Serialize;

/// `swizzle`: inputs of matrices in tiles for groups of warps.
#[derive(Clone, Debug, Serialize)]
pub struct Swizzle<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// Tokens of a tile.
    pub tile: usize,
    /// Columns of the input.
    pub cols: usize,
    /// Chunks of 64 columns.
    pub chunks: usize,
    /// Number of weak columns, as an expression.
    pub weak: &'a str,
    /// Whether there are any.
    pub weak_given: bool,
    /// Whether an index names them.
    pub scattered: bool,
    /// What is done to each row first.
    pub norm: Option<RowNorm>,
}

impl Swizzle<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("swizzle", self)
    }
}

/// Windows whose places are tokens, and whose channels and taps are columns.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Windows {
    /// The axes, the last first; none where inputs are rows.
    pub axes: Vec<WindowAxis>,
    /// Taps of a window.
    pub taps: u64,
    /// Places of an image.
    pub places: String,
    /// Elements of a channel of it.
    pub area: String,
}

/// A norm of the rows that a kernel reads.
#[derive(Clone, Debug, Serialize)]
pub struct RowNorm {
    /// Added to the mean of squares, a `float`.
    pub eps: String,
    /// Whether the mean is taken off first.
    pub centred: bool,
    /// Whether a bias is added.
    pub bias: bool,
}

/// `prepare` and `windows`: inputs of matrices as operands.
#[derive(Clone, Debug, Serialize)]
pub struct Prepare<'a> {
    /// The kernel's name.
    pub symbol: &'a str,
    /// What it computes, canonically.
    pub spec: &'a str,
    /// Its parameters as CUDA declares them.
    pub parameters: &'a str,
    /// Threads of a block.
    pub threads: usize,
    /// Columns of the input.
    pub cols: usize,
    /// Chunks of 64 columns.
    pub chunks: usize,
    /// Slots of a tile.
    pub slots: usize,
    /// Slots of a token.
    pub parts: usize,
    /// Tokens of a tile.
    pub per_tile: usize,
    /// Bits by which a part is finer than the one before.
    pub part_bits: u32,
    /// What a part's number type is, for people.
    pub element: &'a str,
    /// Where a record has inputs.
    pub x_at: usize,
    /// Where it has sums.
    pub sums_at: usize,
    /// Where it has the chunks' factors.
    pub factors_at: usize,
    /// Where it has what concerns whole tokens.
    pub tail_at: usize,
    /// Where it has weak inputs.
    pub weak_at: usize,
    /// In what sums are counted.
    pub sum_unit: &'a str,
    /// How many sums a slot has.
    pub units: usize,
    /// Columns of a sum.
    pub unit: usize,
    /// Whether products are of bf16.
    pub brain: bool,
    /// Whether columns lie as those of packed codes.
    pub packed: bool,
    /// Whether parts are bytes.
    pub bytes: bool,
    /// Whether inputs are rounded to 8 bits.
    pub rounded: bool,
    /// Whether chunks have factors.
    pub factors: bool,
    /// Whether weak columns are named by an index.
    pub scattered: bool,
    /// Whether sums are of sixteen columns.
    pub fine: bool,
    /// Number of weak columns, as an expression.
    pub weak: &'a str,
    /// Whether there are any.
    pub weak_given: bool,
    /// By what the rest of a part is multiplied.
    pub part_worth: &'a str,
    /// What each part is worth.
    pub part_worths: &'a str,
    /// What is done to each row first.
    pub norm: Option<RowNorm>,
    /// The windows that inputs are of, where they are no rows.
    #[serde(flatten)]
    pub windows: &'a Windows,
}

impl Prepare<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("prepare", self)
    }
}
