//! Shapes: lists of dimensions, outermost first.

use crate::diagnostic::{Diagnostic, Result};
use crate::dim::{Bindings, Dim, Symbol};
use std::fmt;

/// The extents of a tensor, outermost first; a scalar has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape of fixed extents.
    pub fn fixed(dims: &[u64]) -> Shape {
        Shape(dims.iter().map(|d| Dim::from(*d)).collect())
    }

    /// Rows and columns of the matrix that extents `dims` make: a row for each index of the first axis, all others folded into
    /// columns; a vector is one row. `None` where its elements exceed 64 bits.
    pub fn matrix(dims: &[u64]) -> Option<(u64, u64)> {
        let (rows, inner) = match dims {
            [rows, inner @ ..] if !inner.is_empty() => (*rows, inner),
            vector => (1, vector),
        };
        let cols = inner.iter().try_fold(1u64, |n, d| n.checked_mul(*d))?;
        rows.checked_mul(cols).map(|_| (rows, cols))
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[Dim] {
        &self.0
    }

    /// The innermost dimension.
    pub fn last(&self) -> Option<&Dim> {
        self.0.last()
    }

    /// The symbols that extents depend on; one that several depend on comes several times.
    pub fn symbols(&self) -> impl Iterator<Item = Symbol> {
        self.0.iter().flat_map(Dim::symbols).cloned()
    }

    /// All extents, where none depends on a symbol.
    pub fn as_fixed(&self) -> Option<Vec<u64>> {
        self.0.iter().map(Dim::fixed).collect()
    }

    /// Number of elements as a dimension.
    pub fn elements(&self) -> Result<Dim> {
        self.0.iter().try_fold(Dim::from(1), |n, d| n.checked_mul(d)).ok_or_else(|| {
            Diagnostic::new("shape-overflow", format!("the number of elements of {self} exceeds 63 bits"))
        })
    }

    /// All extents under `bindings`.
    pub fn eval(&self, bindings: &Bindings) -> Result<Vec<u64>> {
        self.0.iter().map(|d| d.eval(bindings)).collect()
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]")
    }
}
