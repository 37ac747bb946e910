//! What is done for each element of a result: its inputs, its sizes, and which of them count its elements.

use super::super::element::Element;
use super::takes;
use actc_types::function::{BinaryFunction, Running, UnaryFunction};
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

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
    /// Parts by tuples of indices.
    GatherNd {
        /// Bytes of an element.
        size: u8,
        /// Indices of a tuple.
        tuple: u8,
    },
    /// Elements by an index each.
    GatherElements {
        /// Bytes of an element.
        size: u8,
        /// Axes, at least one.
        rank: u8,
        /// The one that indices are along.
        axis: u8,
    },
    /// Of each element and those before it along an axis that is an input.
    Cumulate {
        /// Which function.
        function: Running,
        /// Of what.
        dtype: Element,
        /// Axes, at least one.
        rank: u8,
        /// Whether an element is not among those that its own result is of.
        exclusive: bool,
        /// Whether elements behind it count, not those before it.
        reverse: bool,
    },
    /// What a round of a loop gives, in its place among those of all rounds; the rest stays as it is.
    Row,
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

/// The type that moves elements of `size` bytes.
pub(in super::super) fn moved(size: u8) -> DType {
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
    pub(super) fn check(&self) -> Result<()> {
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
            What::GatherNd { size, tuple } => (*size, *tuple),
            What::GatherElements { rank, axis, .. } if axis >= rank => {
                return shape(format!("axis {axis} of {rank} axes"));
            }
            What::GatherElements { size, rank, .. } => (*size, *rank),
            What::Cumulate { rank: 0, .. } => return shape("a running function without an axis".to_owned()),
            What::Cumulate { function, dtype, rank, .. } => {
                takes(function.name(), function.takes(), *dtype)?;
                (1, *rank)
            }
            What::Widen { from: DType::F16 | DType::Bf16 } => return Ok(()),
            What::Widen { from } => return shape(format!("{from} is no float of 16 bits")),
            What::Cast { .. } | What::Resample | What::Range | What::Zero | What::Row => return Ok(()),
        };
        if ![1, 2, 4, 8].contains(&size) || rank > RANK {
            return shape(format!("elements of {size} bytes along {rank} axes"));
        }
        Ok(())
    }

    /// The element types of the inputs, whether there is an error word, and the type of the result.
    pub(super) fn elements(&self) -> (Vec<DType>, bool, DType) {
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
            What::Gather { size } | What::GatherNd { size, .. } | What::GatherElements { size, .. } => {
                (vec![moved(*size), DType::I64], true, moved(*size))
            }
            What::Cumulate { dtype, .. } => (vec![dtype.dtype(), DType::I64], true, dtype.dtype()),
            What::Row => (vec![DType::U8, DType::I64], true, DType::U8),
            What::Pad { size, .. } => (vec![moved(*size); 2], false, moved(*size)),
            What::Resample => (vec![DType::F32, DType::I64, DType::F64], true, DType::F32),
            What::Range => (Vec::new(), false, DType::I64),
            What::Zero => (Vec::new(), false, DType::U8),
        }
    }

    /// Sizes, as of the builtin: of the extents of several tensors those of the result are `y0`, `y1`, …
    pub(super) fn dims(&self) -> Vec<String> {
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
            What::GatherNd { tuple, .. } => [named(&["B", "N", "inner"]), extents(&["e"], *tuple)].concat(),
            What::GatherElements { rank, .. } => extents(&["x", "y"], *rank),
            What::Cumulate { rank, .. } => extents(&["x"], *rank),
            What::Row => named(&["rows", "N"]),
            What::Resample => named(&["outer", "extent", "inner", "N", "T"]),
            What::Pad { rank, .. } => extents(&["y", "x", "before"], *rank),
            What::Range => named(&["N", "start"]),
        }
    }

    /// Which sizes multiply to the number of elements of the result.
    pub(super) fn counted(&self) -> Vec<usize> {
        match self {
            What::Unary { .. } | What::Cast { .. } | What::Widen { .. } | What::Range | What::Zero => vec![0],
            What::Binary { rank, .. }
            | What::Select { rank, .. }
            | What::Expand { rank, .. }
            | What::Pad { rank, .. } => (0..usize::from(*rank)).collect(),
            What::Transpose { order, .. } => (0..order.len()).collect(),
            What::GatherNd { .. } => vec![0, 1, 2],
            What::GatherElements { rank, .. } => (usize::from(*rank)..2 * usize::from(*rank)).collect(),
            What::Cumulate { rank, .. } => (0..usize::from(*rank)).collect(),
            What::Row => vec![1],
            What::Gather { .. } | What::Resample => vec![0, 3, 2],
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Unary { function, dtype } => write!(f, "{}, {dtype}", function.name()),
            What::Binary { function, dtype, rank } => write!(f, "{}, {dtype}, rank={rank}", function.name()),
            What::Select { size, rank } => write!(f, "select, size={size}, rank={rank}"),
            What::Cast { from, to } => write!(f, "cast, {from} -> {to}"),
            What::Widen { from } => write!(f, "widen, {from}"),
            What::Transpose { size, order } => write!(f, "transpose, size={size}, order={order:?}"),
            What::Expand { size, rank } => write!(f, "expand, size={size}, rank={rank}"),
            What::Gather { size } => write!(f, "gather, size={size}"),
            What::Pad { size, rank } => write!(f, "pad, size={size}, rank={rank}"),
            What::GatherNd { size, tuple } => write!(f, "gather_nd, size={size}, tuple={tuple}"),
            What::GatherElements { size, rank, axis } => {
                write!(f, "gather_elements, size={size}, rank={rank}, axis={axis}")
            }
            What::Cumulate { function, dtype, rank, exclusive, reverse } => {
                let name = function.name();
                write!(f, "cumulate, {name}, {dtype}, rank={rank}, exclusive={exclusive}, reverse={reverse}")
            }
            What::Row => f.write_str("row"),
            What::Resample => f.write_str("resample"),
            What::Range => f.write_str("range"),
            What::Zero => f.write_str("zero"),
        }
    }
}
