//! More elements before and behind those of a tensor, all equal.

use super::call::Call;
use super::element::{CELL, with_size};
use crate::device::cpu::memory::Grid;
use actc_types::Result;
use bytemuck::Pod;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_size!(call, 0, T => each::<T>(call))
}

/// Extent of an axis, of the part of it that `x` is, and what stands before that.
struct Axis {
    whole: usize,
    own: usize,
    before: usize,
}

fn axes(call: &Call<'_>) -> Result<Vec<Axis>> {
    let n = call.dims();
    if !n.is_multiple_of(3) {
        return Err(call.refuse(format!("{n} sizes are not three an axis")));
    }
    let rank = n / 3;
    let axis = |i: usize| {
        let axis = Axis { whole: call.dim(i)?, own: call.dim(rank + i)?, before: call.dim(2 * rank + i)? };
        if call.sum(&[axis.own, axis.before])? > axis.whole {
            let headline = format!("{} elements behind {} of an axis of {}", axis.own, axis.before, axis.whole);
            return Err(call.refuse(headline));
        }
        Ok(axis)
    };
    (0..rank).map(axis).collect()
}

fn each<T: Pod>(call: &Call<'_>) -> Result<()> {
    let axes = axes(call)?;
    let Some((last, outer)) = axes.split_last() else { return Err(call.refuse("no axis".into())) };
    let own: Vec<usize> = axes.iter().map(|a| a.own).collect();
    let x: &[T] = call.read(0, &own)?;
    let value = call.read::<T>(1, &[1])?[0];
    let rows = call.count(&outer.iter().map(|a| a.whole).collect::<Vec<_>>())?;
    // The row of `x` that stands in row `row`.
    let source = |row: usize| {
        let (mut rest, mut stride, mut at) = (row, 1, 0);
        for axis in outer.iter().rev() {
            let here = (rest % axis.whole).checked_sub(axis.before).filter(|h| *h < axis.own)?;
            rest /= axis.whole;
            at += here * stride;
            stride *= axis.own;
        }
        Some(at)
    };
    for mut tile in call.tiles::<T>(2, Grid::of_rows(rows, last.whole, CELL.div_ceil(last.whole.max(1))))? {
        for i in 0..tile.rows() {
            let from = source(tile.row() + i);
            let row = tile.row_mut(i);
            let Some(from) = from else {
                row.fill(value);
                continue;
            };
            row[..last.before].fill(value);
            row[last.before..][..last.own].copy_from_slice(&x[from * last.own..][..last.own]);
            row[last.before + last.own..].fill(value);
        }
    }
    Ok(())
}
