//! What a round of a loop gives, in its place among those of all rounds.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::{Diagnostic, Result};

/// Bytes that one cell has at least.
const CELL_BYTES: usize = 1 << 14;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (rows, bytes) = (call.dim(0)?, call.dim(1)?);
    let from: &[u8] = call.read(0, &[bytes])?;
    let round = call.read::<i64>(1, &[1])?[0];
    let row = usize::try_from(round).ok().filter(|r| *r < rows);
    let row = row.ok_or_else(|| Diagnostic::new("loop-rows", format!("round {round} of a loop of {rows} rows")))?;
    let offset = call.count(&[row, bytes])?;
    let grid = Grid { offset, rows: 1, cols: bytes, stride: bytes, cell_rows: 1, cell_cols: CELL_BYTES };
    for mut tile in call.tiles::<u8>(2, grid)? {
        let col = tile.col();
        let y = tile.row_mut(0);
        y.copy_from_slice(&from[col..][..y.len()]);
    }
    Ok(())
}

/// Zeros.
pub(super) fn zero(call: &Call<'_>) -> Result<()> {
    let bytes = call.dim(0)?;
    let grid = Grid { offset: 0, rows: 1, cols: bytes, stride: bytes, cell_rows: 1, cell_cols: CELL_BYTES };
    for mut tile in call.tiles::<u8>(0, grid)? {
        tile.row_mut(0).fill(0);
    }
    Ok(())
}
