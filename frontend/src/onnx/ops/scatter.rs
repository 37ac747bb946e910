//! Elements by index tuples or one index each, and elements put where indices say.

use super::indexing::expanded;
use super::movement::product;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::places::{GatherElements, GatherNd, ScatterElements, ScatterNd};
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("GatherElements", 11, gather_elements),
    since("GatherND", 11, gather_nd),
    since("Scatter", 9, scatter_elements),
    since("ScatterElements", 11, scatter_elements),
    since("ScatterND", 11, scatter_nd),
    since("TensorScatter", 24, tensor_scatter),
    since("ReverseSequence", 10, reverse_sequence),
];

fn indices(c: &mut Call<'_, '_>, i: usize) -> Result<Value> {
    let indices = c.input(i)?;
    c.cast(indices, DType::I64)
}

fn gather_elements(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, indices) = (c.input(0)?, indices(c, 1)?);
    let axis = c.axis(c.int("axis", 0)?, c.ty(x).shape.rank(), false)?;
    one(c.add(Op::GatherElements(GatherElements { axis }), &[x, indices])?)
}

fn gather_nd(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, indices) = (c.input(0)?, indices(c, 1)?);
    let batch = c.int("batch_dims", 0)?;
    let batch = usize::try_from(batch).map_err(|_| c.refuse(format!("`batch_dims` is {batch}")))?;
    one(c.add(Op::GatherNd(GatherNd { batch }), &[x, indices])?)
}

fn reduction(c: &Call<'_, '_>) -> Result<Option<B>> {
    match c.text("reduction", "none")? {
        "none" => Ok(None),
        "add" => Ok(Some(B::Add)),
        "mul" => Ok(Some(B::Mul)),
        "min" => Ok(Some(B::Min)),
        "max" => Ok(Some(B::Max)),
        other => Err(c.refuse(format!("`reduction` is `{other}`, expected `none`, `add`, `mul`, `min` or `max`"))),
    }
}

fn scatter_elements(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, indices, updates) = (c.input(0)?, indices(c, 1)?, c.input(2)?);
    let axis = c.axis(c.int("axis", 0)?, c.ty(x).shape.rank(), false)?;
    let reduce = reduction(c)?;
    one(c.add(Op::ScatterElements(ScatterElements { axis, reduce }), &[x, indices, updates])?)
}

fn scatter_nd(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, indices, updates) = (c.input(0)?, indices(c, 1)?, c.input(2)?);
    let reduce = reduction(c)?;
    one(c.add(Op::ScatterNd(ScatterNd { reduce }), &[x, indices, updates])?)
}

/// The integers `0..n` as a tensor of `shape`, in which one axis has `n` elements and all others one.
fn counted(c: &mut Call<'_, '_>, n: &Dim, shape: Shape) -> Result<Value> {
    let all = c.counting(0, n)?;
    c.reshape(all, shape)
}

/// Tuples of `a` and `b`, both repeated to `shape`.
fn pairs(c: &mut Call<'_, '_>, a: Value, b: Value, shape: &[Dim]) -> Result<Value> {
    let column = Shape([shape, &[Dim::from(1)]].concat());
    let mut parts = Vec::with_capacity(2);
    for x in [a, b] {
        let whole = expanded(c, x, Shape(shape.to_vec()))?;
        parts.push(c.reshape(whole, column.clone())?);
    }
    c.add(Op::Concat(Concat { axis: shape.len() }), &parts)
}

/// The axes up to the one that is written are one; each of its elements has a row of places.
fn tensor_scatter(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, updates) = (c.input(0)?, c.input(1)?);
    let (shape, other) = (c.ty(x).shape, c.ty(updates).shape);
    let axis = c.axis(c.int("axis", -2)?, shape.rank(), false)?;
    let circular = match c.text("mode", "linear")? {
        "linear" => false,
        "circular" => true,
        wrong => return Err(c.refuse(format!("`mode` is `{wrong}`, expected `linear` or `circular`"))),
    };
    if axis == 0 || other.rank() != shape.rank() {
        return Err(c.refuse(format!("updates of {other} along axis {axis} of {shape}")));
    }
    let (extent, len) = (shape.dims()[axis].clone(), other.dims()[axis].clone());
    let inner = &shape.dims()[axis + 1..];
    let each = product(c, &shape.dims()[1..axis])?;
    let batch = shape.dims()[0].clone();
    let outer = product(c, &[batch.clone(), each.clone()])?;
    let one_dim = Dim::from(1);
    let mut at = counted(c, &len, Shape(vec![one_dim.clone(), one_dim.clone(), len.clone()]))?;
    if c.has(2) {
        let starts = indices(c, 2)?;
        let starts = c.reshape(starts, Shape(vec![batch.clone(), one_dim.clone(), one_dim.clone()]))?;
        at = c.binary(B::Add, starts, at)?;
    }
    if circular {
        let extent = c.extent(&extent, DType::I64)?;
        at = c.binary(B::Mod, at, extent)?;
    }
    let at = expanded(c, at, Shape(vec![batch, each, len.clone()]))?;
    let at = c.reshape(at, Shape(vec![outer.clone(), len.clone()]))?;
    let lines = counted(c, &outer, Shape(vec![outer.clone(), one_dim]))?;
    let places = pairs(c, lines, at, &[outer.clone(), len.clone()])?;
    let flat = c.reshape(x, Shape([&[outer.clone(), extent], inner].concat()))?;
    let updates = c.reshape(updates, Shape([&[outer, len], inner].concat()))?;
    let y = c.add(Op::ScatterNd(ScatterNd { reduce: None }), &[flat, places, updates])?;
    one(c.reshape(y, shape)?)
}

/// The first elements of each sequence, as many as it has, in the opposite order.
fn reverse_sequence(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, lengths) = (c.input(0)?, indices(c, 1)?);
    let shape = c.ty(x).shape;
    let [first, second, ..] = shape.dims() else { return Err(c.refuse(format!("{shape} has no two axes"))) };
    let time_first = match (c.int("time_axis", 0)?, c.int("batch_axis", 1)?) {
        (0, 1) => true,
        (1, 0) => false,
        (time, batch) => return Err(c.refuse(format!("`time_axis` is {time} and `batch_axis` {batch}"))),
    };
    let (time, batch) = if time_first { (first, second) } else { (second, first) };
    let line = |n: &Dim, along: bool| {
        let one = Dim::from(1);
        Shape(if along == time_first { vec![n.clone(), one] } else { vec![one, n.clone()] })
    };
    let at = counted(c, time, line(time, true))?;
    let lengths = c.reshape(lengths, line(batch, false))?;
    let last = c.number(1.0, DType::I64)?;
    let last = c.binary(B::Sub, lengths, last)?;
    let opposite = c.binary(B::Sub, last, at)?;
    let inside = c.binary(B::Less, at, lengths)?;
    let from = c.select(inside, opposite, at)?;
    let of = counted(c, batch, line(batch, false))?;
    let whole = [first.clone(), second.clone()];
    let places = if time_first { pairs(c, from, of, &whole)? } else { pairs(c, of, from, &whole)? };
    one(c.add(Op::GatherNd(GatherNd { batch: 0 }), &[x, places])?)
}
