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

use super::TWO_WAVES;
use super::element::Element;
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::function::{BinaryFunction, UnaryFunction};
use actc_types::{DType, Diagnostic, Dim, Result};
use body::Body;
pub(super) use function::takes;
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Elements of a block where their number is known when the kernel is started.
const SHARE: usize = 1024;

/// Most axes.
const RANK: u8 = 8;

/// What is done for each element of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A function of one tensor.
    Unary {
        /// Which one.
        function: UnaryFunction,
        /// Of what.
        dtype: Element,
    },
    /// A function of two tensors whose extents of 1 repeat.
    Binary {
        /// Which one.
        function: BinaryFunction,
        /// Of what.
        dtype: Element,
        /// Axes.
        rank: u8,
    },
    /// One of two tensors; extents of 1 repeat.
    Select {
        /// Bytes of an element: 1, 2, 4 or 8.
        size: u8,
        /// Axes.
        rank: u8,
    },
    /// Another type.
    Cast {
        /// Of the input.
        from: Element,
        /// Of the result.
        to: Element,
    },
    /// Single precision from a float of 16 bits, exactly.
    Widen {
        /// Of the input: f16 or bf16.
        from: DType,
    },
    /// Axes in another order.
    Transpose {
        /// Bytes of an element.
        size: u8,
        /// For each axis of the result the one of the input.
        order: Vec<u8>,
    },
    /// Extents of 1 repeated.
    Expand {
        /// Bytes of an element.
        size: u8,
        /// Axes.
        rank: u8,
    },
    /// Parts by their indices.
    Gather {
        /// Bytes of an element.
        size: u8,
    },
    /// More elements around.
    Pad {
        /// Bytes of an element.
        size: u8,
        /// Axes, at least one.
        rank: u8,
    },
    /// Weighted sums of f32 along an axis, computed in f64.
    Resample,
    /// Integers one after the other.
    Range,
    /// Bytes that are zero.
    Zero,
}

/// Elements of a result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Each {
    /// What is done.
    pub what: What,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

/// The type that moves elements of `size` bytes.
fn moved(size: u8) -> DType {
    match size {
        1 => DType::U8,
        2 => DType::U16,
        4 => DType::U32,
        _ => DType::U64,
    }
}

/// What a function gives, which [`What::check`] has found to take elements of `dtype`.
fn gives(given: Option<DType>, dtype: Element) -> DType {
    given.unwrap_or(dtype.dtype())
}

