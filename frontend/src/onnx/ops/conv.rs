//! Convolutions: of floats, of integers, transposed, and with moved taps.

use super::quantise::rounded;
use super::window::{AutoPad, Rest, Same, auto_pad, computed_in, numbers, places, reach, slide};
use super::{Operator, microsoft, one, since};
use crate::onnx::import::{Call, Item, dimension, number};
use actc_ir::ops::conv::{Conv, ConvInteger, ConvTranspose, Geometry};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::regions::DeformConv;
use actc_ir::ops::window::Window;
use actc_ir::{Op, Value};
use actc_types::{DType, Diagnostic, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("Conv", 1, conv),
    since("ConvTranspose", 1, transposed),
    since("ConvInteger", 10, integer),
    since("QLinearConv", 10, quantised),
    since("DeformConv", 19, deformed),
    microsoft("FusedConv", fused),
];

/// The extents of the kernel of weights `w`, which the attribute `kernel_shape` may repeat.
fn kernel(c: &Call<'_, '_>, w: Value) -> Result<Vec<u64>> {
    let shape = c.ty(w).shape;
    let own = shape.dims().get(2..).unwrap_or_default();
    let own = own.iter().map(Dim::fixed).collect::<Option<Vec<u64>>>();
    let own = own.ok_or_else(|| Diagnostic::new("onnx-data-dependent", format!("a kernel {shape}")))?;
    let stated = numbers(c, "kernel_shape", own.len(), 1, 0)?;
    if stated.iter().any(|n| *n > 0) && stated != own {
        return Err(c.refuse(format!("`kernel_shape` is {stated:?}, the weights are {shape}")));
    }
    Ok(own)
}

fn groups(c: &Call<'_, '_>, name: &str) -> Result<u64> {
    let groups = c.int(name, 1)?;
    u64::try_from(groups).ok().filter(|g| *g > 0).ok_or_else(|| c.refuse(format!("`{name}` is {groups}")))
}

/// How a convolution of input `x` by weights `w` is made.
fn geometry(c: &mut Call<'_, '_>, x: Value, w: Value) -> Result<Geometry> {
    let (places, kernel) = (places(c, x)?, kernel(c, w)?);
    let slide = slide(c, &places, kernel, Rest::Out)?;
    Ok(Geometry { window: slide.window, groups: groups(c, "group")?, extents: slide.extents })
}

/// `x` with as many channels as the weights `w` of so many groups read, which is seen when it runs where it is not known.
fn channelled(c: &mut Call<'_, '_>, x: Value, w: Value, groups: u64) -> Result<Value> {
    let mut shape = c.ty(x).shape;
    let wanted = c.ty(w).shape.dims().get(1).and_then(|d| d.checked_mul(&Dim::from(groups)));
    if let (Some(channels), Some(wanted)) = (shape.0.get_mut(1), wanted)
        && channels.fixed().is_none()
    {
        *channels = wanted;
    }
    c.expect(x, shape)
}

/// Inputs `of`, those of them that are given, in the floats that windows are computed in.
fn floats(c: &mut Call<'_, '_>, of: &[usize]) -> Result<(DType, Vec<Value>)> {
    let x = c.input(0)?;
    let (dtype, wide) = (c.ty(x).dtype, computed_in(c, x)?);
    let mut args = Vec::new();
    for i in of.iter().filter(|i| c.has(**i)).collect::<Vec<_>>() {
        let value = c.input(*i)?;
        if c.ty(value).dtype != dtype {
            return Err(c.refuse(format!("input {i} is {}, expected {dtype}", c.ty(value).dtype)));
        }
        args.push(c.cast(value, wide)?);
    }
    Ok((dtype, args))
}

fn conv(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (dtype, mut args) = floats(c, &[0, 1, 2])?;
    let [x, w, ..] = args[..] else { return Err(c.refuse("weights are missing")) };
    let geometry = geometry(c, x, w)?;
    args[0] = channelled(c, x, w, geometry.groups)?;
    let y = c.add(Op::Conv(Conv(geometry)), &args)?;
    one(c.cast(y, dtype)?)
}

