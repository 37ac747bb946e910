//! `scatter` of GPUs: a tensor with parts or elements of it replaced, or joined with others.
//!
//! A warp has some of the parts and looks through all updates, so that those of one part are done in their order, and equal
//! inputs give equal bits. An index that is outside of its axis sets an error word, which whoever reads results looks at.

use super::TWO_WAVES;
use super::each::{binary, takes};
use super::element::Element;
use super::geometry::{Blocks, Geometry, Sizes};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::function::BinaryFunction;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Most axes.
const RANK: u8 = 8;

/// What an update is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum To {
    /// A part that a tuple of so many indices names.
    Parts {
        /// Indices of a tuple.
        tuple: u8,
    },
    /// An element where the update stands but for one axis, which an index is along.
    Elements {
        /// Axes, at least one.
        rank: u8,
        /// The one that indices are along.
        axis: u8,
    },
    /// An element of zeros, by its number, which does not count from the end.
    Zeros,
}

/// What becomes of an element and its update.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Put {
    /// The update, of so many bytes.
    Replace {
        /// Bytes of an element: 1, 2, 4 or 8.
        size: u8,
    },
    /// A function of both, which gives what it takes.
    Join {
        /// Which one.
        function: BinaryFunction,
        /// Of what.
        dtype: Element,
    },
}

/// Updates of a tensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scatter {
    /// What they are for.
    pub to: To,
    /// What they do.
    pub put: Put,
    /// How sizes are handed over.
    pub sizes: Sizes,
}

impl Scatter {
    fn element(&self) -> DType {
        match self.put {
            Put::Replace { size } => super::each::moved(size),
            Put::Join { dtype, .. } => dtype.dtype(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = match self.to {
            To::Parts { tuple } => tuple <= RANK,
            To::Elements { rank, axis } => axis < rank && rank <= RANK,
            To::Zeros => matches!(self.put, Put::Replace { .. }),
        };
        let joins = match self.put {
            Put::Replace { size } => [1, 2, 4, 8].contains(&size),
            Put::Join { function, dtype } => {
                takes(function.name(), function.takes(), dtype)?;
                function.gives(dtype.dtype()).is_none_or(|gives| gives == dtype.dtype())
            }
        };
        if fits && joins {
            return Ok(());
        }
        Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")))
    }

    /// `x`, the indices, the updates, the error word, `y`; of zeros the updates, the indices, the error word, `y`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let elem = self.element();
        let mut buffers = vec![
            Buffer::read(BufferRole::Input(0), elem),
            Buffer::read(BufferRole::Input(1), DType::I64),
            Buffer::read(BufferRole::Input(2), elem),
            Buffer::error(),
            Buffer { role: BufferRole::Output(0), elem, access: Access::Write },
        ];
        if self.to == To::Zeros {
            buffers.remove(2);
        }
        buffers
    }

    /// For parts the number of updates, elements of a part, and the extents that tuples are along; for elements the extents of `x`
    /// and of the updates; of zeros the number of updates and of elements.
    pub(super) fn dims(&self) -> Vec<String> {
        let extents = |name: &'static str, rank: u8| (0..rank).map(move |i| format!("{name}{i}"));
        match self.to {
            To::Parts { tuple } => ["N", "I"].map(str::to_owned).into_iter().chain(extents("x", tuple)).collect(),
            To::Elements { rank, .. } => extents("x", rank).chain(extents("n", rank)).collect(),
            To::Zeros => ["N", "T"].map(str::to_owned).into(),
        }
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Each warp reads all indices: there are as many as keep a GPU busy, however many parts there are.
    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::fixed(TWO_WAVES as usize), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: THREADS, shared: 0 })
    }

    /// Statements that return which part update `n` is for.
    fn target(&self) -> Vec<String> {
        let along = |index: &str, axis: u8| {
            vec![
                format!("i64 at{axis} = in1[{index}];"),
                format!("if (at{axis} < 0) at{axis} += x{axis};"),
                format!("if (at{axis} < 0 || at{axis} >= x{axis}) return -1;"),
            ]
        };
        let mut lines = Vec::new();
        let axes = match self.to {
            To::Parts { tuple } => {
                lines.extend((0..tuple).flat_map(|k| along(&format!("n * {tuple} + {k}"), k)));
                tuple
            }
            To::Elements { rank, axis } => {
                lines.extend(along("n", axis));
                for a in (0..rank).rev() {
                    lines.extend((a != axis).then(|| format!("const i64 at{a} = n % n{a};")));
                    lines.extend((a > 0).then(|| format!("n /= n{a};")));
                }
                rank
            }
            To::Zeros => return vec!["return in1[n] >= 0 && in1[n] < T ? in1[n] : -1;".to_owned()],
        };
        let place = (0..axes).fold("(i64)0".to_owned(), |at, a| match a {
            0 => "at0".to_owned(),
            _ => format!("({at}) * x{a} + at{a}"),
        });
        lines.push(format!("return {place};"));
        lines
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        let product = |name: &str, rank: u8| {
            let factors: Vec<String> = (0..rank).map(|i| format!("(i64){name}{i}")).collect();
            if factors.is_empty() { "1".to_owned() } else { factors.join(" * ") }
        };
        let (count, span, inner) = match self.to {
            To::Parts { tuple } => ("N".to_owned(), product("x", tuple), "I"),
            To::Elements { rank, .. } => (product("n", rank), product("x", rank), "1"),
            To::Zeros => ("N".to_owned(), "T".to_owned(), "1"),
        };
        let (element, functions, apply, formula) = match self.put {
            Put::Replace { size } => {
                let element = match size {
                    1 => "u8",
                    2 => "u16",
                    4 => "u32",
                    _ => "u64",
                };
                (element, Vec::new(), "update[i]", "y[index[n]] = update[n]".to_owned())
            }
            Put::Join { function, dtype } => {
                let formula = format!("y[index[n]] = {}(y[index[n]], update[n])", function.name());
                (dtype.cuda(), binary(function, dtype)?, "apply(y[i], update[i])", formula)
            }
        };
        cuda::Scatter {
            head: &text.head(),
            formula: &formula,
            element,
            functions: &functions,
            target: &self.target(),
            count: &count,
            span: &span,
            inner,
            blank: self.to == To::Zeros,
            updates: if self.to == To::Zeros { "in0" } else { "in2" },
            apply,
            warps: THREADS / 32,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Scatter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            To::Parts { tuple } => write!(f, "gpu_scatter{{parts, tuple={tuple}"),
            To::Elements { rank, axis } => write!(f, "gpu_scatter{{elements, rank={rank}, axis={axis}"),
            To::Zeros => f.write_str("gpu_scatter{zeros"),
        }?;
        match self.put {
            Put::Replace { size } => write!(f, ", replace, size={size}"),
            Put::Join { function, dtype } => write!(f, ", {}, {dtype}", function.name()),
        }?;
        write!(f, "{}}}", self.sizes.said())
    }
}
