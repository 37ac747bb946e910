//! Softmax over rows.

use super::call::Call;
use super::exp::exp;
use crate::device::cpu::memory::Grid;
use actc_types::Result;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (m, n) = (call.dim(0)?, call.dim(1)?);
    let x: &[f32] = call.read(0, &[m, n])?;
    for mut tile in call.tiles::<f32>(1, Grid::of_rows(m, n, 1))? {
        let row = tile.row();
        let out = tile.row_mut(0);
        out.copy_from_slice(&x[row * n..][..n]);
        softmax_row(out);
    }
    Ok(())
}

/// Replaces scores by `e^(x - max) / sum`. A row of minus infinities becomes NaN, as the quotient of nothing and nothing is.
pub(super) fn softmax_row(row: &mut [f32]) {
    let max = fold(row, f32::NEG_INFINITY, |m, x| if x > m { x } else { m });
    row.iter_mut().for_each(|x| *x = exp(*x - max));
    let sum = fold(row, 0.0, |s, x| s + x);
    let inverse = 1.0 / sum;
    row.iter_mut().for_each(|x| *x *= inverse);
}

/// Folds in sixteen lanes, then the lanes in order, so that the loop vectorises; the order depends on the length only.
fn fold(row: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [start; 16];
    let (whole, tail) = row.as_chunks::<16>();
    for run in whole {
        for (lane, x) in lanes.iter_mut().zip(run) {
            *lane = f(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane = f(*lane, *x);
    }
    lanes.iter().fold(start, |a, x| f(a, *x))
}
