//! Rounding rows to 16 or 8 bits, as caches of keys and values hold them.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::rounded::{round_f16, round_int8};
use actc_types::{Result, RowForm};

/// Numbers that one cell has at least, so that the rows of a few tokens are one member's.
const CELL_NUMBERS: usize = 1 << 12;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (rows, n, offset) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
    let x: &[f32] = call.read(0, &[rows, n])?;
    let cell_rows = CELL_NUMBERS.div_ceil(n.max(1));
    match form(call, 0)? {
        RowForm::F32 => Err(call.refuse_int(0, "16 or 8")),
        RowForm::F16 => {
            if offset % 2 != 0 {
                return Err(call.refuse(format!("halves stand at even bytes, not at {offset}")));
            }
            let grid = Grid { offset: offset / 2, ..Grid::of_rows(rows, n, cell_rows) };
            for mut tile in call.tiles::<u16>(1, grid)? {
                for i in 0..tile.rows() {
                    let from = &x[(tile.row() + i) * n..][..n];
                    for (to, from) in tile.row_mut(i).iter_mut().zip(from) {
                        *to = round_f16(*from).to_bits();
                    }
                }
            }
            Ok(())
        }
        RowForm::Int8 => {
            let width = call.sum(&[n, RowForm::Int8.extra() as usize])?;
            let grid = Grid { offset, ..Grid::of_rows(rows, width, cell_rows) };
            for mut tile in call.tiles::<u8>(1, grid)? {
                for i in 0..tile.rows() {
                    let from = &x[(tile.row() + i) * n..][..n];
                    round_int8(from, tile.row_mut(i));
                }
            }
            Ok(())
        }
    }
}

/// The form of rows that integer `i` names by its bits; f32 where it is not given.
pub(super) fn form(call: &Call<'_>, i: usize) -> Result<RowForm> {
    let Some(bits) = call.optional_int(i) else { return Ok(RowForm::F32) };
    let found = RowForm::ALL.into_iter().find(|f| i64::from(f.bits()) == bits);
    found.ok_or_else(|| call.refuse_int(i, "32, 16 or 8"))
}
