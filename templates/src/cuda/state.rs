//! What the kernels of tables and states are rendered from.

use super::{Head, render};
use serde::Serialize;

/// A stored matrix whose rows are decoded, as `table` and `row` describe it.
#[derive(Clone, Debug, Serialize)]
pub struct Table<'a> {
    /// How the table is stored, for people.
    pub described: &'a str,
    /// A drawing of its layout.
    pub layout: &'a [String],
    /// Rows of the table.
    pub rows: u32,
    /// Columns.
    pub cols: u32,
    /// Chunks of 64 columns.
    pub chunks: usize,
    /// Weak columns.
    pub weak: u32,
    /// Whether an index names them.
    pub scattered: bool,
    /// Factor of the rows.
    pub scale: &'a str,
    /// Whether it has codes; else it is dense.
    pub packed: bool,
    /// Element type of a dense one.
    pub dtype: &'a str,
    /// Bytes of a panel's chunk.
    pub chunk_bytes: usize,
    /// Steps of sixteen columns in a group.
    pub group_steps: usize,
    /// Groups of a row.
    pub groups: usize,
    /// Whether scales are f16.
    pub half_scales: bool,
    /// Whether zero points are stored.
    pub zeros: bool,
    /// Whether they are minima.
    pub minima: bool,
    /// Whether they are nibbles.
    pub nibbles: bool,
    /// The zero point where none is stored.
    pub middle: u32,
    /// Words that a lane has of a chunk.
    pub words: usize,
    /// Statements that load them.
    pub loads: &'a [String],
    /// Statements that place codes in bytes.
    pub codes: &'a [String],
    /// Bits by which codes of a lane's second row lie higher.
    pub place: u8,
    /// Bits of a code.
    pub mask: u32,
}

/// `embedding` and `decode`: rows of a stored matrix.
#[derive(Clone, Debug, Serialize)]
pub struct Decoded<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// The matrix.
    #[serde(flatten)]
    pub table: &'a Table<'a>,
}

/// Heads of a kind that one position has.
#[derive(Clone, Debug, Serialize)]
pub struct Appended {
    /// How many.
    pub heads: u32,
    /// Numbers of a head.
    pub n: u32,
    /// The number of the parameter with them.
    pub input: usize,
    /// The parameter with the scale of their norm; empty where they have none.
    pub scale: String,
    /// Added to the mean of that, a `float`.
    pub eps: String,
    /// Numbers of a head that are turned.
    pub rotary: u32,
    /// Whether neighbours are turned together.
    pub interleaved: bool,
    /// Whether a state keeps them.
    pub kept: bool,
    /// How their rows lie: `f32`, `f16` or `int8`.
    pub form: &'static str,
    /// Bytes of a row.
    pub row_bytes: usize,
}

/// `append`: heads of new positions.
#[derive(Clone, Debug, Serialize)]
pub struct Append<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// How rows of any kind lie.
    pub forms: &'a [&'a str],
    /// Whether some are turned.
    pub turned: bool,
    /// Whether some are normed.
    pub normed: bool,
    /// Warps of a block.
    pub warps: u32,
    /// The kinds.
    pub rows: &'a [Appended],
}

impl Decoded<'_> {
    /// The CUDA text of the rows that ids name. An error names the template and what is wrong with it.
    pub fn render_embedding(&self) -> Result<String, String> {
        render("embedding", self)
    }

    /// The CUDA text of all rows. An error names the template and what is wrong with it.
    pub fn render_decode(&self) -> Result<String, String> {
        render("decode", self)
    }
}

impl Append<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("append", self)
    }
}
