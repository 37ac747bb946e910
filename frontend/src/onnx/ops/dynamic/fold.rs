//! Windows put back where they lie in an image, extents of which are known only when the model runs.

use super::{list, scalar};
use crate::onnx::import::Call;
use crate::onnx::ops::indexing::counting;
use crate::onnx::ops::indexing::expanded;
use crate::onnx::ops::movement::{ordered, product, run};
use crate::onnx::ops::window::numbers;
use actc_ir::ops::places::ScatterNd;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

/// An axis of the image on its way: extents of the image, the window, and the number of windows, and how these lie.
struct Axis {
    extent: Dim,
    kernel: Dim,
    windows: Dim,
    stride: u64,
    dilation: u64,
    front: u64,
}

fn by(c: &mut Call<'_, '_>, function: B, x: Value, n: u64) -> Result<Value> {
    let n = scalar(c, i64::try_from(n).map_err(|_| c.refuse(format!("a step of {n}")))?)?;
    c.binary(function, x, n)
}

fn axes(c: &mut Call<'_, '_>) -> Result<Vec<Axis>> {
    let ((image, count), (kernel, kernels)) = (list(c, 1)?, list(c, 2)?);
    if count == 0 || kernels != count {
        return Err(c.refuse(format!("a block of {kernels} axes over an image of {count}")));
    }
    let (strides, dilations) = (numbers(c, "strides", count, 1, 1)?, numbers(c, "dilations", count, 1, 1)?);
    let pads = numbers(c, "pads", 2 * count, 0, 0)?;
    let (image, kernel) = (c.bind(image)?, c.bind(kernel)?);
    let mut axes = Vec::with_capacity(count);
    for i in 0..count {
        let (own, taps) = (c.extent(&image[i], DType::I64)?, c.extent(&kernel[i], DType::I64)?);
        let room = by(c, B::Add, own, pads[i] + pads[count + i])?;
        let taps = by(c, B::Sub, taps, 1)?;
        let reach = by(c, B::Mul, taps, dilations[i])?;
        let room = c.binary(B::Sub, room, reach)?;
        // Of n places windows of one begin at each; a negative count is an error.
        let room = by(c, B::Add, room, strides[i] - 1)?;
        let windows = by(c, B::Div, room, strides[i])?;
        axes.push(Axis {
            extent: image[i].clone(),
            kernel: kernel[i].clone(),
            windows: c.bind_one(windows)?,
            stride: strides[i],
            dilation: dilations[i],
            front: pads[i],
        });
    }
    Ok(axes)
}

/// The sum of what the windows `x [N, C * taps, windows]` have for each place of the image of input 1, blocks being those of
/// input 2.
pub(in crate::onnx::ops) fn fold(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let axes = axes(c)?;
    let n = axes.len();
    let ty = c.ty(x);
    let [batch, columns, _] = ty.shape.dims() else { return Err(c.refuse(format!("{} are no columns", ty.shape))) };
    let of = |f: fn(&Axis) -> &Dim| axes.iter().map(f).cloned().collect::<Vec<Dim>>();
    let (image, kernel, windows) = (of(|a| &a.extent), of(|a| &a.kernel), of(|a| &a.windows));
    let (places, taps, count) = (product(c, &image)?, product(c, &kernel)?, product(c, &windows)?);

    // Where each tap of each window lies; what lies in the padding goes behind the image.
    let beyond = c.extent(&places, DType::I64)?;
    let zero = scalar(c, 0)?;
    let (mut at, mut outside) = (zero, None);
    for (i, axis) in axes.iter().enumerate() {
        let (tap, window) = (counting(c, &axis.kernel, i, 2 * n)?, counting(c, &axis.windows, n + i, 2 * n)?);
        let (tap, window) = (by(c, B::Mul, tap, axis.dilation)?, by(c, B::Mul, window, axis.stride)?);
        let place = c.binary(B::Add, tap, window)?;
        let place = by(c, B::Sub, place, axis.front)?;
        let extent = c.extent(&axis.extent, DType::I64)?;
        let (early, late) = (c.binary(B::Less, place, zero)?, c.binary(B::LessEqual, extent, place)?);
        let out = c.binary(B::Or, early, late)?;
        outside = Some(match outside {
            Some(others) => c.binary(B::Or, others, out)?,
            None => out,
        });
        let rows = c.binary(B::Mul, at, extent)?;
        at = c.binary(B::Add, rows, place)?;
    }
    let at = match outside {
        Some(outside) => c.select(outside, beyond, at)?,
        None => at,
    };
    let all = product(c, &[taps.clone(), count.clone()])?;
    let at = c.reshape(at, Shape(vec![all.clone(), Dim::from(1)]))?;

    let whole = c.extent(columns, DType::I64)?;
    let each = c.extent(&taps, DType::I64)?;
    let channels = c.binary(B::Div, whole, each)?;
    let channels = c.bind_one(channels)?;
    let y = c.reshape(x, Shape(vec![batch.clone(), channels.clone(), taps, count]))?;
    let y = ordered(c, y, vec![2, 3, 0, 1])?;
    let width = product(c, &[batch.clone(), channels.clone()])?;
    let y = c.reshape(y, Shape(vec![all, width.clone()]))?;
    let rows = places.checked_add(&Dim::from(1)).ok_or_else(|| c.refuse("an image exceeds 63 bits"))?;
    let none = c.number(0.0, ty.dtype)?;
    let none = expanded(c, none, Shape(vec![rows, width]))?;
    let y = c.add(Op::ScatterNd(ScatterNd { reduce: Some(B::Add) }), &[none, at, y])?;
    let y = run(c, y, 0, Dim::from(0), places)?;
    let y = ordered(c, y, vec![1, 0])?;
    c.reshape(y, Shape([&[batch.clone(), channels], &image[..]].concat()))
}
