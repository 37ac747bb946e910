//! `top_k` of GPUs: the first elements of each row in order, and where they stood.
//!
//! Which they are and how they stand does not depend on how a row is shared: no two of a row are equal, as equal elements stay in
//! the order of their places. Rows that have fewer elements than are wanted set an error word, which whoever reads results looks at.

use super::element::Element;
use super::geometry::{Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block that has a row, and of one whose warps have.
const THREADS: [u32; 2] = [1024, 256];

/// Elements of a row up to which a warp compares each with each.
const SHORT: u64 = 256;

/// Bits of a digit of keys: floats of one size still differ in it.
const DIGIT: u32 = 11;

/// Elements that are sorted in shared memory.
const ROOM: u32 = 1024;

/// Elements of a thread that are on their way at once.
const AHEAD: u32 = 8;

/// The first elements of rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    /// Of what.
    pub dtype: Element,
    /// Whether the largest come first.
    pub largest: bool,
    /// Whether a whole block has a row, for long rows; else a warp, which compares each element with each.
    pub wide: bool,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl TopK {
    /// For rows of `length` elements, where that is known.
    pub fn of(dtype: Element, largest: bool, length: Option<u64>, sizes: Sizes) -> TopK {
        TopK { dtype, largest, wide: length.is_none_or(|n| n > SHORT), sizes }
    }

    fn threads(&self) -> u32 {
        let [wide, narrow] = THREADS;
        if self.wide { wide } else { narrow }
    }

    pub(super) fn check(&self) -> Result<()> {
        Ok(())
    }

    /// `x [M, N]`, the error word, `y [M, K]`, the places `i64[M, K]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let elem = self.dtype.dtype();
        // Many elements are sorted where they are written.
        let access = if self.wide { Access::ReadWrite } else { Access::Write };
        vec![
            Buffer::read(BufferRole::Input(0), elem),
            Buffer::error(),
            Buffer { role: BufferRole::Output(0), elem, access },
            Buffer { role: BufferRole::Output(1), elem: DType::I64, access },
        ]
    }

    /// Rows, their length, and how many elements of each are wanted.
    pub(super) fn dims(&self) -> Vec<String> {
        ["M", "N", "K"].map(str::to_owned).into()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let rows = if self.wide { 1 } else { self.threads() as usize / 32 };
        Geometry::round(self.sizes, Some(size(0)), "rows", rows, self.threads())
    }

    /// Statements that return the key of `x`.
    fn order(&self) -> Vec<String> {
        let key = match self.dtype {
            Element::F32 => {
                "x != x ? 0xffffffffu : x == 0.0f ? 0x80000000u : (bits >> 31) ? ~bits : bits | 0x80000000u"
            }
            Element::I64 => "(u64)x ^ 0x8000000000000000ull",
            Element::I32 | Element::I8 => "(u32)(int)x ^ 0x80000000u",
            Element::U8 | Element::Bool => "x",
        };
        let float = self.dtype == Element::F32;
        let mut lines: Vec<String> =
            float.then(|| "const u32 bits = __float_as_uint(x);".to_owned()).into_iter().collect();
        lines.push(if self.largest { format!("return ~(Key)({key});") } else { format!("return {key};") });
        lines
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, self.threads());
        let (key, bits) = match self.dtype {
            Element::I64 => ("u64", 64),
            Element::F32 | Element::I32 | Element::U8 | Element::I8 | Element::Bool => ("u32", 32),
        };
        cuda::TopK {
            head: &text.head(),
            element: self.dtype.cuda(),
            first: if self.largest { "largest" } else { "smallest" },
            key,
            bits,
            digit: DIGIT,
            room: ROOM,
            ahead: AHEAD,
            order: &self.order(),
            wide: self.wide,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for TopK {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TopK { dtype, largest, wide, sizes } = self;
        let sizes = sizes.said();
        write!(f, "gpu_top_k{{{dtype}, largest={largest}, wide={wide}{sizes}}}")
    }
}
