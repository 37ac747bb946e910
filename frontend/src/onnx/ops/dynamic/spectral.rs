//! Fourier transforms, windows and mel filters whose axes and lengths are known only when the model runs: their matrices are
//! computed in the graph, in double precision.

use super::axes::named;
use super::count::extent;
use super::{extents, list, number, numbers, scalar};
use crate::onnx::import::{Call, dimension};
use crate::onnx::ops::indexing::expanded;
use crate::onnx::ops::matrix::multiplied;
use crate::onnx::ops::movement::{ordered, product};
use crate::onnx::ops::reduce::with_last;
use crate::onnx::ops::spectral::Kind;
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};
use std::f64::consts::{LN_10, PI};

/// `a * x + b`.
fn scaled(c: &Call<'_, '_>, x: &Dim, a: u64, b: i64) -> Result<Dim> {
    let scaled = x.checked_mul(&Dim::from(a)).zip(dimension(b)).and_then(|(x, b)| x.checked_add(&b));
    scaled.ok_or_else(|| c.refuse("an extent exceeds 63 bits"))
}

/// The length of the transform of `signal` numbers: input 1, or what the signal says.
fn length(c: &mut Call<'_, '_>, signal: &Dim, kind: Kind) -> Result<Dim> {
    if c.has(1) {
        return extent(c, 1);
    }
    match kind {
        Kind::InverseReal => scaled(c, signal, 2, -2),
        Kind::Forward | Kind::ForwardHalf | Kind::Inverse => Ok(signal.clone()),
    }
}

/// Numbers of the result of a transform of `length`.
fn count(c: &mut Call<'_, '_>, length: &Dim, kind: Kind) -> Result<Dim> {
    match kind {
        Kind::Forward | Kind::Inverse | Kind::InverseReal => Ok(length.clone()),
        Kind::ForwardHalf => {
            let half = c.floor_div(length, 2)?;
            scaled(c, &half, 1, 1)
        }
    }
}

/// The matrix by which rows of `signal` numbers of `parts` are multiplied, `[signal * parts, count * parts of the result]`.
fn matrix(c: &mut Call<'_, '_>, signal: &Dim, parts: u64, length: &Dim, kind: Kind) -> Result<Value> {
    let count = count(c, length, kind)?;
    let (j, k) = (c.counting(0, signal)?, c.counting(0, &count)?);
    let j = c.reshape(j, Shape(vec![signal.clone(), Dim::from(1)]))?;
    let n = c.extent(length, DType::I64)?;
    let turns = c.binary(B::Mul, j, k)?;
    let turns = c.binary(B::Mod, turns, n)?;
    let turns = c.cast(turns, DType::F64)?;
    let (j, whole) = (c.cast(j, DType::F64)?, c.cast(n, DType::F64)?);
    let turns = c.binary(B::Div, turns, whole)?;
    let angle = c.by(B::Mul, turns, 2.0 * PI)?;
    let (cos, sin) = (c.unary(U::Cos, angle)?, c.unary(U::Sin, angle)?);
    // What lies beyond the length does not count.
    let (one, zero) = (number(c, 1.0)?, number(c, 0.0)?);
    let (limit, weight) = match kind {
        Kind::Forward | Kind::ForwardHalf => (whole, one),
        Kind::Inverse => (whole, c.binary(B::Div, one, whole)?),
        Kind::InverseReal => {
            // The other half is what this one mirrors.
            let half = c.by(B::Div, whole, 2.0)?;
            let (first, middle) = (c.binary(B::Equal, j, zero)?, c.binary(B::Equal, j, half)?);
            let single = c.binary(B::Or, first, middle)?;
            let two = number(c, 2.0)?;
            let copies = c.select(single, one, two)?;
            let limit = c.by(B::Add, half, 1.0)?;
            (c.unary(U::Floor, limit)?, c.binary(B::Div, copies, whole)?)
        }
    };
    let counts = c.binary(B::Less, j, limit)?;
    let weight = c.select(counts, weight, zero)?;
    let (cos, sin) = (c.binary(B::Mul, cos, weight)?, c.binary(B::Mul, sin, weight)?);
    let minus = c.unary(U::Neg, sin)?;
    // For the real and the imaginary part of the signal: what it adds to those of the result.
    let [real, imaginary] = match kind {
        Kind::Forward | Kind::ForwardHalf => [vec![cos, minus], vec![sin, cos]],
        Kind::Inverse => [vec![cos, sin], vec![minus, cos]],
        Kind::InverseReal => [vec![cos], vec![minus]],
    };
    let results = real.len() as u64;
    let mut rows = Vec::with_capacity(2);
    for part in [real, imaginary].into_iter().take(parts as usize) {
        let mut columns = Vec::with_capacity(2);
        for x in part {
            columns.push(c.reshape(x, Shape(vec![signal.clone(), Dim::from(1), count.clone(), Dim::from(1)]))?);
        }
        rows.push(joined(c, &columns, 3)?);
    }
    let whole = joined(c, &rows, 1)?;
    let shape = Shape(vec![scaled(c, signal, parts, 0)?, scaled(c, &count, results, 0)?]);
    c.reshape(whole, shape)
}

