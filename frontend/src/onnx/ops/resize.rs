//! `Resize` and `Upsample`: axes made longer or shorter, one after the other.
//!
//! Which elements each one of the result is made of, and with what weights, is computed here: the graph holds it as constants.
//! An axis of an extent that is not fixed can be repeated a whole number of times.

use super::dynamic::resize::{By, Ratio};
use super::indexing::{LONGEST, expanded};
use super::movement::product;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, quotient};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::UnaryFunction as U;
use actc_ir::ops::sampling::Resample;
use actc_ir::{Op, Value};
use actc_types::sampling::cubic;
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};

pub(super) const OPERATORS: &[Operator] = &[since("Resize", 10, resize), since("Upsample", 7, upsample)];

/// Where an element of the result lies among those of the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Placing {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    TfHalfPixelForNn,
    AlignCorners,
    Asymmetric,
    TfCropAndResize,
}

/// Which element is the nearest to a place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rounding {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// Down where the axis grows, up where it shrinks: the rule before version 11.
    Outward,
}

/// What an element of the result is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kernel {
    Nearest(Rounding),
    Linear,
    /// With the slope of the cubic.
    Cubic(f64),
}

/// How axes are resized.
pub(super) struct Manner {
    pub(super) placing: Placing,
    pub(super) kernel: Kernel,
    /// Whether kernels are as wide as what an element of a shorter axis stands for.
    pub(super) antialias: bool,
    /// Whether what lies outside has no weight.
    pub(super) exclude_outside: bool,
    /// What stands where nothing is, with [`Placing::TfCropAndResize`].
    pub(super) beyond: f64,
}

/// An axis that is resized.
struct Axis {
    axis: usize,
    from: Dim,
    to: Dim,
    scale: f64,
    /// The part of the axis that is kept, from 0 to 1.
    part: (f64, f64),
}

fn placing(c: &Call<'_, '_>) -> Result<Placing> {
    match c.text("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => Ok(Placing::HalfPixel),
        "half_pixel_symmetric" => Ok(Placing::HalfPixelSymmetric),
        "pytorch_half_pixel" => Ok(Placing::PytorchHalfPixel),
        "tf_half_pixel_for_nn" => Ok(Placing::TfHalfPixelForNn),
        "align_corners" => Ok(Placing::AlignCorners),
        "asymmetric" => Ok(Placing::Asymmetric),
        "tf_crop_and_resize" => Ok(Placing::TfCropAndResize),
        other => Err(c.refuse(format!("`coordinate_transformation_mode` is `{other}`"))),
    }
}

fn rounding(c: &Call<'_, '_>) -> Result<Rounding> {
    match c.text("nearest_mode", "round_prefer_floor")? {
        "round_prefer_floor" => Ok(Rounding::PreferFloor),
        "round_prefer_ceil" => Ok(Rounding::PreferCeil),
        "floor" => Ok(Rounding::Floor),
        "ceil" => Ok(Rounding::Ceil),
        other => Err(c.refuse(format!("`nearest_mode` is `{other}`"))),
    }
}

fn manner(c: &Call<'_, '_>) -> Result<Manner> {
    let (placing, rounding) = (placing(c)?, rounding(c)?);
    let slope = c.float("cubic_coeff_a", -0.75)?;
    let kernel = match c.text("mode", "nearest")? {
        "nearest" => Kernel::Nearest(rounding),
        "linear" => Kernel::Linear,
        "cubic" => Kernel::Cubic(slope),
        other => return Err(c.refuse(format!("`mode` is `{other}`, expected `nearest`, `linear` or `cubic`"))),
    };
    let antialias = c.int("antialias", 0)? != 0;
    if antialias && matches!(kernel, Kernel::Nearest(_)) {
        return Err(c.refuse("`antialias` of the nearest elements"));
    }
    let (exclude_outside, beyond) = (c.int("exclude_outside", 0)? != 0, c.float("extrapolation_value", 0.0)?);
    Ok(Manner { placing, kernel, antialias, exclude_outside, beyond })
}

/// The numbers of input `i`, where there are some; an error where they are known only when the model runs.
fn numbers(c: &mut Call<'_, '_>, i: usize) -> Result<Option<Vec<f64>>> {
    if !c.has(i) {
        return Ok(None);
    }
    let known = c.known(i)?.ok_or_else(|| {
        let headline = format!("input {i} says a scale that is known only when the model runs");
        Diagnostic::new("onnx-data-dependent", headline)
    })?;
    Ok(Some(known.data().to_f64()).filter(|n| !n.is_empty()))
}

