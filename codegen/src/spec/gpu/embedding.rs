//! `embedding` of GPUs: rows of a stored matrix by ids, times a factor.
//!
//! An id that names no row gives zeros and sets an error word, which whoever reads results looks at.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::table::Table;
use super::text::Text;
use crate::spec::linear::Mat;
use crate::spec::{Buffer, BufferRole};
use actc_types::{DType, Result};
use std::fmt;

/// Rows by ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The matrix, in the order of GPUs, without bias.
    pub table: Mat,
    /// Its columns.
    pub cols: u32,
    /// Factor of the rows.
    pub scale: f32,
}

impl Embedding {
    fn rows(&self) -> Table<'_> {
        Table { mat: &self.table, cols: self.cols, scale: self.scale }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.rows().check()
    }

    /// Ids `i64[tokens]`; the table's parts (codes, scales, zeros, weak; or data), its index where weak columns are scattered;
    /// the error word `i32`, which is set and never cleared; `y f32[tokens, cols]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers = vec![Buffer::read(BufferRole::Input(0), DType::I64)];
        buffers.extend(self.rows().buffers());
        buffers.push(Buffer::error());
        buffers.push(Buffer::write(BufferRole::Output(0)));
        buffers
    }

    /// The number of ids.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["tokens".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::of(size(0), 1), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: self.rows().threads(), shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let (rows, spec) = (self.rows(), self.to_string());
        let text = Text::new(symbol, spec, &self.buffers(), &self.dims(), self.sizes(), rows.threads());
        rows.source(&text, |decoded| decoded.render_embedding())
    }
}

impl fmt::Display for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mat { rows, encoding, dtype, .. } = &self.table;
        write!(f, "gpu_embedding{{cols={}, scale={:e}}} [{rows} {dtype} {encoding}]", self.cols, self.scale)
    }
}