fn joined(c: &mut Call<'_, '_>, parts: &[Value], axis: usize) -> Result<Value> {
    if let [one] = parts { Ok(*one) } else { c.add(Op::Concat(Concat { axis }), parts) }
}

/// The transform of length `length` of `x [.., signal, parts]`.
fn transformed(c: &mut Call<'_, '_>, x: Value, length: &Dim, kind: Kind) -> Result<Value> {
    let ty = c.ty(x);
    let [outer @ .., signal, parts] = ty.shape.dims() else {
        return Err(c.refuse(format!("{} is no signal", ty.shape)));
    };
    let own = parts.fixed().unwrap_or(1);
    let matrix = matrix(c, signal, own, length, kind)?;
    let rows = Shape(vec![product(c, outer)?, product(c, &[signal.clone(), parts.clone()])?]);
    let rows = c.reshape(x, rows)?;
    let rows = c.cast(rows, DType::F64)?;
    let y = multiplied(c, rows, matrix)?;
    let y = c.cast(y, ty.dtype)?;
    let results = if kind == Kind::InverseReal { 1 } else { 2 };
    let count = count(c, length, kind)?;
    c.reshape(y, Shape([outer, &[count, Dim::from(results)]].concat()))
}

/// The transform of `x`, the last axis of which are the parts of its numbers, along `axis`.
pub(in crate::onnx::ops) fn along(c: &mut Call<'_, '_>, x: Value, axis: usize, kind: Kind) -> Result<Value> {
    let shape = c.ty(x).shape;
    let length = length(c, &shape.dims()[axis].clone(), kind)?;
    let mut order: Vec<usize> = (0..shape.rank()).collect();
    order.swap(axis, shape.rank() - 2);
    let turned = ordered(c, x, order.clone())?;
    let y = transformed(c, turned, &length, kind)?;
    ordered(c, y, order)
}

