//! Running sums and products, and the first elements of an order.

use super::movement::ordered;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::Op;
use actc_ir::ops::order::{Cumulate, Running, TopK};
use actc_types::{DType, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("CumSum", 11, |c| cumulate(c, Running::Sum)),
    since("CumProd", 26, |c| cumulate(c, Running::Prod)),
    since("TopK", 1, top_k),
];

fn cumulate(c: &mut Call<'_, '_>, function: Running) -> Result<Vec<Item>> {
    let (x, axis) = (c.input(0)?, c.input(1)?);
    let axis = c.cast(axis, DType::I64)?;
    let axis = c.reshape(axis, Shape::default())?;
    let (exclusive, reverse) = (c.int("exclusive", 0)? != 0, c.int("reverse", 0)? != 0);
    one(c.add(Op::Cumulate(Cumulate { function, exclusive, reverse }), &[x, axis])?)
}

/// `k` is an attribute before version 10, an input from then on.
fn top_k(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let shape = c.ty(x).shape;
    let axis = c.axis(c.int("axis", -1)?, shape.rank(), false)?;
    // Any order will do where none is asked for.
    let (largest, _) = (c.int("largest", 1)? != 0, c.int("sorted", 1)?);
    let ks = if c.node.opset < 10 {
        let k = c.optional_int("k")?.and_then(crate::onnx::import::dimension);
        vec![k.ok_or_else(|| c.refuse("it has no `k`"))?]
    } else {
        c.extents(1)?
    };
    let [k] = &ks[..] else { return Err(c.refuse(format!("{} numbers as `k`", ks.len()))) };
    let mut order: Vec<usize> = (0..shape.rank()).collect();
    order.swap(axis, shape.rank() - 1);
    let turned = ordered(c, x, order.clone())?;
    let results = c.add_many(Op::TopK(TopK { k: k.clone(), largest }), &[turned])?;
    results.into_iter().map(|y| Ok(Item::Value(ordered(c, y, order.clone())?))).collect()
}
