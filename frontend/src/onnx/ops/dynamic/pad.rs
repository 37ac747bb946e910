//! Elements around a tensor whose numbers are known only when the model runs: gathers by places that are computed.

use super::slice::{clamp, spread};
use super::{at, list, nth, numbers, scalar};
use crate::onnx::import::Call;
use crate::onnx::ops::indexing::expanded;
use crate::onnx::ops::pad::Beyond;
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

/// What stands around a tensor.
#[derive(Clone, Copy)]
pub(in crate::onnx::ops) enum Around {
    /// A number without axes.
    Number(Value),
    /// The tensor, continued.
    Own(Beyond),
}

/// `x` with as many elements before and behind each axis as inputs 1 and 3 of `Pad` say. Axes that are not known make it pad
/// all of them.
pub(in crate::onnx::ops) fn pad(c: &mut Call<'_, '_>, x: Value, around: Around) -> Result<Value> {
    let rank = c.ty(x).shape.rank();
    let (pads, count) = list(c, 1)?;
    let named = if c.has(3) { list(c, 3)?.1 } else { rank };
    if count != 2 * named {
        return Err(c.refuse(format!("{count} pads of {named} axes")));
    }
    let half = |c: &mut Call<'_, '_>, from: usize| {
        let places = numbers(c, (from as i64..(from + named) as i64).collect())?;
        at(c, pads, places)
    };
    let (mut before, mut behind) = (half(c, 0)?, half(c, named)?);
    let known = if c.has(3) { c.ints(3).ok() } else { Some((0..rank as i64).collect()) };
    let axes = match known {
        Some(axes) => axes.iter().map(|a| c.axis(*a, rank, false)).collect::<Result<Vec<usize>>>()?,
        None => {
            let (axes, _) = list(c, 3)?;
            let none = numbers(c, vec![0; rank])?;
            (before, behind) = (spread(c, axes, before, none, rank)?, spread(c, axes, behind, none, rank)?);
            (0..rank).collect()
        }
    };
    let mut y = x;
    for (i, axis) in axes.into_iter().enumerate() {
        let (before, behind) = (nth(c, before, i)?, nth(c, behind, i)?);
        let extent = c.extent(&c.ty(y).shape.dims()[axis].clone(), DType::I64)?;
        let whole = c.binary(B::Add, extent, before)?;
        let whole = c.binary(B::Add, whole, behind)?;
        let len = c.bind_one(whole)?;
        y = match around {
            Around::Number(value) => within(c, y, axis, value, before, len)?,
            Around::Own(how) => continued(c, y, axis, how, (before, behind), len)?,
        };
    }
    Ok(y)
}

/// `len` elements of an axis of which the first of `x` is number `before`, or lies before the first where that is negative;
/// others are `value`.
fn within(c: &mut Call<'_, '_>, x: Value, axis: usize, value: Value, before: Value, len: Dim) -> Result<Value> {
    let mut row = c.ty(x).shape;
    let extent = c.extent(&row.dims()[axis].clone(), DType::I64)?;
    let place = c.counting(0, &len)?;
    let place = c.binary(B::Sub, place, before)?;
    let zero = scalar(c, 0)?;
    let (early, inside) = (c.binary(B::Less, place, zero)?, c.binary(B::Less, place, extent)?);
    let place = c.select(inside, place, extent)?;
    let place = c.select(early, extent, place)?;
    row.0[axis] = Dim::from(1);
    let row = expanded(c, value, row)?;
    // One more element stands for all that are not of `x`.
    let all = c.add(Op::Concat(Concat { axis }), &[x, row])?;
    c.add(Op::Gather(Gather { axis }), &[all, place])
}

/// The same of an axis that is cut first where `before` or `behind` is negative, and then continued.
fn continued(
    c: &mut Call<'_, '_>,
    x: Value,
    axis: usize,
    how: Beyond,
    (before, behind): (Value, Value),
    len: Dim,
) -> Result<Value> {
    let extent = c.extent(&c.ty(x).shape.dims()[axis].clone(), DType::I64)?;
    let (zero, one) = (scalar(c, 0)?, scalar(c, 1)?);
    let (low, high) = (c.binary(B::Min, before, zero)?, c.binary(B::Min, behind, zero)?);
    let kept = c.binary(B::Add, extent, low)?;
    let kept = c.binary(B::Add, kept, high)?;
    let front = c.binary(B::Max, before, zero)?;
    let place = c.counting(0, &len)?;
    let place = c.binary(B::Sub, place, front)?;
    let last = c.binary(B::Sub, kept, one)?;
    let own = match how {
        Beyond::Edge => clamp(c, place, zero, last)?,
        Beyond::Wrap => c.binary(B::Mod, place, kept)?,
        Beyond::Reflect => {
            let period = c.binary(B::Add, last, last)?;
            let place = c.binary(B::Mod, place, period)?;
            let back = c.binary(B::Sub, period, place)?;
            c.binary(B::Min, place, back)?
        }
    };
    let own = c.binary(B::Sub, own, low)?;
    // Of no elements nothing goes on: an index beyond the axis is an error.
    let some = c.binary(B::Less, zero, kept)?;
    let own = c.select(some, own, extent)?;
    c.add(Op::Gather(Gather { axis }), &[x, own])
}

/// `x` with its `axes` cut or filled up with zeros on both sides to the extents `wanted`, of an odd number one more behind.
pub(in crate::onnx::ops) fn center(c: &mut Call<'_, '_>, x: Value, axes: &[usize]) -> Result<Value> {
    let (wanted, count) = list(c, 1)?;
    if count != axes.len() {
        return Err(c.refuse(format!("{count} extents of {} axes", axes.len())));
    }
    let zero = c.number(0.0, c.ty(x).dtype)?;
    let two = scalar(c, 2)?;
    let mut y = x;
    for (i, axis) in axes.iter().enumerate() {
        let wanted = nth(c, wanted, i)?;
        let extent = c.extent(&c.ty(y).shape.dims()[*axis].clone(), DType::I64)?;
        let more = c.binary(B::Sub, wanted, extent)?;
        let before = c.binary(B::Div, more, two)?;
        let len = c.bind_one(wanted)?;
        y = within(c, y, *axis, zero, before, len)?;
    }
    Ok(y)
}

/// `x` with zeros behind its axes up to the extents that input `i` says, none of which may be smaller.
pub(in crate::onnx::ops) fn enlarged(c: &mut Call<'_, '_>, x: Value, i: usize) -> Result<Value> {
    let (wanted, count) = list(c, i)?;
    let rank = c.ty(x).shape.rank();
    if count != rank {
        return Err(c.refuse(format!("{count} extents of {rank} axes")));
    }
    let zero = c.number(0.0, c.ty(x).dtype)?;
    let mut y = x;
    for axis in 0..rank {
        let wanted = nth(c, wanted, axis)?;
        let mut gap = c.ty(y).shape;
        let extent = c.extent(&gap.dims()[axis].clone(), DType::I64)?;
        let more = c.binary(B::Sub, wanted, extent)?;
        gap.0[axis] = c.bind_one(more)?;
        let zeros = expanded(c, zero, Shape(gap.0))?;
        y = c.add(Op::Concat(Concat { axis }), &[y, zeros])?;
    }
    Ok(y)
}
