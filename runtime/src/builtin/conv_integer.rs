//! Convolutions of 8-bit integers, exact: sums of few enough products are whole numbers that floats hold, and those are
//! added as integers.

use super::call::Call;
use super::conv::{Layout, runs};
use super::element::{Element, dtype};
use super::window::{place, room};
use crate::device::cpu::gemm::{Matrix, gemm_rows};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;
use actc_types::{DType, Result};

/// Products of two differences of 8-bit integers, each below 2^16, whose sum stays below 2^24: an f32 holds it.
const EXACT: usize = 256;

/// Output channels of a group from which on they make a matrix.
const MATRIX: usize = 4;

/// Columns of a cell.
const COLUMNS: usize = 512;

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    match (dtype(call, 1)?, dtype(call, 2)?) {
        (DType::U8, DType::U8) => of::<u8, u8>(call, scratch),
        (DType::U8, DType::I8) => of::<u8, i8>(call, scratch),
        (DType::I8, DType::U8) => of::<i8, u8>(call, scratch),
        (DType::I8, DType::I8) => of::<i8, i8>(call, scratch),
        (x, w) => Err(call.refuse(format!("integers of {x} and {w}, expected u8 or i8"))),
    }
}

fn of<X: Element, W: Element>(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let layout = Layout::read(call, 4)?;
    let &Layout { n, c, m, own, area, windows, taps, .. } = &layout;
    let x: &[X] = call.read(0, &[n, c, area])?;
    let w: &[W] = call.read(1, &[m, own, taps])?;
    let zero = call.read::<X>(2, &[1])?[0].float() as f32;
    let zeros: &[W] = call.read(3, &[if call.flag(3)? { m } else { 1 }])?;
    let zero_of = |m: usize| zeros[if zeros.len() == 1 { 0 } else { m }].float() as f32;
    call.count(&[n, m, windows])?;
    let rows = call.count(&[own, taps])?;
    if layout.outs < MATRIX && rows <= EXACT {
        let weight = |i: usize, m: usize| w[i].float() as f32 - zero_of(m);
        return runs(call, &layout, x, 4, |x, _| x.float() as f32 - zero, weight, |_| 0.0, |s: f32| s as i32);
    }
    let &Layout { groups, outs, .. } = &layout;
    let share = windows.div_ceil(call.parts.div_ceil((n * groups).max(1)));
    let cell_cols = share.clamp(1, COLUMNS);
    // The columns of a cell, and behind them the sums of products of a run of their rows.
    let (columns_at, sums_at) = (call.count(&[rows, cell_cols])?, call.count(&[outs, cell_cols])?);
    let together = call.sum(&[columns_at, sums_at])?;
    for item in 0..n * groups {
        let (image, group) = (item / groups, item % groups);
        let channels = &x[(image * c + group * own) * area..][..own * area];
        let offset = (image * m + group * outs) * windows;
        let grid = Grid { offset, rows: outs, cols: windows, stride: windows, cell_rows: outs.max(1), cell_cols };
        for mut tile in call.tiles_from::<i32>(4, grid, item)? {
            let (first, width) = (tile.col(), tile.cols());
            let (seen, sums) = room(&mut scratch.floats, together)?.split_at_mut(columns_at);
            let seen = &mut seen[..rows * width];
            columns(&layout, channels, (first, width), seen, 0.0, |x| x.float() as f32 - zero);
            let seen = Matrix::dense(seen, rows, width);
            (0..tile.rows()).for_each(|i| tile.row_mut(i).fill(0));
            for start in (0..rows).step_by(EXACT) {
                let run = EXACT.min(rows - start);
                let weights = room(&mut scratch.rows, call.count(&[outs, run])?)?;
                for (i, to) in weights.chunks_exact_mut(run).enumerate() {
                    let (m, from) = (group * outs + i, (group * outs + i) * rows + start);
                    let zero = zero_of(m);
                    to.iter_mut().zip(&w[from..]).for_each(|(t, w)| *t = w.float() as f32 - zero);
                }
                let sums = &mut sums[..outs * width];
                gemm_rows(
                    Matrix::dense(weights, outs, run),
                    seen.rows_of(start, run),
                    sums,
                    width,
                    &mut scratch.product,
                );
                for (i, sums) in sums.chunks_exact(width.max(1)).enumerate() {
                    tile.row_mut(i).iter_mut().zip(sums).for_each(|(y, s)| *y = y.wrapping_add(*s as i32));
                }
            }
        }
    }
    Ok(())
}

/// A run of windows of one row: the first window of the row, which of its windows, and where they begin among the columns.
struct Segment {
    row: usize,
    from: usize,
    to: usize,
    start: usize,
}

/// Writes the columns `first..first + width` of the windows of `channels` into `to`, a row for each channel and tap: `take` of
/// each element, `outside` in the padding. `channels` has `layout.own` channels one behind the other.
fn columns<S: Copy>(
    layout: &Layout,
    channels: &[S],
    (first, width): (usize, usize),
    to: &mut [f32],
    outside: f32,
    take: impl Fn(S) -> f32 + Copy,
) {
    let (Some((last, outer)), true) = (layout.axes.split_last(), layout.area > 0 && width > 0) else {
        return to.fill(outside);
    };
    let mut segments = Vec::new();
    let mut at = first;
    while at < first + width {
        let (row, from) = (at / last.windows, at % last.windows);
        let to = last.windows.min(from + first + width - at);
        segments.push(Segment { row, from, to, start: at - first });
        at += to - from;
    }
    // For each tap of the outer axes, where the row of the image begins that each segment sees.
    let outer_taps = layout.taps / last.kernel;
    let sources: Vec<Option<usize>> = (0..outer_taps)
        .flat_map(|tap| segments.iter().map(move |s| place(outer, s.row, tap).map(|row| row * last.image)))
        .collect();
    let mut rows = to.chunks_exact_mut(width.max(1));
    for channel in channels.chunks_exact(layout.area) {
        for sources in sources.chunks_exact(segments.len()) {
            for k in 0..last.kernel {
                let Some(row) = rows.next() else { return };
                let inside = last.inside(k);
                for (s, source) in segments.iter().zip(sources) {
                    let run = &mut row[s.start..][..s.to - s.from];
                    let from = inside.start.clamp(s.from, s.to);
                    let end = inside.end.clamp(from, s.to);
                    let (Some(source), true) = (source, from < end) else {
                        run.fill(outside);
                        continue;
                    };
                    run[..from - s.from].fill(outside);
                    run[end - s.from..].fill(outside);
                    let run = &mut run[from - s.from..end - s.from];
                    let x = &channel[source + from * last.stride + k * last.dilation - last.pad..];
                    match last.stride {
                        1 => run.iter_mut().zip(x).for_each(|(t, x)| *t = take(*x)),
                        2 => run.iter_mut().zip(x.chunks(2)).for_each(|(t, x)| *t = take(x[0])),
                        n => run.iter_mut().zip(x.iter().step_by(n)).for_each(|(t, x)| *t = take(*x)),
                    }
                }
            }
        }
    }
}
