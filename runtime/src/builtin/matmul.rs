//! Products of matrices that are both computed, a batch of them.

use super::call::Call;
use crate::device::cpu::gemm::{Matrix, gemm};
use crate::device::cpu::memory::Grid;
use actc_types::Result;

/// Rows of a cell.
const CELL: usize = 64;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (batch, m, k, n) = (call.dim(0)?, call.dim(1)?, call.dim(2)?, call.dim(3)?);
    let (ta, tb) = (call.flag(0)?, call.flag(1)?);
    let a: &[f32] = call.read(0, &[batch, m, k])?;
    let b: &[f32] = call.read(1, &[batch, k, n])?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    for i in 0..batch {
        let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
        let a = if ta { Matrix::dense(a, k, m).transposed() } else { Matrix::dense(a, m, k) };
        let b = if tb { Matrix::dense(b, n, k).transposed() } else { Matrix::dense(b, k, n) };
        let grid = Grid { offset: i * m * n, rows: m, cols: n, stride: n, cell_rows: CELL, cell_cols: n.max(1) };
        // Cells start with another member in each matrix of the batch, so that small matrices spread over the team.
        for mut tile in call.tiles_from::<f32>(2, grid, i)? {
            gemm(a.rows(tile.row(), tile.rows()), b, &mut tile, false);
        }
    }
    Ok(())
}