fn resize(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let old = c.node.opset < 11;
    let x = c.input(0)?;
    let shape = c.ty(x).shape;
    let manner = if old { before_11(c)? } else { manner(c)? };
    let named = c.int_list("axes")?;
    let axes = match &named {
        Some(axes) => axes.iter().map(|a| c.axis(*a, shape.rank(), false)).collect::<Result<Vec<usize>>>()?,
        None => (0..shape.rank()).collect(),
    };
    let policy = c.text("keep_aspect_ratio_policy", "stretch")?;
    let scaled = if old { 1 } else { 2 };
    if !is_known(c, &shape, &axes, &manner, scaled)? {
        let by = if some(c, scaled)? { By::Scales(scaled) } else { By::Sizes(3, ratio(c, policy)?) };
        return one(computed(c, x, &manner, |c, x| super::dynamic::resize::resize(c, x, &axes, &manner, by))?);
    }
    let scales = numbers(c, scaled)?;
    let mut list = match scales {
        Some(scales) => by_scales(c, &shape, &axes, &scales)?,
        None if c.has(3) => {
            let sizes = c.dims(3)?;
            by_sizes(c, &shape, &axes, &sizes, policy)?
        }
        None => return Err(c.refuse("it has neither scales nor sizes")),
    };
    if manner.placing == Placing::TfCropAndResize {
        let parts = numbers(c, 1)?.filter(|p| p.len() == 2 * axes.len());
        let parts = parts.ok_or_else(|| c.refuse(format!("no part of {} axes to crop", axes.len())))?;
        list.iter_mut().enumerate().for_each(|(i, a)| a.part = (parts[i], parts[axes.len() + i]));
    }
    one(resized(c, x, &manner, &list)?)
}

/// Whether input `i` is there and has elements.
fn some(c: &mut Call<'_, '_>, i: usize) -> Result<bool> {
    if !c.has(i) {
        return Ok(false);
    }
    let x = c.input(i)?;
    Ok(c.ty(x).shape.elements()? != Dim::from(0))
}

fn ratio(c: &Call<'_, '_>, policy: &str) -> Result<Ratio> {
    match policy {
        "stretch" => Ok(Ratio::Own),
        "not_larger" => Ok(Ratio::Least),
        "not_smaller" => Ok(Ratio::Most),
        other => Err(c.refuse(format!("`keep_aspect_ratio_policy` is `{other}`"))),
    }
}

/// Whether everything is known when the model is compiled, but for axes that are repeated as a whole. Input `scaled` has the
/// scales.
fn is_known(c: &mut Call<'_, '_>, shape: &Shape, axes: &[usize], manner: &Manner, scaled: usize) -> Result<bool> {
    let crops = manner.placing == Placing::TfCropAndResize;
    if crops && c.known(1)?.is_none() || some(c, scaled)? && c.known(scaled)?.is_none() {
        return Ok(false);
    }
    let scales = if some(c, scaled)? { numbers(c, scaled)? } else { None };
    if scales.is_none() && !(c.has(3) && c.dims_known(3)) {
        return Ok(false);
    }
    let sizes = if scales.is_none() { c.dims(3)? } else { Vec::new() };
    let kept = |(i, axis): (usize, &usize)| {
        let from = &shape.dims()[*axis];
        let scale = match (&scales, sizes.get(i)) {
            (Some(scales), _) => scales.get(i).copied(),
            (None, Some(to)) => match (from.fixed(), to.fixed()) {
                (Some(_), Some(_)) => return true,
                (_, _) => quotient(to, from).and_then(|n| n.fixed()).map(|n| n as f64),
            },
            (None, None) => return true,
        };
        from.fixed().is_some() || scale.is_some_and(|s| s == 1.0 || s.fract() == 0.0 && repeats(manner))
    };
    Ok(axes.iter().enumerate().all(kept))
}

/// The one form of versions 7 to 10.
fn before_11(c: &Call<'_, '_>) -> Result<Manner> {
    let kernel = match c.text("mode", "nearest")? {
        "nearest" => Kernel::Nearest(Rounding::Outward),
        "linear" | "bilinear" => Kernel::Linear,
        other => return Err(c.refuse(format!("`mode` is `{other}`, expected `nearest` or `linear`"))),
    };
    let placing = Placing::Asymmetric;
    Ok(Manner { placing, kernel, antialias: false, exclude_outside: false, beyond: 0.0 })
}

