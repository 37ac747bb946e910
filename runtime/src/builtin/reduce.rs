//! One number for each row.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::function::RowFunction;
use actc_types::{DType, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let function =
        RowFunction::from_code(call.int(0)).ok_or_else(|| call.refuse_int(0, "the number of a function of rows"))?;
    let dtype = dtype(call, 1)?;
    if !function.takes().includes(dtype) {
        return Err(call.refuse(format!("`{}` takes {}, not {dtype}", function.name(), function.takes().words())));
    }
    match (function, dtype) {
        (RowFunction::Least, DType::F32) => {
            return rows::<f32, f32>(call, |row| farthest(row, f32::INFINITY, |x, y| x < y));
        }
        (RowFunction::Most, DType::F32) => {
            return rows::<f32, f32>(call, |row| farthest(row, f32::NEG_INFINITY, |x, y| x > y));
        }
        (RowFunction::Sum | RowFunction::Prod | RowFunction::Least | RowFunction::Most, _) => {}
    }
    if dtype.is_float() {
        return with_element!(dtype, T => {
            rows::<T, T>(call, |row| T::from_float(function.apply(row.iter().map(|x| x.float()))))
        });
    }
    with_element!(dtype, T => {
        rows::<T, T>(call, |row| T::from_integer(function.apply_integer(dtype, row.iter().map(|x| x.integer()))))
    })
}

/// The element of `row` that is `beyond` all others, in lanes; `start` where there is none, not-a-number where one is.
fn farthest(row: &[f32], start: f32, beyond: impl Fn(f32, f32) -> bool) -> f32 {
    let further = |m: f32, x: f32| if beyond(x, m) || x.is_nan() { x } else { m };
    let (chunks, rest) = row.as_chunks::<16>();
    let mut lanes = [start; 16];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(m, x)| *m = further(*m, *x));
    }
    lanes.iter().chain(rest).fold(start, |m, x| further(m, *x))
}

/// `y[i] = f(x[i])`.
pub(super) fn rows<T: Element, O: Element>(call: &Call<'_>, f: impl Fn(&[T]) -> O) -> Result<()> {
    let (m, n) = (call.dim(0)?, call.dim(1)?);
    let x: &[T] = call.read(0, &[m, n])?;
    let cell_cols = CELL.div_ceil(n.max(1));
    let grid = Grid { offset: 0, rows: 1, cols: m, stride: m, cell_rows: 1, cell_cols };
    for mut tile in call.tiles::<O>(1, grid)? {
        let first = tile.col();
        for (i, y) in tile.row_mut(0).iter_mut().enumerate() {
            *y = f(&x[(first + i) * n..][..n]);
        }
    }
    Ok(())
}
