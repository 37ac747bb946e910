//! The op table: one closed enum; per op its name, payload, typing rule and reference meaning.
//!
//! An op is here because a pass or a kernel treats it specially; front ends compose the rest. To add one: a payload in a
//! file of `ops/` with its `infer` and `eval`, a variant here, and the compiler names every match that must learn it.

use crate::handle::ConstId;
use crate::ops::attention::{Attention, CacheAppend};
use crate::ops::control::{If, Loop};
use crate::ops::conv::{Conv, ConvInteger, ConvTranspose};
use crate::ops::det::Det;
use crate::ops::embedding::Embedding;
use crate::ops::extents::{Bind, Expect};
use crate::ops::indexing::{Expand, Gather};
use crate::ops::linear::Linear;
use crate::ops::matmul::Matmul;
use crate::ops::norm::{LayerNorm, RmsNorm};
use crate::ops::order::{Cumulate, TopK};
use crate::ops::pad::Pad;
use crate::ops::places::{GatherElements, GatherNd, ScatterElements, ScatterNd};
use crate::ops::pointwise::{Binary, Bitcast, Cast, Select, Unary};
use crate::ops::pool::{Fold, Pool, Unpool};
use crate::ops::recurrent::{LinearAttention, Recurrent};
use crate::ops::reduce::{PlaceOf, Reduce};
use crate::ops::regions::{DeformConv, RegionPool};
use crate::ops::rope::Rope;
use crate::ops::rows::RoundRows;
use crate::ops::sampling::{GridSample, Resample};
use crate::ops::selection::{NonMaxSuppression, NonZero, Unique};
use crate::ops::shaping::{Concat, Range, Reshape, Slice, Transpose};
use crate::ops::softmax::Softmax;
use crate::ops::statistics::{ChannelStats, Gram};
use crate::types::TensorType;
use actc_types::braced::{Field, Fields};
use actc_types::{Diagnostic, Dim, Result, Tensor};
use std::borrow::Cow;

/// Payload fields in text order; a flag has no value.
pub type PayloadFields = Vec<(&'static str, Option<String>)>;

/// What a payload provides. Every variant of [`Op`] but `const` wraps one.
pub(crate) trait Payload: Clone {
    /// Result types from argument types.
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>>;
    /// The reference meaning: f64 inside, one rounding at the end. Region ops are evaluated by the interpreter instead.
    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>>;
    /// Fields of the text form.
    fn fields(&self) -> PayloadFields;
    /// Reads the fields of the text form.
    fn read(fields: &mut Fields<'_>) -> Result<Self>;
    /// The same payload with each of its dimensions replaced by what `f` makes of it.
    fn with_dims<E>(&self, _f: DimMap<'_, E>) -> Result<Self, E> {
        Ok(self.clone())
    }
}

/// What replaces the dimensions of a payload.
pub(crate) type DimMap<'f, E> = &'f mut dyn FnMut(&Dim) -> Result<Dim, E>;

/// Each dimension of `dims` by `f`.
pub(crate) fn map_dims<E>(dims: &[Dim], f: DimMap<'_, E>) -> Result<Vec<Dim>, E> {
    dims.iter().map(f).collect()
}

/// An argument of a reference evaluation: a computed tensor, or a constant in its stored encoding.
#[derive(Clone, Copy, Debug)]
pub enum Arg<'a> {
    /// A computed tensor.
    Tensor(&'a Tensor),
    /// A constant that may be encoded.
    Const(&'a crate::Const),
}

impl<'a> Arg<'a> {
    /// The tensor, decoded where it is an encoded constant.
    pub fn tensor(self) -> Result<Cow<'a, Tensor>> {
        match self {
            Arg::Tensor(t) => Ok(Cow::Borrowed(t)),
            Arg::Const(c) => c.decode().map(Cow::Owned),
        }
    }

    /// All elements as f64, with the extents.
    pub fn to_f64(self) -> Result<(Vec<u64>, Vec<f64>)> {
        match self {
            Arg::Tensor(t) => Ok((t.dims().to_vec(), t.data().to_f64())),
            Arg::Const(c) => {
                let t = c.decode()?;
                Ok((t.dims().to_vec(), t.data().to_f64()))
            }
        }
    }
}

macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident($payload:ty) $name:literal),* $(,)?) => {
        /// An operation and its payload.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Op {
            /// A constant: `const @name`.
            Const(ConstId),
            $($(#[$doc])* $variant($payload)),*
        }

        impl Op {
            /// The names of all ops, as the text form has them.
            pub const NAMES: &[&str] = &["const", $($name),*];

            /// The name in the text form. Pointwise ops print their function's name instead.
            pub fn name(&self) -> &'static str {
                if let Op::Unary(u) = self {
                    return u.function.name();
                }
                if let Op::Binary(b) = self {
                    return b.function.name();
                }
                match self {
                    Op::Const(_) => "const",
                    $(Op::$variant(_) => $name),*
                }
            }

            pub(crate) fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
                match self {
                    Op::Const(_) => Err(Diagnostic::new("ir-const", "a constant's type is its own")),
                    $(Op::$variant(p) => p.infer(args)),*
                }
            }

            pub(crate) fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
                match self {
                    Op::Const(_) => Err(Diagnostic::new("ir-const", "a constant is not evaluated")),
                    $(Op::$variant(p) => p.eval(args, results)),*
                }
            }

            pub(crate) fn fields(&self) -> PayloadFields {
                match self {
                    Op::Const(_) => Vec::new(),
                    $(Op::$variant(p) => p.fields()),*
                }
            }

            /// The same op with each dimension of its payload replaced by what `f` makes of it.
            pub fn with_dims<E>(&self, f: &mut dyn FnMut(&Dim) -> Result<Dim, E>) -> Result<Op, E> {
                Ok(match self {
                    Op::Const(id) => Op::Const(*id),
                    $(Op::$variant(p) => Op::$variant(p.with_dims(f)?)),*
                })
            }

            fn read_named(name: &str, fields: &mut Fields<'_>) -> Result<Option<Op>> {
                Ok(match name {
                    $($name => Some(Op::$variant(<$payload>::read(fields)?)),)*
                    _ => None,
                })
            }
        }
    };
}

