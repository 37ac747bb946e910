//! Operators whose shapes are known only when the model runs: the integers that say them are computed in the graph and bound
//! to symbols. What has to hold of them is checked when it runs.

pub(super) mod axes;
pub(super) mod count;
pub(super) mod fold;
pub(super) mod pad;
pub(super) mod resize;
pub(super) mod slice;
pub(super) mod spectral;

use crate::onnx::import::Call;
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor};

/// Input `i` as a list of 64-bit integers of a known length, and that length.
pub(super) fn list(c: &mut Call<'_, '_>, i: usize) -> Result<(Value, usize)> {
    let x = c.input(i)?;
    let count = c.ty(x).shape.elements()?.fixed().filter(|n| *n <= 64).map(|n| n as usize);
    let count = count.ok_or_else(|| {
        let headline = format!("input {i} says a shape of a rank that is known only when the model runs");
        actc_types::Diagnostic::new("onnx-data-dependent", headline)
    })?;
    let x = c.cast(x, DType::I64)?;
    Ok((c.reshape(x, Shape::fixed(&[count as u64]))?, count))
}

/// A list of integers.
fn numbers(c: &mut Call<'_, '_>, numbers: Vec<i64>) -> Result<Value> {
    Ok(c.tensor(&Tensor::i64(&[numbers.len() as u64], numbers)?))
}

/// Extents as a list of integers.
fn extents(c: &mut Call<'_, '_>, dims: &[Dim]) -> Result<Value> {
    let mut parts = Vec::with_capacity(dims.len());
    for dim in dims {
        let number = c.extent(dim, DType::I64)?;
        parts.push(c.reshape(number, Shape::fixed(&[1]))?);
    }
    match parts[..] {
        [] => numbers(c, Vec::new()),
        [one] => Ok(one),
        _ => c.add(Op::Concat(Concat { axis: 0 }), &parts),
    }
}

fn scalar(c: &mut Call<'_, '_>, n: i64) -> Result<Value> {
    Ok(c.tensor(&Tensor::i64(&[], vec![n])?))
}

/// A number in double precision.
fn number(c: &mut Call<'_, '_>, x: f64) -> Result<Value> {
    c.number(x, DType::F64)
}

/// Whether each of `x` is `n`.
fn is(c: &mut Call<'_, '_>, x: Value, n: i64) -> Result<Value> {
    let n = scalar(c, n)?;
    c.binary(B::Equal, x, n)
}

/// `x` where it is not negative, else `x + extent`.
fn from_end(c: &mut Call<'_, '_>, x: Value, extent: Value) -> Result<Value> {
    let zero = scalar(c, 0)?;
    let negative = c.binary(B::Less, x, zero)?;
    let raised = c.binary(B::Add, x, extent)?;
    c.select(negative, raised, x)
}

/// Elements of the list `x` at `indices`.
fn at(c: &mut Call<'_, '_>, x: Value, indices: Value) -> Result<Value> {
    c.add(Op::Gather(Gather { axis: 0 }), &[x, indices])
}

/// Number `i` of the list `x`, without axes.
fn nth(c: &mut Call<'_, '_>, x: Value, i: usize) -> Result<Value> {
    let i = scalar(c, i as i64)?;
    at(c, x, i)
}

/// `x` under the shape that input 1 says: -1 is what is left, 0 the extent of `x` itself unless `keep_zeros`.
pub(super) fn reshape(c: &mut Call<'_, '_>, x: Value, keep_zeros: bool) -> Result<Value> {
    let own = c.ty(x).shape;
    let (mut wanted, count) = list(c, 1)?;
    if !keep_zeros {
        let mut dims: Vec<Dim> = own.dims().iter().take(count).cloned().collect();
        dims.resize(count, Dim::from(0));
        let (same, zero) = (extents(c, &dims)?, is(c, wanted, 0)?);
        wanted = c.select(zero, same, wanted)?;
    }
    let (open, ones) = (is(c, wanted, -1)?, scalar(c, 1)?);
    let known = c.select(open, ones, wanted)?;
    let rest = super::reduce::row(c, R::Prod, known)?;
    let whole = c.extent(&own.elements()?, DType::I64)?;
    let left = c.binary(B::Div, whole, rest)?;
    let dims = c.select(open, left, wanted)?;
    let dims = c.bind(dims)?;
    c.reshape(x, Shape(dims))
}

/// `x` repeated to the shape that input 1 says; its ones keep what `x` has.
pub(super) fn expand(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let own = c.ty(x).shape;
    let (wanted, count) = list(c, 1)?;
    let rank = own.rank().max(count);
    let front = |n: usize| vec![Dim::from(1); rank - n];
    let own = extents(c, &[front(own.rank()), own.0].concat())?;
    let padding = extents(c, &front(count))?;
    let wanted = c.add(Op::Concat(Concat { axis: 0 }), &[padding, wanted])?;
    let one = is(c, wanted, 1)?;
    let dims = c.select(one, own, wanted)?;
    let dims = c.bind(dims)?;
    super::indexing::expanded(c, x, Shape(dims))
}

/// Not `x`.
fn not(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    c.unary(U::Not, x)
}
