//! Comparisons, truth values, and choices by them.

use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, natural, number};
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_types::{Dim, Result};

pub(super) const OPERATORS: &[Operator] = &[
    since("Equal", 7, equal),
    since("Less", 7, |c| compare(c, B::Less, false)),
    since("Greater", 7, |c| compare(c, B::Less, true)),
    since("LessOrEqual", 12, |c| compare(c, B::LessEqual, false)),
    since("GreaterOrEqual", 12, |c| compare(c, B::LessEqual, true)),
    since("And", 7, |c| compare(c, B::And, false)),
    since("Or", 7, |c| compare(c, B::Or, false)),
    since("Xor", 7, |c| compare(c, B::Xor, false)),
    since("Where", 9, choose),
];

fn compare(c: &mut Call<'_, '_>, function: B, swapped: bool) -> Result<Vec<Item>> {
    let (a, b) = (c.input(0)?, c.input(1)?);
    one(if swapped { c.binary(function, b, a)? } else { c.binary(function, a, b)? })
}

/// Of dimensions it gives truth values where those are known whatever the inputs are.
fn equal(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    if let (Some((a, false)), Some((b, false))) = (c.dims_of(&c.item(0)?), c.dims_of(&c.item(1)?))
        && (a.len() == b.len() || a.len() == 1 || b.len() == 1)
    {
        let at = |dims: &[Dim], i: usize| dims[if dims.len() == 1 { 0 } else { i }].clone();
        let truths = (0..a.len().max(b.len())).map(|i| same(&at(&a, i), &at(&b, i))).collect::<Option<Vec<bool>>>();
        if let Some(truths) = truths {
            return Ok(vec![Item::Truths(truths)]);
        }
    }
    compare(c, B::Equal, false)
}

/// Whether two dimensions are equal, where that does not depend on their symbols, which are not negative.
fn same(a: &Dim, b: &Dim) -> Option<bool> {
    if a == b {
        return Some(true);
    }
    match (number(a), number(b)) {
        (Some(a), Some(b)) => Some(a == b),
        (Some(n), None) if n < 0 && natural(b) => Some(false),
        (None, Some(n)) if n < 0 && natural(a) => Some(false),
        (_, _) => None,
    }
}

fn choose(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    if let (Item::Truths(truths), Some((a, false)), Some((b, false))) =
        (c.item(0)?, c.dims_of(&c.item(1)?), c.dims_of(&c.item(2)?))
        && a.len() == truths.len()
        && b.len() == truths.len()
    {
        let dims = truths.iter().zip(a.into_iter().zip(b)).map(|(t, (a, b))| if *t { a } else { b }).collect();
        return Ok(vec![Item::Extents { dims, scalar: false }]);
    }
    let (condition, a, b) = (c.input(0)?, c.input(1)?, c.input(2)?);
    one(c.select(condition, a, b)?)
}
