//! Of each element and those before it along an axis.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::function::Running;
use actc_types::{DType, Diagnostic, Result};

/// Columns that one cell has at least where neighbours along the axis are rows apart.
const COLUMNS: usize = 64;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let function = Running::from_code(call.int(0));
    let function = function.ok_or_else(|| call.refuse_int(0, "the number of a running function"))?;
    let dtype = dtype(call, 1)?;
    if !function.takes().includes(dtype) {
        return Err(call.refuse(format!("`{}` takes {}, not {dtype}", function.name(), function.takes().words())));
    }
    if dtype.is_float() {
        return with_element!(dtype, T => {
            each::<T, f64>(call, function.first(), |s, x| function.apply(s, x.float()), T::from_float)
        });
    }
    with_element!(dtype, T => {
        let first = function.first() as i128;
        each::<T, i128>(call, first, |s, x| function.apply_integer(s, x.integer()), T::from_integer)
    })
}

/// Folds `next` from `first` on and writes what `give` makes of each state.
fn each<T: Element, S: Copy>(call: &Call<'_>, first: S, next: impl Fn(S, T) -> S, give: impl Fn(S) -> T) -> Result<()> {
    let (exclusive, reverse) = (call.flag(2)?, call.flag(3)?);
    let extents = (0..call.dims()).map(|i| call.dim(i)).collect::<Result<Vec<_>>>()?;
    let stated = call.read::<i64>(1, &[1])?[0];
    let axis = super::gather::place(stated, extents.len());
    let axis = axis.ok_or_else(|| Diagnostic::new("axis-range", format!("axis {stated} of {} axes", extents.len())))?;
    let (outer, n) = (call.count(&extents[..axis])?, extents[axis]);
    let inner = call.count(&extents[axis + 1..])?;
    let x: &[T] = call.read(0, &[outer, n, inner])?;
    let order = |i: usize| if reverse { n - 1 - i } else { i };
    let step = |sum: &mut S, x: T, y: &mut T| {
        let with = next(*sum, x);
        *y = give(if exclusive { *sum } else { with });
        *sum = with;
    };
    if inner == 1 {
        for mut tile in call.tiles::<T>(2, Grid::of_rows(outer, n, CELL.div_ceil(n.max(1))))? {
            for i in 0..tile.rows() {
                let row = &x[(tile.row() + i) * n..][..n];
                let (y, mut sum) = (tile.row_mut(i), first);
                (0..n).map(order).for_each(|i| step(&mut sum, row[i], &mut y[i]));
            }
        }
        return Ok(());
    }
    let rows = call.count(&[outer, n])?;
    let cell_cols = CELL.div_ceil(n.max(1)).max(COLUMNS).min(inner.max(1));
    let grid = Grid { offset: 0, rows, cols: inner, stride: inner, cell_rows: n, cell_cols };
    let mut sums = vec![first; cell_cols];
    for mut tile in call.tiles::<T>(2, grid)? {
        let (row, col) = (tile.row(), tile.col());
        sums.fill(first);
        for i in (0..n).map(order) {
            let y = tile.row_mut(i);
            let x = &x[(row + i) * inner + col..][..y.len()];
            for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
                step(sum, *x, y);
            }
        }
    }
    Ok(())
}
