//! Pooling and what undoes it, local response normalisation, and regions of images.

use super::movement::{filled, product};
use super::reduce::{over, row};
use super::window::{Rest, Slide, computed_in, numbers, places, slide};
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, dimension};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::pool::{Fold, Pool, PoolFunction as P, Unpool};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::ops::regions::{RegionFunction, RegionPool};
use actc_ir::ops::shaping::{Concat, Slice};
use actc_ir::ops::window::Window;
use actc_ir::{Op, Value};
use actc_types::{DType, Diagnostic, Dim, Result, Shape, TensorData};

pub(super) const OPERATORS: &[Operator] = &[
    since("MaxPool", 1, most),
    since("AveragePool", 1, average),
    since("LpPool", 2, norm),
    since("GlobalLpPool", 2, global_norm),
    since("MaxUnpool", 9, unpool),
    since("Col2Im", 18, fold),
    since("LRN", 1, local_response),
    since("RoiAlign", 10, align),
    since("MaxRoiPool", 1, regions),
];

/// Windows of `x` by the attributes of the node.
fn windows(c: &mut Call<'_, '_>, x: Value) -> Result<Slide> {
    let places = places(c, x)?;
    let kernel = numbers(c, "kernel_shape", places.len(), 1, 0)?;
    if kernel.contains(&0) {
        return Err(c.refuse("`kernel_shape` is missing"));
    }
    let rest = if c.int("ceil_mode", 0)? != 0 { Rest::Window } else { Rest::Out };
    slide(c, &places, kernel, rest)
}

fn pool(c: &mut Call<'_, '_>, x: Value, function: P, slide: &Slide, p: u32) -> Result<Value> {
    let (window, behind, extents) = (slide.window.clone(), slide.behind.clone(), slide.extents.clone());
    c.add(Op::Pool(Pool { function, window, behind, p, extents }), &[x])
}

/// The places are computed where they are asked for.
fn most(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let (dtype, slide) = (c.ty(x).dtype, windows(c, x)?);
    let place = match c.int("storage_order", 0)? {
        0 => P::Place,
        1 => P::PlaceColumns,
        other => return Err(c.refuse(format!("`storage_order` is {other}, expected 0 or 1"))),
    };
    let x = if dtype.is_integer() {
        x
    } else {
        let wide = computed_in(c, x)?;
        c.cast(x, wide)?
    };
    let y = pool(c, x, P::Most, &slide, 0)?;
    let mut items = vec![Item::Value(c.cast(y, dtype)?)];
    if c.node.outputs.get(1).is_some_and(Option::is_some) {
        items.push(Item::Value(pool(c, x, place, &slide, 0)?));
    }
    Ok(items)
}

/// `function` of floats, in single precision where they have 16 bits.
fn of_floats(c: &mut Call<'_, '_>, function: P, p: u32) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let (dtype, wide, slide) = (c.ty(x).dtype, computed_in(c, x)?, windows(c, x)?);
    let x = c.cast(x, wide)?;
    let y = pool(c, x, function, &slide, p)?;
    one(c.cast(y, dtype)?)
}

fn average(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let function = if c.int("count_include_pad", 0)? != 0 { P::AveragePadded } else { P::Average };
    of_floats(c, function, 0)
}

fn power(c: &Call<'_, '_>) -> Result<u32> {
    let p = c.int("p", 2)?;
    u32::try_from(p).ok().filter(|p| (1..=1 << 20).contains(p)).ok_or_else(|| c.refuse(format!("`p` is {p}")))
}

fn norm(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let p = power(c)?;
    of_floats(c, P::Norm, p)
}

fn global_norm(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, p) = (c.input(0)?, power(c)?);
    let (dtype, wide, axes) = (c.ty(x).dtype, computed_in(c, x)?, places(c, x)?.len());
    let x = c.cast(x, wide)?;
    let size = c.unary(U::Abs, x)?;
    let (exponent, inverse) = (c.number(f64::from(p), wide)?, c.number(1.0 / f64::from(p), wide)?);
    let powers = c.binary(B::Pow, size, exponent)?;
    let sum = over(c, powers, &(2..2 + axes).collect::<Vec<_>>(), true, |c, x| row(c, R::Sum, x))?;
    let y = c.binary(B::Pow, sum, inverse)?;
    one(c.cast(y, dtype)?)
}

