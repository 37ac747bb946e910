//! Transposed convolutions: a matrix product makes what each element gives to its window, which is added where it lies.

use super::call::Call;
use super::conv::{Layout, bias};
use super::element::dtype;
use super::fold::place_run;
use super::window::{axes, rank, room};
use crate::device::cpu::gemm::Matrix;
use crate::device::cpu::memory::Grid;
use crate::device::cpu::product::{LANES, multiply, pack};
use crate::device::cpu::team::Scratch;
use actc_types::{DType, Result};

/// Bytes of the weights that are copied at once; a product goes through no more at once, so what an element is given comes in
/// the same order in any cell.
const WEIGHTS: usize = 256 << 10;

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
    let cell_rows = outs.div_ceil(call.parts.div_ceil((n * groups).max(1))).max(1);
    let strips = windows.div_ceil(LANES);
    let packed = call.count(&[strips, LANES, own])?;
    let channels = (WEIGHTS / size_of::<f32>() / call.count(&[own, taps])?.max(1)).clamp(1, cell_rows);
    let Scratch { floats, rows: copied, product, .. } = scratch;
    for item in 0..n * groups {
        let (image, group) = (item / groups, item % groups);
        let seen = Matrix::dense(&x[(image * c + group * own) * windows..][..own * windows], own, windows);
        let weights = Matrix::dense(&w[group * own * rows..][..own * rows], own, rows).transposed();
        let offset = (image * m + group * outs) * area;
        let grid = Grid { offset, rows: outs, cols: area, stride: area, cell_rows, cell_cols: area.max(1) };
        let mut made = false;
        for mut tile in call.tiles_from::<f32>(out, grid, item)? {
            let seen_strips = room(floats, packed)?;
            if !std::mem::replace(&mut made, true) {
                pack(seen, 0, seen_strips);
            }
            let (seen_strips, step, apart) = product.packed(seen_strips, [own, windows]);
            for first in (0..tile.rows()).step_by(channels) {
                let count = channels.min(tile.rows() - first);
                let channel = group * outs + tile.row();
                for i in first..first + count {
                    tile.row_mut(i).fill(bias.map_or(0.0, |b| b[channel + i]));
                }
                let rows = weights.rows_of((tile.row() + first) * taps, count * taps);
                let to = room(copied, rows.rows() * own)?;
                rows.copy(to);
                multiply(
                    Matrix::dense(to, rows.rows(), own),
                    seen_strips,
                    (strips, step),
                    apart,
                    |row, rows, strip, block| {
                        let start = strip * LANES;
                        for (i, sums) in (row..row + rows).zip(block) {
                            let plane = tile.row_mut(first + i / taps);
                            let sums = &sums[..LANES.min(windows - start)];
                            place_run(&layout.axes, i % taps, start, sums, plane, |y, x| y + x);
                        }
                    },
                );
            }
        }
    }
    Ok(())
}
