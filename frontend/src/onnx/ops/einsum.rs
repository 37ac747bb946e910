//! Sums of products over named axes: `Einsum`.
//!
//! Operands are joined one after the other: axes that nobody needs any more are summed first, then the axes that both have
//! and the result does not become the inner extent of a product of matrices.

use super::indexing::expanded;
use super::matrix::multiplied;
use super::movement::{ordered, product};
use super::reduce::{over, row};
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};
use std::collections::BTreeMap;

pub(super) const OPERATORS: &[Operator] = &[since("Einsum", 12, einsum)];

/// Name of an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    /// One that `...` stands for, counted from the last.
    Unnamed(usize),
    /// A letter.
    Named(char),
}

/// The labels of a term of an equation for a tensor of `rank` axes; of a result `rank` is what its `...` stands for.
fn labels(c: &Call<'_, '_>, term: &str, unnamed: impl Fn(usize) -> Option<usize>) -> Result<Vec<Label>> {
    let wrong = || c.refuse(format!("the term `{term}`"));
    let named = |part: &str| -> Result<Vec<Label>> {
        let letters = part.chars().map(|l| l.is_ascii_alphabetic().then_some(Label::Named(l)));
        letters.collect::<Option<Vec<Label>>>().ok_or_else(wrong)
    };
    match term.split_once("...") {
        None => named(term),
        Some((first, last)) => {
            let (first, last) = (named(first)?, named(last)?);
            let count = unnamed(first.len() + last.len()).ok_or_else(wrong)?;
            Ok([first, (0..count).rev().map(Label::Unnamed).collect(), last].concat())
        }
    }
}

/// A tensor and the names of its axes, all different.
#[derive(Clone)]
struct Operand {
    value: Value,
    labels: Vec<Label>,
}

impl Operand {
    fn extents(&self, c: &Call<'_, '_>) -> BTreeMap<Label, Dim> {
        self.labels.iter().copied().zip(c.ty(self.value).shape.0).collect()
    }

    /// With its axes in the order of `wanted`, which has the same labels.
    fn arranged(&self, c: &mut Call<'_, '_>, wanted: &[Label]) -> Result<Value> {
        let order = wanted.iter().filter_map(|l| self.labels.iter().position(|own| own == l)).collect();
        ordered(c, self.value, order)
    }

    /// Without the axes that are not in `kept`, which are summed.
    fn summed(self, c: &mut Call<'_, '_>, kept: impl Fn(Label) -> bool) -> Result<Operand> {
        let gone: Vec<usize> = (0..self.labels.len()).filter(|i| !kept(self.labels[*i])).collect();
        if gone.is_empty() {
            return Ok(self);
        }
        let value = over(c, self.value, &gone, false, |c, x| row(c, R::Sum, x))?;
        Ok(Operand { value, labels: self.labels.into_iter().filter(|l| kept(*l)).collect() })
    }
}

/// A tensor with axes of equal names made one: its diagonals.
fn diagonal(c: &mut Call<'_, '_>, mut value: Value, mut labels: Vec<Label>) -> Result<Operand> {
    while let Some((first, second)) = twice(&labels) {
        let shape = c.ty(value).shape;
        let extent = shape.dims()[first].clone();
        if shape.dims()[second] != extent {
            return Err(c.refuse(format!("a diagonal of axes {first} and {second} of {shape}")));
        }
        let rest: Vec<usize> = (0..labels.len()).filter(|i| ![first, second].contains(i)).collect();
        let turned = ordered(c, value, [&rest[..], &[first, second]].concat())?;
        let mut dims: Vec<Dim> = rest.iter().map(|i| shape.dims()[*i].clone()).collect();
        dims.push(product(c, &[extent.clone(), extent.clone()])?);
        let flat = c.reshape(turned, Shape(dims))?;
        let counted = c.counting(0, &extent)?;
        let one = Dim::from(1);
        let step = extent.checked_add(&one).ok_or_else(|| c.refuse(format!("an axis of {extent}")))?;
        let step = c.extent(&step, DType::I64)?;
        let places = c.binary(B::Mul, counted, step)?;
        value = c.add(Op::Gather(Gather { axis: rest.len() }), &[flat, places])?;
        labels = [rest.iter().map(|i| labels[*i]).collect(), vec![labels[first]]].concat();
    }
    Ok(Operand { value, labels })
}

/// Two axes of one name.
fn twice(labels: &[Label]) -> Option<(usize, usize)> {
    let second = |i: usize| (i + 1..labels.len()).find(|j| labels[*j] == labels[i]);
    (0..labels.len()).find_map(|i| second(i).map(|j| (i, j)))
}

