//! Axes that are named when the model runs: squeezed, added, summed over.

use super::{at, extents, from_end, is, list, not, numbers, scalar};
use crate::onnx::import::Call;
use crate::onnx::ops::movement::{ordered, product};
use crate::onnx::ops::reduce::{Row, row};
use actc_ir::Value;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::reduce::RowFunction as R;
use actc_types::{DType, Dim, Result, Shape, Tensor};

/// Whether each of `rank` axes is among `axes`, which count from the end where negative.
pub(super) fn named(c: &mut Call<'_, '_>, axes: Value, rank: usize) -> Result<Value> {
    let count = c.ty(axes).shape.elements()?;
    let whole = scalar(c, rank as i64)?;
    let axes = from_end(c, axes, whole)?;
    let axes = c.reshape(axes, Shape(vec![Dim::from(1), count]))?;
    let all = Tensor::i64(&[rank as u64, 1], (0..rank as i64).collect())?;
    let all = c.tensor(&all);
    let same = c.binary(B::Equal, all, axes)?;
    let same = c.cast(same, DType::I64)?;
    let found = row(c, R::Sum, same)?;
    let none = is(c, found, 0)?;
    not(c, none)
}

/// For each axis, how many before it are not `named`.
fn before(c: &mut Call<'_, '_>, named: Value, rank: usize) -> Result<Value> {
    let kept = not(c, named)?;
    let kept = c.cast(kept, DType::I64)?;
    let n = rank as i64;
    let lower = (0..n * n).map(|i| i64::from(i % n < i / n)).collect();
    let lower = c.tensor(&Tensor::i64(&[rank as u64; 2], lower)?);
    let counted = c.binary(B::Mul, lower, kept)?;
    row(c, R::Sum, counted)
}

/// The `count` of `extents` whose axes are not `named`.
fn left(c: &mut Call<'_, '_>, named: Value, extents: Value, rank: usize, count: usize) -> Result<Vec<Dim>> {
    let place = before(c, named, rank)?;
    let wanted = c.tensor(&Tensor::i64(&[count as u64, 1], (0..count as i64).collect())?);
    let here = c.binary(B::Equal, place, wanted)?;
    let kept = not(c, named)?;
    let here = c.binary(B::And, here, kept)?;
    let here = c.cast(here, DType::I64)?;
    let picked = c.binary(B::Mul, here, extents)?;
    let dims = row(c, R::Sum, picked)?;
    c.bind(dims)
}

/// `x` without the axes of input 1, whose extents have to be 1.
pub(in crate::onnx::ops) fn squeeze(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let (axes, count) = list(c, 1)?;
    let own = c.ty(x).shape;
    let kept = own.rank().checked_sub(count).ok_or_else(|| c.refuse(format!("{count} axes of {own}")))?;
    let (named, all) = (named(c, axes, own.rank())?, extents(c, own.dims())?);
    let dims = left(c, named, all, own.rank(), kept)?;
    c.reshape(x, Shape(dims))
}

/// `x` with axes of 1 where input 1 says.
pub(in crate::onnx::ops) fn unsqueeze(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let (axes, count) = list(c, 1)?;
    let own = c.ty(x).shape;
    let rank = own.rank() + count;
    let named = named(c, axes, rank)?;
    let ones = numbers(c, vec![1; rank])?;
    let dims = if own.rank() == 0 {
        ones
    } else {
        let (place, last) = (before(c, named, rank)?, scalar(c, own.rank() as i64 - 1)?);
        let place = c.binary(B::Min, place, last)?;
        let all = extents(c, own.dims())?;
        let all = at(c, all, place)?;
        c.select(named, ones, all)?
    };
    let dims = c.bind(dims)?;
    c.reshape(x, Shape(dims))
}

/// `function` over the axes of input 1. Each axis is cut in two: what stays, and what is summed over, one of which is 1.
pub(in crate::onnx::ops) fn reduce(c: &mut Call<'_, '_>, x: Value, keep: bool, function: Row) -> Result<Value> {
    let (axes, count) = list(c, 1)?;
    let own = c.ty(x).shape;
    let rank = own.rank();
    let (named, all, ones) = (named(c, axes, rank)?, extents(c, own.dims())?, numbers(c, vec![1; rank])?);
    let (stay, go) = (c.select(named, ones, all)?, c.select(named, all, ones)?);
    let (stay, go) = (c.bind(stay)?, c.bind(go)?);
    let cut = stay.iter().zip(&go).flat_map(|(s, g)| [s.clone(), g.clone()]).collect();
    let y = c.reshape(x, Shape(cut))?;
    let y = ordered(c, y, (0..rank).map(|i| 2 * i).chain((0..rank).map(|i| 2 * i + 1)).collect())?;
    let rows = product(c, &go)?;
    let y = c.reshape(y, Shape([&stay[..], &[rows]].concat()))?;
    let y = function(c, y)?;
    if keep {
        return Ok(y);
    }
    let kept = rank.checked_sub(count).ok_or_else(|| c.refuse(format!("{count} axes of {own}")))?;
    let dims = left(c, named, all, rank, kept)?;
    c.reshape(y, Shape(dims))
}
