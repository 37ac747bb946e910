//! Parts of a tensor by tuples of indices.

use super::call::Call;
use super::element::{CELL, with_size};
use super::gather::place;
use crate::device::cpu::memory::Grid;
use actc_types::{Diagnostic, Result};
use bytemuck::Pod;

/// The axes that tuples of indices are along.
pub(super) struct Axes {
    extents: Vec<usize>,
    /// Parts that the tuples can name.
    pub span: usize,
}

impl Axes {
    /// The extents are the sizes from `first` on.
    pub(super) fn new(call: &Call<'_>, first: usize) -> Result<Axes> {
        let extents = (first..call.dims()).map(|i| call.dim(i)).collect::<Result<Vec<_>>>()?;
        let span = call.count(&extents)?;
        Ok(Axes { extents, span })
    }

    /// Indices of a tuple.
    pub(super) fn len(&self) -> usize {
        self.extents.len()
    }

    /// The part that `tuple` names, or `None` where an index is outside of its axis.
    pub(super) fn part(&self, tuple: &[i64]) -> Option<usize> {
        tuple.iter().zip(&self.extents).try_fold(0, |at, (i, e)| Some(at * e + place(*i, *e)?))
    }

    /// An error about the first tuple with an index outside. All members look at all of them, so that they fail alike.
    pub(super) fn all_inside(&self, tuples: &[i64]) -> Result<()> {
        match tuples.chunks_exact(self.len()).enumerate().find(|(_, tuple)| self.part(tuple).is_none()) {
            None => Ok(()),
            Some((n, tuple)) => {
                let headline = format!("indices {tuple:?} at position {n} of axes of {:?}", self.extents);
                Err(Diagnostic::new("index-range", headline))
            }
        }
    }
}

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_size!(call, 0, T => each::<T>(call))
}

fn each<T: Pod>(call: &Call<'_>) -> Result<()> {
    let (batches, count, inner) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
    let axes = Axes::new(call, 3)?;
    let x: &[T] = call.read(0, &[batches, axes.span, inner])?;
    let tuples: &[i64] = call.read(1, &[batches, count, axes.len()])?;
    axes.all_inside(tuples)?;
    let rows = call.count(&[batches, count])?;
    for mut tile in call.tiles::<T>(2, Grid::of_rows(rows, inner, CELL.div_ceil(inner.max(1))))? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            let part = axes.part(&tuples[row * axes.len()..][..axes.len()]).unwrap_or_default();
            tile.row_mut(i).copy_from_slice(&x[(row / count * axes.span + part) * inner..][..inner]);
        }
    }
    Ok(())
}
