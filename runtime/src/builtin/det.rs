//! Determinants of matrices.

use super::call::Call;
use super::element::{CELL, Element, float_type, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::determinant::determinant;
use actc_types::{DType, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_element!(float_type(call, 0)?, T => each::<T>(call))
}

fn each<T: Element>(call: &Call<'_>) -> Result<()> {
    let (m, n) = (call.dim(0)?, call.dim(1)?);
    let size = call.count(&[n, n])?;
    let x: &[T] = call.read(0, &[m, size])?;
    let cost = size.saturating_mul(n).max(1);
    let grid = Grid { offset: 0, rows: 1, cols: m, stride: m, cell_rows: 1, cell_cols: CELL.div_ceil(cost) };
    let mut matrix = Vec::new();
    for mut tile in call.tiles::<T>(1, grid)? {
        let first = tile.col();
        for (i, y) in tile.row_mut(0).iter_mut().enumerate() {
            matrix.clear();
            matrix.extend(x[(first + i) * size..][..size].iter().map(|x| x.float()));
            *y = T::from_float(determinant(&mut matrix, n));
        }
    }
    Ok(())
}
