//! Copies rows of bytes: slices, concatenation, moving data into caches.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::Result;

/// Bytes that one cell has at least, so that small rows are not dealt out one by one.
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
    let cell_rows = CELL_BYTES.div_ceil(bytes);
    let grid = Grid { offset: to_offset, rows, cols: bytes, stride: to_stride, cell_rows, cell_cols: bytes };
    for mut tile in call.tiles::<u8>(1, grid)? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            tile.row_mut(i).copy_from_slice(&from[from_offset + row * from_stride..][..bytes]);
        }
    }
    Ok(())
}