/// Places are those of the tensor that the attributes say; a larger one that is asked for has it in its first corner.
fn unpool(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let own = c.ty(x).shape;
    let axes = places(c, x)?.len();
    let kernel = numbers(c, "kernel_shape", axes, 1, 0)?;
    let (strides, pads) = (numbers(c, "strides", axes, 1, 1)?, numbers(c, "pads", 2 * axes, 0, 0)?);
    let mut shape = own.clone();
    for (axis, extent) in shape.0.iter_mut().skip(2).enumerate() {
        let [kernel, stride, front, back] =
            [kernel[axis], strides[axis], pads[axis], pads[axes + axis]].map(|n| n as i64);
        let scaled = extent.checked_mul(&Dim::from(strides[axis]));
        let whole = scaled.zip(dimension(kernel - stride - front - back)).and_then(|(a, b)| a.checked_add(&b));
        *extent = whole.ok_or_else(|| c.refuse("an extent exceeds 63 bits"))?;
    }
    let mut y = c.add(Op::Unpool(Unpool { shape: shape.clone() }), &[x, indices])?;
    if !c.has(2) {
        return one(y);
    }
    if !c.dims_known(2) {
        return one(super::dynamic::pad::enlarged(c, y, 2)?);
    }
    let wanted = c.dims(2)?;
    let larger = |(a, b): (&Dim, &Dim)| a == b || a.fixed().zip(b.fixed()).is_some_and(|(a, b)| a < b);
    if wanted.len() != shape.rank() || !shape.dims().iter().zip(&wanted).all(larger) {
        return Err(c.refuse(format!("an output of {}, which does not hold {shape}", Shape(wanted))));
    }
    let zero = TensorData::zeros(c.ty(y).dtype, 1);
    for (axis, wanted) in wanted.iter().enumerate() {
        let mut gap = c.ty(y).shape;
        if gap.dims()[axis] == *wanted {
            continue;
        }
        let more = wanted.checked_sub(&gap.dims()[axis]).unwrap_or_default();
        gap.0[axis] = more;
        let dims = gap.as_fixed().ok_or_else(|| c.refuse(format!("{gap} zeros are not fixed")))?;
        let zeros = filled(c, &zero, Shape::fixed(&dims))?;
        y = c.add(Op::Concat(Concat { axis }), &[y, zeros])?;
    }
    one(y)
}

fn fold(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    if !c.dims_known(1) || !c.ints_known(2) {
        return one(super::dynamic::fold::fold(c, x)?);
    }
    let (image, block) = (c.dims(1)?, c.ints(2)?);
    let kernel = block.iter().map(|n| u64::try_from(*n).ok().filter(|n| (1..=1 << 31).contains(n)));
    let kernel = kernel.collect::<Option<Vec<u64>>>().ok_or_else(|| c.refuse(format!("a block {block:?}")))?;
    let slide = slide(c, &image, kernel, Rest::Out)?;
    let dtype = c.ty(x).dtype;
    let wide = if dtype.is_integer() { dtype } else { computed_in(c, x)? };
    let x = c.cast(x, wide)?;
    let y = c.add(Op::Fold(Fold { window: slide.window, windows: slide.extents, extents: image }), &[x])?;
    one(c.cast(y, dtype)?)
}

