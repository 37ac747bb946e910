//! Operators of QONNX, in which brevitas exports networks that were trained with few bits.

use super::{Operator, of, one};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_types::{DType, Result};

pub(super) const OPERATORS: &[Operator] = &[
    of("onnx.brevitas", "Quant", 2, quant),
    of("qonnx.custom_op.general", "Quant", 2, quant),
    of("onnx.brevitas", "BipolarQuant", 2, bipolar),
    of("qonnx.custom_op.general", "BipolarQuant", 2, bipolar),
];

/// `x` on the grid of `bits` bits with a scale and a zero point, as floats. Inputs: `x`, scale, zero point, bits.
fn quant(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, scale, zero, bits) = (c.input(0)?, c.input(1)?, c.input(2)?, c.input(3)?);
    let (signed, narrow) = (c.int("signed", 1)? != 0, c.int("narrow", 0)? != 0);
    let rounding = match c.text("rounding_mode", "ROUND")? {
        "ROUND" | "round" | "HALF_EVEN" => U::Round,
        "CEIL" | "ceil" => U::Ceil,
        "FLOOR" | "floor" => U::Floor,
        other => return Err(c.refuse(format!("`rounding_mode` is `{other}`, expected ROUND, CEIL or FLOOR"))),
    };
    // 2^(bits - 1) with a sign, 2^bits without.
    let power = c.by(B::Sub, bits, f64::from(u8::from(signed)))?;
    let two = c.number(2.0, DType::F32)?;
    let range = c.binary(B::Pow, two, power)?;
    let highest = c.by(B::Sub, range, if !signed && narrow { 2.0 } else { 1.0 })?;
    let lowest = if signed {
        let lowest = c.unary(U::Neg, range)?;
        c.by(B::Add, lowest, f64::from(u8::from(narrow)))?
    } else {
        c.number(0.0, DType::F32)?
    };
    let y = c.binary(B::Div, x, scale)?;
    let y = c.binary(B::Add, y, zero)?;
    let y = c.binary(B::Max, y, lowest)?;
    let y = c.binary(B::Min, y, highest)?;
    let y = c.unary(rounding, y)?;
    let y = c.binary(B::Sub, y, zero)?;
    one(c.binary(B::Mul, y, scale)?)
}

/// The scale with the sign of `x`; zero is positive.
fn bipolar(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, scale) = (c.input(0)?, c.input(1)?);
    let zero = c.number(0.0, DType::F32)?;
    let negative = c.binary(B::Less, x, zero)?;
    let low = c.unary(U::Neg, scale)?;
    one(c.select(negative, low, scale)?)
}
