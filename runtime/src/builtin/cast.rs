//! Elements as another type.

use super::call::Call;
use super::element::{Element, dtype, with_element};
use super::unary::each;
use actc_types::{DType, Narrow, Narrowing, Overflow, PowerRounding, Result};
use std::array;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let (from, to) = (dtype(call, 0)?, dtype(call, 1)?);
    let narrowing = narrowing(call)?;
    match (from, to) {
        (DType::Narrow(from), _) => from_codes(call, from, to, narrowing),
        (_, DType::Narrow(to)) if from.is_float() => {
            with_element!(from, T => each::<T, u8>(call, |x| to.code(x.float(), narrowing)))
        }
        (_, DType::Narrow(to)) => {
            with_element!(from, T => each::<T, u8>(call, |x| to.integer_code(x.integer(), narrowing)))
        }
        (_, DType::Bool) => with_element!(from, T => each::<T, u8>(call, |x| u8::from(x.float() != 0.0))),
        _ if from.is_float() => {
            with_element!(from, T => with_element!(to, O => each::<T, O>(call, |x| O::from_float(x.float()))))
        }
        _ => with_element!(from, T => with_element!(to, O => each::<T, O>(call, |x| O::from_integer(x.integer())))),
    }
}

/// Codes of `from` as elements of `to`, of which there are no more than codes.
fn from_codes(call: &Call<'_>, from: Narrow, to: DType, narrowing: Narrowing) -> Result<()> {
    if let DType::Bool | DType::Narrow(_) = to {
        let element = |code: u8| match to {
            DType::Narrow(to) if from.ends().is_some() => to.integer_code(from.integer(code), narrowing),
            DType::Narrow(to) => to.code(from.number(code), narrowing),
            _ => u8::from(from.number(code) != 0.0),
        };
        let table: [u8; 256] = array::from_fn(|code| element(code as u8));
        return each::<u8, u8>(call, |code| table[usize::from(code)]);
    }
    with_element!(to, O => {
        let element = |code: u8| match from.ends() {
            Some(_) => O::from_integer(from.integer(code)),
            None => O::from_float(from.number(code)),
        };
        let table: [O; 256] = array::from_fn(|code| element(code as u8));
        each::<u8, O>(call, |code| table[usize::from(code)])
    })
}

fn narrowing(call: &Call<'_>) -> Result<Narrowing> {
    let place = |i| usize::try_from(call.int(i)).ok();
    let overflow = place(2).and_then(|i| Overflow::ALL.get(i)).ok_or_else(|| call.refuse_int(2, "0 or 1"))?;
    let powers = place(3).and_then(|i| PowerRounding::ALL.get(i)).ok_or_else(|| call.refuse_int(3, "0, 1 or 2"))?;
    Ok(Narrowing { overflow: *overflow, powers: *powers })
}
