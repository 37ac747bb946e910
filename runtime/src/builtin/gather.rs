//! Parts of a tensor by their indices.

use super::call::Call;
use super::element::{CELL, with_size};
use crate::device::cpu::memory::Grid;
use actc_types::{Diagnostic, Result};
use bytemuck::Pod;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_size!(call, 0, T => each::<T>(call))
}

/// The place that index `i` means of an axis of `extent`.
pub(super) fn place(i: i64, extent: usize) -> Option<usize> {
    let at = if i < 0 { i.checked_add(extent as i64) } else { Some(i) };
    at.and_then(|i| usize::try_from(i).ok()).filter(|i| *i < extent)
}

/// An error about the first of `indices` that is outside of an axis of `extent`.
pub(super) fn all_inside(indices: &[i64], extent: usize) -> Result<()> {
    match indices.iter().enumerate().find(|(_, i)| place(**i, extent).is_none()) {
        None => Ok(()),
        Some((n, i)) => {
            Err(Diagnostic::new("index-range", format!("index {i} at position {n} of an axis of {extent}")))
        }
    }
}

fn each<T: Pod>(call: &Call<'_>) -> Result<()> {
    let (outer, extent, inner, count) = (call.dim(0)?, call.dim(1)?, call.dim(2)?, call.dim(3)?);
    let x: &[T] = call.read(0, &[outer, extent, inner])?;
    let indices: &[i64] = call.read(1, &[count])?;
    // All members look at all of them, so that they fail alike.
    all_inside(indices, extent)?;
    if inner == 1 {
        return elements(call, x, indices, [outer, extent]);
    }
    let rows = call.count(&[outer, count])?;
    for mut tile in call.tiles::<T>(2, Grid::of_rows(rows, inner, CELL.div_ceil(inner.max(1))))? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            let at = place(indices[row % count], extent).unwrap_or_default();
            tile.row_mut(i).copy_from_slice(&x[(row / count * extent + at) * inner..][..inner]);
        }
    }
    Ok(())
}

/// Columns of a cell of single elements: whole runs of 2, 3 and 4.
const COLS: usize = 3 * CELL;

/// Single elements of the rows of `x [outer, extent]`.
fn elements<T: Pod>(call: &Call<'_>, x: &[T], indices: &[i64], [outer, extent]: [usize; 2]) -> Result<()> {
    let count = indices.len();
    let cell_rows = CELL.div_ceil(count.max(1));
    let grid = Grid { offset: 0, rows: outer, cols: count, stride: count, cell_rows, cell_cols: count.clamp(1, COLS) };
    let stretched = |by: usize| {
        let mut places = indices.iter().enumerate();
        extent.checked_mul(by) == Some(count) && places.all(|(j, i)| *i == (j / by) as i64)
    };
    let by = [2, 3, 4].into_iter().find(|by| stretched(*by));
    for mut tile in call.tiles::<T>(2, grid)? {
        let col = tile.col();
        for i in 0..tile.rows() {
            let own = &x[(tile.row() + i) * extent..][..extent];
            let out = tile.row_mut(i);
            match by {
                Some(2) => repeat::<T, 2>(&own[col / 2..], out),
                Some(3) => repeat::<T, 3>(&own[col / 3..], out),
                Some(4) => repeat::<T, 4>(&own[col / 4..], out),
                Some(_) | None => {
                    let pairs = out.iter_mut().zip(&indices[col..]);
                    pairs.for_each(|(y, i)| *y = own[place(*i, extent).unwrap_or_default()]);
                }
            }
        }
    }
    Ok(())
}

/// Each element `N` times: what a nearest neighbour is where an image becomes a multiple of its size.
fn repeat<T: Pod, const N: usize>(from: &[T], to: &mut [T]) {
    to.as_chunks_mut::<N>().0.iter_mut().zip(from).for_each(|(run, x)| *run = [*x; N]);
}
