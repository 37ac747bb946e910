//! Windows added up to the image they lie over, and places of elements: `fold`, and `unpool`.

use super::call::Call;
use super::element::{CELL, dtype, with_size};
use super::window::{self, Axis, area, axes, place, rank, taps};
use crate::device::cpu::memory::Grid;
use actc_types::{DType, Diagnostic, Result};
use bytemuck::Pod;

/// Elements of windows that one cell has at least.
const FOLD_CELL: usize = 1 << 14;

/// Adds to `plane` what `windows`, a row for each tap, have for its elements.
fn fold<T: Copy>(axes: &[Axis], windows: &[T], plane: &mut [T], add: impl Fn(T, T) -> T + Copy) {
    let count = axes.iter().map(|a| a.windows).product::<usize>();
    for (tap, seen) in windows.chunks_exact(count.max(1)).enumerate() {
        place_run(axes, tap, 0, seen, plane, add);
    }
}

/// Adds to `plane` what the windows from `window` on have for their tap `tap` where that lies in it.
pub(super) fn place_run<T: Copy>(
    axes: &[Axis],
    tap: usize,
    mut window: usize,
    mut values: &[T],
    plane: &mut [T],
    add: impl Fn(T, T) -> T + Copy,
) {
    let Some((last, outer)) = axes.split_last() else { return };
    let (tap, k) = (tap / last.kernel, tap % last.kernel);
    let inside = last.inside(k);
    while !values.is_empty() {
        let (row, first) = (window / last.windows, window % last.windows);
        let (run, rest) = values.split_at(values.len().min(last.windows - first));
        let (from, to) = (inside.start.max(first), inside.end.min(first + run.len()));
        if let (Some(at), true) = (place(outer, row, tap), from < to) {
            let start = from * last.stride + k * last.dilation - last.pad;
            let (to, run) = (&mut plane[at * last.image..][..last.image][start..], &run[from - first..to - first]);
            match last.stride {
                1 => to.iter_mut().zip(run).for_each(|(y, x)| *y = add(*y, *x)),
                n => to.iter_mut().step_by(n).zip(run).for_each(|(y, x)| *y = add(*y, *x)),
            }
        }
        window += run.len();
        values = rest;
    }
}

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    match dtype(call, 0)? {
        DType::F32 => each::<f32>(call, 0.0, |a, b| a + b),
        DType::F64 => each::<f64>(call, 0.0, |a, b| a + b),
        DType::U8 | DType::I8 => each::<u8>(call, 0, u8::wrapping_add),
        DType::U16 | DType::I16 => each::<u16>(call, 0, u16::wrapping_add),
        DType::U32 | DType::I32 => each::<u32>(call, 0, u32::wrapping_add),
        DType::U64 | DType::I64 => each::<u64>(call, 0, u64::wrapping_add),
        DType::Bool | DType::F16 | DType::Bf16 | DType::Narrow(_) => {
            Err(call.refuse_int(0, "the number of a type of numbers"))
        }
    }
}

fn each<T: Pod>(call: &Call<'_>, zero: T, add: impl Fn(T, T) -> T + Copy) -> Result<()> {
    let (planes, r) = (call.dim(0)?, rank(call, 1)?);
    // Windows come first among the sizes, then the image.
    let axes = axes(call, r, 1 + r, 1, 1)?;
    let (area, windows, taps) = (area(call, &axes)?, window::windows(call, &axes)?, taps(call, &axes)?);
    let from = call.count(&[taps, windows])?;
    let x: &[T] = call.read(0, &[planes, from])?;
    for mut tile in call.tiles::<T>(1, Grid::of_rows(planes, area, FOLD_CELL.div_ceil(from.max(1))))? {
        for i in 0..tile.rows() {
            let seen = &x[(tile.row() + i) * from..][..from];
            let plane = tile.row_mut(i);
            plane.fill(zero);
            fold(&axes, seen, plane, add);
        }
    }
    Ok(())
}

/// `y[places[i]] = x[i]`, in order; zeros elsewhere.
pub(super) fn unpool(call: &Call<'_>) -> Result<()> {
    with_size!(call, 0, T => {
        let (count, total) = (call.dim(0)?, call.dim(1)?);
        let x: &[T] = call.read(0, &[count])?;
        let places: &[i64] = call.read(1, &[count])?;
        // All members look at all of them, so that they fail alike.
        if let Some(place) = places.iter().find(|p| !usize::try_from(**p).is_ok_and(|p| p < total)) {
            return Err(Diagnostic::new("index-range", format!("place {place} of {total} elements")));
        }
        let cell = total.div_ceil(call.parts).max(CELL);
        let grid = Grid { offset: 0, rows: 1, cols: total, stride: total, cell_rows: 1, cell_cols: cell };
        for mut tile in call.tiles::<T>(2, grid)? {
            let (first, width) = (tile.col(), tile.cols());
            let row = tile.row_mut(0);
            row.fill(0);
            for (x, place) in x.iter().zip(places) {
                let at = (*place as usize).wrapping_sub(first);
                if at < width {
                    row[at] = *x;
                }
            }
        }
        Ok(())
    })
}
