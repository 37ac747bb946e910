//! Axes resized by scales, sizes or extents that are known only when the model runs: places, indices and weights are computed in
//! the graph, in double precision.

use super::{extents, list, nth, number};
use crate::onnx::import::Call;
use crate::onnx::ops::reduce::{row, with_last};
use crate::onnx::ops::resize::{Kernel, Manner, Placing, Rounding};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::ops::sampling::Resample;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

/// What says how long axes become.
#[derive(Clone, Copy)]
pub(in crate::onnx::ops) enum By {
    /// Input of this number: factors.
    Scales(usize),
    /// Input of this number: extents.
    Sizes(usize, Ratio),
}

/// Which of the factors that extents ask for all axes take.
#[derive(Clone, Copy, PartialEq)]
pub(in crate::onnx::ops) enum Ratio {
    Own,
    Least,
    Most,
}

/// An axis on its way: numbers without axes, in double precision.
struct Axis {
    axis: usize,
    to: Dim,
    /// Its extent, and the new one.
    from: Value,
    wide: Value,
    scale: Value,
    /// Where the part that is kept begins, and how much that is.
    part: Option<(Value, Value)>,
}

fn floats(c: &mut Call<'_, '_>, i: usize) -> Result<Value> {
    let x = c.input(i)?;
    c.cast(x, DType::F64)
}

/// `x` with the axes `axes` resized as the inputs say.
pub(in crate::onnx::ops) fn resize(
    c: &mut Call<'_, '_>,
    x: Value,
    axes: &[usize],
    manner: &Manner,
    by_what: By,
) -> Result<Value> {
    let shape = c.ty(x).shape;
    let own: Vec<Dim> = axes.iter().map(|a| shape.dims()[*a].clone()).collect();
    let whole = extents(c, &own)?;
    let from = c.cast(whole, DType::F64)?;
    let (scales, to) = match by_what {
        By::Scales(i) => {
            let scales = floats(c, i)?;
            let wide = c.binary(B::Mul, from, scales)?;
            (scales, c.unary(U::Floor, wide)?)
        }
        By::Sizes(i, ratio) => {
            let (sizes, _) = list(c, i)?;
            let sizes = c.cast(sizes, DType::F64)?;
            let asked = c.binary(B::Div, sizes, from)?;
            let function = if ratio == Ratio::Least { R::Least } else { R::Most };
            if ratio == Ratio::Own {
                (asked, sizes)
            } else {
                let common = row(c, function, asked)?;
                let none = c.by(B::Mul, asked, 0.0)?;
                let scales = c.binary(B::Add, none, common)?;
                let wide = c.binary(B::Mul, from, scales)?;
                let wide = c.by(B::Add, wide, 0.5)?;
                (scales, c.unary(U::Floor, wide)?)
            }
        }
    };
    if c.ty(scales).shape.elements()? != Dim::from(axes.len() as u64) {
        return Err(c.refuse(format!("scales or sizes {} of {} axes", c.ty(scales).shape, axes.len())));
    }
    let dims = c.bind(to)?;
    let mut y = x;
    for (i, (axis, to_dim)) in axes.iter().zip(dims).enumerate() {
        let (scale, from) = (nth(c, scales, i)?, nth(c, from, i)?);
        let part = if manner.placing == Placing::TfCropAndResize { Some(part(c, i, axes.len(), from)?) } else { None };
        let wide = c.extent(&to_dim, DType::F64)?;
        let a = Axis { axis: *axis, to: to_dim, from, wide, scale, part };
        y = along(c, y, manner, &a)?;
    }
    Ok(y)
}

/// Where the part of axis `i` of `count` that input 1 keeps begins, and how much it is: of single precision, on which ties depend.
fn part(c: &mut Call<'_, '_>, i: usize, count: usize, from: Value) -> Result<(Value, Value)> {
    let roi = c.input(1)?;
    let roi = c.cast(roi, DType::F32)?;
    let (start, end) = (nth(c, roi, i)?, nth(c, roi, count + i)?);
    let low = c.by(B::Sub, from, 1.0)?;
    let low = c.cast(low, DType::F32)?;
    let (begin, kept) = (c.binary(B::Mul, start, low)?, c.binary(B::Sub, end, start)?);
    Ok((c.cast(begin, DType::F64)?, c.cast(kept, DType::F64)?))
}

