//! A tensor with parts or elements of it replaced.
//!
//! Each member has a part of the result, copies what stands there, and applies the updates that fall into it in their order.

use super::call::Call;
use super::element::{CELL, Element, dtype, with_element};
use super::gather_elements::Places;
use super::gather_nd::Axes;
use crate::device::cpu::memory::Grid;
use actc_types::function::BinaryFunction;
use actc_types::{DType, Result};

/// What becomes of an element and its update.
#[derive(Clone, Copy)]
enum Apply {
    Replace,
    Floats(BinaryFunction),
    Integers(BinaryFunction),
}

impl Apply {
    fn of(call: &Call<'_>, dtype: DType) -> Result<Apply> {
        if call.int(1) == -1 {
            return Ok(Apply::Replace);
        }
        let function = BinaryFunction::from_code(call.int(1));
        let function = function.ok_or_else(|| call.refuse_int(1, "-1 or the number of a function"))?;
        if function.gives(dtype) != Some(dtype) {
            return Err(call.refuse(format!("`{}` of {dtype} gives no {dtype}", function.name())));
        }
        Ok(if dtype.is_float() { Apply::Floats(function) } else { Apply::Integers(function) })
    }

    /// Applies each update to the element that stands where it does.
    fn run<T: Element>(self, to: &mut [T], updates: &[T]) {
        match self {
            Apply::Replace => to.copy_from_slice(updates),
            Apply::Floats(f) => {
                to.iter_mut().zip(updates).for_each(|(y, u)| *y = T::from_float(f.apply(y.float(), u.float())));
            }
            Apply::Integers(f) => {
                let of = |y: T, u: T| T::from_integer(f.apply_integer(y.integer(), u.integer()));
                to.iter_mut().zip(updates).for_each(|(y, u)| *y = of(*y, *u));
            }
        }
    }
}

pub(super) fn tuples(call: &Call<'_>) -> Result<()> {
    let dtype = dtype(call, 0)?;
    let apply = Apply::of(call, dtype)?;
    with_element!(dtype, T => put_parts::<T>(call, apply))
}

fn put_parts<T: Element>(call: &Call<'_>, apply: Apply) -> Result<()> {
    let (count, inner) = (call.dim(0)?, call.dim(1)?);
    let axes = Axes::new(call, 2)?;
    let x: &[T] = call.read(0, &[axes.span, inner])?;
    let tuples: &[i64] = call.read(1, &[count, axes.len()])?;
    let updates: &[T] = call.read(2, &[count, inner])?;
    axes.all_inside(tuples)?;
    // One cell a member: each looks through the tuples once.
    let cell_rows = axes.span.div_ceil(call.parts).max(CELL.div_ceil(inner.max(1)));
    for mut tile in call.tiles::<T>(3, Grid::of_rows(axes.span, inner, cell_rows))? {
        let first = tile.row();
        for i in 0..tile.rows() {
            tile.row_mut(i).copy_from_slice(&x[(first + i) * inner..][..inner]);
        }
        for (n, tuple) in tuples.chunks_exact(axes.len()).enumerate() {
            let part = axes.part(tuple).unwrap_or_default();
            if let Some(i) = part.checked_sub(first).filter(|i| *i < tile.rows()) {
                apply.run(tile.row_mut(i), &updates[n * inner..][..inner]);
            }
        }
    }
    Ok(())
}

pub(super) fn elements(call: &Call<'_>) -> Result<()> {
    let dtype = dtype(call, 0)?;
    let apply = Apply::of(call, dtype)?;
    with_element!(dtype, T => put_elements::<T>(call, apply))
}

fn put_elements<T: Element>(call: &Call<'_>, apply: Apply) -> Result<()> {
    let places = Places::new(call, 2)?;
    let x: &[T] = call.read(0, &[places.elements])?;
    let indices: &[i64] = call.read(1, &places.count())?;
    let updates: &[T] = call.read(2, &places.count())?;
    places.all_inside(indices)?;
    let cell_cols = places.elements.div_ceil(call.parts).max(CELL);
    let grid = Grid { offset: 0, rows: 1, cols: places.elements, stride: places.elements, cell_rows: 1, cell_cols };
    for mut tile in call.tiles::<T>(3, grid)? {
        let first = tile.col();
        let y = tile.row_mut(0);
        let end = first + y.len();
        y.copy_from_slice(&x[first..end]);
        // What the updates of a row may reach from where it begins.
        let along = if places.along_rows() { 1 } else { places.cols };
        let reach = places.extent().saturating_sub(1) * places.stride + along;
        for row in 0..places.rows {
            let base = places.base(row);
            if base >= end || base + reach <= first {
                continue;
            }
            let row = row * places.cols..(row + 1) * places.cols;
            for (j, (i, u)) in indices[row.clone()].iter().zip(&updates[row]).enumerate() {
                let aside = if places.along_rows() { 0 } else { j };
                let at = base + places.place(*i) * places.stride + aside;
                if (first..end).contains(&at) {
                    apply.run(&mut y[at - first..=at - first], std::slice::from_ref(u));
                }
            }
        }
    }
    Ok(())
}
