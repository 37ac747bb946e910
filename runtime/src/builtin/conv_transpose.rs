//! Transposed convolutions: the library's matrix product makes what each element gives to its window, which is added up.

use super::call::Call;
use super::conv::{Layout, bias};
use super::element::dtype;
use super::fold::fold;
use super::window::{axes, rank, room};
use crate::device::cpu::gemm::{Matrix, gemm_rows};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;
use actc_types::{DType, Result};

/// Elements of windows that one cell has at most, unless a channel of the result has more.
const CELL: usize = 1 << 19;

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let r = rank(call, 3)?;
    // Windows lie over the result.
    let layout = Layout::of(call, axes(call, r, 3 + r, 3, 2)?)?;
    if dtype(call, 1)? != DType::F32 {
        return Err(call.refuse_int(1, "the number of f32"));
    }
    let &Layout { n, c, m, groups, own, outs, area, windows, taps, .. } = &layout;
    let x: &[f32] = call.read(0, &[n, c, windows])?;
    let w: &[f32] = call.read(1, &[c, outs, taps])?;
    let (bias, out) = bias::<f32>(call, m, 2)?;
    call.count(&[n, m, area])?;
    let rows = call.count(&[outs, taps])?;
    let each = call.count(&[taps, windows])?;
    let share = outs.div_ceil(call.parts.div_ceil((n * groups).max(1)));
    let cell_rows = (CELL / each.max(1)).clamp(1, share.max(1));
    for item in 0..n * groups {
        let (image, group) = (item / groups, item % groups);
        let seen = Matrix::dense(&x[(image * c + group * own) * windows..][..own * windows], own, windows);
        let weights = Matrix::dense(&w[group * own * rows..][..own * rows], own, rows).transposed();
        let offset = (image * m + group * outs) * area;
        let grid = Grid { offset, rows: outs, cols: area, stride: area, cell_rows, cell_cols: area.max(1) };
        for mut tile in call.tiles_from::<f32>(out, grid, item)? {
            let given = room(&mut scratch.floats, call.count(&[tile.rows(), each])?)?;
            gemm_rows(weights.rows(tile.row() * taps, tile.rows() * taps), seen, given, windows);
            for i in 0..tile.rows() {
                let start = bias.map_or(0.0, |b| b[group * outs + tile.row() + i]);
                let plane = tile.row_mut(i);
                plane.fill(start);
                fold(&layout.axes, &given[i * each..][..each], plane, |a, b| a + b);
            }
        }
    }
    Ok(())
}
