//! Normalisation: means, variances and the like taken out.

use super::movement::product;
use super::reduce::{mean, over, row};
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, quotient};
use actc_ir::Value;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("BatchNormalization", 6, batch),
    since("InstanceNormalization", 6, instance),
    since("GroupNormalization", 18, group),
    since("LayerNormalization", 17, layer),
    since("RMSNormalization", 23, rms),
    since("LpNormalization", 1, lp),
    since("MeanVarianceNormalization", 9, mean_variance),
];

/// A vector of channels, the second axis of `rank`, as a tensor that repeats over the others.
pub(super) fn per_channel(c: &mut Call<'_, '_>, v: Value, rank: usize) -> Result<Value> {
    let n = c.ty(v).shape.last().cloned().unwrap_or(Dim::from(1));
    let dims = (0..rank.max(2)).map(|i| if i == 1 { n.clone() } else { Dim::from(1) }).collect();
    c.reshape(v, Shape(dims))
}

/// `x / sqrt(variance + eps)`.
fn divided(c: &mut Call<'_, '_>, x: Value, variance: Value, eps: f64) -> Result<Value> {
    let eps = c.number(eps, c.ty(variance).dtype)?;
    let raised = c.binary(B::Add, variance, eps)?;
    let deviation = c.unary(U::Sqrt, raised)?;
    c.binary(B::Div, x, deviation)
}

/// By the statistics that training left, or, from version 14 on and while training, by those of the batch, of which the others
/// take a part.
fn batch(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let momentum = c.float("momentum", 0.9)?;
    // Before version 7 a node says that it is not for training; before 9 channels may have no statistics in common.
    if (c.node.opset < 7 && c.int("is_test", 0)? == 0) || (c.node.opset < 9 && c.int("spatial", 1)? == 0) {
        return Err(c.refuse("statistics of the batch, or of each element"));
    }
    let training = c.int("training_mode", 0)? != 0;
    if !training && c.node.outputs.iter().flatten().count() > 1 {
        return Err(c.refuse("batch statistics, which are for training"));
    }
    let (x, eps) = (c.input(0)?, c.float("epsilon", 1e-5)?);
    let (rank, dtype) = (c.ty(x).shape.rank(), c.ty(x).dtype);
    let mut of = [0; 4].map(|_| x);
    for (i, slot) in of.iter_mut().enumerate() {
        let v = c.input(i + 1)?;
        let v = c.cast(v, dtype)?;
        *slot = per_channel(c, v, rank)?;
    }
    let [scale, bias, mean, variance] = of;
    let (low, variance, running) = if training {
        let axes: Vec<usize> = (0..rank).filter(|i| *i != 1).collect();
        let (low, square, centre) = centred(c, x, &axes)?;
        let running = vec![mixed(c, 3, mean, centre, momentum)?, mixed(c, 4, variance, square, momentum)?];
        (low, square, running)
    } else {
        (c.binary(B::Sub, x, mean)?, variance, Vec::new())
    };
    let y = divided(c, low, variance, eps)?;
    let y = c.binary(B::Mul, y, scale)?;
    let y = c.binary(B::Add, y, bias)?;
    Ok(std::iter::once(y).chain(running).map(Item::Value).collect())
}

/// `momentum` parts of `before`, the rest of `now`, as input `i` is.
fn mixed(c: &mut Call<'_, '_>, i: usize, before: Value, now: Value, momentum: f64) -> Result<Value> {
    let stated = c.input(i)?;
    let (ty, own) = (c.ty(stated), c.ty(before).dtype);
    let (kept, taken) = (c.number(momentum, own)?, c.number(1.0 - momentum, own)?);
    let (kept, taken) = (c.binary(B::Mul, before, kept)?, c.binary(B::Mul, now, taken)?);
    let sum = c.binary(B::Add, kept, taken)?;
    let sum = c.cast(sum, ty.dtype)?;
    c.reshape(sum, ty.shape)
}

/// Channels in groups, each of which is centred; scale and bias are one a channel, before version 21 one a group.
fn group(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, scale, bias) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let (eps, groups) = (c.float("epsilon", 1e-5)?, c.int("num_groups", 0)?);
    let ty = c.ty(x);
    let wide = if c.node.opset < 21 { ty.dtype } else { stash(c)? };
    let groups = u64::try_from(groups).ok().filter(|n| *n > 0).map(Dim::from);
    let groups = groups.ok_or_else(|| c.refuse("`num_groups` is no number of groups"))?;
    let [batch, channels, places @ ..] = ty.shape.dims() else {
        return Err(c.refuse(format!("{} has no channels", ty.shape)));
    };
    let each =
        quotient(channels, &groups).ok_or_else(|| c.refuse(format!("{channels} channels in {groups} groups")))?;
    let rows = product(c, &[std::slice::from_ref(&each), places].concat())?;
    let y = c.reshape(x, Shape(vec![batch.clone(), groups, rows]))?;
    let y = c.cast(y, wide)?;
    let (low, variance, _) = centred(c, y, &[2])?;
    let y = divided(c, low, variance, eps)?;
    let mut y = c.cast(y, ty.dtype)?;
    let per_group = c.node.opset < 21;
    if !per_group {
        y = c.reshape(y, ty.shape.clone())?;
    }
    let rank = c.ty(y).shape.rank();
    let (scale, bias) = (per_channel(c, scale, rank)?, per_channel(c, bias, rank)?);
    let y = c.binary(B::Mul, y, scale)?;
    let y = c.binary(B::Add, y, bias)?;
    one(c.reshape(y, ty.shape)?)
}

