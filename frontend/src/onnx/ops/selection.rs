//! Operators whose outputs are as long as what the inputs hold: each finds as much as there can be and cuts it when the model
//! runs.

use super::movement::{ordered, product};
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::selection::{Corners, NonMaxSuppression, NonZero, Unique};
use actc_ir::ops::shaping::Slice;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("NonZero", 9, non_zero),
    since("Compress", 9, compress),
    since("Unique", 11, unique),
    since("NonMaxSuppression", 10, non_max_suppression),
];

/// The number `count` as an extent.
fn extent(c: &mut Call<'_, '_>, count: Value) -> Result<Dim> {
    c.bind_one(count)
}

/// The first `len` elements of axis `axis` of `x`.
fn cut(c: &mut Call<'_, '_>, x: Value, axis: usize, len: &Dim) -> Result<Value> {
    c.add(Op::Slice(Slice { axis, start: Dim::from(0), len: len.clone() }), &[x])
}

/// Indices of what is not 0 in `x` along each of its axes.
fn places(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let found = c.add_many(Op::NonZero(NonZero), &[x])?;
    let count = extent(c, found[1])?;
    cut(c, found[0], 1, &count)
}

fn non_zero(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    one(places(c, x)?)
}

/// `x` as a list.
fn flat(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let count = c.ty(x).shape.elements()?;
    c.reshape(x, Shape(vec![count]))
}

fn compress(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, condition) = (c.input(0)?, c.input(1)?);
    let (x, axis) = match c.optional_int("axis")? {
        Some(axis) => (x, c.axis(axis, c.ty(x).shape.rank(), false)?),
        None => (flat(c, x)?, 0),
    };
    let indices = places(c, condition)?;
    let indices = flat(c, indices)?;
    one(c.add(Op::Gather(Gather { axis }), &[x, indices])?)
}

fn unique(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let sorted = c.int("sorted", 1)? != 0;
    let (x, axis) = match c.optional_int("axis")? {
        Some(axis) => (x, c.axis(axis, c.ty(x).shape.rank(), false)?),
        None => (flat(c, x)?, 0),
    };
    let shape = c.ty(x).shape;
    let others: Vec<usize> = (0..shape.rank()).filter(|a| *a != axis).collect();
    let rest = product(c, &others.iter().map(|a| shape.dims()[*a].clone()).collect::<Vec<Dim>>())?;
    let rows = ordered(c, x, [&[axis], &others[..]].concat())?;
    let rows = c.reshape(rows, Shape(vec![shape.dims()[axis].clone(), rest]))?;
    let found = c.add_many(Op::Unique(Unique { sorted }), &[rows])?;
    let count = extent(c, found[3])?;
    let (first, often) = (cut(c, found[0], 0, &count)?, cut(c, found[2], 0, &count)?);
    let y = c.add(Op::Gather(Gather { axis }), &[x, first])?;
    Ok([y, first, found[1], often].map(Item::Value).to_vec())
}

/// Input `i` as a number without axes, `default` where it is not given.
fn bound(c: &mut Call<'_, '_>, i: usize, default: f64, dtype: DType) -> Result<Value> {
    if !c.has(i) {
        return c.number(default, dtype);
    }
    let x = c.input(i)?;
    let x = c.cast(x, dtype)?;
    c.reshape(x, Shape::default())
}

fn non_max_suppression(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (boxes, scores) = (c.input(0)?, c.input(1)?);
    let corners = match c.int("center_point_box", 0)? {
        0 => Corners::Opposite,
        1 => Corners::Centre,
        n => return Err(c.refuse(format!("`center_point_box` is {n}, expected 0 or 1"))),
    };
    let shape = c.ty(scores).shape;
    let all = shape.last().cloned().ok_or_else(|| c.refuse("scores without an axis"))?;
    let most = bound(c, 2, 0.0, DType::I64)?;
    let known = c.constant(most).and_then(|k| k.decode().ok()).and_then(|t| t.data().to_integers().first().copied());
    let limit = match (known, all.fixed()) {
        (Some(most), Some(all)) => Dim::from(u64::try_from(most.clamp(0, i128::from(all))).unwrap_or(all)),
        (_, _) => all,
    };
    let overlap = bound(c, 3, 0.0, DType::F32)?;
    let least = bound(c, 4, f64::NEG_INFINITY, DType::F32)?;
    let op = Op::NonMaxSuppression(NonMaxSuppression { limit, corners });
    let found = c.add_many(op, &[boxes, scores, most, overlap, least])?;
    let count = extent(c, found[1])?;
    one(cut(c, found[0], 0, &count)?)
}
