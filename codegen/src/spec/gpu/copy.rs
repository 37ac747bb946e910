//! `copy` of GPUs: rows of bytes from one place to another, which slices and concatenates.

use super::geometry::{Geometry, Sizes, product};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Bytes of a block where their number is known when the kernel is started.
const SHARE: usize = 1 << 14;

/// Rows of bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Copy {
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl Copy {
    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Where rows come from, and where they go; only they are written.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let to = Buffer { role: BufferRole::Output(0), elem: DType::U8, access: Access::Write };
        vec![Buffer::read(BufferRole::Input(0), DType::U8), to]
    }

    /// As of the builtin: rows, bytes of a row, and offset and stride in bytes on both sides. Rows do not overlap.
    pub(super) fn dims(&self) -> Vec<String> {
        ["rows", "bytes", "from_offset", "from_stride", "to_offset", "to_stride"].map(str::to_owned).to_vec()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, product(0..2), "bytes", SHARE, THREADS)
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        cuda::Copy { head: &text.head() }.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Copy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.sizes {
            Sizes::Int => "gpu_copy{}",
            Sizes::Memory => "gpu_copy{sizes in memory}",
        })
    }
}