ops! {
    /// Matrix product with a weight: `y = x W^T + bias`.
    Linear(Linear) "linear",
    /// Rows of a table by index.
    Embedding(Embedding) "embedding",
    /// Root-mean-square normalisation of the last axis.
    RmsNorm(RmsNorm) "rms_norm",
    /// Layer normalisation of the last axis.
    LayerNorm(LayerNorm) "layer_norm",
    /// Rotary position embedding.
    Rope(Rope) "rope",
    /// Scaled dot-product attention.
    Attention(Attention) "attention",
    /// New rows behind the rows of a cache.
    CacheAppend(CacheAppend) "cache_append",
    /// Rows in fewer bits.
    RoundRows(RoundRows) "round_rows",
    /// A function of one tensor, element by element.
    Unary(Unary) "unary",
    /// A function of two tensors, element by element, with broadcast.
    Binary(Binary) "binary",
    /// One of two tensors, element by element.
    Select(Select) "select",
    /// Another element type.
    Cast(Cast) "cast",
    /// The bits of elements as another type.
    Bitcast(Bitcast) "bitcast",
    /// Product of two matrices.
    Matmul(Matmul) "matmul",
    /// One number for each row along the last axis.
    Reduce(Reduce) "reduce",
    /// Where the extreme of each row along the last axis stands.
    PlaceOf(PlaceOf) "place",
    /// Parts of a tensor by their indices.
    Gather(Gather) "gather",
    /// Parts of a tensor by tuples of indices.
    GatherNd(GatherNd) "gather_nd",
    /// Elements of a tensor by an index each.
    GatherElements(GatherElements) "gather_elements",
    /// Parts of a tensor put where tuples of indices say.
    ScatterNd(ScatterNd) "scatter_nd",
    /// Elements of a tensor put where an index each says.
    ScatterElements(ScatterElements) "scatter_elements",
    /// Of each element and those before it.
    Cumulate(Cumulate) "cumulate",
    /// The first elements of each row in order.
    TopK(TopK) "top_k",
    /// Indices of elements that are not 0, and their number.
    NonZero(NonZero) "non_zero",
    /// Different rows, and which of them each row is.
    Unique(Unique) "unique",
    /// Boxes that overlap no better one.
    NonMaxSuppression(NonMaxSuppression) "non_max_suppression",
    /// Extents of 1 repeated.
    Expand(Expand) "expand",
    /// Convolution of floats.
    Conv(Conv) "conv",
    /// Convolution of 8-bit integers.
    ConvInteger(ConvInteger) "conv_integer",
    /// Transposed convolution.
    ConvTranspose(ConvTranspose) "conv_transpose",
    /// Convolution whose taps are moved.
    DeformConv(DeformConv) "deform_conv",
    /// One number for each window.
    Pool(Pool) "pool",
    /// Windows added up.
    Fold(Fold) "fold",
    /// Elements put back to where they came from.
    Unpool(Unpool) "unpool",
    /// A small image of each region.
    RegionPool(RegionPool) "region_pool",
    /// More elements before and behind those of a tensor, all equal.
    Pad(Pad) "pad",
    /// Weighted sums of elements of one axis.
    Resample(Resample) "resample",
    /// What stands between the points of a tensor, where coordinates say.
    GridSample(GridSample) "grid_sample",
    /// Determinants of matrices.
    Det(Det) "det",
    /// Softmax over the last axis.
    Softmax(Softmax) "softmax",
    /// One direction of a recurrent layer.
    Recurrent(Recurrent) "recurrent",
    /// Attention by a state that changes from token to token.
    LinearAttention(LinearAttention) "linear_attention",
    /// The same elements under another shape.
    Reshape(Reshape) "reshape",
    /// Axes in another order.
    Transpose(Transpose) "transpose",
    /// A run of indices of one axis.
    Slice(Slice) "slice",
    /// Tensors joined along one axis.
    Concat(Concat) "concat",
    /// Consecutive integers.
    Range(Range) "range",
    /// Symbols that take their values from computed integers.
    Bind(Bind) "bind",
    /// Extents that a tensor has to have.
    Expect(Expect) "expect",
    /// Sum of outer products of rows: the Hessian of a linear layer up to a factor.
    Gram(Gram) "gram",
    /// Statistics of each channel.
    ChannelStats(ChannelStats) "channel_stats",
    /// One of two regions.
    If(If) "if",
    /// A region repeated.
    Loop(Loop) "loop",
}

