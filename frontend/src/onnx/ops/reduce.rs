//! Sums and the like over axes, extremes, and softmax.

use super::movement::{ordered, product};
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::{Extreme, PlaceOf, Reduce, RowFunction as R};
use actc_ir::ops::softmax::Softmax;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor};

pub(super) const OPERATORS: &[Operator] = &[
    since("ReduceSum", 1, |c| reduced(c, |c, x| row(c, R::Sum, x))),
    since("ReduceProd", 1, |c| reduced(c, |c, x| row(c, R::Prod, x))),
    since("ReduceMin", 1, |c| reduced(c, |c, x| row(c, R::Least, x))),
    since("ReduceMax", 1, |c| reduced(c, |c, x| row(c, R::Most, x))),
    since("ReduceMean", 1, |c| reduced(c, mean)),
    since("ReduceL1", 1, |c| reduced(c, l1)),
    since("ReduceL2", 1, |c| reduced(c, l2)),
    since("ReduceSumSquare", 1, |c| reduced(c, squares)),
    since("ReduceLogSum", 1, |c| reduced(c, log_sum)),
    since("ReduceLogSumExp", 1, |c| reduced(c, log_sum_exp)),
    since("ArgMax", 1, |c| place(c, true)),
    since("ArgMin", 1, |c| place(c, false)),
    since("Softmax", 1, |c| normalised(c, softmax)),
    since("LogSoftmax", 1, |c| normalised(c, log_softmax)),
    since("Hardmax", 1, |c| normalised(c, hardmax)),
    since("GlobalAveragePool", 1, |c| spatial(c, mean)),
    since("GlobalMaxPool", 1, |c| spatial(c, |c, x| row(c, R::Most, x))),
];

/// `function` of the rows along the last axis of `x`.
pub(super) fn row(c: &mut Call<'_, '_>, function: R, x: Value) -> Result<Value> {
    c.add(Op::Reduce(Reduce { function }), &[x])
}

/// What makes one number of each row along the last axis.
pub(super) type Row = fn(&mut Call<'_, '_>, Value) -> Result<Value>;

pub(super) fn mean(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let ty = c.ty(x);
    let count = ty.shape.last().cloned().unwrap_or(Dim::from(1));
    let sum = row(c, R::Sum, x)?;
    let count = c.extent(&count, ty.dtype)?;
    c.binary(B::Div, sum, count)
}

fn l1(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let x = c.unary(U::Abs, x)?;
    row(c, R::Sum, x)
}

fn squares(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let x = c.binary(B::Mul, x, x)?;
    row(c, R::Sum, x)
}

/// `function` of floats, of `x` as floats where it is no such thing.
fn in_floats(c: &mut Call<'_, '_>, x: Value, function: Row) -> Result<Value> {
    let dtype = c.ty(x).dtype;
    let wide = if dtype.is_float() { dtype } else { DType::F64 };
    let x = c.cast(x, wide)?;
    let y = function(c, x)?;
    c.cast(y, dtype)
}

fn l2(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    in_floats(c, x, |c, x| {
        let y = squares(c, x)?;
        c.unary(U::Sqrt, y)
    })
}

fn log_sum(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    in_floats(c, x, |c, x| {
        let y = row(c, R::Sum, x)?;
        c.unary(U::Log, y)
    })
}

/// The largest element is taken out, where it is a number: nothing overflows.
fn log_sum_exp(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    in_floats(c, x, |c, x| {
        let most = row(c, R::Most, x)?;
        let dtype = c.ty(x).dtype;
        let infinite = c.unary(U::IsInf, most)?;
        let zero = c.number(0.0, dtype)?;
        let most = c.select(infinite, zero, most)?;
        let column = with_last(c, most)?;
        let low = c.binary(B::Sub, x, column)?;
        let e = c.unary(U::Exp, low)?;
        let sum = row(c, R::Sum, e)?;
        let log = c.unary(U::Log, sum)?;
        c.binary(B::Add, log, most)
    })
}

/// `x` with one more axis of one element behind the others.
pub(super) fn with_last(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let mut shape = c.ty(x).shape;
    shape.0.push(Dim::from(1));
    c.reshape(x, shape)
}

/// `x` with `axes` behind the others and as one, `function` of that, and the result with those axes as ones where `keep`.
pub(super) fn over(c: &mut Call<'_, '_>, x: Value, axes: &[usize], keep: bool, function: Row) -> Result<Value> {
    let shape = c.ty(x).shape;
    let left: Vec<usize> = (0..shape.rank()).filter(|a| !axes.contains(a)).collect();
    let gone: Vec<usize> = (0..shape.rank()).filter(|a| axes.contains(a)).collect();
    let pick = |some: &[usize]| some.iter().map(|a| shape.dims()[*a].clone()).collect::<Vec<Dim>>();
    let turned = ordered(c, x, [&left[..], &gone[..]].concat())?;
    let mut rows = pick(&left);
    rows.push(product(c, &pick(&gone))?);
    let turned = c.reshape(turned, Shape(rows))?;
    let y = function(c, turned)?;
    let extent = |(a, d): (usize, &Dim)| match (gone.contains(&a), keep) {
        (true, true) => Some(Dim::from(1)),
        (true, false) => None,
        (false, _) => Some(d.clone()),
    };
    let dims = shape.dims().iter().enumerate().filter_map(extent).collect();
    c.reshape(y, Shape(dims))
}

