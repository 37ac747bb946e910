//! Places of a grid through affine maps, where only the running model knows how large the grid is.

use super::list;
use crate::onnx::import::Call;
use crate::onnx::ops::indexing::expanded;
use crate::onnx::ops::matrix::multiplied;
use crate::onnx::ops::movement::{ordered, product};
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::sampling::Ends;
use actc_ir::ops::shaping::{Concat, Range};
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

fn by(c: &mut Call<'_, '_>, function: B, x: Value, n: f64) -> Result<Value> {
    let n = c.number(n, DType::F64)?;
    c.binary(function, x, n)
}

/// The coordinates of `extent` elements.
fn coordinates(c: &mut Call<'_, '_>, extent: &Dim, ends: Ends) -> Result<Value> {
    let i = c.add(Op::Range(Range { start: Dim::from(0), len: extent.clone() }), &[])?;
    let i = c.cast(i, DType::F64)?;
    let n = c.extent(extent, DType::F64)?;
    let i = by(c, B::Mul, i, 2.0)?;
    let place = match ends {
        Ends::Centres => {
            let steps = by(c, B::Sub, n, 1.0)?;
            let steps = by(c, B::Max, steps, 1.0)?;
            c.binary(B::Div, i, steps)?
        }
        Ends::Edges => {
            let i = by(c, B::Add, i, 1.0)?;
            c.binary(B::Div, i, n)?
        }
    };
    by(c, B::Sub, place, 1.0)
}

/// The grid for a tensor of the shape of input 1, through the matrices `theta [N, axes, axes + 1]`.
pub(in crate::onnx::ops) fn affine(c: &mut Call<'_, '_>, theta: Value, ends: Ends) -> Result<Value> {
    let ty = c.ty(theta);
    let (size, count) = list(c, 1)?;
    let axes = count.checked_sub(2).filter(|n| (2..=3).contains(n));
    let axes = axes.ok_or_else(|| c.refuse(format!("a grid for a shape of {count} axes")))?;
    let [_, rows, cols] = ty.shape.dims() else { return Err(c.refuse(format!("{} are no matrices", ty.shape))) };
    if (rows.fixed(), cols.fixed()) != (Some(axes as u64), Some(axes as u64 + 1)) {
        return Err(c.refuse(format!("matrices {} for {axes} axes", ty.shape)));
    }
    let dims = c.bind(size)?;
    let (batch, extents) = (&dims[0], &dims[2..]);
    let theta = c.expect(theta, Shape(vec![batch.clone(), rows.clone(), cols.clone()]))?;
    let row = Shape(vec![Dim::from(1), product(c, extents)?]);
    // The last axis first, then a row of ones.
    let mut parts = Vec::with_capacity(axes + 1);
    for (axis, extent) in extents.iter().enumerate().rev() {
        let place = coordinates(c, extent, ends)?;
        let own = (0..axes).map(|i| if i == axis { extent.clone() } else { Dim::from(1) }).collect();
        let place = c.reshape(place, Shape(own))?;
        let place = expanded(c, place, Shape(extents.to_vec()))?;
        parts.push(c.reshape(place, row.clone())?);
    }
    let one = c.number(1.0, DType::F64)?;
    parts.push(expanded(c, one, row)?);
    let places = c.add(Op::Concat(Concat { axis: 0 }), &parts)?;
    let places = c.cast(places, ty.dtype)?;
    let grid = multiplied(c, theta, places)?;
    let grid = ordered(c, grid, vec![0, 2, 1])?;
    c.reshape(grid, Shape([std::slice::from_ref(batch), extents, &[Dim::from(axes as u64)]].concat()))
}
