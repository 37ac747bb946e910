//! `rowwise` of GPUs: softmax of rows, and one number for each row.
//!
//! Sums and products of floats are of double precision, in an order that depends on the row's length alone; smallest and
//! largest are not-a-number where one element is. Softmax is of single precision; a row of minus infinities becomes
//! not-a-number.

use super::element::Element;
use super::geometry::{Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::function::RowFunction;
use actc_types::{Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// What is done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Of {
    /// `f32[M, N]` from the same.
    Softmax,
    /// One element for each row.
    Function(RowFunction, Element),
}

/// A function of rows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rowwise {
    /// Which one.
    pub of: Of,
    /// Whether a whole block has a row, for long rows; else a warp.
    pub wide: bool,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

/// How elements come together, in CUDA.
struct Sum {
    element: &'static str,
    start: &'static str,
    combine: &'static str,
}

fn sum(function: RowFunction, dtype: Element) -> Sum {
    let [least, most] = match dtype {
        Element::F32 => ["__uint_as_float(0x7f800000u)", "__uint_as_float(0xff800000u)"],
        Element::I64 => ["0x7fffffffffffffffll", "-0x7fffffffffffffffll - 1"],
        Element::I32 => ["0x7fffffff", "-0x7fffffff - 1"],
        Element::U8 => ["255", "0"],
        Element::I8 => ["127", "-128"],
        Element::Bool => ["1", "0"],
    };
    let element = dtype.cuda();
    match (function, dtype) {
        (RowFunction::Sum, Element::F32) => Sum { element: "double", start: "0.0", combine: "a + b" },
        (RowFunction::Prod, Element::F32) => Sum { element: "double", start: "1.0", combine: "a * b" },
        (RowFunction::Sum, _) => Sum { element: "u64", start: "0", combine: "a + b" },
        (RowFunction::Prod, _) => Sum { element: "u64", start: "1", combine: "a * b" },
        // Written so that what is no number stays.
        (RowFunction::Least, Element::F32) => Sum { element, start: least, combine: "b < a || b != b ? b : a" },
        (RowFunction::Most, Element::F32) => Sum { element, start: most, combine: "b > a || b != b ? b : a" },
        (RowFunction::Least, _) => Sum { element, start: least, combine: "a < b ? a : b" },
        (RowFunction::Most, _) => Sum { element, start: most, combine: "a > b ? a : b" },
    }
}

impl Rowwise {
    fn team(&self) -> u32 {
        if self.wide { THREADS } else { 32 }
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.of {
            Of::Softmax => Ok(()),
            Of::Function(function, dtype) => super::each::takes(function.name(), function.takes(), dtype),
        }
    }

    fn element(&self) -> Element {
        match self.of {
            Of::Softmax => Element::F32,
            Of::Function(_, dtype) => dtype,
        }
    }

    /// `x [M, N]`, and `y [M, N]` or `y [M]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let elem = self.element().dtype();
        vec![
            Buffer::read(BufferRole::Input(0), elem),
            Buffer { role: BufferRole::Output(0), elem, access: Access::Write },
        ]
    }

    /// Rows and their length.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["M".to_owned(), "N".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, Some(size(0)), "rows", (THREADS / self.team()) as usize, THREADS)
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        let (function, sum) = match self.of {
            Of::Softmax => ("softmax", sum(RowFunction::Sum, Element::F32)),
            Of::Function(function, dtype) => (function.name(), sum(function, dtype)),
        };
        cuda::Rowwise {
            head: &text.head(),
            softmax: self.of == Of::Softmax,
            function,
            element: self.element().cuda(),
            sum: sum.element,
            start: sum.start,
            combine: sum.combine,
            team: self.team(),
            rows: THREADS / self.team(),
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Rowwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.of {
            Of::Softmax => f.write_str("gpu_rowwise{softmax")?,
            Of::Function(function, dtype) => write!(f, "gpu_rowwise{{{}, {dtype}", function.name())?,
        }
        if self.wide {
            f.write_str(", wide")?;
        }
        write!(f, "{}}}", self.sizes.said())
    }
}
