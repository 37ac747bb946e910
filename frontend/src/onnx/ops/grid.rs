//! Reading where coordinates say: `GridSample`, and the coordinates of affine maps, `AffineGrid`.

use super::dynamic::list;
use super::indexing::expanded;
use super::matrix::multiplied;
use super::movement::{ordered, product};
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::sampling::{Border, Ends, GridSample, Interpolation, Sampling};
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[since("GridSample", 16, sample), since("AffineGrid", 20, affine)];

/// What coordinates of -1 and 1 mean.
fn ends(c: &Call<'_, '_>) -> Result<Ends> {
    Ok(if c.int("align_corners", 0)? == 0 { Ends::Edges } else { Ends::Centres })
}

fn sample(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    // Before version 20 there were two axes, and other names.
    let interpolation = match c.text("mode", "linear")? {
        "linear" | "bilinear" => Interpolation::Linear,
        "nearest" => Interpolation::Nearest,
        "cubic" | "bicubic" => Interpolation::Cubic,
        other => return Err(c.refuse(format!("`mode` is `{other}`, expected `linear`, `nearest` or `cubic`"))),
    };
    let border = match c.text("padding_mode", "zeros")? {
        "zeros" => Border::Zeros,
        "border" => Border::Clamp,
        "reflection" => Border::Reflect,
        other => {
            return Err(c.refuse(format!("`padding_mode` is `{other}`, expected `zeros`, `border` or `reflection`")));
        }
    };
    let sampling = Sampling { interpolation, border, ends: ends(c)? };
    let (x, grid) = (c.input(0)?, c.input(1)?);
    let wide = if c.ty(grid).dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let grid = c.cast(grid, wide)?;
    one(c.add(Op::GridSample(GridSample { sampling }), &[x, grid])?)
}

/// The coordinates of `extent` elements, in double precision.
fn coordinates(c: &mut Call<'_, '_>, extent: &Dim, ends: Ends) -> Result<Value> {
    let i = c.counting(0, extent)?;
    let i = c.cast(i, DType::F64)?;
    let n = c.extent(extent, DType::F64)?;
    let i = c.by(B::Mul, i, 2.0)?;
    let place = match ends {
        Ends::Centres => {
            let steps = c.by(B::Sub, n, 1.0)?;
            let steps = c.by(B::Max, steps, 1.0)?;
            c.binary(B::Div, i, steps)?
        }
        Ends::Edges => {
            let i = c.by(B::Add, i, 1.0)?;
            c.binary(B::Div, i, n)?
        }
    };
    c.by(B::Sub, place, 1.0)
}

/// The grid for a tensor of the shape of input 1, through the matrices `theta [N, axes, axes + 1]` of input 0.
fn affine(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (theta, ends) = (c.input(0)?, ends(c)?);
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
    let ones = c.number(1.0, DType::F64)?;
    parts.push(expanded(c, ones, row)?);
    let places = c.add(Op::Concat(Concat { axis: 0 }), &parts)?;
    let places = c.cast(places, ty.dtype)?;
    let grid = multiplied(c, theta, places)?;
    let grid = ordered(c, grid, vec![0, 2, 1])?;
    one(c.reshape(grid, Shape([std::slice::from_ref(batch), extents, &[Dim::from(axes as u64)]].concat()))?)
}
