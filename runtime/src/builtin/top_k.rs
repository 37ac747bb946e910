//! The first elements of each row in order, and where they stood.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::function::order;
use actc_types::{DType, Diagnostic, Result};
use std::cmp::Ordering;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (dtype, largest) = (dtype(call, 0)?, call.flag(1)?);
    if dtype.is_float() {
        return with_element!(dtype, T => each::<T>(call, largest, |a, b| order(a.float(), b.float())));
    }
    with_element!(dtype, T => each::<T>(call, largest, |a, b| a.integer().cmp(&b.integer())))
}

fn each<T: Element>(call: &Call<'_>, largest: bool, before: impl Fn(&T, &T) -> Ordering) -> Result<()> {
    let (m, n, k) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
    if k > n {
        return Err(Diagnostic::new("top-k", format!("{k} elements of rows of {n}")));
    }
    let x: &[T] = call.read(0, &[m, n])?;
    let grid = Grid::of_rows(m, k, CELL.div_ceil(n.max(1)));
    let mut all: Vec<usize> = Vec::new();
    for (mut values, mut places) in call.tiles::<T>(1, grid)?.zip(call.tiles::<i64>(2, grid)?) {
        for i in 0..values.rows() {
            let row = &x[(values.row() + i) * n..][..n];
            // Equal elements stay in their order, so that no two are equal.
            let compare = |a: &usize, b: &usize| {
                let side = before(&row[*a], &row[*b]);
                if largest { side.reverse() } else { side }.then(a.cmp(b))
            };
            all.clear();
            all.extend(0..n);
            if 0 < k && k < n {
                all.select_nth_unstable_by(k - 1, compare);
            }
            all.truncate(k);
            all.sort_unstable_by(compare);
            for ((y, place), from) in values.row_mut(i).iter_mut().zip(places.row_mut(i)).zip(&all) {
                *y = row[*from];
                *place = *from as i64;
            }
        }
    }
    Ok(())
}
