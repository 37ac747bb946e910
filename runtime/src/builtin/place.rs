//! Where the extreme of each row stands.

use super::call::Call;
use super::element::{Element, dtype, with_element};
use super::reduce::rows;
use actc_types::function::Extreme;
use actc_types::{DType, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let extreme = Extreme::from_code(call.int(0)).ok_or_else(|| call.refuse_int(0, "the number of an extreme"))?;
    let dtype = dtype(call, 1)?;
    if dtype.is_float() {
        return with_element!(dtype, T => {
            rows::<T, i64>(call, |row| extreme.place(row.iter().map(|x| x.float())) as i64)
        });
    }
    with_element!(dtype, T => rows::<T, i64>(call, |row| extreme.place(row.iter().map(|x| x.integer())) as i64))
}