/// Convolution, then the sum with a fourth input, then an activation.
fn fused(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (dtype, mut args) = floats(c, &[0, 1, 2])?;
    let [x, w, ..] = args[..] else { return Err(c.refuse("weights are missing")) };
    let geometry = geometry(c, x, w)?;
    args[0] = channelled(c, x, w, geometry.groups)?;
    let mut y = c.add(Op::Conv(Conv(geometry)), &args)?;
    let wide = c.ty(y).dtype;
    if c.has(3) {
        let other = c.input(3)?;
        let other = c.cast(other, wide)?;
        y = c.binary(B::Add, y, other)?;
    }
    let given = c.float_list("activation_params")?.unwrap_or_default();
    let parameter =
        |c: &mut Call<'_, '_>, i: usize, default: f64| c.number(given.get(i).map_or(default, |p| f64::from(*p)), wide);
    let y = match c.text("activation", "")? {
        "" => y,
        "Relu" => c.unary(U::Relu, y)?,
        "Tanh" => c.unary(U::Tanh, y)?,
        "Sigmoid" => c.unary(U::Sigmoid, y)?,
        "LeakyRelu" => {
            let (zero, alpha) = (c.number(0.0, wide)?, parameter(c, 0, 0.01)?);
            let (above, below) = (c.binary(B::Max, y, zero)?, c.binary(B::Min, y, zero)?);
            let below = c.binary(B::Mul, below, alpha)?;
            c.binary(B::Add, above, below)?
        }
        "Clip" => {
            let (low, high) = (parameter(c, 0, f64::from(f32::MIN))?, parameter(c, 1, f64::from(f32::MAX))?);
            let y = c.binary(B::Max, y, low)?;
            c.binary(B::Min, y, high)?
        }
        "HardSigmoid" => {
            let (slope, shift) = (parameter(c, 0, 0.2)?, parameter(c, 1, 0.5)?);
            let (zero, full) = (c.number(0.0, wide)?, c.number(1.0, wide)?);
            let y = c.binary(B::Mul, y, slope)?;
            let y = c.binary(B::Add, y, shift)?;
            let y = c.binary(B::Max, y, zero)?;
            c.binary(B::Min, y, full)?
        }
        other => return Err(c.refuse(format!("the activation `{other}` is not supported"))),
    };
    one(c.cast(y, dtype)?)
}

/// The extent of the result is that of all windows less the padding, or stated, and the padding follows from it.
fn transposed(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (dtype, args) = floats(c, &[0, 1, 2])?;
    let [x, w, ..] = args[..] else { return Err(c.refuse("weights are missing")) };
    if dtype == DType::F64 {
        return Err(c.refuse("a transposed convolution of f64 is not supported"));
    }
    let (image, kernel) = (places(c, x)?, kernel(c, w)?);
    let axes = image.len();
    if kernel.len() != axes {
        return Err(c.refuse(format!("a kernel {kernel:?} over {axes} axes")));
    }
    let (strides, dilations) = (numbers(c, "strides", axes, 1, 1)?, numbers(c, "dilations", axes, 1, 1)?);
    let added = numbers(c, "output_padding", axes, 0, 0)?;
    let stated = c.int_list("output_shape")?.filter(|l| !l.is_empty());
    if stated.as_ref().is_some_and(|l| l.len() != axes || l.iter().any(|n| *n < 0)) {
        return Err(c.refuse(format!("`output_shape` is {stated:?}, expected {axes} extents")));
    }
    let auto = auto_pad(c, axes)?;
    let overflow = || Diagnostic::new("dim-overflow", "an extent exceeds 63 bits");
    let (mut pads, mut extents) = (Vec::new(), Vec::new());
    for axis in 0..axes {
        let stride = Dim::from(strides[axis]);
        // All windows, side by side.
        let more = reach(kernel[axis], dilations[axis]) + i128::from(added[axis]) - i128::from(strides[axis]);
        let more = i64::try_from(more).ok().and_then(dimension).ok_or_else(overflow)?;
        let scaled = image[axis].checked_mul(&stride).ok_or_else(overflow)?;
        let full = scaled.checked_add(&more).ok_or_else(overflow)?;
        let (extent, same) = match (&stated, &auto) {
            (Some(list), AutoPad::Stated(_)) => (Dim::from(list[axis].unsigned_abs()), Same::Lower),
            (Some(list), AutoPad::Same(same)) => (Dim::from(list[axis].unsigned_abs()), *same),
            (None, AutoPad::Same(same)) => (scaled, *same),
            (None, AutoPad::Stated(given)) => {
                let total = dimension((given[axis] + given[axes + axis]) as i64).ok_or_else(overflow)?;
                let extent = full.checked_sub(&total).ok_or_else(overflow)?;
                if number(&extent).is_some_and(|n| n < 0) {
                    return Err(c.refuse(format!("padding {total} of {full} elements")));
                }
                pads.push(given[axis]);
                extents.push(extent);
                continue;
            }
        };
        let total = full.checked_sub(&extent).as_ref().and_then(number).ok_or_else(|| {
            Diagnostic::new("onnx-data-dependent", format!("the padding of {full} elements to {extent}"))
        })?;
        pads.push(same.split(total.max(0).unsigned_abs()).0);
        extents.push(extent);
    }
    let window = Window { kernel, strides, dilations, pads };
    let geometry = Geometry { window, groups: groups(c, "group")?, extents };
    let y = c.add(Op::ConvTranspose(ConvTranspose(geometry)), &args)?;
    one(c.cast(y, dtype)?)
}

