//! What the kernels of tables and states are rendered from.

use super::{Head, render};
use serde::Serialize;

/// `embedding`: rows of a stored matrix by ids.
#[derive(Clone, Debug, Serialize)]
pub struct Embedding<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
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

/// What a position adds to a state.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Appended {
    /// Rows.
    pub heads: u32,
    /// Numbers of a row.
    pub n: u32,
    /// Bytes of a row.
    pub row_bytes: usize,
}

/// `append`: new rows of states.
#[derive(Clone, Debug, Serialize)]
pub struct Append<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// How rows lie: `f32`, `f16` or `int8`.
    pub form: &'a str,
    /// Warps of a block.
    pub warps: u32,
    /// The states.
    pub tensors: &'a [Appended],
}

impl Embedding<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("embedding", self)
    }
}

impl Append<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("append", self)
    }
}
