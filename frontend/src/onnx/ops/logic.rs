//! Comparisons, truth values, and choices by them.

use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::pointwise::{BinaryFunction as B, Select};
use actc_ir::{Op, Value};
use actc_types::Result;

pub(super) const OPERATORS: &[Operator] = &[
    since("Equal", 7, |c| compare(c, B::Equal, false)),
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

fn choose(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (condition, a, b) = (c.input(0)?, c.input(1)?, c.input(2)?);
    one(select(c, condition, a, b)?)
}

/// `a` where `condition` is true, else `b`.
pub(super) fn select(c: &mut Call<'_, '_>, condition: Value, a: Value, b: Value) -> Result<Value> {
    c.add(Op::Select(Select), &[condition, a, b])
}
