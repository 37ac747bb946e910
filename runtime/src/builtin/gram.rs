//! `acc += x^T x`: the upper triangle by products of blocks, then mirrored.

use super::call::{Call, Stop};
use crate::device::cpu::gemm::{Matrix, gemm};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;

/// Rows of a cell. Cells are dealt out in turn, which evens out the triangle.
const CELL: usize = 64;

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
    let (m, k) = (call.dim(0)?, call.dim(1)?);
    let x = Matrix::dense(call.read(0, &[m, k])?, m, k);
    let grid = Grid::of_rows(k, k, CELL);
    let mut rows = Vec::new();
    for tile in call.tiles::<f32>(1, grid)? {
        let (row, count) = (tile.row(), tile.rows());
        rows.extend(row..row + count);
        let mut tile = tile.skip_cols(row);
        gemm(x.cols_of(row, count).transposed(), x.cols_of(row, k - row), &mut tile, true, &mut scratch.product);
    }
    call.barrier()?;
    Ok(call.mirror(1, k, rows.into_iter())?)
}