/// Input `i`, a zero point, 0 where it is not given; of one element it has no axis.
fn zero_point(c: &mut Call<'_, '_>, i: usize, dtype: DType) -> Result<Value> {
    if !c.has(i) {
        return c.number(0.0, dtype);
    }
    let zero = c.input(i)?;
    if c.ty(zero).shape.elements()? == Dim::from(1) { c.reshape(zero, Shape(Vec::new())) } else { Ok(zero) }
}

/// Inputs `x`, `w` and their zero points as `i32`.
fn integers(c: &mut Call<'_, '_>, [x, x_zero, w, w_zero]: [usize; 4]) -> Result<Value> {
    let (x, w) = (c.input(x)?, c.input(w)?);
    let x_zero = zero_point(c, x_zero, c.ty(x).dtype)?;
    let w_zero = zero_point(c, w_zero, c.ty(w).dtype)?;
    let geometry = geometry(c, x, w)?;
    c.add(Op::ConvInteger(ConvInteger(geometry)), &[x, w, x_zero, w_zero])
}

fn integer(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    one(integers(c, [0, 2, 1, 3])?)
}

/// A number or a vector of channels as a tensor that repeats over the other axes of `rank`.
fn per_channel(c: &mut Call<'_, '_>, v: Value, rank: usize) -> Result<Value> {
    let count = c.ty(v).shape.elements()?;
    let dims = (0..rank).map(|i| if i == 1 { count.clone() } else { Dim::from(1) }).collect();
    c.reshape(v, Shape(dims))
}

/// Integers and their scales in, integers of the output's scale out.
fn quantised(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let mut y = integers(c, [0, 2, 3, 5])?;
    let rank = c.ty(y).shape.rank();
    if c.has(8) {
        let bias = c.input(8)?;
        let bias = per_channel(c, bias, rank)?;
        y = c.binary(B::Add, y, bias)?;
    }
    let [mut x_scale, mut w_scale, mut y_scale, mut y_zero] = [y; 4];
    for (i, slot) in [(1, &mut x_scale), (4, &mut w_scale), (6, &mut y_scale), (7, &mut y_zero)] {
        let value = c.input(i)?;
        *slot = per_channel(c, value, rank)?;
    }
    let scale = c.binary(B::Mul, x_scale, w_scale)?;
    let scale = c.binary(B::Div, y_scale, scale)?;
    let y = c.cast(y, DType::F32)?;
    let to = c.ty(y_zero).dtype;
    one(rounded(c, y, scale, Some(y_zero), to)?)
}

fn deformed(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (dtype, args) = floats(c, &[0, 1, 2])?;
    let [x, w, offsets] = args[..] else { return Err(c.refuse("weights or offsets are missing")) };
    let image = places(c, x)?;
    if dtype == DType::F64 || image.len() != 2 {
        return Err(
            c.refuse(format!("a convolution with moved taps of {dtype} over {} axes is not supported", image.len()))
        );
    }
    let slide = slide(c, &image, kernel(c, w)?, Rest::Out)?;
    if c.ty(offsets).shape.dims().get(2..) != Some(&slide.extents[..]) {
        let wanted = Shape(slide.extents);
        return Err(c.refuse(format!("offsets are {}, expected windows {wanted}", c.ty(offsets).shape)));
    }
    let groups = (groups(c, "group")?, groups(c, "offset_group")?);
    let deform = DeformConv { window: slide.window, groups: groups.0, offset_groups: groups.1 };
    let mut args = args;
    let wide = c.ty(x).dtype;
    if c.has(4) {
        let mask = c.input(4)?;
        args.push(c.cast(mask, wide)?);
    }
    let mut y = c.add(Op::DeformConv(deform), &args)?;
    if c.has(3) {
        let bias = c.input(3)?;
        let bias = c.cast(bias, wide)?;
        let bias = per_channel(c, bias, 4)?;
        y = c.binary(B::Add, y, bias)?;
    }
    one(c.cast(y, dtype)?)
}
