//! What the kernels of attention are rendered from.

use super::{Head, render};
use serde::Serialize;

/// `attend`: attention of a few tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Attend<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// How rows lie: `f32`, `f16` or `int8`.
    pub form: &'a str,
    /// New tokens.
    pub tokens: u32,
    /// Query heads.
    pub heads: u32,
    /// Key heads.
    pub kv_heads: u32,
    /// Query heads of a key head.
    pub group: u32,
    /// Numbers of a head.
    pub dim: u32,
    /// Pairs of token and query head.
    pub rows_all: u32,
    /// Those of a block.
    pub rows: u32,
    /// Blocks that share the pairs of a key head.
    pub pieces: u32,
    /// Blocks that share the positions.
    pub splits: u32,
    /// Warps of a block.
    pub warps: u32,
    /// Rows that a lane has on their way.
    pub steps: u32,
    /// Rows that a warp reads side by side.
    pub together: u32,
    /// Numbers of a load.
    pub vec: u32,
    /// Lanes that share a row.
    pub lanes: u32,
    /// Loads of a lane.
    pub span: u32,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Factor of scores, or of what `tanh` takes.
    pub scale: &'a str,
    /// Factor of what `tanh` gives; empty for no `tanh`.
    pub cap: &'a str,
    /// Whether a token sees none behind it.
    pub causal: bool,
    /// How many positions back a token sees; 0 for all.
    pub window: u32,
}

/// `combine`: sums of parts of an attention.
#[derive(Clone, Debug, Serialize)]
pub struct Combine<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// How many parts are added.
    pub splits: u32,
    /// Pairs of token and query head.
    pub rows_all: u32,
    /// Numbers of a head.
    pub dim: u32,
}

/// `flash`: attention of many tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Flash<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// How rows lie: `f32`, `f16` or `int8`.
    pub form: &'a str,
    /// Query heads.
    pub heads: u32,
    /// Key heads.
    pub kv_heads: u32,
    /// Query heads of a key head.
    pub group: u32,
    /// Numbers of a head.
    pub dim: u32,
    /// The same up to whole steps of products.
    pub padded: u32,
    /// Halves from row to row in shared memory.
    pub stride: u32,
    /// Queries of a block.
    pub queries: u32,
    /// Positions of a tile.
    pub keys: u32,
    /// Warps of a block.
    pub warps: u32,
    /// Warps that share the numbers of a head.
    pub halves: u32,
    /// Numbers that queries and weights are split into.
    pub parts: u32,
    /// Numbers that keys and values are split into.
    pub key_parts: u32,
    /// Bytes of a row.
    pub row_bytes: usize,
    /// Where keys lie in shared memory.
    pub keys_at: u32,
    /// Where values lie.
    pub values_at: u32,
    /// Where what rows are worth lies.
    pub worth_at: u32,
    /// Whether keys and values are worth something else than they say.
    pub worths: bool,
    /// Factor of scores.
    pub scale: &'a str,
    /// Whether a token sees none behind it.
    pub causal: bool,
    /// How many positions back a token sees; 0 for all.
    pub window: u32,
    /// Whether a mask is added.
    pub masked: bool,
}

impl Flash<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("flash", self)
    }
}

impl Attend<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("attend", self)
    }
}

impl Combine<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("combine", self)
    }
}