impl What {
    fn check(&self) -> Result<()> {
        let shape = |headline| Err(Diagnostic::new("kernel-shape", headline));
        let (size, rank) = match self {
            What::Unary { function, dtype } => {
                return takes(function.name(), function.takes(), *dtype);
            }
            What::Binary { function, dtype, rank } => {
                takes(function.name(), function.takes(), *dtype)?;
                (1, *rank)
            }
            What::Pad { rank: 0, .. } => return shape("padding without an axis".to_owned()),
            What::Select { size, rank } | What::Expand { size, rank } | What::Pad { size, rank } => (*size, *rank),
            What::Transpose { size, order } => {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..order.len() as u8) {
                    return shape(format!("{order:?} is no order of axes"));
                }
                (*size, order.len() as u8)
            }
            What::Gather { size } => (*size, 0),
            What::Widen { from: DType::F16 | DType::Bf16 } => return Ok(()),
            What::Widen { from } => return shape(format!("{from} is no float of 16 bits")),
            What::Cast { .. } | What::Resample | What::Range | What::Zero => return Ok(()),
        };
        if ![1, 2, 4, 8].contains(&size) || rank > RANK {
            return shape(format!("elements of {size} bytes along {rank} axes"));
        }
        Ok(())
    }

    /// The element types of the inputs, whether there is an error word, and the type of the result.
    fn elements(&self) -> (Vec<DType>, bool, DType) {
        match self {
            What::Unary { function, dtype } => {
                (vec![dtype.dtype()], false, gives(function.gives(dtype.dtype()), *dtype))
            }
            What::Binary { function, dtype, .. } => {
                (vec![dtype.dtype(); 2], false, gives(function.gives(dtype.dtype()), *dtype))
            }
            What::Select { size, .. } => (vec![DType::Bool, moved(*size), moved(*size)], false, moved(*size)),
            What::Cast { from, to } => (vec![from.dtype()], false, to.dtype()),
            What::Widen { from } => (vec![*from], false, DType::F32),
            What::Transpose { size, .. } | What::Expand { size, .. } => (vec![moved(*size)], false, moved(*size)),
            What::Gather { size } => (vec![moved(*size), DType::I64], true, moved(*size)),
            What::Pad { size, .. } => (vec![moved(*size); 2], false, moved(*size)),
            What::Resample => (vec![DType::F32, DType::I64, DType::F64], true, DType::F32),
            What::Range => (Vec::new(), false, DType::I64),
            What::Zero => (Vec::new(), false, DType::U8),
        }
    }

    /// Sizes, as of the builtin: of the extents of several tensors those of the result are `y0`, `y1`, …
    fn dims(&self) -> Vec<String> {
        let extents = |names: &[&str], rank: u8| {
            names.iter().flat_map(|n| (0..rank).map(move |i| format!("{n}{i}"))).collect::<Vec<_>>()
        };
        let named = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        match self {
            What::Unary { .. } | What::Cast { .. } | What::Widen { .. } | What::Zero => named(&["N"]),
            What::Binary { rank, .. } => extents(&["y", "a", "b"], *rank),
            What::Select { rank, .. } => extents(&["y", "c", "a", "b"], *rank),
            What::Transpose { order, .. } => extents(&["x"], order.len() as u8),
            What::Expand { rank, .. } => extents(&["y", "x"], *rank),
            What::Gather { .. } => named(&["outer", "extent", "inner", "N"]),
            What::Resample => named(&["outer", "extent", "inner", "N", "T"]),
            What::Pad { rank, .. } => extents(&["y", "x", "before"], *rank),
            What::Range => named(&["N", "start"]),
        }
    }

    /// Which sizes multiply to the number of elements of the result.
    fn counted(&self) -> Vec<usize> {
        match self {
            What::Unary { .. } | What::Cast { .. } | What::Widen { .. } | What::Range | What::Zero => vec![0],
            What::Binary { rank, .. }
            | What::Select { rank, .. }
            | What::Expand { rank, .. }
            | What::Pad { rank, .. } => (0..usize::from(*rank)).collect(),
            What::Transpose { order, .. } => (0..order.len()).collect(),
            What::Gather { .. } | What::Resample => vec![0, 3, 2],
        }
    }
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
        let product = |a: Dim, i: usize| a.checked_mul(&size(i));
        let across = match self.sizes {
            Sizes::Memory => Blocks::fixed(TWO_WAVES as usize),
            Sizes::Int => {
                let work = self.what.counted().into_iter().try_fold(Dim::from(1), product);
                Blocks::of(work.ok_or_else(|| Diagnostic::new("kernel-shape", "too many axes"))?, SHARE)
            }
        };
        Ok(Geometry { grid: [across, Blocks::one(), Blocks::one()], threads: THREADS, shared: 0 })
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
        f.write_str("gpu_each{")?;
        match &self.what {
            What::Unary { function, dtype } => write!(f, "{}, {dtype}", function.name()),
            What::Binary { function, dtype, rank } => write!(f, "{}, {dtype}, rank={rank}", function.name()),
            What::Select { size, rank } => write!(f, "select, size={size}, rank={rank}"),
            What::Cast { from, to } => write!(f, "cast, {from} -> {to}"),
            What::Widen { from } => write!(f, "widen, {from}"),
            What::Transpose { size, order } => write!(f, "transpose, size={size}, order={order:?}"),
            What::Expand { size, rank } => write!(f, "expand, size={size}, rank={rank}"),
            What::Gather { size } => write!(f, "gather, size={size}"),
            What::Pad { size, rank } => write!(f, "pad, size={size}, rank={rank}"),
            What::Resample => f.write_str("resample"),
            What::Range => f.write_str("range"),
            What::Zero => f.write_str("zero"),
        }?;
        match self.sizes {
            Sizes::Int => f.write_str("}"),
            Sizes::Memory => f.write_str(", sizes in memory}"),
        }
    }
}
