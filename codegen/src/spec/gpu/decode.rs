//! `decode` of GPUs: all rows of a stored matrix in single precision.
//!
//! Weights that a kernel reads element by element, such as those of convolutions, are decoded once a run, whatever their
//! encoding.

use super::geometry::{Blocks, Geometry, Sizes};
use super::table::Table;
use super::text::Text;
use crate::spec::linear::Mat;
use crate::spec::{Buffer, BufferRole};
use actc_types::Result;
use std::fmt;

/// All rows of a matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Decode {
    /// The matrix, in the order of GPUs, without bias.
    pub matrix: Mat,
    /// Its columns.
    pub cols: u32,
}

impl Decode {
    fn rows(&self) -> Table<'_> {
        Table { mat: &self.matrix, cols: self.cols, scale: 1.0 }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.rows().check()
    }

    /// The matrix's parts (codes, scales, zeros, weak; or data), its index where weak columns are scattered; `y f32[rows, cols]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers = self.rows().buffers();
        buffers.push(Buffer::write(BufferRole::Output(0)));
        buffers
    }

    /// None: rows and columns are those of the matrix.
    pub(super) fn dims(&self) -> Vec<String> {
        Vec::new()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::fixed(self.matrix.rows as usize), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: self.rows().threads(), shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let (rows, spec) = (self.rows(), self.to_string());
        let text = Text::new(symbol, spec, &self.buffers(), &self.dims(), self.sizes(), rows.threads());
        rows.source(&text, |decoded| decoded.render_decode())
    }
}

impl fmt::Display for Decode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mat { rows, encoding, dtype, .. } = &self.matrix;
        write!(f, "gpu_decode{{cols={}}} [{rows} {dtype} {encoding}]", self.cols)
    }
}
