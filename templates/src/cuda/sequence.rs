//! What the kernels of states that change from token to token are rendered from.

use super::{Head, render};
use serde::Serialize;

/// `recurrent`: a direction of a recurrent layer.
#[derive(Clone, Debug, Serialize)]
pub struct Recurrent<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// The cell, for people.
    pub formula: &'a str,
    /// Its gates.
    pub gates: usize,
    /// Whether it has a content.
    pub content: bool,
    /// Whether it has an inner bias.
    pub inner: bool,
    /// Whether gates see the content.
    pub peepholes: bool,
    /// The parameter with the lengths; empty for none.
    pub lengths: &'a str,
    /// Whether steps are taken from the last to the first.
    pub reverse: bool,
    /// Bound on what enters a function; empty for none.
    pub clip: &'a str,
    /// The functions that are called.
    pub functions: &'a [String],
    /// Products with the state as it was.
    pub early: usize,
    /// Statements with these for unit `u`.
    pub early_lines: &'a [String],
    /// Whether there is a product with another state.
    pub late: bool,
    /// Statements with that for unit `u`.
    pub late_lines: &'a [String],
}

/// `linear_attention`: attention by states.
#[derive(Clone, Debug, Serialize)]
pub struct LinearAttention<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// Whether the state decays.
    pub decays: bool,
    /// Whether what the key finds is taken from the value.
    pub corrects: bool,
    /// The parameter with by how much it is.
    pub beta: &'a str,
    /// Factor on the result.
    pub scale: &'a str,
    /// Rows of a state that a lane has.
    pub span: u8,
    /// Columns of a warp.
    pub cols: u8,
}

impl Recurrent<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("recurrent", self)
    }
}

impl LinearAttention<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("linear_attention", self)
    }
}
