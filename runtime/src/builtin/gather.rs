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