/// Scales are an attribute up to version 8, an input from then on.
fn upsample(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let shape = c.ty(x).shape;
    let manner = before_11(c)?;
    if c.node.opset >= 9 && c.has(1) && c.known(1)?.is_none() {
        let axes: Vec<usize> = (0..shape.rank()).collect();
        return one(computed(c, x, &manner, |c, x| {
            super::dynamic::resize::resize(c, x, &axes, &manner, By::Scales(1))
        })?);
    }
    let scales = if c.node.opset < 9 {
        c.float_list("scales")?.map(|s| s.iter().copied().map(f64::from).collect())
    } else {
        numbers(c, 1)?
    };
    let scales: Vec<f64> = scales.ok_or_else(|| c.refuse("it has no scales"))?;
    let axes: Vec<usize> = (0..shape.rank()).collect();
    let list = by_scales(c, &shape, &axes, &scales)?;
    one(resized(c, x, &manner, &list)?)
}

fn by_scales(c: &Call<'_, '_>, shape: &Shape, axes: &[usize], scales: &[f64]) -> Result<Vec<Axis>> {
    if scales.len() != axes.len() {
        return Err(c.refuse(format!("{} scales of {} axes", scales.len(), axes.len())));
    }
    let axis = |(axis, scale): (&usize, &f64)| {
        let from = shape.dims()[*axis].clone();
        let refuse = || c.refuse(format!("a scale of {scale} of an axis of {from}"));
        if !(*scale > 0.0 && *scale <= LONGEST as f64) {
            return Err(refuse());
        }
        let whole = *scale as u64;
        let to = match from.fixed() {
            _ if *scale == 1.0 => Some(from.clone()),
            Some(n) => Some((n as f64 * scale).floor()).filter(|n| *n <= LONGEST as f64).map(|n| Dim::from(n as u64)),
            None if *scale == whole as f64 => from.checked_mul(&Dim::from(whole)),
            None => None,
        };
        let to = to.ok_or_else(refuse)?;
        Ok(Axis { axis: *axis, from, to, scale: *scale, part: (0.0, 1.0) })
    };
    axes.iter().zip(scales).map(axis).collect()
}

fn by_sizes(c: &Call<'_, '_>, shape: &Shape, axes: &[usize], sizes: &[Dim], policy: &str) -> Result<Vec<Axis>> {
    if sizes.len() != axes.len() {
        return Err(c.refuse(format!("{} sizes of {} axes", sizes.len(), axes.len())));
    }
    let axis = |(axis, to): (&usize, &Dim)| {
        let from = shape.dims()[*axis].clone();
        let scale = match (from.fixed(), to.fixed()) {
            (Some(from), Some(to)) if from > 0 => Some(to as f64 / from as f64),
            (Some(_), Some(_)) => None,
            _ => quotient(to, &from).and_then(|n| n.fixed()).map(|n| n as f64),
        };
        let scale = scale.ok_or_else(|| c.refuse(format!("an axis of {from} elements made {to}")))?;
        Ok(Axis { axis: *axis, from, to: to.clone(), scale, part: (0.0, 1.0) })
    };
    let mut list = axes.iter().zip(sizes).map(axis).collect::<Result<Vec<Axis>>>()?;
    let common = match policy {
        "stretch" => return Ok(list),
        "not_larger" => list.iter().map(|a| a.scale).fold(f64::INFINITY, f64::min),
        "not_smaller" => list.iter().map(|a| a.scale).fold(0.0, f64::max),
        other => return Err(c.refuse(format!("`keep_aspect_ratio_policy` is `{other}`"))),
    };
    for axis in &mut list {
        let from = axis.from.fixed().ok_or_else(|| c.refuse(format!("the aspect ratio of {shape}")))?;
        axis.scale = common;
        let to = Some((common * from as f64 + 0.5).floor()).filter(|n| *n <= LONGEST as f64);
        axis.to = Dim::from(to.ok_or_else(|| c.refuse(format!("a scale of {common} of {from} elements")))? as u64);
    }
    Ok(list)
}

/// `x` with the axes of `list` resized.
fn resized(c: &mut Call<'_, '_>, x: Value, manner: &Manner, list: &[Axis]) -> Result<Value> {
    let changed = |a: &&Axis| a.from != a.to || a.scale != 1.0 || a.part != (0.0, 1.0);
    let list: Vec<&Axis> = list.iter().filter(changed).collect();
    if list.is_empty() {
        return Ok(x);
    }
    computed(c, x, manner, |c, x| list.iter().try_fold(x, |y, axis| along(c, y, manner, axis)))
}

