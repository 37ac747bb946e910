//! `det` of GPUs: determinants, by elimination in double precision, rounded once.

use super::geometry::{Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Dim, Result};
use std::fmt;

/// Threads of a block for large matrices, and for those that a warp eliminates.
const THREADS: [u32; 2] = [256, 32];

/// Rows of a matrix up to which a warp is enough.
const SMALL: u64 = 32;

/// Determinants of matrices.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Det {
    /// Whether blocks are of several warps, for large matrices.
    pub wide: bool,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl Det {
    /// For matrices of `rows` rows, where that is known.
    pub fn of(rows: Option<u64>, sizes: Sizes) -> Det {
        Det { wide: rows.is_none_or(|n| n > SMALL), sizes }
    }

    /// Bytes of working memory for `m` matrices of `n` rows; `None` where they are too many.
    pub fn scratch(m: &Dim, n: &Dim) -> Option<Dim> {
        m.checked_mul(n)?.checked_mul(n)?.checked_mul(&Dim::from(8))
    }

    fn threads(&self) -> u32 {
        let [wide, narrow] = THREADS;
        if self.wide { wide } else { narrow }
    }

    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }

    /// `x [M, N, N]`, working memory of as many numbers of double precision, `y [M]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![
            Buffer::read(BufferRole::Input(0), DType::F32),
            Buffer { role: BufferRole::Scratch, elem: DType::F64, access: Access::ReadWrite },
            Buffer::write(BufferRole::Output(0)),
        ]
    }

    /// Matrices and their rows.
    pub(super) fn dims(&self) -> Vec<String> {
        ["M", "N"].map(str::to_owned).into()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, Some(size(0)), "matrices", 1, self.threads())
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, self.threads());
        cuda::Det { head: &text.head() }.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Det {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Det { wide, sizes } = self;
        match sizes {
            Sizes::Int => write!(f, "gpu_det{{wide={wide}}}"),
            Sizes::Memory => write!(f, "gpu_det{{wide={wide}, sizes in memory}}"),
        }
    }
}
