//! What the kernels of general tensors are rendered from.

use super::{Head, render};
use serde::Serialize;

/// `each`: the elements of a result.
#[derive(Clone, Debug, Serialize)]
pub struct Each<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// What an element is, for people.
    pub formula: &'a str,
    /// Functions that are called.
    pub functions: &'a [String],
    /// The number of elements.
    pub count: &'a str,
    /// Statements that make element `i`, whose type is `I`.
    pub body: &'a [String],
}

impl Each<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("each", self)
    }
}
