//! One of two tensors, element by element; extents of 1 repeat.

use super::call::Call;
use super::element::{CELL, with_size};
use super::repeat::Repeat;
use crate::device::cpu::memory::Grid;
use actc_types::Result;
use bytemuck::Pod;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    with_size!(call, 0, T => each::<T>(call))
}

fn each<T: Pod>(call: &Call<'_>) -> Result<()> {
    let repeat = Repeat::new(call, 3)?;
    let condition: &[u8] = call.read(0, &[repeat.count(0)])?;
    let (a, b): (&[T], &[T]) = (call.read(1, &[repeat.count(1)])?, call.read(2, &[repeat.count(2)])?);
    let grid = Grid::of_rows(repeat.rows(call)?, repeat.cols, CELL.div_ceil(repeat.cols.max(1)));
    for mut tile in call.tiles::<T>(3, grid)? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            let (c, a, b) = (repeat.row(0, condition, row), repeat.row(1, a, row), repeat.row(2, b, row));
            let at = |x: &[T], j: usize| if x.len() == 1 { x[0] } else { x[j] };
            for (j, y) in tile.row_mut(i).iter_mut().enumerate() {
                let taken = if c.len() == 1 { c[0] } else { c[j] };
                *y = if taken != 0 { at(a, j) } else { at(b, j) };
            }
        }
    }
    Ok(())
}
