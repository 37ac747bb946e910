//! A function of one tensor, element by element.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element};
use crate::device::cpu::memory::Grid;
use actc_types::function::UnaryFunction;
use actc_types::{DType, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let function = UnaryFunction::from_code(call.int(0))
        .ok_or_else(|| call.refuse_int(0, "the number of a function of one number"))?;
    let dtype = dtype(call, 1)?;
    let Some(gives) = function.gives(dtype) else {
        return Err(call.refuse(format!("`{}` takes {}, not {dtype}", function.name(), function.takes().words())));
    };
    let truth = gives == DType::Bool;
    if dtype.is_float() {
        with_element!(dtype, T => {
            if truth {
                each::<T, u8>(call, |x| u8::from_float(function.apply(x.float())))
            } else {
                each::<T, T>(call, |x| T::from_float(function.apply(x.float())))
            }
        })
    } else {
        with_element!(dtype, T => each::<T, T>(call, |x| {
            T::from_integer(function.apply_integer(x.integer()).unwrap_or_default())
        }))
    }
}

/// `y = f(x)`.
pub(super) fn each<T: Element, O: Element>(call: &Call<'_>, f: impl Fn(T) -> O) -> Result<()> {
    let count = call.dim(0)?;
    let x: &[T] = call.read(0, &[count])?;
    let grid = Grid { offset: 0, rows: 1, cols: count, stride: count, cell_rows: 1, cell_cols: CELL };
    for mut tile in call.tiles::<O>(1, grid)? {
        let from = &x[tile.col()..][..tile.cols()];
        tile.row_mut(0).iter_mut().zip(from).for_each(|(y, x)| *y = f(*x));
    }
    Ok(())
}