/// Where the elements of the result lie among those of the input.
fn places(c: &mut Call<'_, '_>, placing: Placing, a: &Axis) -> Result<Value> {
    let i = c.counting(0, &a.to)?;
    let i = c.cast(i, DType::F64)?;
    let width = c.binary(B::Mul, a.scale, a.from)?;
    let single = number(c, 1.0)?;
    let single = c.binary(B::Equal, width, single)?;
    let middle = c.by(B::Add, i, 0.5)?;
    let centre = c.binary(B::Div, middle, a.scale)?;
    let half = c.by(B::Sub, centre, 0.5)?;
    let last = c.by(B::Sub, a.from, 1.0)?;
    let new_last = c.by(B::Sub, width, 1.0)?;
    Ok(match placing {
        Placing::HalfPixel => half,
        Placing::HalfPixelSymmetric => {
            let share = c.binary(B::Div, a.wide, width)?;
            let one = number(c, 1.0)?;
            let rest = c.binary(B::Sub, one, share)?;
            let shift = c.binary(B::Mul, rest, a.from)?;
            let shift = c.by(B::Div, shift, 2.0)?;
            c.binary(B::Add, half, shift)?
        }
        Placing::PytorchHalfPixel => {
            let before = number(c, -0.5)?;
            c.select(single, before, half)?
        }
        Placing::TfHalfPixelForNn => centre,
        Placing::AlignCorners => {
            let (scaled, zero) = (c.binary(B::Mul, i, last)?, number(c, 0.0)?);
            let place = c.binary(B::Div, scaled, new_last)?;
            c.select(single, zero, place)?
        }
        Placing::Asymmetric => c.binary(B::Div, i, a.scale)?,
        Placing::TfCropAndResize => {
            let (first, kept) = a.part.ok_or_else(|| c.refuse("no part to crop"))?;
            let span = c.binary(B::Mul, kept, last)?;
            let (middle, scaled) = (c.by(B::Div, span, 2.0)?, c.binary(B::Mul, i, span)?);
            let place = c.binary(B::Div, scaled, new_last)?;
            let own = c.select(single, middle, place)?;
            c.binary(B::Add, own, first)?
        }
    })
}

fn nearest(c: &mut Call<'_, '_>, rounding: Rounding, x: Value, scale: Value) -> Result<Value> {
    Ok(match rounding {
        Rounding::PreferFloor => {
            let x = c.by(B::Sub, x, 0.5)?;
            c.unary(U::Ceil, x)?
        }
        Rounding::PreferCeil => {
            let x = c.by(B::Add, x, 0.5)?;
            c.unary(U::Floor, x)?
        }
        Rounding::Ceil => c.unary(U::Ceil, x)?,
        Rounding::Floor => c.unary(U::Floor, x)?,
        Rounding::Outward => {
            let shrinks = c.by(B::Less, scale, 1.0)?;
            let (up, down) = (c.unary(U::Ceil, x)?, c.unary(U::Floor, x)?);
            c.select(shrinks, up, down)?
        }
    })
}

/// `x` as indices of an axis whose last one is `last`.
fn indices(c: &mut Call<'_, '_>, x: Value, last: Value) -> Result<Value> {
    let x = c.by(B::Max, x, 0.0)?;
    let x = c.binary(B::Min, x, last)?;
    c.cast(x, DType::I64)
}

fn along(c: &mut Call<'_, '_>, x: Value, manner: &Manner, a: &Axis) -> Result<Value> {
    let place = places(c, manner.placing, a)?;
    let last = c.by(B::Sub, a.from, 1.0)?;
    let y = match manner.kernel {
        Kernel::Nearest(rounding) => {
            let found = nearest(c, rounding, place, a.scale)?;
            let found = indices(c, found, last)?;
            c.add(Op::Gather(Gather { axis: a.axis }), &[x, found])?
        }
        Kernel::Linear => {
            let (at, t) = taps(c, manner, a, place, 1.0)?;
            let one = number(c, 1.0)?;
            let w = c.binary(B::Sub, one, t)?;
            let w = c.by(B::Max, w, 0.0)?;
            weighted(c, x, manner, a, at, w)?
        }
        Kernel::Cubic(slope) => {
            let (at, t) = taps(c, manner, a, place, 2.0)?;
            let w = keys(c, t, slope)?;
            weighted(c, x, manner, a, at, w)?
        }
    };
    if manner.placing != Placing::TfCropAndResize {
        return Ok(y);
    }
    let zero = number(c, 0.0)?;
    let (before, behind) = (c.binary(B::Less, place, zero)?, c.binary(B::Less, last, place)?);
    let outside = c.binary(B::Or, before, behind)?;
    let ty = c.ty(y);
    let dims = (0..ty.shape.rank()).map(|i| if i == a.axis { a.to.clone() } else { Dim::from(1) }).collect();
    let outside = c.reshape(outside, Shape(dims))?;
    let beyond = c.number(manner.beyond, ty.dtype)?;
    c.select(outside, beyond, y)
}