/// The same along the axis that input 2 names. Each axis is cut in two: what stays, and what is transformed, one of which is 1.
pub(in crate::onnx::ops) fn along_input(c: &mut Call<'_, '_>, x: Value, kind: Kind) -> Result<Value> {
    let own = c.ty(x).shape;
    let rank = own.rank();
    let (axis, found) = list(c, 2)?;
    if found != 1 {
        return Err(c.refuse(format!("{found} axes, expected one")));
    }
    let Some((parts, axes)) = own.dims().split_last() else { return Err(c.refuse("a number has no axes")) };
    // The axis of the parts is none to be transformed: an index beyond the others is an error.
    let marks = named(c, axis, rank)?;
    let last = numbers(c, vec![rank as i64 - 1])?;
    let wrong = c.add(Op::Gather(Gather { axis: 0 }), &[marks, last])?;
    let (beyond, zero) = (scalar(c, rank as i64)?, scalar(c, 0)?);
    let shift = c.select(wrong, beyond, zero)?;
    let places = numbers(c, (0..rank as i64 - 1).collect())?;
    let places = c.binary(B::Add, places, shift)?;
    let marks = c.add(Op::Gather(Gather { axis: 0 }), &[marks, places])?;

    let n = axes.len();
    let (all, ones) = (extents(c, axes)?, numbers(c, vec![1; n])?);
    let (stay, go) = (c.select(marks, ones, all)?, c.select(marks, all, ones)?);
    let (stay, go) = (c.bind(stay)?, c.bind(go)?);
    let cut = stay.iter().zip(&go).flat_map(|(s, g)| [s.clone(), g.clone()]).chain([parts.clone()]).collect();
    let y = c.reshape(x, Shape(cut))?;
    let order = (0..n).map(|i| 2 * i).chain((0..n).map(|i| 2 * i + 1)).chain([2 * n]).collect();
    let y = ordered(c, y, order)?;
    let signal = product(c, &go)?;
    let y = c.reshape(y, Shape([&stay[..], &[signal.clone(), parts.clone()]].concat()))?;
    let length = length(c, &signal, kind)?;
    let y = transformed(c, y, &length, kind)?;

    let result = c.ty(y).shape;
    let (count, parts) = (result.dims()[n].clone(), result.dims()[n + 1].clone());
    let long = c.extent(&count, DType::I64)?;
    let new = c.select(marks, long, ones)?;
    let new = c.bind(new)?;
    let y = c.reshape(y, Shape([&stay[..], &new, std::slice::from_ref(&parts)].concat()))?;
    let order = (0..n).flat_map(|i| [i, n + i]).chain([2 * n]).collect();
    let y = ordered(c, y, order)?;
    let mut dims =
        stay.iter().zip(&new).map(|(s, k)| product(c, &[s.clone(), k.clone()])).collect::<Result<Vec<_>>>()?;
    dims.push(parts);
    c.reshape(y, Shape(dims))
}

/// The transforms of frames of `x [batch, signal, parts]`, which begin every so many numbers as input 1 says; as long as input 3
/// says, or the window.
pub(in crate::onnx::ops) fn frames(c: &mut Call<'_, '_>, x: Value, window: Option<Value>, kind: Kind) -> Result<Value> {
    let shape = c.ty(x).shape;
    let [batch, signal, parts] = shape.dims() else { return Err(c.refuse(format!("{shape} is no batch of signals"))) };
    let length = match window {
        _ if c.has(3) => extent(c, 3)?,
        Some(window) => c.ty(window).shape.elements()?,
        None => signal.clone(),
    };
    let (whole, own) = (c.extent(signal, DType::I64)?, c.extent(&length, DType::I64)?);
    let step = c.input(1)?;
    let step = c.cast(step, DType::I64)?;
    let step = c.reshape(step, Shape(Vec::new()))?;
    // Steps of none and frames that are too long are an error: a negative number of frames.
    let (zero, one, minus) = (scalar(c, 0)?, scalar(c, 1)?, scalar(c, -1)?);
    let room = c.binary(B::Sub, whole, own)?;
    let count = c.binary(B::Div, room, step)?;
    let count = c.binary(B::Add, count, one)?;
    let (goes, fits) = (c.binary(B::Less, zero, step)?, c.binary(B::LessEqual, own, whole)?);
    let possible = c.binary(B::And, goes, fits)?;
    let count = c.select(possible, count, minus)?;
    let frames = c.bind_one(count)?;
    let starts = c.counting(0, &frames)?;
    let starts = c.binary(B::Mul, starts, step)?;
    let starts = with_last(c, starts)?;
    let inner = c.counting(0, &length)?;
    let places = c.binary(B::Add, starts, inner)?;
    let mut rows = c.add(Op::Gather(Gather { axis: 1 }), &[x, places])?;
    if let Some(window) = window {
        let window = c.reshape(window, Shape(vec![length.clone(), Dim::from(1)]))?;
        rows = c.binary(B::Mul, rows, window)?;
    }
    let rows = c.reshape(rows, Shape(vec![batch.clone(), frames, length.clone(), parts.clone()]))?;
    transformed(c, rows, &length, kind)
}

/// Input `i` as a number without axes, in double precision.
fn float(c: &mut Call<'_, '_>, i: usize) -> Result<Value> {
    let x = c.input(i)?;
    let x = c.cast(x, DType::F64)?;
    c.reshape(x, Shape(Vec::new()))
}