/// Axes are an input from version 18 on, of sums from 13 on; attributes before.
fn reduced(c: &mut Call<'_, '_>, function: Row) -> Result<Vec<Item>> {
    let as_input = c.node.opset >= if c.node.op == "ReduceSum" { 13 } else { 18 };
    let keep = c.int("keepdims", 1)? != 0;
    if as_input && c.has(1) && !c.ints_known(1) && !none_named(c)? {
        c.int("noop_with_empty_axes", 0)?;
        let x = c.input(0)?;
        return one(super::dynamic::axes::reduce(c, x, keep, function)?);
    }
    let (axes, nothing) = if as_input {
        (if c.ints_known(1) { c.optional_ints(1)? } else { None }, c.int("noop_with_empty_axes", 0)? != 0)
    } else {
        (c.int_list("axes")?, false)
    };
    let x = c.input(0)?;
    let rank = c.ty(x).shape.rank();
    let axes = match axes.filter(|a| !a.is_empty()) {
        Some(axes) => axes.iter().map(|a| c.axis(*a, rank, false)).collect::<Result<Vec<usize>>>()?,
        // Each element is a row of its own.
        None if nothing => Vec::new(),
        None => (0..rank).collect(),
    };
    one(over(c, x, &axes, keep, function)?)
}

/// Whether input 1 is a list of no axes.
fn none_named(c: &mut Call<'_, '_>) -> Result<bool> {
    let axes = c.input(1)?;
    Ok(c.ty(axes).shape.elements()? == Dim::from(0))
}

fn spatial(c: &mut Call<'_, '_>, function: Row) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let axes: Vec<usize> = (2..c.ty(x).shape.rank()).collect();
    one(over(c, x, &axes, true, function)?)
}

fn place(c: &mut Call<'_, '_>, largest: bool) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let axis = c.axis(c.int("axis", 0)?, c.ty(x).shape.rank(), false)?;
    let (keep, last) = (c.int("keepdims", 1)? != 0, c.int("select_last_index", 0)? != 0);
    let function: Row = match (largest, last) {
        (true, true) => |c, x| extreme(c, x, true, true),
        (true, false) => |c, x| extreme(c, x, true, false),
        (false, true) => |c, x| extreme(c, x, false, true),
        (false, false) => |c, x| extreme(c, x, false, false),
    };
    one(over(c, x, &[axis], keep, function)?)
}

fn extreme(c: &mut Call<'_, '_>, x: Value, largest: bool, last: bool) -> Result<Value> {
    c.add(Op::PlaceOf(PlaceOf { extreme: Extreme { largest, last } }), &[x])
}

/// `function`, which keeps the shape, along an axis; before version 13 along all axes from it on.
fn normalised(c: &mut Call<'_, '_>, function: Row) -> Result<Vec<Item>> {
    let old = c.node.opset < 13;
    let x = c.input(0)?;
    let shape = c.ty(x).shape;
    let axis = c.axis(c.int("axis", if old { 1 } else { -1 })?, shape.rank(), false)?;
    // Along all axes from the last one on is along the last one.
    if old && axis + 1 < shape.rank() {
        let dims = vec![product(c, &shape.dims()[..axis])?, product(c, &shape.dims()[axis..])?];
        let flat = c.reshape(x, Shape(dims))?;
        let y = function(c, flat)?;
        return one(c.reshape(y, shape)?);
    }
    let mut order: Vec<usize> = (0..shape.rank()).collect();
    order.swap(axis, shape.rank() - 1);
    let turned = ordered(c, x, order.clone())?;
    let y = function(c, turned)?;
    one(ordered(c, y, order)?)
}

/// `x` less the largest element of its row.
fn lowered(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let most = row(c, R::Most, x)?;
    let most = with_last(c, most)?;
    c.binary(B::Sub, x, most)
}

pub(super) fn softmax(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    if c.ty(x).dtype == DType::F32 {
        return c.add(Op::Softmax(Softmax), &[x]);
    }
    let low = lowered(c, x)?;
    let e = c.unary(U::Exp, low)?;
    let sum = row(c, R::Sum, e)?;
    let sum = with_last(c, sum)?;
    c.binary(B::Div, e, sum)
}

pub(super) fn log_softmax(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let low = lowered(c, x)?;
    let e = c.unary(U::Exp, low)?;
    let sum = row(c, R::Sum, e)?;
    let sum = with_last(c, sum)?;
    let log = c.unary(U::Log, sum)?;
    c.binary(B::Sub, low, log)
}

/// 1 where the first largest element of a row stands, else 0.
fn hardmax(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let ty = c.ty(x);
    let n = ty.shape.last().and_then(Dim::fixed).filter(|n| *n <= super::indexing::LONGEST);
    let n = n.ok_or_else(|| c.refuse(format!("rows of {} are not fixed", ty.shape)))?;
    let at = extreme(c, x, true, false)?;
    let at = with_last(c, at)?;
    let columns = c.tensor(&Tensor::i64(&[n], (0..n as i64).collect())?);
    let there = c.binary(B::Equal, at, columns)?;
    c.cast(there, ty.dtype)
}
