//! Elements of a tensor by an index each.

use super::call::Call;
use super::element::{CELL, with_size};
use super::gather::{all_inside, place};
use crate::device::cpu::memory::Grid;
use actc_types::Result;
use bytemuck::Pod;

/// A tensor and indices of as many axes, of which one says places.
pub(super) struct Places {
    whole: Vec<usize>,
    own: Vec<usize>,
    axis: usize,
    /// Elements of the tensor.
    pub elements: usize,
    /// Rows of the indices along their last axis, and elements of each.
    pub rows: usize,
    pub cols: usize,
    /// Distance in the tensor of neighbours along the axis that says places.
    pub stride: usize,
}

impl Places {
    /// Reads from the sizes of `call` the extents of both, and from its integer `axis` the axis.
    pub(super) fn new(call: &Call<'_>, axis: usize) -> Result<Places> {
        let rank = call.dims() / 2;
        let extents = |from: usize| (from..from + rank).map(|i| call.dim(i)).collect::<Result<Vec<_>>>();
        let (whole, own) = (extents(0)?, extents(rank)?);
        let at = usize::try_from(call.int(axis)).ok().filter(|a| *a < rank && call.dims() == 2 * rank);
        let at = at.ok_or_else(|| call.refuse_int(axis, "one of the axes"))?;
        if own.iter().zip(&whole).enumerate().any(|(a, (o, w))| a != at && o > w) {
            return Err(call.refuse(format!("indices of {own:?} are not inside of {whole:?}")));
        }
        let elements = call.count(&whole)?;
        let (cols, outer) = own.split_last().map_or((1, &[][..]), |(n, outer)| (*n, outer));
        let rows = call.count(outer)?;
        let stride = call.count(&whole[at + 1..])?;
        Ok(Places { axis: at, elements, rows, cols, stride, whole, own })
    }

    /// Indices in all.
    pub(super) fn count(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Extent of the axis that says places.
    pub(super) fn extent(&self) -> usize {
        self.whole[self.axis]
    }

    /// Whether the axis that says places is the last one.
    pub(super) fn along_rows(&self) -> bool {
        self.axis + 1 == self.whole.len()
    }

    /// Where in the tensor row `row` of the indices begins, with index 0 along the axis that says places.
    pub(super) fn base(&self, row: usize) -> usize {
        let (mut rest, mut at) = (row, 0);
        let mut stride = self.whole.last().copied().unwrap_or(1);
        for a in (0..self.own.len() - 1).rev() {
            at += if a == self.axis { 0 } else { rest % self.own[a] * stride };
            rest /= self.own[a];
            stride *= self.whole[a];
        }
        at
    }

    /// An error about the first index that is outside.
    pub(super) fn all_inside(&self, indices: &[i64]) -> Result<()> {
        all_inside(indices, self.extent())
    }

    /// Which place along the axis an index means that is inside.
    pub(super) fn place(&self, i: i64) -> usize {
        place(i, self.extent()).unwrap_or_default()
    }
}

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_size!(call, 0, T => each::<T>(call))
}

fn each<T: Pod>(call: &Call<'_>) -> Result<()> {
    let places = Places::new(call, 1)?;
    let x: &[T] = call.read(0, &[places.elements])?;
    let indices: &[i64] = call.read(1, &places.count())?;
    places.all_inside(indices)?;
    let cols = places.cols;
    for mut tile in call.tiles::<T>(2, Grid::of_rows(places.rows, cols, CELL.div_ceil(cols.max(1))))? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            let base = places.base(row);
            let pairs = tile.row_mut(i).iter_mut().zip(&indices[row * cols..][..cols]);
            if places.along_rows() {
                pairs.for_each(|(y, at)| *y = x[base + places.place(*at)]);
            } else {
                pairs.enumerate().for_each(|(j, (y, at))| *y = x[base + places.place(*at) * places.stride + j]);
            }
        }
    }
    Ok(())
}
