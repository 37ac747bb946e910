//! A function of two tensors, element by element; extents of 1 repeat.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element};
use super::repeat::{Repeat, zip};
use crate::device::cpu::memory::Grid;
use actc_types::function::BinaryFunction;
use actc_types::{DType, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let function = BinaryFunction::from_code(call.int(0))
        .ok_or_else(|| call.refuse_int(0, "the number of a function of two numbers"))?;
    let dtype = dtype(call, 1)?;
    let Some(gives) = function.gives(dtype) else {
        return Err(call.refuse(format!("`{}` takes {}, not {dtype}", function.name(), function.takes().words())));
    };
    let truth = gives == DType::Bool;
    match (function, dtype) {
        // As f64 and wider integers would give, and as fast as memory.
        (BinaryFunction::Add, DType::F32) => each::<f32, f32>(call, |a, b| a + b),
        (BinaryFunction::Sub, DType::F32) => each::<f32, f32>(call, |a, b| a - b),
        (BinaryFunction::Mul, DType::F32) => each::<f32, f32>(call, |a, b| a * b),
        (BinaryFunction::Div, DType::F32) => each::<f32, f32>(call, |a, b| a / b),
        (BinaryFunction::Add, DType::I32) => each::<i32, i32>(call, i32::wrapping_add),
        (BinaryFunction::Sub, DType::I32) => each::<i32, i32>(call, i32::wrapping_sub),
        (BinaryFunction::Mul, DType::I32) => each::<i32, i32>(call, i32::wrapping_mul),
        (BinaryFunction::Add, DType::I64) => each::<i64, i64>(call, i64::wrapping_add),
        (BinaryFunction::Sub, DType::I64) => each::<i64, i64>(call, i64::wrapping_sub),
        (BinaryFunction::Mul, DType::I64) => each::<i64, i64>(call, i64::wrapping_mul),
        _ if dtype.is_float() => with_element!(dtype, T => {
            if truth {
                each::<T, u8>(call, |a, b| u8::from_float(function.apply(a.float(), b.float())))
            } else {
                each::<T, T>(call, |a, b| T::from_float(function.apply(a.float(), b.float())))
            }
        }),
        _ => with_element!(dtype, T => {
            if truth {
                each::<T, u8>(call, |a, b| u8::from_integer(function.apply_integer(a.integer(), b.integer())))
            } else {
                each::<T, T>(call, |a, b| T::from_integer(function.apply_integer(a.integer(), b.integer())))
            }
        }),
    }
}

fn each<T: Element, O: Element>(call: &Call<'_>, f: impl Fn(T, T) -> O) -> Result<()> {
    let repeat = Repeat::new(call, 2)?;
    let (a, b): (&[T], &[T]) = (call.read(0, &[repeat.count(0)])?, call.read(1, &[repeat.count(1)])?);
    let grid = Grid::of_rows(repeat.rows(call)?, repeat.cols, CELL.div_ceil(repeat.cols.max(1)));
    for mut tile in call.tiles::<O>(2, grid)? {
        for i in 0..tile.rows() {
            let row = tile.row() + i;
            zip(tile.row_mut(i), repeat.row(0, a, row), repeat.row(1, b, row), &f);
        }
    }
    Ok(())
}
