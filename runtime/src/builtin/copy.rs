//! Copies rows of bytes: slices, concatenation, moving data into caches.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::Result;

/// Bytes of a cell: small rows are not dealt out one by one, and large ones in pieces.
const CELL_BYTES: usize = 1 << 14;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (rows, bytes) = (call.dim(0)?, call.dim(1)?);
    let (from_offset, from_stride) = (call.dim(2)?, call.dim(3)?);
    let (to_offset, to_stride) = (call.dim(4)?, call.dim(5)?);
    if rows == 0 || bytes == 0 {
        return Ok(());
    }
    let reach = call.count(&[rows - 1, from_stride])?;
    let reach = call.sum(&[reach, from_offset, bytes])?;
    let from: &[u8] = call.read(0, &[reach])?;
    // Rows that follow each other on both sides are one.
    let whole = from_stride == bytes && to_stride == bytes;
    let (rows, cols) = if whole { (1, call.count(&[rows, bytes])?) } else { (rows, bytes) };
    let (cell_rows, cell_cols) = (CELL_BYTES.div_ceil(cols), cols.min(CELL_BYTES));
    let grid = Grid { offset: to_offset, rows, cols, stride: to_stride, cell_rows, cell_cols };
    for mut tile in call.tiles::<u8>(1, grid)? {
        for i in 0..tile.rows() {
            let at = from_offset + (tile.row() + i) * from_stride + tile.col();
            let to = tile.row_mut(i);
            to.copy_from_slice(&from[at..][..to.len()]);
        }
    }
    Ok(())
}
