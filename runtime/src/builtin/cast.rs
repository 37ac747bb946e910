//! Elements as another type.

use super::call::Call;
use super::element::{Element, dtype, with_element};
use super::unary::each;
use actc_types::{DType, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (from, to) = (dtype(call, 0)?, dtype(call, 1)?);
    if to == DType::Bool {
        return with_element!(from, T => each::<T, u8>(call, |x| u8::from(x.float() != 0.0)));
    }
    if from.is_float() {
        return with_element!(from, T => with_element!(to, O => each::<T, O>(call, |x| O::from_float(x.float()))));
    }
    with_element!(from, T => with_element!(to, O => each::<T, O>(call, |x| O::from_integer(x.integer()))))
}
