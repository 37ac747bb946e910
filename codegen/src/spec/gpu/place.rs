//! `place` of GPUs: where the extreme of each row stands, among them the token of the largest logit.
//!
//! Long rows are shared by several blocks, whose finds [`Choose`] compares: what is found does not depend on how many.

use super::element::Element;
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::function::{Extreme, RowFunction};
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Elements that are worth a block.
const SHARE: u64 = 4096;

/// Extremes of rows, or of runs of rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Which one.
    pub extreme: Extreme,
    /// Of what.
    pub dtype: Element,
    /// Blocks that share a row.
    pub parts: u16,
}

/// The extreme of a row among those of its runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Choose(pub Place);

impl Place {
    /// For rows of about `length` elements.
    pub fn of(extreme: Extreme, dtype: Element, length: u64) -> Place {
        Place { extreme, dtype, parts: length.div_ceil(SHARE).clamp(1, 64) as u16 }
    }

    /// What compares the finds, where several blocks share a row.
    pub fn choose(&self) -> Option<Choose> {
        (self.parts > 1).then(|| Choose(self.clone()))
    }

    fn text(&self, symbol: &str, spec: String, buffers: &[Buffer], choose: bool) -> Result<String> {
        let threads = if choose { 32 } else { THREADS };
        let text = Text::new(symbol, spec, buffers, &self.dims(), Sizes::Int, threads);
        cuda::Place {
            head: &text.head(),
            element: self.dtype.cuda(),
            extreme: if self.extreme.largest { "largest" } else { "smallest" },
            which: if self.extreme.last { "last" } else { "first" },
            beyond: if self.extreme.largest { ">" } else { "<" },
            before: if self.extreme.last { ">" } else { "<" },
            parts: self.parts,
            choose,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }

    pub(super) fn check(&self) -> Result<()> {
        super::each::takes("place", RowFunction::Most.takes(), self.dtype)?;
        if !(1..=1024).contains(&self.parts) {
            return Err(Diagnostic::new("kernel-shape", format!("{} blocks share a row", self.parts)));
        }
        Ok(())
    }

    /// `x [M, N]`, and `y i64[M]`, or `i64[M, parts]` where several blocks share a row.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![Buffer::read(BufferRole::Input(0), self.dtype.dtype()), places(Access::Write, BufferRole::Output(0))]
    }

    /// Rows and their length.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["M".to_owned(), "N".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::of(size(0), 1), Blocks::fixed(self.parts.into()), Blocks::one()];
        Ok(Geometry { grid, threads: THREADS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        self.text(symbol, self.to_string(), &self.buffers(), false)
    }
}

fn places(access: Access, role: BufferRole) -> Buffer {
    Buffer { role, elem: DType::I64, access }
}

impl Choose {
    pub(super) fn check(&self) -> Result<()> {
        self.0.check()
    }

    /// `x [M, N]`, the places `i64[M, parts]`, and `y i64[M]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![
            Buffer::read(BufferRole::Input(0), self.0.dtype.dtype()),
            places(Access::Read, BufferRole::Input(1)),
            places(Access::Write, BufferRole::Output(0)),
        ]
    }

    pub(super) fn dims(&self) -> Vec<String> {
        self.0.dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::of(size(0), 32), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: 32, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        self.0.text(symbol, self.to_string(), &self.buffers(), true)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { extreme: Extreme { largest, last }, dtype, parts } = self;
        write!(f, "gpu_place{{{dtype}, largest={largest}, last={last}, parts={parts}}}")
    }
}

impl fmt::Display for Choose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_choose {}", self.0)
    }
}