impl Op {
    /// Reads the op called `name`; `text` is what the spans of `fields` point into.
    pub(crate) fn read(text: &str, name: &str, fields: Vec<Field>) -> Result<Option<Op>> {
        let mut fields = Fields::new(text, name, fields);
        let op = if let Some(unary) = Unary::read_function(name) {
            Some(Op::Unary(unary))
        } else if let Some(binary) = Binary::read_function(name) {
            Some(Op::Binary(binary))
        } else {
            Op::read_named(name, &mut fields)?
        };
        if op.is_some() {
            fields.finish()?;
        }
        Ok(op)
    }
}

/// `Err` unless exactly one of `counts` arguments is given.
pub(crate) fn arity(op: &str, args: usize, counts: std::ops::RangeInclusive<usize>) -> Result<()> {
    if counts.contains(&args) {
        return Ok(());
    }
    let wanted = if counts.start() == counts.end() {
        counts.start().to_string()
    } else {
        format!("{} to {}", counts.start(), counts.end())
    };
    Err(Diagnostic::new("ir-arity", format!("{op} has {args} arguments, expected {wanted}")))
}

/// An error where elements of `x` are codes, which are only moved and cast.
pub(crate) fn computed(op: &str, x: &TensorType) -> Result<()> {
    if x.dtype.is_computed() { Ok(()) } else { Err(mismatch(op, "x", x.dtype, "a type that processors compute in")) }
}

/// A typing error that names both sides.
pub(crate) fn mismatch(
    op: &str,
    what: &str,
    found: impl std::fmt::Display,
    wanted: impl std::fmt::Display,
) -> Diagnostic {
    Diagnostic::new("ir-type", format!("{op}: {what} is {found}, expected {wanted}"))
}
