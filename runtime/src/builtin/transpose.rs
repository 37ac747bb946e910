//! Axes in another order.

use super::call::Call;
use super::element::{CELL, with_size};
use crate::device::cpu::memory::Grid;
use actc_types::Result;
use bytemuck::Pod;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_size!(call, 0, T => each::<T>(call))
}

fn each<T: Pod>(call: &Call<'_>) -> Result<()> {
    let rank = call.dims();
    let extents = (0..rank).map(|i| call.dim(i)).collect::<Result<Vec<_>>>()?;
    let order = (0..rank).map(|i| call.optional_int(i + 1).and_then(|a| usize::try_from(a).ok()));
    let order = order.collect::<Option<Vec<usize>>>().unwrap_or_default();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) || call.optional_int(rank + 1).is_some() {
        return Err(call.refuse(format!("{order:?} is no order of {rank} axes")));
    }
    let x: &[T] = call.read(0, &extents)?;
    let mut strides = vec![1usize; rank];
    for i in (1..rank).rev() {
        strides[i - 1] = strides[i].saturating_mul(extents[i]);
    }
    // Extents and strides of `x` in the order of the result's axes.
    let axes: Vec<(usize, usize)> = order.iter().map(|a| (extents[*a], strides[*a])).collect();
    let (outer, (cols, stride)) = axes.split_last().map_or((&[][..], (1, 0)), |(last, outer)| (outer, *last));
    let rows = call.count(&outer.iter().map(|a| a.0).collect::<Vec<_>>())?;
    for mut tile in call.tiles::<T>(1, Grid::of_rows(rows, cols, CELL.div_ceil(cols.max(1))))? {
        for i in 0..tile.rows() {
            let (mut rest, mut at) = (tile.row() + i, 0);
            for (extent, stride) in outer.iter().rev() {
                at += rest % extent * stride;
                rest /= extent;
            }
            let out = tile.row_mut(i);
            if stride == 1 {
                out.copy_from_slice(&x[at..][..cols]);
            } else {
                out.iter_mut().enumerate().for_each(|(j, y)| *y = x[at + j * stride]);
            }
        }
    }
    Ok(())
}
