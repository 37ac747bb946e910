//! Indices of elements that are not 0. One member finds them: each stands behind all before it.

use super::call::Call;
use super::element::{Element, dtype, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::{DType, Result};

/// A list of `n` as one cell.
pub(super) fn whole(n: usize) -> Grid {
    Grid { offset: 0, rows: 1, cols: n, stride: n, cell_rows: 1, cell_cols: n.max(1) }
}

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let dtype = dtype(call, 0)?;
    if dtype.is_float() {
        return with_element!(dtype, T => each::<T>(call, |x| x.float() != 0.0));
    }
    with_element!(dtype, T => each::<T>(call, |x| x.integer() != 0))
}

fn each<T: Element>(call: &Call<'_>, there: impl Fn(T) -> bool) -> Result<()> {
    let extents = (0..call.dims()).map(|i| call.dim(i)).collect::<Result<Vec<_>>>()?;
    let (rank, total) = (extents.len(), call.count(&extents)?);
    let x: &[T] = call.read(0, &[total])?;
    let grid = Grid { cell_rows: rank.max(1), rows: rank, ..whole(total) };
    let mut places = call.tiles::<i64>(1, grid)?;
    for mut count in call.tiles::<i64>(2, whole(1))? {
        // Of a number without axes there are no indices.
        count.row_mut(0)[0] = i64::from(rank == 0 && there(x[0]));
        let (Some(mut y), Some((cols, outer))) = (places.next(), extents.split_last()) else { continue };
        let mut found = 0;
        let mut row = vec![0i64; outer.len()];
        for line in x.chunks_exact((*cols).max(1)) {
            for (j, _) in line.iter().enumerate().filter(|(_, x)| there(**x)) {
                for (axis, at) in row.iter().chain(&[j as i64]).enumerate() {
                    y.row_mut(axis)[found] = *at;
                }
                found += 1;
            }
            for (at, extent) in row.iter_mut().zip(outer).rev() {
                *at += 1;
                if *at < *extent as i64 {
                    break;
                }
                *at = 0;
            }
        }
        (0..rank).for_each(|axis| y.row_mut(axis)[found..].fill(0));
        count.row_mut(0)[0] = found as i64;
    }
    Ok(())
}