/// Squares are averaged over channels: a window over them, places side by side.
fn local_response(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let (dtype, wide) = (c.ty(x).dtype, computed_in(c, x)?);
    let (alpha, beta, bias) = (c.float("alpha", 1e-4)?, c.float("beta", 0.75)?, c.float("bias", 1.0)?);
    let size = c.int("size", 0)?;
    let size = u64::try_from(size).ok().filter(|n| (1..=1 << 31).contains(n));
    let size = size.ok_or_else(|| c.refuse("`size` is no positive number"))?;
    let x = c.cast(x, wide)?;
    let shape = c.ty(x).shape;
    let [n, channels, places @ ..] = shape.dims() else { return Err(c.refuse(format!("{shape} has no channels"))) };
    let extents = vec![channels.clone(), product(c, places)?];
    let squares = c.binary(B::Mul, x, x)?;
    let flat = Shape([&[n.clone(), Dim::from(1)], &extents[..]].concat());
    let squares = c.reshape(squares, flat)?;
    let (front, behind) = ((size - 1) / 2, size / 2);
    let window = Window { kernel: vec![size, 1], strides: vec![1, 1], dilations: vec![1, 1], pads: vec![front, 0] };
    let slide = Slide { window, behind: vec![behind, 0], extents };
    let mean = pool(c, squares, P::AveragePadded, &slide, 0)?;
    let mean = c.reshape(mean, shape)?;
    let (alpha, beta, bias) = (c.number(alpha, wide)?, c.number(beta, wide)?, c.number(bias, wide)?);
    let scaled = c.binary(B::Mul, mean, alpha)?;
    let raised = c.binary(B::Add, scaled, bias)?;
    let divisor = c.binary(B::Pow, raised, beta)?;
    let y = c.binary(B::Div, x, divisor)?;
    one(c.cast(y, dtype)?)
}

/// The attribute `name` as a number of parts of a region.
fn parts(c: &Call<'_, '_>, n: i64) -> Result<u64> {
    u64::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| c.refuse(format!("a result of {n} rows or columns")))
}

/// Before version 16 regions are not shifted.
fn align(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, regions, images) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let function = match c.text("mode", "avg")? {
        "avg" => RegionFunction::Average,
        "max" => RegionFunction::Most,
        other => return Err(c.refuse(format!("`mode` is `{other}`, expected avg or max"))),
    };
    let default = if c.node.opset < 16 { "output_half_pixel" } else { "half_pixel" };
    let shift = match c.text("coordinate_transformation_mode", default)? {
        "half_pixel" => 0.5,
        "output_half_pixel" => 0.0,
        other => return Err(c.refuse(format!("`coordinate_transformation_mode` is `{other}`"))),
    };
    let samples = c.int("sampling_ratio", 0)?;
    let samples = u32::try_from(samples).map_err(|_| c.refuse(format!("`sampling_ratio` is {samples}")))?;
    let size = [parts(c, c.int("output_height", 1)?)?, parts(c, c.int("output_width", 1)?)?];
    let scale = c.optional_float("spatial_scale")?.unwrap_or(1.0);
    pooled(c, [x, regions, images], RegionPool { function, size, scale, shift, samples })
}

/// Regions name their image in front of their ends.
fn regions(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, regions) = (c.input(0)?, c.input(1)?);
    let Some(&[rows, cols]) = c.int_list("pooled_shape")?.as_deref() else {
        return Err(c.refuse("`pooled_shape` is not two extents"));
    };
    let size = [parts(c, rows)?, parts(c, cols)?];
    let scale = c.optional_float("spatial_scale")?.unwrap_or(1.0);
    let shape = c.ty(regions).shape;
    let Some([count, five]) = shape.dims().first_chunk().filter(|[_, five]| *five == Dim::from(5)) else {
        return Err(c.refuse(format!("regions are {shape}, expected 5 numbers for each")));
    };
    debug_assert!(five.fixed().is_some(), "it is 5");
    let cut = |c: &mut Call<'_, '_>, start: u64, len: u64| {
        c.add(Op::Slice(Slice { axis: 1, start: Dim::from(start), len: Dim::from(len) }), &[regions])
    };
    let (images, ends) = (cut(c, 0, 1)?, cut(c, 1, 4)?);
    let images = c.cast(images, DType::I64)?;
    let images = c.reshape(images, Shape(vec![count.clone()]))?;
    let function = RegionFunction::Whole;
    pooled(c, [x, ends, images], RegionPool { function, size, scale, shift: 0.0, samples: 0 })
}

fn pooled(c: &mut Call<'_, '_>, [x, regions, images]: [Value; 3], pool: RegionPool) -> Result<Vec<Item>> {
    let (dtype, wide) = (c.ty(x).dtype, computed_in(c, x)?);
    if c.ty(images).dtype != DType::I64 {
        return Err(Diagnostic::new("onnx-type", format!("images are {}, expected i64", c.ty(images).dtype)));
    }
    let (x, regions) = (c.cast(x, wide)?, c.cast(regions, wide)?);
    let y = c.add(Op::RegionPool(pool), &[x, regions, images])?;
    one(c.cast(y, dtype)?)
}