/// The product of `a` and `b`, without the axes that are not in `kept`.
fn joined(c: &mut Call<'_, '_>, a: Operand, b: Operand, kept: impl Fn(Label) -> bool) -> Result<Operand> {
    let (a_has, b_has) = (a.labels.clone(), b.labels.clone());
    let a = a.summed(c, |l| kept(l) || b_has.contains(&l))?;
    let b = b.summed(c, |l| kept(l) || a_has.contains(&l))?;
    let (ours, theirs) = (a.extents(c), b.extents(c));
    let mut whole = theirs.clone();
    for (label, dim) in ours {
        let other = whole.entry(label).or_insert_with(|| dim.clone());
        match (*other == dim, *other == Dim::from(1), dim == Dim::from(1)) {
            (true, _, _) | (_, _, true) => {}
            (false, true, false) => *other = dim,
            (false, false, false) => return Err(c.refuse(format!("axes of one name have {other} and {dim} elements"))),
        }
    }
    let common: Vec<Label> = a.labels.iter().copied().filter(|l| b.labels.contains(l)).collect();
    let (batch, inner): (Vec<Label>, Vec<Label>) = common.into_iter().partition(|l| kept(*l));
    let alone = |own: &[Label], other: &[Label]| own.iter().copied().filter(|l| !other.contains(l)).collect();
    let (rows, cols): (Vec<Label>, Vec<Label>) = (alone(&a.labels, &b.labels), alone(&b.labels, &a.labels));
    let shape = |labels: &[Label]| labels.iter().map(|l| whole[l].clone()).collect::<Vec<Dim>>();
    let labels = [&batch[..], &rows, &cols].concat();
    let result = Shape(shape(&labels));
    if inner.is_empty() {
        // No product of matrices: extents of 1 repeat.
        let ones = |labels: &[Label]| vec![Dim::from(1); labels.len()];
        let x = a.arranged(c, &[&batch[..], &rows].concat())?;
        let dims = [c.ty(x).shape.0, ones(&cols)].concat();
        let x = c.reshape(x, Shape(dims))?;
        let y = b.arranged(c, &[&batch[..], &cols].concat())?;
        let mut dims = c.ty(y).shape.0;
        dims.splice(batch.len()..batch.len(), ones(&rows));
        let y = c.reshape(y, Shape(dims))?;
        return Ok(Operand { value: c.binary(B::Mul, x, y)?, labels });
    }
    // [batch.., rows, inner] times [batch.., inner, cols].
    let mut sides = Vec::with_capacity(2);
    for (operand, order) in [(&a, [&batch[..], &rows, &inner]), (&b, [&batch[..], &inner, &cols])] {
        let x = operand.arranged(c, &order.concat())?;
        let x = expanded(c, x, Shape(shape(&order.concat())))?;
        let dims = order.map(|labels| product(c, &shape(labels)));
        let dims = dims.into_iter().collect::<Result<Vec<Dim>>>()?;
        sides.push(c.reshape(x, Shape(dims))?);
    }
    let value = multiplied(c, sides[0], sides[1])?;
    Ok(Operand { value: c.reshape(value, result)?, labels })
}

fn einsum(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let equation: String = c.text("equation", "")?.chars().filter(|l| !l.is_whitespace()).collect();
    let (terms, result) = match equation.split_once("->") {
        Some((terms, result)) => (terms, Some(result)),
        None => (&equation[..], None),
    };
    let terms: Vec<&str> = terms.split(',').collect();
    let values = c.all()?;
    if terms.len() != values.len() {
        return Err(c.refuse(format!("`{equation}` of {} operands", values.len())));
    }
    let mut operands = Vec::with_capacity(values.len());
    let mut counts: BTreeMap<Label, usize> = BTreeMap::new();
    for (term, value) in terms.iter().zip(values) {
        let rank = c.ty(value).shape.rank();
        let own = labels(c, term, |named| rank.checked_sub(named))?;
        if own.len() != rank {
            return Err(c.refuse(format!("the term `{term}` of {}", c.ty(value).shape)));
        }
        own.iter().for_each(|l| *counts.entry(*l).or_default() += 1);
        operands.push(diagonal(c, value, own)?);
    }
    let unnamed = counts.keys().filter(|l| matches!(l, Label::Unnamed(_))).count();
    let wanted = match result {
        Some(term) => labels(c, term, |_| Some(unnamed))?,
        // The unnamed ones, and what occurs once in the order of the alphabet.
        None => {
            let once = counts.iter().filter(|(l, n)| matches!(l, Label::Named(_)) && **n == 1).map(|(l, _)| *l);
            (0..unnamed).rev().map(Label::Unnamed).chain(once).collect()
        }
    };
    if wanted.iter().any(|l| !counts.contains_key(l)) || twice(&wanted).is_some() {
        return Err(c.refuse(format!("the result of `{equation}`")));
    }
    let mut rest = operands.into_iter();
    let mut sum = rest.next().ok_or_else(|| c.refuse("it has no input"))?;
    while let Some(next) = rest.next() {
        let later: Vec<Label> = rest.as_slice().iter().flat_map(|o| o.labels.clone()).collect();
        sum = joined(c, sum, next, |l| wanted.contains(&l) || later.contains(&l))?;
    }
    let sum = sum.summed(c, |l| wanted.contains(&l))?;
    one(sum.arranged(c, &wanted)?)
}
