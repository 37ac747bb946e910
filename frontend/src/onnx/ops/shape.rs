//! Shapes as numbers, and arithmetic on them.

use super::movement::{bounds, filled};
use super::{Operator, one, since};
use crate::onnx::TensorBytes;
use crate::onnx::import::{Call, Item, computed, dtype, number};
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_types::{Dim, Result, Shape, TensorData};

pub(super) const OPERATORS: &[Operator] =
    &[since("Shape", 1, shape), since("Size", 1, size), since("ConstantOfShape", 9, constant_of_shape)];

fn shape(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let dims = match c.item(0)? {
        Item::Extents { scalar: true, .. } => Vec::new(),
        Item::Extents { dims, scalar: false } => vec![Dim::from(dims.len() as u64)],
        Item::Truths(truths) => vec![Dim::from(truths.len() as u64)],
        Item::Value(value) => c.ty(value).shape.0,
    };
    let rank = dims.len() as i64;
    let (from, to) = bounds(c.int("start", 0)?, c.int("end", rank)?, rank);
    Ok(vec![Item::Extents { dims: dims[from as usize..to as usize].to_vec(), scalar: false }])
}

fn size(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    Ok(vec![Item::Extents { dims: vec![c.ty(x).shape.elements()?], scalar: true }])
}

fn constant_of_shape(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let dims = c.extents(0)?;
    if let Some(n) = dims.iter().filter_map(number).find(|n| *n < 0) {
        return Err(c.refuse(format!("an extent of {n}")));
    }
    let like = match c.tensor_of("value")? {
        None => TensorData::F32(vec![0.0]),
        Some(tensor) => match &tensor.data {
            TensorBytes::Raw(bytes) if tensor.elements() == 1 => {
                TensorData::from_le_bytes(dtype(tensor.element)?, bytes)
            }
            TensorBytes::Raw(_) | TensorBytes::Texts(_) => return Err(c.refuse("`value` is not one number")),
        },
    };
    one(filled(c, &like, Shape(dims))?)
}

/// The sum, difference, product, quotient or extreme of inputs that are followed as dimensions; `None` where one is not, or where the
/// result is no list of polynomials.
pub(super) fn arithmetic(c: &mut Call<'_, '_>, function: B) -> Result<Option<Item>> {
    let (a, b) = (c.item(0)?, c.item(1)?);
    let (Some((a, a_scalar)), Some((b, b_scalar))) = (c.dims_of(&a), c.dims_of(&b)) else { return Ok(None) };
    let count = a.len().max(b.len());
    if (a.len() != count && a.len() != 1) || (b.len() != count && b.len() != 1) {
        return Ok(None);
    }
    let at = |dims: &[Dim], i: usize| dims[if dims.len() == 1 { 0 } else { i }].clone();
    let each = |i: usize| computed(function, &at(&a, i), &at(&b, i));
    let dims = (0..count).map(each).collect::<Option<Vec<Dim>>>();
    Ok(dims.map(|dims| Item::Extents { dims, scalar: a_scalar && b_scalar }))
}
