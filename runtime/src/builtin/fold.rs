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
fn fold<T: Copy>(axes: &[Axis], windows: &[T], plane: &mut [T], add: impl Fn(T, T) -> T) {
    let Some((last, outer)) = axes.split_last() else { return };
    let rows = outer.iter().map(|a| a.windows).product::<usize>();
    let mut all = windows.chunks_exact((rows * last.windows).max(1));
    for tap in 0..outer.iter().map(|a| a.kernel).product() {
        for k in 0..last.kernel {
            let Some(seen) = all.next() else { return };
            let inside = last.inside(k);
            if inside.is_empty() {
                continue;
            }
            let start = inside.start * last.stride + k * last.dilation - last.pad;
            for (row, seen) in seen.chunks_exact(last.windows).enumerate() {
                let Some(at) = place(outer, row, tap) else { continue };
                let to = &mut plane[at * last.image..][..last.image][start..];
                let seen = &seen[inside.clone()];
                match last.stride {
                    1 => to.iter_mut().zip(seen).for_each(|(y, x)| *y = add(*y, *x)),
                    n => to.iter_mut().step_by(n).zip(seen).for_each(|(y, x)| *y = add(*y, *x)),
                }
            }
        }
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
