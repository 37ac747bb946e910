//! Extents of 1 repeated.

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
    let repeat = Repeat::new(call, 1)?;
    let x: &[T] = call.read(0, &[repeat.count(0)])?;
    let grid = Grid::of_rows(repeat.rows(call)?, repeat.cols, CELL.div_ceil(repeat.cols.max(1)));
    for mut tile in call.tiles::<T>(1, grid)? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            match repeat.row(0, x, row) {
                [one] => tile.row_mut(i).fill(*one),
                many => tile.row_mut(i).copy_from_slice(many),
            }
        }
    }
    Ok(())
}
