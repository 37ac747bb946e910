//! `each` of GPUs: what is computed or moved element by element, of any shape.
//!
//! These are the functions of [`actc_artifact::Builtin`] of the same names, with the same buffers and sizes in the same order;
//! where an index can be outside of its axis an error word comes before the result. Chains of functions of floats have
//! better kernels; these take what those do not: integers, truth values, other shapes.
//!
//! The four operations of arithmetic and the square root of floats are rounded once, other functions of floats are within 4
//! units in the last place, powers within 16, GELUs and SiLU within `2^-22` of their
//! argument.

mod body;
mod function;
mod what;

use super::geometry::{Geometry, Sizes, product};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result};
use body::Body;
pub(super) use function::{SIGMOID, binary, takes};
use std::fmt;
pub use what::What;
pub(super) use what::moved;

/// Threads of a block.
const THREADS: u32 = 256;

/// Elements of a block where their number is known when the kernel is started.
const SHARE: usize = 1024;

/// Elements of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Each {
    /// What is done.
    pub what: What,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl Each {
    pub(super) fn check(&self) -> Result<()> {
        self.what.check()
    }

    /// The inputs, where indices are read the error word, the result.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let (inputs, error, result) = self.what.elements();
        let inputs = inputs.into_iter().enumerate();
        let mut buffers: Vec<Buffer> =
            inputs.map(|(i, dtype)| Buffer::read(BufferRole::Input(i as u8), dtype)).collect();
        buffers.extend(error.then_some(Buffer {
            role: BufferRole::Error,
            elem: DType::I32,
            access: Access::ReadWrite,
        }));
        buffers.push(Buffer { role: BufferRole::Output(0), elem: result, access: Access::Write });
        buffers
    }

    pub(super) fn dims(&self) -> Vec<String> {
        self.what.dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, product(self.what.counted()), "axes", SHARE, THREADS)
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let dims = self.dims();
        let count = self.what.counted().into_iter().map(|i| format!("(u64){}", dims[i]));
        let count = count.collect::<Vec<_>>().join(" * ");
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &dims, self.sizes, THREADS);
        let Body { formula, functions, lines } = Body::of(&self.what)?;
        cuda::Each {
            head: &text.head(),
            formula: &formula,
            functions: &functions,
            count: if count.is_empty() { "1" } else { &count },
            body: &lines,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Each {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_each{{{}", self.what)?;
        write!(f, "{}}}", self.sizes.said())
    }
}
