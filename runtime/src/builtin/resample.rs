//! Weighted sums of elements of one axis.

use super::call::Call;
use super::element::{CELL, Element, float_type, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::{DType, Diagnostic, Result};

/// Elements of a row that are summed together.
const BLOCK: usize = 64;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_element!(float_type(call, 0)?, T => each::<T>(call))
}

fn each<T: Element>(call: &Call<'_>) -> Result<()> {
    let (outer, extent, inner) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
    let (count, taps) = (call.dim(3)?, call.dim(4)?);
    let x: &[T] = call.read(0, &[outer, extent, inner])?;
    let indices: &[i64] = call.read(1, &[count, taps])?;
    let weights: &[f64] = call.read(2, &[count, taps])?;
    // All members look at all of them, so that they fail alike.
    let outside = |i: &i64| usize::try_from(*i).map_or(true, |i| i >= extent);
    if let Some((n, i)) = indices.iter().enumerate().find(|(_, i)| outside(i)) {
        let headline = format!("index {i} at position {n} of an axis of {extent}");
        return Err(Diagnostic::new("index-range", headline));
    }
    let pairs = |o: usize| indices[o * taps..][..taps].iter().map(|i| *i as usize).zip(&weights[o * taps..][..taps]);
    if inner == 1 {
        let grid = Grid::of_rows(outer, count, CELL.div_ceil(count.max(1)));
        for mut tile in call.tiles::<T>(3, grid)? {
            for i in 0..tile.rows() {
                let own = &x[(tile.row() + i) * extent..][..extent];
                for (o, y) in tile.row_mut(i).iter_mut().enumerate() {
                    *y = T::from_float(pairs(o).fold(0.0, |sum, (at, w)| sum + w * own[at].float()));
                }
            }
        }
        return Ok(());
    }
    let rows = call.count(&[outer, count])?;
    for mut tile in call.tiles::<T>(3, Grid::of_rows(rows, inner, CELL.div_ceil(inner.max(1))))? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            let own = &x[row / count * extent * inner..][..extent * inner];
            for (block, out) in tile.row_mut(i).chunks_mut(BLOCK).enumerate() {
                let mut sums = [0.0; BLOCK];
                for (at, w) in pairs(row % count) {
                    let from = &own[at * inner + block * BLOCK..][..out.len()];
                    sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += w * x.float());
                }
                out.iter_mut().zip(sums).for_each(|(y, sum)| *y = T::from_float(sum));
            }
        }
    }
    Ok(())
}
