//! What the kernels of observers are rendered from.

use super::{Head, render};
use serde::Serialize;

/// `gram`: products of columns.
#[derive(Clone, Debug, Serialize)]
pub struct Gram<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// Rows and columns of a tile.
    pub tile: u32,
    /// Those of a thread.
    pub own: u32,
    /// Rows of the input in shared memory.
    pub depth: u32,
}

/// `channel_stats`: statistics of columns.
#[derive(Clone, Debug, Serialize)]
pub struct ChannelStats<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// Whether the first row is apart.
    pub first: bool,
    /// Warps of a block.
    pub warps: u32,
}

impl Gram<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("gram", self)
    }
}

impl ChannelStats<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("channel_stats", self)
    }
}
