//! Different rows, and which of them each row is. One member sorts them.

use super::call::Call;
use super::element::{Element, dtype, with_element};
use super::non_zero::whole;
use actc_types::function::{order, places_of_unique};
use actc_types::{DType, Result};
use std::cmp::Ordering;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let dtype = dtype(call, 0)?;
    if dtype.is_float() {
        return with_element!(dtype, T => each::<T>(call, |a, b| order(a.float(), b.float())));
    }
    with_element!(dtype, T => each::<T>(call, |a, b| a.integer().cmp(&b.integer())))
}

fn each<T: Element>(call: &Call<'_>, before: impl Fn(T, T) -> Ordering) -> Result<()> {
    let (n, m, sorted) = (call.dim(0)?, call.dim(1)?, call.flag(1)?);
    let x: &[T] = call.read(0, &[n, m])?;
    let mut lists = [call.tiles::<i64>(1, whole(n))?, call.tiles(2, whole(n))?, call.tiles(3, whole(n))?];
    for mut count in call.tiles::<i64>(4, whole(1))? {
        let [Some(mut first), Some(mut number), Some(mut often)] = lists.each_mut().map(Iterator::next) else {
            count.row_mut(0)[0] = 0;
            continue;
        };
        let results = [first.row_mut(0), number.row_mut(0), often.row_mut(0)];
        let different = places_of_unique(n, sorted, results, |a, b| {
            let pairs = x[a * m..][..m].iter().zip(&x[b * m..][..m]);
            pairs.map(|(a, b)| before(*a, *b)).find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
        });
        count.row_mut(0)[0] = different as i64;
    }
    Ok(())
}