/// `x` less its mean over `axes`, and the mean square of that.
fn centred(c: &mut Call<'_, '_>, x: Value, axes: &[usize]) -> Result<(Value, Value, Value)> {
    let centre = over(c, x, axes, true, mean)?;
    let low = c.binary(B::Sub, x, centre)?;
    let squares = c.binary(B::Mul, low, low)?;
    Ok((low, over(c, squares, axes, true, mean)?, centre))
}

fn instance(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, scale, bias) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let eps = c.float("epsilon", 1e-5)?;
    let rank = c.ty(x).shape.rank();
    let axes: Vec<usize> = (2..rank).collect();
    let (low, variance, _) = centred(c, x, &axes)?;
    let y = divided(c, low, variance, eps)?;
    let (scale, bias) = (per_channel(c, scale, rank)?, per_channel(c, bias, rank)?);
    let y = c.binary(B::Mul, y, scale)?;
    one(c.binary(B::Add, y, bias)?)
}

/// Statistics are computed in single precision unless `stash_type` says otherwise; only that is supported.
fn layer(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ty = c.ty(x);
    let axis = c.axis(c.int("axis", -1)?, ty.shape.rank(), false)?;
    let eps = c.float("epsilon", 1e-5)?;
    let wide = stash(c)?;
    let axes: Vec<usize> = (axis..ty.shape.rank()).collect();
    let x = c.cast(x, wide)?;
    let (low, variance, centre) = centred(c, x, &axes)?;
    let one_number = c.number(1.0, wide)?;
    let inverse = divided(c, one_number, variance, eps)?;
    let y = c.binary(B::Mul, low, inverse)?;
    let y = c.cast(y, ty.dtype)?;
    let scale = c.input(1)?;
    let mut y = c.binary(B::Mul, y, scale)?;
    if c.has(2) {
        let bias = c.input(2)?;
        y = c.binary(B::Add, y, bias)?;
    }
    Ok([y, centre, inverse].map(Item::Value).to_vec())
}

fn stash(c: &Call<'_, '_>) -> Result<DType> {
    match c.int("stash_type", 1)? {
        1 => Ok(DType::F32),
        other => Err(c.refuse(format!("`stash_type` is {other}, expected 1"))),
    }
}

fn rms(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ty = c.ty(x);
    let axis = c.axis(c.int("axis", -1)?, ty.shape.rank(), false)?;
    let eps = c.float("epsilon", 1e-5)?;
    let wide = stash(c)?;
    let axes: Vec<usize> = (axis..ty.shape.rank()).collect();
    let x = c.cast(x, wide)?;
    let squares = c.binary(B::Mul, x, x)?;
    let square = over(c, squares, &axes, true, mean)?;
    let y = divided(c, x, square, eps)?;
    let y = c.cast(y, ty.dtype)?;
    let scale = c.input(1)?;
    one(c.binary(B::Mul, y, scale)?)
}

/// Rows divided by their norm; rows of zeros stay.
fn lp(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let axis = c.axis(c.int("axis", -1)?, c.ty(x).shape.rank(), false)?;
    let size = match c.int("p", 2)? {
        1 => {
            let size = c.unary(U::Abs, x)?;
            over(c, size, &[axis], true, |c, x| row(c, R::Sum, x))?
        }
        2 => {
            let squares = c.binary(B::Mul, x, x)?;
            let sum = over(c, squares, &[axis], true, |c, x| row(c, R::Sum, x))?;
            c.unary(U::Sqrt, sum)?
        }
        other => return Err(c.refuse(format!("`p` is {other}, expected 1 or 2"))),
    };
    let zero = c.number(0.0, c.ty(x).dtype)?;
    let none = c.binary(B::Equal, size, zero)?;
    let one_number = c.number(1.0, c.ty(x).dtype)?;
    let size = c.select(none, one_number, size)?;
    one(c.binary(B::Div, x, size)?)
}

/// `(x - mean) / (deviation + 1e-9)` over `axes`.
fn mean_variance(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ty = c.ty(x);
    let axes = c.int_list("axes")?.unwrap_or_else(|| vec![0, 2, 3]);
    let axes = axes.iter().map(|a| c.axis(*a, ty.shape.rank(), false)).collect::<Result<Vec<usize>>>()?;
    let (low, variance, _) = centred(c, x, &axes)?;
    let deviation = c.unary(U::Sqrt, variance)?;
    let least = c.number(1e-9, ty.dtype)?;
    let deviation = c.binary(B::Add, deviation, least)?;
    one(c.binary(B::Div, low, deviation)?)
}
