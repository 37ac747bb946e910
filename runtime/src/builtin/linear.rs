//! `y = x W^T + bias` for stored matrices of every encoding: rows of `x` are the strips of a product whose left side are the
//! weights, which are read where they lie if they are dense, or decoded to f32 some rows at a time.

use super::call::{Call, Stop};
use super::round_int8::round_row;
use crate::device::cpu::gemm::Matrix;
use crate::device::cpu::memory::Grid;
use crate::device::cpu::product::{LANES, multiply, transpose};
use crate::device::cpu::team::Scratch;
use crate::model::Model;
use crate::program;
use actc_types::{Diagnostic, Result};

/// Most rows of a panel of decoded weights, and most bytes of it.
const PANEL_ROWS: usize = 256;
const PANEL_BYTES: usize = 1 << 20;

/// Rows of cells are a multiple of: whole panels of packed weights, and whole blocks of a product.
const PANEL_UNIT: usize = 24;

/// Members share the strips.
pub(super) fn workspace(call: &program::Call, dims: &[i64], model: &Model) -> Result<usize> {
    let (_, k) = model.artifact().manifest().tensors[call.tensors[0]].matrix()?;
    let rows = usize::try_from(dims[0]).ok().and_then(|m| m.checked_next_multiple_of(LANES));
    rows.and_then(|m| m.checked_mul(k)?.checked_mul(size_of::<f32>())).ok_or_else(|| {
        Diagnostic::new("dim-overflow", format!("activations [{}, {k}] exceed the address space", dims[0]))
    })
}

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
    let weight = call.weight(0)?;
    let (m, n, k) = (call.dim(0)?, weight.rows(), weight.cols());
    let x: &[f32] = call.read(0, &[m, k])?;
    let bias: Option<&[f32]> = if call.bufs() > 2 { Some(call.read(2, &[n])?) } else { None };
    let rounds = match call.int(0) {
        0 => false,
        8 => true,
        _ => return Err(call.refuse_int(0, "0 or 8").into()),
    };
    // Cells as wide as fit, of equal width for all members.
    let most = (PANEL_BYTES / size_of::<f32>() / k.max(1)).clamp(8, PANEL_ROWS);
    let share = n.div_ceil(call.parts).max(1);
    let panel = share.div_ceil(share.div_ceil(most)).next_multiple_of(PANEL_UNIT);
    let grid = Grid { offset: 0, rows: m, cols: n, stride: n, cell_rows: m.max(1), cell_cols: panel };
    let cells = call.tiles::<f32>(1, grid)?;
    let Scratch { floats, grid, product, .. } = scratch;
    let weak: Vec<usize> = if rounds { weight.weak_columns().collect() } else { Vec::new() };
    let strips = m.div_ceil(LANES);
    for mut strip in call.workspace_tiles(Grid::of_rows(strips, k * LANES, 1))? {
        let first = strip.row() * LANES;
        let mut rows = &x[first * k..m.min(first + LANES) * k];
        if rounds {
            floats.resize(floats.len().max(rows.len()), 0.0);
            let rounded = &mut floats[..rows.len()];
            for (to, from) in rounded.chunks_exact_mut(k.max(1)).zip(rows.chunks_exact(k.max(1))) {
                round_row(from, &weak, to);
            }
            rows = rounded;
        }
        transpose(&rows.chunks_exact(k.max(1)).collect::<Vec<_>>(), strip.row_mut(0));
    }
    call.barrier()?;
    let (x, step, apart) = product.packed(call.workspace(strips * LANES * k)?, [k, m]);
    let (dense, decoder) = (call.dense_weight(0), call.decoder(0)?);
    for mut tile in cells {
        let (first, rows) = (tile.col(), tile.cols());
        let decoded = match dense {
            Some(weights) => &weights[first * k..][..rows * k],
            None => {
                floats.resize(floats.len().max(rows * k), 0.0);
                let panel = &mut floats[..rows * k];
                decoder.rows(first, panel, grid);
                panel
            }
        };
        multiply(Matrix::dense(decoded, rows, k), x, (strips, step), apart, |row, rows, strip, block| {
            for lane in 0..LANES.min(m - strip * LANES) {
                let to = &mut tile.row_mut(strip * LANES + lane)[row..][..rows];
                match bias {
                    None => to.iter_mut().zip(block).for_each(|(y, sums)| *y = sums[lane]),
                    Some(bias) => {
                        let bias = &bias[first + row..];
                        to.iter_mut().zip(block).zip(bias).for_each(|((y, sums), b)| *y = sums[lane] + b);
                    }
                }
            }
        });
    }
    Ok(())
}