/// Frequency in Hertz by the mel scale.
fn mels(c: &mut Call<'_, '_>, i: usize) -> Result<Value> {
    let hertz = float(c, i)?;
    let share = c.by(B::Div, hertz, 700.0)?;
    let share = c.by(B::Add, share, 1.0)?;
    let log = c.unary(U::Log, share)?;
    c.by(B::Mul, log, 2595.0 / LN_10)
}

/// Triangles of frequencies whose corners are equally far from each other by the mel scale: inputs are the number of bands, the
/// length of the transform, the rate, and the first and the last frequency.
pub(in crate::onnx::ops) fn mel(c: &mut Call<'_, '_>, to: DType) -> Result<Value> {
    let (bands, length) = (extent(c, 0)?, extent(c, 1)?);
    let rate = float(c, 2)?;
    let half = c.floor_div(&length, 2)?;
    let rows = scaled(c, &half, 1, 1)?;
    let (low, high) = (mels(c, 3)?, mels(c, 4)?);
    let width = c.binary(B::Sub, high, low)?;
    let steps = c.extent(&scaled(c, &bands, 1, 2)?, DType::F64)?;
    let step = c.binary(B::Div, width, steps)?;
    let whole = c.extent(&scaled(c, &length, 1, 1)?, DType::F64)?;
    let all = c.counting(0, &rows)?;
    let beyond = c.extent(&rows, DType::I64)?;
    let mut corners = [low; 3];
    for (i, corner) in corners.iter_mut().enumerate() {
        let place = c.counting(i as u64, &bands)?;
        let place = c.cast(place, DType::F64)?;
        let place = c.binary(B::Mul, place, step)?;
        let mel = c.binary(B::Add, place, low)?;
        let power = c.by(B::Mul, mel, LN_10 / 2595.0)?;
        let power = c.unary(U::Exp, power)?;
        let hertz = c.by(B::Sub, power, 1.0)?;
        let hertz = c.by(B::Mul, hertz, 700.0)?;
        let scaled = c.binary(B::Mul, hertz, whole)?;
        let scaled = c.binary(B::Div, scaled, rate)?;
        let scaled = c.unary(U::Floor, scaled)?;
        let at = c.cast(scaled, DType::I64)?;
        // A corner that is no frequency is an error: an index beyond them.
        let zero = scalar(c, 0)?;
        let early = c.binary(B::Less, at, zero)?;
        let at = c.select(early, beyond, at)?;
        let found = c.add(Op::Gather(Gather { axis: 0 }), &[all, at])?;
        *corner = c.cast(found, DType::F64)?;
    }
    let [low, centre, high] = corners;
    let row = c.cast(all, DType::F64)?;
    let row = with_last(c, row)?;
    let (zero, one) = (number(c, 0.0)?, number(c, 1.0)?);
    let slope = |c: &mut Call<'_, '_>, from: Value, to: Value, way: Value| {
        let width = c.binary(B::Sub, to, from)?;
        let width = c.binary(B::Max, width, one)?;
        c.binary(B::Div, way, width)
    };
    let (up, down) = (c.binary(B::Sub, row, low)?, c.binary(B::Sub, high, row)?);
    let (up, down) = (slope(c, low, centre, up)?, slope(c, centre, high, down)?);
    let (after, until) = (c.binary(B::LessEqual, low, row)?, c.binary(B::LessEqual, row, centre)?);
    let rising = c.binary(B::And, after, until)?;
    let (from, before) = (c.binary(B::LessEqual, centre, row)?, c.binary(B::Less, row, high)?);
    let falling = c.binary(B::And, from, before)?;
    // A triangle without a left side is 1 at its corner.
    let (flat, there) = (c.binary(B::Equal, low, centre)?, c.binary(B::Equal, row, centre)?);
    let peak = c.binary(B::And, flat, there)?;
    let y = c.select(rising, up, zero)?;
    let y = c.select(peak, one, y)?;
    let y = c.select(falling, down, y)?;
    let y = expanded(c, y, Shape(vec![rows, bands]))?;
    c.cast(y, to)
}
