//! `y = x W^T + bias` for stored matrices of every encoding: panels of rows are decoded to f32, the library multiplies.

use super::call::{Call, Stop};
use super::round_int8::round_row;
use crate::device::cpu::gemm::{Matrix, gemm};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;
use crate::model::Model;
use crate::program;
use actc_types::{Diagnostic, Result};

/// Most rows of a panel, and most bytes of its decoded weights. Wide panels spread the cost of repacking `x`, which the
/// library does for each.
const PANEL_ROWS: usize = 256;
const PANEL_BYTES: usize = 4 << 20;

/// Rows of `x` that are rounded as one cell.
const ROUND_ROWS: usize = 8;

/// With `act` 8 the rounded activations are shared.
pub(super) fn workspace(call: &program::Call, dims: &[i64], model: &Model) -> Result<usize> {
    if call.ints[0] != 8 {
        return Ok(0);
    }
    let (_, k) = model.artifact().manifest().tensors[call.tensors[0]].matrix()?;
    let bytes = usize::try_from(dims[0]).ok().and_then(|m| m.checked_mul(k)?.checked_mul(size_of::<f32>()));
    bytes.ok_or_else(|| {
        Diagnostic::new("dim-overflow", format!("activations [{}, {k}] exceed the address space", dims[0]))
    })
}

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
    let weight = call.weight(0)?;
    let (m, n, k) = (call.dim(0)?, weight.rows(), weight.cols());
    let given: &[f32] = call.read(0, &[m, k])?;
    let bias: Option<&[f32]> = if call.bufs() > 2 { Some(call.read(2, &[n])?) } else { None };
    // Cells as wide as fit, of equal width for all members.
    let most = (PANEL_BYTES / size_of::<f32>() / k.max(1)).clamp(8, PANEL_ROWS);
    let share = n.div_ceil(call.parts).max(1);
    let panel = share.div_ceil(share.div_ceil(most)).next_multiple_of(8);
    let grid = Grid { offset: 0, rows: m, cols: n, stride: n, cell_rows: m.max(1), cell_cols: panel };
    let cells = call.tiles::<f32>(1, grid)?;
    let x = match call.int(0) {
        0 => given,
        8 => {
            let weak: Vec<usize> = weight.weak_columns().collect();
            for mut tile in call.workspace_tiles(Grid::of_rows(m, k, ROUND_ROWS))? {
                for i in 0..tile.rows() {
                    let row = tile.row() + i;
                    round_row(&given[row * k..][..k], &weak, tile.row_mut(i));
                }
            }
            call.barrier()?;
            call.workspace(m * k)?
        }
        _ => return Err(call.refuse_int(0, "0 or 8").into()),
    };
    let x = Matrix::dense(x, m, k);
    let (dense, decoder) = (call.dense_weight(0), call.decoder(0)?);
    for mut tile in cells {
        let (first, rows) = (tile.col(), tile.cols());
        let decoded = match dense {
            Some(weights) => &weights[first * k..][..rows * k],
            None => {
                let Scratch { floats, grid, .. } = &mut *scratch;
                floats.resize(floats.len().max(rows * k), 0.0);
                let panel = &mut floats[..rows * k];
                decoder.rows(first, panel, grid);
                panel
            }
        };
        gemm(x, Matrix::dense(decoded, rows, k).transposed(), &mut tile, false);
        if let Some(bias) = bias {
            for i in 0..m {
                tile.row_mut(i).iter_mut().zip(&bias[first..]).for_each(|(y, b)| *y += b);
            }
        }
    }
    Ok(())
}