/// `make` of `x`; integers are computed in floats and rounded, ties to even.
fn computed(
    c: &mut Call<'_, '_>,
    x: Value,
    manner: &Manner,
    make: impl FnOnce(&mut Call<'_, '_>, Value) -> Result<Value>,
) -> Result<Value> {
    let dtype = c.ty(x).dtype;
    let wide = match (manner.kernel, dtype) {
        (_, DType::F32 | DType::F64) | (Kernel::Nearest(_), _) => dtype,
        (_, DType::F16 | DType::Bf16 | DType::U8 | DType::I8 | DType::U16 | DType::I16) => DType::F32,
        (_, DType::I32 | DType::U32 | DType::I64 | DType::U64) => DType::F64,
        (_, DType::Bool | DType::Narrow(_)) => return Err(c.refuse(format!("elements of {dtype} between others"))),
    };
    let x = c.cast(x, wide)?;
    let mut y = make(c, x)?;
    if wide != dtype && !dtype.is_float() {
        y = c.unary(U::Round, y)?;
    }
    c.cast(y, dtype)
}

fn along(c: &mut Call<'_, '_>, x: Value, manner: &Manner, a: &Axis) -> Result<Value> {
    let (Some(from), Some(to)) = (a.from.fixed(), a.to.fixed()) else { return repeated(c, x, manner, a) };
    if from == 0 || from.max(to) > LONGEST {
        return Err(c.refuse(format!("an axis of {from} elements made {to}")));
    }
    let places: Vec<f64> = (0..to).map(|i| place(manner.placing, a, i, from, to)).collect();
    let axis = a.axis;
    let y = match manner.kernel {
        Kernel::Nearest(rounding) => {
            let indices = places.iter().map(|x| nearest(rounding, *x, a.scale, from)).collect();
            let indices = c.tensor(&Tensor::i64(&[to], indices)?);
            c.add(Op::Gather(Gather { axis }), &[x, indices])?
        }
        Kernel::Linear | Kernel::Cubic(_) => {
            let (indices, weights) = taps(c, manner, a, &places, from)?;
            c.add(Op::Resample(Resample { axis }), &[x, indices, weights])?
        }
    };
    let last = (from - 1) as f64;
    let outside: Vec<u8> = places.iter().map(|x| u8::from(*x < 0.0 || *x > last)).collect();
    if manner.placing != Placing::TfCropAndResize || outside.iter().all(|o| *o == 0) {
        return Ok(y);
    }
    let ty = c.ty(y);
    let dims: Vec<u64> = (0..ty.shape.rank()).map(|i| if i == axis { to } else { 1 }).collect();
    let outside = c.tensor(&Tensor::new(&dims, TensorData::Bool(outside))?);
    let beyond = c.number(manner.beyond, ty.dtype)?;
    c.select(outside, beyond, y)
}

/// Where element `i` of the result lies among those of the input.
fn place(placing: Placing, a: &Axis, i: u64, from: u64, to: u64) -> f64 {
    let (i, n) = (i as f64, from as f64);
    // What the scale makes of the extent, which need not be whole.
    let width = a.scale * n;
    match placing {
        Placing::HalfPixel => (i + 0.5) / a.scale - 0.5,
        Placing::HalfPixelSymmetric => n / 2.0 * (1.0 - to as f64 / width) + (i + 0.5) / a.scale - 0.5,
        Placing::PytorchHalfPixel if width == 1.0 => -0.5,
        Placing::PytorchHalfPixel => (i + 0.5) / a.scale - 0.5,
        Placing::TfHalfPixelForNn => (i + 0.5) / a.scale,
        Placing::AlignCorners if width == 1.0 => 0.0,
        Placing::AlignCorners => i * (n - 1.0) / (width - 1.0),
        Placing::Asymmetric => i / a.scale,
        Placing::TfCropAndResize => {
            // The part is of single precision, and so is where it begins: ties depend on it.
            let (start, end) = (a.part.0 as f32, a.part.1 as f32);
            let (first, kept) = (f64::from(start * (n - 1.0) as f32), f64::from(end - start));
            let own = if width == 1.0 { kept * (n - 1.0) / 2.0 } else { i * kept * (n - 1.0) / (width - 1.0) };
            first + own
        }
    }
}

fn nearest(rounding: Rounding, x: f64, scale: f64, from: u64) -> i64 {
    let at = match rounding {
        Rounding::PreferFloor => (x - 0.5).ceil(),
        Rounding::PreferCeil => (x + 0.5).floor(),
        Rounding::Ceil => x.ceil(),
        Rounding::Outward if scale < 1.0 => x.ceil(),
        Rounding::Floor | Rounding::Outward => x.floor(),
    };
    at.clamp(0.0, (from - 1) as f64) as i64
}

