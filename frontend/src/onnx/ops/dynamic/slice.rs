//! Parts of axes whose ends are known only when the model runs.

use super::axes::named;
use super::{extents, from_end, list, nth, numbers, scalar};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::ops::shaping::Slice;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor};

/// First index, end and step of each axis that is cut, as lists.
struct Runs {
    axes: Vec<usize>,
    starts: Value,
    ends: Value,
    steps: Value,
}

pub(super) fn clamp(c: &mut Call<'_, '_>, x: Value, least: Value, most: Value) -> Result<Value> {
    let x = c.binary(B::Max, x, least)?;
    c.binary(B::Min, x, most)
}

/// `values`, one for each of `axes`, at their axes, and `default` at others.
pub(super) fn spread(c: &mut Call<'_, '_>, axes: Value, values: Value, default: Value, rank: usize) -> Result<Value> {
    let whole = scalar(c, rank as i64)?;
    let own = from_end(c, axes, whole)?;
    let all = c.tensor(&Tensor::i64(&[rank as u64, 1], (0..rank as i64).collect())?);
    let here = c.binary(B::Equal, all, own)?;
    let here = c.cast(here, DType::I64)?;
    let picked = c.binary(B::Mul, here, values)?;
    let picked = super::super::reduce::row(c, R::Sum, picked)?;
    let named = named(c, axes, rank)?;
    c.select(named, picked, default)
}

impl Runs {
    /// From the inputs of `Slice`. Axes that are not known make it cut all of them.
    fn new(c: &mut Call<'_, '_>, x: Value) -> Result<Runs> {
        let (starts, n) = list(c, 1)?;
        let (ends, _) = list(c, 2)?;
        let steps = if c.has(4) { list(c, 4)?.0 } else { numbers(c, vec![1; n])? };
        let shape = c.ty(x).shape;
        let rank = shape.rank();
        let known = if c.has(3) { c.ints(3).ok() } else { Some((0..n as i64).collect()) };
        if let Some(axes) = known {
            let axes = axes.iter().map(|a| c.axis(*a, rank, false)).collect::<Result<Vec<_>>>()?;
            return Ok(Runs { axes, starts, ends, steps });
        }
        let (axes, _) = list(c, 3)?;
        let (zeros, ones, all) = (numbers(c, vec![0; rank])?, numbers(c, vec![1; rank])?, extents(c, shape.dims())?);
        Ok(Runs {
            axes: (0..rank).collect(),
            starts: spread(c, axes, starts, zeros, rank)?,
            ends: spread(c, axes, ends, all, rank)?,
            steps: spread(c, axes, steps, ones, rank)?,
        })
    }
}

/// `x` cut as the inputs of `Slice` say.
pub(in crate::onnx::ops) fn slice(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let runs = Runs::new(c, x)?;
    let shape = c.ty(x).shape;
    let cut: Vec<Dim> = runs.axes.iter().map(|a| shape.dims()[*a].clone()).collect();
    let all = extents(c, &cut)?;
    let (zero, one) = (scalar(c, 0)?, scalar(c, 1)?);
    let minus = scalar(c, -1)?;
    let back = c.binary(B::Less, runs.steps, zero)?;
    let last = c.binary(B::Sub, all, one)?;
    let most = c.select(back, last, all)?;
    let least = c.select(back, minus, zero)?;
    let (start, end) = (from_end(c, runs.starts, all)?, from_end(c, runs.ends, all)?);
    // Backwards the first index is one of the axis, and the end may be before all of them.
    let start = clamp(c, start, zero, most)?;
    let end = clamp(c, end, least, most)?;
    let way = c.binary(B::Sub, end, start)?;
    let sign = c.select(back, minus, one)?;
    let up = c.binary(B::Sub, runs.steps, sign)?;
    let way = c.binary(B::Add, way, up)?;
    let counts = c.binary(B::Div, way, runs.steps)?;
    let counts = c.binary(B::Max, counts, zero)?;
    let lengths = c.bind(counts)?;
    let mut y = x;
    for (i, (axis, len)) in runs.axes.into_iter().zip(lengths).enumerate() {
        let (from, step) = (nth(c, start, i)?, nth(c, runs.steps, i)?);
        let steps = c.counting(0, &len)?;
        let steps = c.binary(B::Mul, steps, step)?;
        let indices = c.binary(B::Add, steps, from)?;
        y = c.add(Op::Gather(Gather { axis }), &[y, indices])?;
    }
    Ok(y)
}

/// The parts of `axis` of `x` whose lengths input 1 says.
pub(in crate::onnx::ops) fn split(c: &mut Call<'_, '_>, x: Value, axis: usize, count: usize) -> Result<Vec<Item>> {
    let (lengths, found) = list(c, 1)?;
    if found != count {
        return Err(c.refuse(format!("{found} lengths for {count} outputs")));
    }
    let lengths = c.bind(lengths)?;
    let sum = |dims: &[Dim]| dims.iter().try_fold(Dim::from(0), |n, d| n.checked_add(d));
    let overflow = |c: &Call<'_, '_>| c.refuse("lengths that exceed 63 bits");
    let mut shape = c.ty(x).shape;
    shape.0[axis] = sum(&lengths).ok_or_else(|| overflow(c))?;
    let x = c.expect(x, Shape(shape.0))?;
    let mut parts = Vec::with_capacity(count);
    for (i, len) in lengths.iter().enumerate() {
        let start = sum(&lengths[..i]).ok_or_else(|| overflow(c))?;
        parts.push(Item::Value(c.add(Op::Slice(Slice { axis, start, len: len.clone() }), &[x])?));
    }
    Ok(parts)
}
