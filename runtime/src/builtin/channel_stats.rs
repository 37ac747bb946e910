//! Count, absolute maximum, sum and sum of squares of each channel.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::Result;

/// Channels of a cell.
const CELL: usize = 256;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (m, k) = (call.dim(0)?, call.dim(1)?);
    let first = call.flag(0)?;
    let x: &[f32] = call.read(0, &[m, k])?;
    // Rows that count into the first four rows of statistics, then those for the last four.
    let split = if first { m.min(1) } else { 0 };
    let sets = &[split..m, 0..split][..if first { 2 } else { 1 }];
    let rows = 4 * sets.len();
    let grid = Grid { offset: 0, rows, cols: k, stride: k, cell_rows: rows, cell_cols: CELL };
    for mut tile in call.tiles::<f32>(1, grid)? {
        let (col, cols) = (tile.col(), tile.cols());
        for (set, tokens) in sets.iter().enumerate() {
            let mut absmax = [0f32; CELL];
            let (mut sum, mut squares) = ([0f64; CELL], [0f64; CELL]);
            for row in tokens.clone() {
                let x = &x[row * k + col..][..cols];
                for (((x, m), s), q) in x.iter().zip(&mut absmax).zip(&mut sum).zip(&mut squares) {
                    let a = x.abs();
                    *m = if a > *m { a } else { *m };
                    let wide = f64::from(*x);
                    *s += wide;
                    *q += wide * wide;
                }
            }
            let at = 4 * set;
            tile.row_mut(at).iter_mut().for_each(|n| *n += tokens.len() as f32);
            tile.row_mut(at + 1).iter_mut().zip(&absmax).for_each(|(m, a)| *m = if *a > *m { *a } else { *m });
            tile.row_mut(at + 2).iter_mut().zip(&sum).for_each(|(s, x)| *s = (f64::from(*s) + x) as f32);
            tile.row_mut(at + 3).iter_mut().zip(&squares).for_each(|(s, x)| *s = (f64::from(*s) + x) as f32);
        }
    }
    Ok(())
}
