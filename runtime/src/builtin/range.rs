//! Consecutive integers.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::Result;

/// Numbers of a cell.
const CELL: usize = 4096;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (count, start) = (call.dim(0)?, call.dim(1)?);
    let grid = Grid { offset: 0, rows: 1, cols: count, stride: count, cell_rows: 1, cell_cols: CELL };
    // The last number fits too: sizes have at most 63 bits.
    call.sum(&[count, start])?;
    for mut tile in call.tiles::<i64>(0, grid)? {
        let first = (start + tile.col()) as i64;
        for (n, out) in (first..).zip(tile.row_mut(0)) {
            *out = n;
        }
    }
    Ok(())
}
