//! Convolutions of 8-bit integers, exact modulo 2^32: products of weights with the image laid out, as those of floats are, two
//! channels at a time; or, where channels make no matrix, sums of weighted runs.

use super::call::Call;
use super::conv::{BYTES, Layout, MATRIX, runs};
use super::element::dtype;
use super::spread::{Laid, Spread};
use super::window::room;
use crate::device::cpu::gemm::Matrix;
use crate::device::cpu::memory::Grid;
use crate::device::cpu::pairs::Pair;
use crate::device::cpu::product::{LANES, multiply, put};
use crate::device::cpu::team::Scratch;
use actc_types::{DType, Result};
use bytemuck::Pod;

/// Products of two differences of 8-bit integers, each below 2^16, whose sum stays below 2^24: an f32 holds it.
const EXACT: usize = 256;

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    match (dtype(call, 1)?, dtype(call, 2)?) {
        (DType::U8, DType::U8) => of::<u8, u8>(call, scratch),
        (DType::U8, DType::I8) => of::<u8, i8>(call, scratch),
        (DType::I8, DType::U8) => of::<i8, u8>(call, scratch),
        (DType::I8, DType::I8) => of::<i8, i8>(call, scratch),
        (x, w) => Err(call.refuse(format!("integers of {x} and {w}, expected u8 or i8"))),
    }
}

fn of<X: Pod + Into<i16>, W: Pod + Into<i16>>(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let layout = Layout::read(call, 4)?;
    let &Layout { n, c, m, groups, own, outs, area, windows, taps, .. } = &layout;
    let x: &[X] = call.read(0, &[n, c, area])?;
    let w: &[W] = call.read(1, &[m, own, taps])?;
    let zero: i16 = call.read::<X>(2, &[1])?[0].into();
    let zeros: &[W] = call.read(3, &[if call.flag(3)? { m } else { 1 }])?;
    let zero_of = |m: usize| -> i16 { zeros[if zeros.len() == 1 { 0 } else { m }].into() };
    call.count(&[n, m, windows])?;
    let rows = call.count(&[own, taps])?;
    if outs < MATRIX && rows <= EXACT {
        let weight = |i: usize, m: usize| f32::from(w[i].into() - zero_of(m));
        return runs(call, &layout, x, 4, |x, _| f32::from(x.into() - zero), weight, |_| 0.0, |s: f32| s as i32);
    }
    let pairs = own.div_ceil(2);
    let depth = call.count(&[pairs, taps])?;
    let spread = Spread::new(&layout.axes);
    let (units, unit) = (spread.units(), windows / spread.units().max(1));
    let (cell_rows, cell_units) = layout.cell(call.parts, units, spread.most(pairs, BYTES / size_of::<Pair>()));
    let mut laid = Laid::new(&spread, pairs);
    // The first row of the weights that are made.
    let mut made = None;
    for item in 0..n * groups {
        let (image, group) = (item / groups, item % groups);
        let channels = &x[(image * c + group * own) * area..][..own * area];
        let offset = (image * m + group * outs) * windows;
        let grid = Grid { offset, rows: outs, cols: windows, stride: windows, cell_rows, cell_cols: cell_units * unit };
        for mut tile in call.tiles_from::<i32>(4, grid, item)? {
            let (first, row, count) = (tile.col(), group * outs + tile.row(), tile.rows());
            let weights: &mut [Pair] = bytemuck::cast_slice_mut(room(&mut scratch.rows, call.count(&[count, depth])?)?);
            if made != Some(row) {
                for (i, to) in weights.chunks_exact_mut(depth.max(1)).enumerate() {
                    pair_up(&w[(row + i) * rows..][..rows], zero_of(row + i), taps, to);
                }
                made = Some(row);
            }
            let weights = Matrix::dense(weights, count, depth);
            let units = first / unit..(first + grid.cell_cols).min(windows) / unit;
            let (band, seen) = laid.show(call, item, units.clone(), &mut scratch.floats, |band, to| {
                band.lay_pairs(channels, zero, (area, units.start), to);
            })?;
            multiply(
                weights,
                band.strips(seen),
                (band.count(), LANES),
                &mut scratch.product.apart,
                |row, rows, strip, block| {
                    for piece in band.pieces(strip) {
                        for (i, sums) in block[..rows].iter().enumerate() {
                            let sums = &sums[piece.lanes.clone()];
                            put(&mut tile.row_mut(row + i)[piece.to..][..sums.len()], sums);
                        }
                    }
                },
            );
        }
    }
    Ok(())
}

/// Writes the weights of one output channel less their zero point, two channels side by side; behind the last of an odd number
/// are zeros.
fn pair_up<W: Copy + Into<i16>>(weights: &[W], zero: i16, taps: usize, to: &mut [Pair]) {
    for (both, to) in weights.chunks(2 * taps).zip(to.chunks_exact_mut(taps)) {
        let (even, odd) = both.split_at(taps);
        to.iter_mut().zip(even).for_each(|(y, w)| *y = [(*w).into() - zero, 0]);
        to.iter_mut().zip(odd).for_each(|(y, w)| y[1] = (*w).into() - zero);
    }
}
