//! What stands between the points of a tensor, where coordinates say.
//!
//! The points and weights of a run of places are found once and serve all channels.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::sampling::{Border, Ends, Interpolation, Sampling};
use actc_types::{DType, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let interpolation =
        Interpolation::from_code(call.int(0)).ok_or_else(|| call.refuse_int(0, "the number of an interpolation"))?;
    let border = Border::from_code(call.int(1)).ok_or_else(|| call.refuse_int(1, "the number of a border"))?;
    let ends = Ends::from_code(call.int(2)).ok_or_else(|| call.refuse_int(2, "the number of ends"))?;
    let sampling = Sampling { interpolation, border, ends };
    let (own, grid) = (dtype(call, 3)?, dtype(call, 4)?);
    if !own.is_float() || !matches!(grid, DType::F32 | DType::F64) {
        return Err(call.refuse(format!("{own} at {grid}, expected floats at f32 or f64")));
    }
    if grid == DType::F64 {
        return with_element!(own, T => each::<T, f64>(call, sampling));
    }
    with_element!(own, T => each::<T, f32>(call, sampling))
}

/// What each place of a run is the sum of.
#[derive(Default)]
struct Points {
    /// Places in a channel and their weights, of one place of the result behind the other.
    points: Vec<(usize, f64)>,
    /// For each place of the result where its points end.
    ends: Vec<usize>,
}

impl Points {
    /// The points for the places whose coordinates stand in `grid`.
    fn find<C: Element>(&mut self, sampling: Sampling, grid: &[C], axes: &[usize]) {
        self.points.clear();
        self.ends.clear();
        for place in grid.chunks_exact(axes.len()) {
            let first = self.points.len();
            self.points.push((0, 1.0));
            for (extent, coordinate) in axes.iter().zip(place.iter().rev()) {
                let taps = sampling.taps(coordinate.float(), *extent);
                let end = self.points.len();
                for i in first..end {
                    let (base, weight) = self.points[i];
                    self.points.extend(taps.get().iter().map(|(at, w)| (base * extent + at, weight * w)));
                }
                self.points.drain(first..end);
            }
            self.ends.push(self.points.len());
        }
    }
}

fn each<T: Element, C: Element>(call: &Call<'_>, sampling: Sampling) -> Result<()> {
    let (batches, channels, count) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
    let axes = (3..call.dims()).map(|i| call.dim(i)).collect::<Result<Vec<usize>>>()?;
    let area = call.count(&axes)?;
    let x: &[T] = call.read(0, &[batches, channels, area])?;
    let width = call.count(&[count, axes.len()])?;
    let grid: &[C] = call.read(1, &[batches, width])?;
    if channels == 0 || count == 0 {
        return Ok(());
    }
    let own = call.count(&[channels, count])?;
    call.count(&[batches, own])?;
    let cell_cols = CELL.div_ceil(channels).clamp(64, CELL);
    let mut points = Points::default();
    for n in 0..batches {
        let cells =
            Grid { offset: n * own, rows: channels, cols: count, stride: count, cell_rows: channels, cell_cols };
        // Cells start with another member in each batch, so that small ones spread over the team.
        for mut tile in call.tiles_from::<T>(2, cells, n)? {
            let places = &grid[n * width + tile.col() * axes.len()..][..tile.cols() * axes.len()];
            points.find(sampling, places, &axes);
            for i in 0..tile.rows() {
                let own = &x[(n * channels + tile.row() + i) * area..][..area];
                let mut first = 0;
                for (y, end) in tile.row_mut(i).iter_mut().zip(&points.ends) {
                    let sum = points.points[first..*end].iter().fold(0.0, |sum, (at, w)| sum + w * own[*at].float());
                    *y = T::from_float(sum);
                    first = *end;
                }
            }
        }
    }
    Ok(())
}
