//! Losses of classes: how unlikely the class is that a target names, weighted, and summed or averaged.

use super::movement::{ordered, product};
use super::reduce::{log_softmax, over, row};
use super::{Operator, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor};

pub(super) const OPERATORS: &[Operator] =
    &[since("NegativeLogLikelihoodLoss", 12, likelihood), since("SoftmaxCrossEntropyLoss", 12, cross_entropy)];

fn likelihood(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    Ok(vec![Item::Value(loss(c, x)?)])
}

/// The loss and, where it is asked for, the logarithms of the probabilities.
fn cross_entropy(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let rank = c.ty(x).shape.rank();
    if rank < 2 {
        return Err(c.refuse(format!("{} has no axis of classes", c.ty(x).shape)));
    }
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(1, rank - 1);
    let turned = ordered(c, x, order.clone())?;
    let y = log_softmax(c, turned)?;
    let logs = ordered(c, y, order)?;
    Ok(vec![Item::Value(loss(c, logs)?), Item::Value(logs)])
}

/// The integers `0..len` times `step`, under a shape.
fn steps(c: &mut Call<'_, '_>, len: &Dim, step: &Dim, shape: Vec<Dim>) -> Result<Value> {
    let counted = c.counting(0, len)?;
    let step = c.extent(step, DType::I64)?;
    let stepped = c.binary(B::Mul, counted, step)?;
    c.reshape(stepped, Shape(shape))
}

/// The loss by the logarithms of probabilities `x [N, C, ..]`; target and weights are the inputs behind it.
fn loss(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let (ty, target) = (c.ty(x), c.input(1)?);
    let reduction = c.text("reduction", "mean")?;
    let ignored = c.optional_int("ignore_index")?;
    let shape = c.ty(target).shape;
    let [n, classes, rest @ ..] = ty.shape.dims() else {
        return Err(c.refuse(format!("{} has no axis of classes", ty.shape)));
    };
    if shape.dims() != [std::slice::from_ref(n), rest].concat() {
        return Err(c.refuse(format!("targets {shape} of {}", ty.shape)));
    }
    let inner = product(c, rest)?;
    let target = c.cast(target, DType::I64)?;
    let target = c.reshape(target, Shape(vec![n.clone(), inner.clone()]))?;
    let mut out = None;
    let mut named = target;
    if let Some(index) = ignored {
        let index = c.tensor(&Tensor::i64(&[], vec![index])?);
        let gone = c.binary(B::Equal, target, index)?;
        let zero = c.tensor(&Tensor::i64(&[], vec![0])?);
        named = c.select(gone, zero, target)?;
        out = Some(gone);
    }
    // Looked up among the classes, so that one which is not there is an error that names it.
    let all = c.counting(0, classes)?;
    let class = c.add(Op::Gather(Gather { axis: 0 }), &[all, named])?;
    let below = c.extent(&inner, DType::I64)?;
    let at = c.binary(B::Mul, class, below)?;
    let row_step = product(c, &[classes.clone(), inner.clone()])?;
    let rows = steps(c, n, &row_step, vec![n.clone(), Dim::from(1)])?;
    let columns = steps(c, &inner, &Dim::from(1), vec![Dim::from(1), inner.clone()])?;
    let at = c.binary(B::Add, at, rows)?;
    let at = c.binary(B::Add, at, columns)?;
    let flat = c.reshape(x, Shape(vec![ty.shape.elements()?]))?;
    let likely = c.add(Op::Gather(Gather { axis: 0 }), &[flat, at])?;
    let mut losses = c.unary(U::Neg, likely)?;
    let mut weight = None;
    if c.has(2) {
        let weights = c.input(2)?;
        let weights = c.cast(weights, ty.dtype)?;
        let own = c.add(Op::Gather(Gather { axis: 0 }), &[weights, class])?;
        losses = c.binary(B::Mul, losses, own)?;
        weight = Some(own);
    }
    if let Some(gone) = out {
        let (zero, one) = (c.number(0.0, ty.dtype)?, c.number(1.0, ty.dtype)?);
        losses = c.select(gone, zero, losses)?;
        weight = Some(c.select(gone, zero, weight.unwrap_or(one))?);
    }
    let sum = |c: &mut Call<'_, '_>, x: Value| over(c, x, &[0, 1], false, |c, x| row(c, R::Sum, x));
    match (reduction, weight) {
        ("none", _) => c.reshape(losses, shape),
        ("sum", _) => sum(c, losses),
        ("mean", None) => over(c, losses, &[0, 1], false, super::reduce::mean),
        ("mean", Some(weight)) => {
            let (losses, weights) = (sum(c, losses)?, sum(c, weight)?);
            c.binary(B::Div, losses, weights)
        }
        (other, _) => Err(c.refuse(format!("`reduction` is `{other}`, expected `none`, `sum` or `mean`"))),
    }
}