/// Which elements lie around each place, as floats, and how far from it: kernels reach `reach` on each side, wider where they
/// cover what a shorter axis leaves out.
fn taps(c: &mut Call<'_, '_>, manner: &Manner, a: &Axis, place: Value, reach: f64) -> Result<(Value, Value)> {
    let narrow = if manner.antialias { c.by(B::Min, a.scale, 1.0)? } else { number(c, 1.0)? };
    let minus = number(c, -reach)?;
    let first = c.binary(B::Div, minus, narrow)?;
    let first = c.unary(U::Floor, first)?;
    let first = c.by(B::Add, first, 1.0)?;
    let two = number(c, 2.0)?;
    let double = c.binary(B::Mul, first, two)?;
    let count = c.binary(B::Sub, two, double)?;
    let count = c.bind_one(count)?;
    let k = c.counting(0, &count)?;
    let k = c.cast(k, DType::F64)?;
    let k = c.binary(B::Add, k, first)?;
    let base = c.unary(U::Ceil, place)?;
    let base = c.by(B::Sub, base, 1.0)?;
    let (base, place) = (with_last(c, base)?, with_last(c, place)?);
    let at = c.binary(B::Add, base, k)?;
    let far = c.binary(B::Sub, at, place)?;
    let far = c.binary(B::Mul, far, narrow)?;
    Ok((at, c.unary(U::Abs, far)?))
}

/// Keys' cubic at distances `t`.
fn keys(c: &mut Call<'_, '_>, t: Value, slope: f64) -> Result<Value> {
    let polynomial = |c: &mut Call<'_, '_>, coefficients: [f64; 4]| {
        let mut sum = number(c, coefficients[0])?;
        for next in &coefficients[1..] {
            let product = c.binary(B::Mul, sum, t)?;
            sum = c.by(B::Add, product, *next)?;
        }
        Ok::<Value, actc_types::Diagnostic>(sum)
    };
    let near = polynomial(c, [slope + 2.0, -(slope + 3.0), 0.0, 1.0])?;
    let far = polynomial(c, [slope, -5.0 * slope, 8.0 * slope, -4.0 * slope])?;
    let (inner, outer) = (c.by(B::LessEqual, t, 1.0)?, c.by(B::Less, t, 2.0)?);
    let zero = number(c, 0.0)?;
    let far = c.select(outer, far, zero)?;
    c.select(inner, near, far)
}

/// Sums of the elements `at` with weights `w`, made to add up to one where some of them do not count.
fn weighted(c: &mut Call<'_, '_>, x: Value, manner: &Manner, a: &Axis, at: Value, w: Value) -> Result<Value> {
    let zero = number(c, 0.0)?;
    let mut w = w;
    if manner.exclude_outside {
        let (from, to) = (c.binary(B::LessEqual, zero, at)?, c.binary(B::Less, at, a.from)?);
        let inside = c.binary(B::And, from, to)?;
        w = c.select(inside, w, zero)?;
    }
    if manner.exclude_outside || manner.antialias {
        let sum = row(c, R::Sum, w)?;
        let sum = with_last(c, sum)?;
        let (none, one) = (c.binary(B::Equal, sum, zero)?, number(c, 1.0)?);
        let sum = c.select(none, one, sum)?;
        w = c.binary(B::Div, w, sum)?;
    }
    let last = c.by(B::Sub, a.from, 1.0)?;
    let at = indices(c, at, last)?;
    c.add(Op::Resample(Resample { axis: a.axis }), &[x, at, w])
}
