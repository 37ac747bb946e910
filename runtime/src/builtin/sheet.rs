//! Planes of two axes laid out so that each tap of all windows is one run of memory.
//!
//! A plane with its padding is split by the remainders of places by the strides. In such a part neighbouring windows have
//! neighbouring elements, rows one behind the other: what tap `(i, j)` sees of all windows is a slice from
//! [`Sheet::offsets`] on. Between the rows of windows lie elements that belong to none.

use super::call::Call;
use super::window::Axis;
use actc_types::{Diagnostic, Result};
use std::ops::Range;

/// Elements of a part that one cell has at most, so that its rows stay in the nearest cache.
const CELL: usize = 1 << 12;

/// Most elements of a laid-out plane.
const MOST: usize = 1 << 28;

/// How the planes of a call are laid out.
pub(super) struct Sheet {
    row: Axis,
    col: Axis,
    /// Rows of windows of a cell.
    pub cell_rows: usize,
    /// Elements from row to row of windows.
    pub width: usize,
    /// Rows of a part.
    height: usize,
    /// Remainders of rows and of columns that taps have.
    parts: [Vec<usize>; 2],
    /// For each tap where its slice begins.
    pub offsets: Vec<usize>,
}

/// The different remainders by the stride of the places of taps.
fn remainders(axis: &Axis) -> Vec<usize> {
    let mut all: Vec<usize> = (0..axis.kernel.min(axis.stride)).map(|k| k * axis.dilation % axis.stride).collect();
    all.sort_unstable();
    all.dedup();
    all
}

impl Sheet {
    /// For planes whose last two axes are `row` and `col`, `planes` of which are made by `members`.
    pub(super) fn new(call: &Call<'_>, row: Axis, col: Axis, planes: usize) -> Result<Sheet> {
        let reach = |axis: &Axis| (axis.kernel - 1) * axis.dilation / axis.stride;
        let width = call.sum(&[col.windows, reach(&col)])?;
        // A few cells for each member, where there are rows.
        let wanted = (2 * call.parts).div_ceil(planes.max(1));
        let most = (CELL / width.max(1)).max(4).min(row.windows.div_ceil(wanted)).max(1);
        let cell_rows = row.windows.div_ceil(row.windows.div_ceil(most).max(1)).max(1);
        let height = call.sum(&[cell_rows, reach(&row)])?;
        let parts = [remainders(&row), remainders(&col)];
        let size = call.count(&[parts[0].len(), parts[1].len(), height, width])?;
        let taps = call.count(&[row.kernel, col.kernel])?;
        if size > MOST || taps > MOST {
            let headline = format!("windows of {taps} taps reach over {size} elements, at most {MOST}");
            return Err(Diagnostic::new("builtin-window", headline));
        }
        let split = |axis: &Axis, parts: &[usize], k: usize| {
            let at = k * axis.dilation;
            (parts.iter().position(|p| *p == at % axis.stride).unwrap_or_default(), at / axis.stride)
        };
        let mut offsets = Vec::with_capacity(taps);
        for i in 0..row.kernel {
            let (up, down) = split(&row, &parts[0], i);
            for j in 0..col.kernel {
                let (left, right) = split(&col, &parts[1], j);
                offsets.push(((up * parts[1].len() + left) * height + down) * width + right);
            }
        }
        Ok(Sheet { row, col, cell_rows, width, height, parts, offsets })
    }

    /// Elements of a laid-out plane.
    pub(super) fn size(&self) -> usize {
        self.parts[0].len() * self.parts[1].len() * self.height * self.width
    }

    /// Elements of a run over `rows` rows of windows.
    pub(super) fn run(&self, rows: usize) -> usize {
        if rows == 0 { 0 } else { (rows - 1) * self.width + self.col.windows }
    }

    /// Lays out what windows of rows `rows` see of `plane` into `to`: `take` of each element, `outside` in the padding.
    pub(super) fn lay<S: Copy, T: Copy>(
        &self,
        plane: &[S],
        rows: &Range<usize>,
        to: &mut [T],
        outside: T,
        take: impl Fn(S) -> T + Copy,
    ) {
        let (row, col) = (&self.row, &self.col);
        let mut parts = to.chunks_exact_mut((self.height * self.width).max(1));
        for up in &self.parts[0] {
            for left in &self.parts[1] {
                let Some(part) = parts.next() else { return };
                // Columns of the part that lie in the image.
                let first = col.pad.saturating_sub(*left).div_ceil(col.stride).min(self.width);
                let end = (col.image + col.pad).saturating_sub(*left).div_ceil(col.stride).min(self.width).max(first);
                for (i, to) in part.chunks_exact_mut(self.width.max(1)).enumerate() {
                    let at = ((rows.start + i) * row.stride + up).checked_sub(row.pad).filter(|r| *r < row.image);
                    let (Some(at), true) = (at, first < end) else {
                        to.fill(outside);
                        continue;
                    };
                    let from = &plane[at * col.image..][..col.image][first * col.stride + left - col.pad..];
                    to[..first].fill(outside);
                    to[end..].fill(outside);
                    let to = &mut to[first..end];
                    match col.stride {
                        1 => to.iter_mut().zip(from).for_each(|(t, s)| *t = take(*s)),
                        2 => to.iter_mut().zip(from.chunks(2)).for_each(|(t, s)| *t = take(s[0])),
                        n => to.iter_mut().zip(from.iter().step_by(n)).for_each(|(t, s)| *t = take(*s)),
                    }
                }
            }
        }
    }
}