/// Indices and weights of what lies around `places`, constants of as many rows.
fn taps(c: &mut Call<'_, '_>, manner: &Manner, a: &Axis, places: &[f64], from: u64) -> Result<(Value, Value)> {
    // The kernel reaches so far on each side, wider where it covers what a shorter axis leaves out.
    let reach = if manner.kernel == Kernel::Linear { 1.0 } else { 2.0 };
    let narrow = if manner.antialias { a.scale.min(1.0) } else { 1.0 };
    let first = (-reach / narrow).floor() + 1.0;
    let count = 2.0 - 2.0 * first;
    if count * places.len().max(1) as f64 > (4 * LONGEST) as f64 {
        return Err(c.refuse(format!("{} sums of {count} elements are too many", places.len())));
    }
    let count = count as usize;
    let mut indices = Vec::with_capacity(places.len() * count);
    let mut weights = Vec::with_capacity(places.len() * count);
    for x in places {
        // The element before the place, which it never stands on.
        let base = x.ceil() - 1.0;
        let at = |k: usize| base + first + k as f64;
        let mut row: Vec<f64> = match manner.kernel {
            Kernel::Linear => (0..count).map(|k| (1.0 - ((at(k) - x) * narrow).abs()).clamp(0.0, 1.0)).collect(),
            Kernel::Cubic(slope) if narrow == 1.0 && !manner.antialias => cubic(x - base, slope).to_vec(),
            Kernel::Cubic(slope) => (0..count).map(|k| keys(((at(k) - x) * narrow).abs(), slope)).collect(),
            Kernel::Nearest(_) => return Err(c.refuse("weights of nearest elements")),
        };
        let inside = |k: usize| (0.0..from as f64).contains(&at(k));
        if manner.exclude_outside {
            (0..count).filter(|k| !inside(*k)).for_each(|k| row[k] = 0.0);
        }
        let sum: f64 = row.iter().sum();
        if (manner.exclude_outside || manner.antialias) && sum != 0.0 {
            row.iter_mut().for_each(|w| *w /= sum);
        }
        indices.extend((0..count).map(|k| at(k).clamp(0.0, (from - 1) as f64) as i64));
        weights.extend(row);
    }
    let dims = [places.len() as u64, count as u64];
    let indices = c.tensor(&Tensor::i64(&dims, indices)?);
    Ok((indices, c.tensor(&Tensor::new(&dims, TensorData::F64(weights))?)))
}

/// Keys' cubic at distance `t`.
fn keys(t: f64, slope: f64) -> f64 {
    match t {
        t if t <= 1.0 => cubic(t, slope)[1],
        t if t < 2.0 => cubic(t - 1.0, slope)[0],
        _ => 0.0,
    }
}

/// Whether an axis that grows by a whole factor has each element that many times.
fn repeats(manner: &Manner) -> bool {
    // The place of a copy lies less than half an element away from its element, and not before it where it counts from edges.
    match (manner.kernel, manner.placing) {
        (Kernel::Nearest(Rounding::PreferFloor | Rounding::PreferCeil), Placing::HalfPixel) => true,
        (Kernel::Nearest(Rounding::Floor | Rounding::Outward), Placing::Asymmetric) => true,
        (Kernel::Nearest(Rounding::Floor), Placing::TfHalfPixelForNn) => true,
        (Kernel::Nearest(_) | Kernel::Linear | Kernel::Cubic(_), _) => false,
    }
}

/// An axis whose extent is not fixed, each element a whole number of times.
fn repeated(c: &mut Call<'_, '_>, x: Value, manner: &Manner, a: &Axis) -> Result<Value> {
    let shape = c.ty(x).shape;
    if !repeats(manner) || a.scale < 1.0 {
        let headline =
            format!("axis {} of {shape} is not fixed, as {:?} by {:?} needs", a.axis, manner.kernel, manner.placing);
        return Err(c.refuse(headline));
    }
    let copies = Dim::from(a.scale as u64);
    let mut dims = shape.0.clone();
    dims.insert(a.axis + 1, Dim::from(1));
    let y = c.reshape(x, Shape(dims.clone()))?;
    dims[a.axis + 1] = copies.clone();
    let y = expanded(c, y, Shape(dims))?;
    let mut dims = shape.0;
    dims[a.axis] = product(c, &[dims[a.axis].clone(), copies])?;
    c.reshape(y, Shape(dims))
}
