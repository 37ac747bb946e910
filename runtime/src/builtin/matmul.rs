//! Products of matrices that are both computed, a batch of them: of floats, or of integers exactly.

use super::call::Call;
use crate::device::cpu::gemm::{Matrix, Scalar, gemm};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::product::{LANES, block_rows};
use crate::device::cpu::team::Scratch;
use actc_types::{DType, Result};
use bytemuck::Pod;

/// Rows and columns of a cell of integers: it stays in the nearest cache while a strip of `b` runs through.
const STRIP: (usize, usize) = (8, 512);

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let dtype = match call.optional_int(2) {
        None => DType::F32,
        Some(code) => DType::from_code(code).ok_or_else(|| call.refuse_int(2, "the number of an element type"))?,
    };
    match dtype {
        DType::F32 => floats::<f32>(call, scratch),
        DType::F64 => floats::<f64>(call, scratch),
        // Modulo their size signed and unsigned ones are the same.
        DType::I32 | DType::U32 => ring(call, |y: &mut u32, a, b| *y = y.wrapping_add(a.wrapping_mul(b))),
        DType::I64 | DType::U64 => ring(call, |y: &mut u64, a, b| *y = y.wrapping_add(a.wrapping_mul(b))),
        DType::Bool | DType::U8 | DType::I8 | DType::U16 | DType::I16 | DType::F16 | DType::Bf16 | DType::Narrow(_) => {
            Err(call.refuse(format!("no product of matrices of {dtype}")))
        }
    }
}

fn floats<T: Scalar>(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let (batch, m, k, n) = (call.dim(0)?, call.dim(1)?, call.dim(2)?, call.dim(3)?);
    let (ta, tb) = (call.flag(0)?, call.flag(1)?);
    let a: &[T] = call.read(0, &[batch, m, k])?;
    let b: &[T] = call.read(1, &[batch, k, n])?;
    if batch == 0 || m == 0 || n == 0 {
        return Ok(());
    }
    // As many cells of each matrix as make work for all: columns of the wider ones, since each cell packs its own columns.
    let wanted = call.parts.div_ceil(batch);
    let share = |n: usize, unit: usize| n.div_ceil(wanted).next_multiple_of(unit);
    let (cell_rows, cell_cols) = if n >= m { (m, share(n, LANES)) } else { (share(m, block_rows()), n) };
    for i in 0..batch {
        let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
        let a = if ta { Matrix::dense(a, k, m).transposed() } else { Matrix::dense(a, m, k) };
        let b = if tb { Matrix::dense(b, n, k).transposed() } else { Matrix::dense(b, k, n) };
        let grid = Grid { offset: i * m * n, rows: m, cols: n, stride: n, cell_rows, cell_cols };
        // Cells start with another member in each matrix of the batch, so that small matrices spread over the team.
        for mut tile in call.tiles_from::<T>(2, grid, i)? {
            let (rows, cols) = (a.rows_of(tile.row(), tile.rows()), b.cols_of(tile.col(), tile.cols()));
            gemm(rows, cols, &mut tile, false, &mut scratch.product);
        }
    }
    Ok(())
}

/// Sums by `add`, which adds the product of its last two arguments to its first.
fn ring<T: Pod>(call: &Call<'_>, add: impl Fn(&mut T, T, T)) -> Result<()> {
    let (batch, m, k, n) = (call.dim(0)?, call.dim(1)?, call.dim(2)?, call.dim(3)?);
    if call.flag(0)? || call.flag(1)? {
        return Err(call.refuse("transposed matrices of integers".into()));
    }
    let a: &[T] = call.read(0, &[batch, m, k])?;
    let b: &[T] = call.read(1, &[batch, k, n])?;
    let own = call.count(&[m, n])?;
    call.count(&[batch, own])?;
    if own == 0 {
        return Ok(());
    }
    for i in 0..batch {
        let (a, b) = (&a[i * m * k..][..m * k], &b[i * k * n..][..k * n]);
        let grid = Grid { offset: i * own, rows: m, cols: n, stride: n, cell_rows: STRIP.0, cell_cols: STRIP.1 };
        for mut tile in call.tiles_from::<T>(2, grid, i)? {
            let (row, col, cols) = (tile.row(), tile.col(), tile.cols());
            (0..tile.rows()).for_each(|r| tile.row_mut(r).fill(T::zeroed()));
            for l in 0..k {
                let b = &b[l * n + col..][..cols];
                for r in 0..tile.rows() {
                    let factor = a[(row + r) * k + l];
                    tile.row_mut(r).iter_mut().zip(b).for_each(|(y, b)| add(y, factor, *b));
                }
            }
        }
    }
    Ok(())
}
