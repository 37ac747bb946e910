//! Convolutions whose taps are moved: columns of interpolated elements times matrix products.

use super::call::Call;
use super::conv::Layout;
use super::window::{Axis, axes, room};
use crate::device::cpu::gemm::{Matrix, gemm};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;
use actc_types::Result;

/// Columns of a cell.
const COLUMNS: usize = 256;

/// The element of `plane` at (`row`, `col`), interpolated linearly; 0 outside.
fn between(plane: &[f32], row_axis: &Axis, col_axis: &Axis, row: f64, col: f64) -> f32 {
    let (height, width) = (row_axis.image as f64, col_axis.image as f64);
    let reached = row > -1.0 && col > -1.0 && row < height && col < width;
    if !reached {
        return 0.0;
    }
    let (top, left) = (row.floor(), col.floor());
    let (u, v) = ((row - top) as f32, (col - left) as f32);
    let one = |r: f64, c: f64| {
        let inside = r >= 0.0 && c >= 0.0 && r < height && c < width;
        if inside { plane[r as usize * col_axis.image + c as usize] } else { 0.0 }
    };
    let upper = (1.0 - v) * one(top, left) + v * one(top, left + 1.0);
    let lower = (1.0 - v) * one(top + 1.0, left) + v * one(top + 1.0, left + 1.0);
    (1.0 - u) * upper + u * lower
}

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let layout = Layout::of(call, axes(call, 2, 3, 5, 2)?)?;
    let &Layout { n, c, m, groups, own, outs, area, windows, taps, .. } = &layout;
    let [row_axis, col_axis] = layout.axes[..] else { return Ok(()) };
    let parts = usize::try_from(call.int(1)).ok().filter(|g| *g > 0 && c.is_multiple_of(*g));
    let parts = parts.ok_or_else(|| call.refuse_int(1, "a number of groups of offsets"))?;
    let slots = call.count(&[parts, taps])?;
    let x: &[f32] = call.read(0, &[n, c, area])?;
    let w: &[f32] = call.read(1, &[m, own, taps])?;
    let offsets: &[f32] = call.read(2, &[n, slots, 2, windows])?;
    let masked = call.bufs() > 4;
    let mask: Option<&[f32]> = if masked { Some(call.read(3, &[n, slots, windows])?) } else { None };
    call.count(&[n, m, windows])?;
    let rows = call.count(&[own, taps])?;
    let share = windows.div_ceil(call.parts.div_ceil((n * groups).max(1)));
    let cell_cols = share.clamp(1, COLUMNS);
    for item in 0..n * groups {
        let (image, group) = (item / groups, item % groups);
        let weights = Matrix::dense(&w[group * outs * rows..][..outs * rows], outs, rows);
        let offset = (image * m + group * outs) * windows;
        let grid = Grid { offset, rows: outs, cols: windows, stride: windows, cell_rows: outs.max(1), cell_cols };
        for mut tile in call.tiles_from::<f32>(3 + usize::from(masked), grid, item)? {
            let (first, width) = (tile.col(), tile.cols());
            let seen = room(&mut scratch.floats, call.count(&[rows, width])?)?;
            for (i, to) in seen.chunks_exact_mut(width).enumerate() {
                let (channel, tap) = (group * own + i / taps, i % taps);
                let plane = &x[(image * c + channel) * area..][..area];
                let slot = image * slots + channel / (c / parts) * taps + tap;
                let moved = |k: usize| &offsets[(slot * 2 + k) * windows + first..][..width];
                let along =
                    |axis: &Axis, o: usize, k: usize| (o * axis.stride + k * axis.dilation) as f64 - axis.pad as f64;
                let down = moved(0).iter().zip(moved(1));
                for (j, (y, (down, right))) in to.iter_mut().zip(down).enumerate() {
                    let (o, k) = (first + j, tap);
                    let row = along(&row_axis, o / col_axis.windows, k / col_axis.kernel) + f64::from(*down);
                    let col = along(&col_axis, o % col_axis.windows, k % col_axis.kernel) + f64::from(*right);
                    *y = between(plane, &row_axis, &col_axis, row, col);
                }
                if let Some(mask) = mask {
                    let mask = &mask[slot * windows + first..][..width];
                    to.iter_mut().zip(mask).for_each(|(y, m)| *y *= m);
                }
            }
            let seen = Matrix::dense(seen, rows, width);
            gemm(weights.rows_of(tile.row(), tile.rows()), seen, &mut tile, false, &mut scratch.product);
        }
    }
    Ok(())
}
