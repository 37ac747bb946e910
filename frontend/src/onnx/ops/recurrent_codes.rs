//! Recurrent layers whose weights are codes of 8 bits, and whose inputs and states are rounded to 8 bits over their own range
//! before they are multiplied: the inputs of all steps at once, the state of the whole batch before every step.
//!
//! A product of codes less their zero points, times both scales, is the product of the numbers that the codes stand for. So
//! weights become those numbers, and a step is a layer of one step on the rounded state, in a loop.

use super::control::{Rounds, place, turned_round};
use super::matrix::rows;
use super::movement::ordered;
use super::quantise::{Grid, meant, own_grid};
use super::reduce::row;
use crate::onnx::import::Call;
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::recurrent::Recurrent;
use actc_ir::ops::reduce::RowFunction;
use actc_ir::{Op, TensorType, Value};
use actc_types::{DType, Dim, Result, Shape};

/// Matrix `d` of the codes `[D, K, N]` of input `i` as `[N, K]` floats. Scales and zero points, of a matrix or of each of its
/// columns, are the inputs from `grid` on.
pub(super) fn matrix(c: &mut Call<'_, '_>, i: usize, grid: usize, d: u64) -> Result<Value> {
    let mut parts = Vec::with_capacity(3);
    for i in [i, grid, grid + 1] {
        let all = c.input(i)?;
        parts.push(c.part(all, d)?);
    }
    let dtype = c.ty(parts[0]).dtype;
    if !matches!(dtype, DType::U8 | DType::I8) {
        return Err(c.refuse(format!("weights are of {dtype}, expected u8 or i8")));
    }
    let weight = meant(c, parts[0], Grid { scale: parts[1], zero: Some(parts[2]), axis: 1, block: 0 }, DType::F32)?;
    match rows(c, weight, false)? {
        Some(weight) => Ok(weight),
        None => ordered(c, weight, vec![1, 0]),
    }
}

/// `x` as codes of 8 bits over its own range, zero included, say it.
pub(super) fn seen(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let [codes, scale, zero] = own_grid(c, x)?;
    meant(c, codes, Grid { scale, zero: Some(zero), axis: 0, block: 0 }, DType::F32)
}

/// Zeros in the place of what `x [T, B, K]` has behind the longest of `lengths`, which no step reads: it does not widen the range.
pub(super) fn read(c: &mut Call<'_, '_>, x: Value, lengths: Value) -> Result<Value> {
    let steps = c.ty(x).shape.dims().first().cloned().unwrap_or_default();
    let most = row(c, RowFunction::Most, lengths)?;
    let step = c.counting(0, &steps)?;
    let runs = c.binary(B::Less, step, most)?;
    let runs = c.reshape(runs, Shape(vec![steps, Dim::from(1), Dim::from(1)]))?;
    let zero = c.number(0.0, DType::F32)?;
    c.select(runs, x, zero)
}

/// What `op` gives of `args`, its state rounded before every step: that of all steps, and the last ones.
pub(super) fn steps(c: &mut Call<'_, '_>, op: &Recurrent, args: &[Value]) -> Result<Vec<Value>> {
    let [inputs, recurrent, state, content, ref rest @ ..] = *args else {
        return Err(c.refuse("a cell without content"));
    };
    let shape = c.ty(inputs).shape;
    let ([t, b, gates], TensorType { shape: states, .. }) = (shape.dims(), c.ty(state)) else {
        return Err(c.refuse(format!("inputs {shape} have not three axes")));
    };
    let one = |dims: &[Dim]| Shape([&[Dim::from(1)], dims].concat());
    let types = [TensorType::new(DType::I64, Shape::default()), c.ty(state), c.ty(content)];
    let outside = [&[inputs, recurrent], rest].concat();
    let (region, captured) = c.body(&types, &outside, |c, own, here| {
        let ([round, state, content], [inputs, recurrent, rest @ ..]) = (own, here) else {
            return Err(c.refuse("a step without inputs"));
        };
        let at = place(c, *round, t, op.reverse)?;
        let x = c.add(Op::Gather(Gather { axis: 0 }), &[*inputs, at])?;
        let x = c.reshape(x, one(&[b.clone(), gates.clone()]))?;
        let mut args = vec![x, *recurrent, seen(c, *state)?, *content];
        args.extend(rest);
        // Of those that are over, or that have not begun, nothing changes.
        let mut runs = None;
        if let Some(lengths) = args.last_mut().filter(|_| op.lengths) {
            let left = c.binary(B::Sub, *lengths, at)?;
            let left = c.by(B::Max, left, 0.0)?;
            *lengths = c.by(B::Min, left, 1.0)?;
            let on = c.cast(*lengths, DType::Bool)?;
            runs = Some(c.reshape(on, Shape(vec![b.clone(), Dim::from(1)]))?);
        }
        let step = Recurrent { reverse: false, ..op.clone() };
        let made = c.add_many(Op::Recurrent(step), &args)?;
        let [y, mut next, content] = made[..] else { return Err(c.refuse("a step without content")) };
        if let Some(runs) = runs {
            next = c.select(runs, next, *state)?;
        }
        Ok(vec![next, content, c.reshape(y, states.clone())?])
    })?;
    let count = c.extent(t, DType::I64)?;
    let carried = vec![state, content];
    let rounds = Rounds { count, guarded: false, carried, read: Vec::new(), rows: Some(t.clone()) };
    let made = rounds.add(c, "the steps", &captured, region)?;
    let [state, content, y] = made[..] else { return Err(c.refuse("steps without results")) };
    let y = if op.reverse { turned_round(c, y, t)? } else { y };
    Ok(vec![y, state, content])
}
