//! Reading where coordinates say: `GridSample`, and the coordinates of affine maps, `AffineGrid`.

use super::matrix::multiplied;
use super::movement::ordered;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::Op;
use actc_ir::ops::sampling::{Border, Ends, GridSample, Interpolation, Sampling};
use actc_types::{DType, Dim, Result, Shape, Tensor, TensorData};

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

/// The places of a grid, a constant, through the matrices of the input.
fn affine(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (theta, ends) = (c.input(0)?, ends(c)?);
    if !c.ints_known(1) {
        return one(super::dynamic::grid::affine(c, theta, ends)?);
    }
    let size = c.ints(1)?;
    let ty = c.ty(theta);
    let extents = size.get(2..).unwrap_or_default().iter().map(|n| u64::try_from(*n).ok().filter(|n| *n > 0));
    let extents = extents.collect::<Option<Vec<u64>>>().filter(|e| (2..=3).contains(&e.len()));
    let extents = extents.ok_or_else(|| c.refuse(format!("a grid for the shape {size:?}")))?;
    let axes = extents.len() as u64;
    let count = extents.iter().try_fold(1u64, |n, e| n.checked_mul(*e)).filter(|n| *n <= super::indexing::LONGEST);
    let count = count.ok_or_else(|| c.refuse(format!("a grid of {extents:?} places is too large")))?;
    let [n, rows, cols] = ty.shape.dims() else { return Err(c.refuse(format!("{} are no matrices", ty.shape))) };
    if (rows.fixed(), cols.fixed()) != (Some(axes), Some(axes + 1)) {
        return Err(c.refuse(format!("matrices {} for {axes} axes", ty.shape)));
    }
    let place = |i: u64, extent: u64| match ends {
        Ends::Centres if extent == 1 => -1.0,
        Ends::Centres => i as f64 * 2.0 / (extent - 1) as f64 - 1.0,
        Ends::Edges => (2 * i + 1) as f64 / extent as f64 - 1.0,
    };
    // The last axis first, then a row of ones.
    let mut places = Vec::new();
    let mut stride = 1;
    for extent in extents.iter().rev() {
        places.extend((0..count).map(|at| place(at / stride % extent, *extent)));
        stride *= extent;
    }
    places.extend((0..count).map(|_| 1.0));
    let places = c.tensor(&Tensor::new(&[axes + 1, count], TensorData::from_f64(ty.dtype, &places))?);
    let grid = multiplied(c, theta, places)?;
    let grid = ordered(c, grid, vec![0, 2, 1])?;
    let dims = std::iter::once(n.clone()).chain(extents.into_iter().chain([axes]).map(Dim::from)).collect();
    one(c.reshape(grid, Shape(dims))?)
}
