//! Functions of numbers, element by element.

use super::norm::per_channel;
use super::place::Place;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::Value;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_types::{DType, Result};

pub(super) const OPERATORS: &[Operator] = &[
    since("Abs", 6, |c| unary(c, U::Abs)),
    since("Neg", 6, |c| unary(c, U::Neg)),
    since("Sqrt", 6, |c| unary(c, U::Sqrt)),
    since("Exp", 6, |c| unary(c, U::Exp)),
    since("Log", 6, |c| unary(c, U::Log)),
    since("Sin", 7, |c| unary(c, U::Sin)),
    since("Cos", 7, |c| unary(c, U::Cos)),
    since("Tan", 7, |c| unary(c, U::Tan)),
    since("Asin", 7, |c| unary(c, U::Asin)),
    since("Acos", 7, |c| unary(c, U::Acos)),
    since("Atan", 7, |c| unary(c, U::Atan)),
    since("Sinh", 9, |c| unary(c, U::Sinh)),
    since("Cosh", 9, |c| unary(c, U::Cosh)),
    since("Asinh", 9, |c| unary(c, U::Asinh)),
    since("Acosh", 9, |c| unary(c, U::Acosh)),
    since("Atanh", 9, |c| unary(c, U::Atanh)),
    since("Tanh", 6, |c| unary(c, U::Tanh)),
    since("Sigmoid", 6, |c| unary(c, U::Sigmoid)),
    since("Relu", 6, |c| unary(c, U::Relu)),
    since("Erf", 9, |c| unary(c, U::Erf)),
    since("Softplus", 1, |c| unary(c, U::Softplus)),
    since("Reciprocal", 6, |c| unary(c, U::Reciprocal)),
    since("Sign", 9, |c| unary(c, U::Sign)),
    since("Floor", 6, |c| unary(c, U::Floor)),
    since("Ceil", 6, |c| unary(c, U::Ceil)),
    since("Round", 11, |c| unary(c, U::Round)),
    since("IsNaN", 9, |c| unary(c, U::IsNan)),
    since("BitwiseNot", 18, |c| unary(c, U::BitNot)),
    since("Not", 1, |c| unary(c, U::Not)),
    since("Gelu", 20, gelu),
    since("LeakyRelu", 6, leaky_relu),
    since("Elu", 6, elu),
    since("Selu", 6, selu),
    since("Celu", 12, celu),
    since("ThresholdedRelu", 10, thresholded_relu),
    since("HardSigmoid", 6, hard_sigmoid),
    since("HardSwish", 14, hard_swish),
    since("Softsign", 1, softsign),
    since("Mish", 18, mish),
    since("Swish", 24, swish),
    since("SwiGLU", 28, swiglu),
    since("Shrink", 9, shrink),
    since("PRelu", 6, prelu),
    since("Clip", 6, clip),
    since("IsInf", 10, is_inf),
    since("Add", 6, |c| binary(c, B::Add)),
    since("Sub", 6, |c| binary(c, B::Sub)),
    since("Mul", 6, |c| binary(c, B::Mul)),
    since("Div", 6, |c| binary(c, B::Div)),
    since("Min", 6, |c| fold(c, B::Min)),
    since("Max", 6, |c| fold(c, B::Max)),
    since("Sum", 6, |c| fold(c, B::Add)),
    since("Mean", 6, mean),
    since("Pow", 6, pow),
    since("Mod", 10, modulo),
    since("BitwiseAnd", 18, |c| binary(c, B::BitAnd)),
    since("BitwiseOr", 18, |c| binary(c, B::BitOr)),
    since("BitwiseXor", 18, |c| binary(c, B::BitXor)),
    since("BitShift", 11, bit_shift),
];

fn unary(c: &mut Call<'_, '_>, function: U) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    one(c.unary(function, x)?)
}

/// Arithmetic; on what is followed as dimensions it gives dimensions.
fn binary(c: &mut Call<'_, '_>, function: B) -> Result<Vec<Item>> {
    let place = Place::of(c)?;
    if let Some(item) = super::shape::arithmetic(c, function)? {
        return Ok(vec![item]);
    }
    let (a, b) = (c.input(0)?, c.input(1)?);
    let b = place.put(c, a, b)?;
    one(c.binary(function, a, b)?)
}

fn fold(c: &mut Call<'_, '_>, function: B) -> Result<Vec<Item>> {
    if c.count() == 2
        && let Some(item) = super::shape::arithmetic(c, function)?
    {
        return Ok(vec![item]);
    }
    one(folded(c, function)?)
}

fn folded(c: &mut Call<'_, '_>, function: B) -> Result<Value> {
    let all = c.all()?;
    let (first, rest) = all.split_first().ok_or_else(|| c.refuse("it has no input"))?;
    let mut sum = *first;
    for x in rest {
        sum = c.binary(function, sum, *x)?;
    }
    Ok(sum)
}

fn mean(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let sum = folded(c, B::Add)?;
    let count = c.number(c.count() as f64, c.ty(sum).dtype)?;
    one(c.binary(B::Div, sum, count)?)
}

/// `a` where `x` is negative, else `b`.
fn where_negative(c: &mut Call<'_, '_>, x: Value, a: Value, b: Value) -> Result<Value> {
    let negative = c.by(B::Less, x, 0.0)?;
    c.select(negative, a, b)
}

fn gelu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    match c.text("approximate", "none")? {
        "none" => unary(c, U::GeluErf),
        "tanh" => unary(c, U::GeluTanh),
        other => Err(c.refuse(format!("`approximate` is `{other}`, expected `none` or `tanh`"))),
    }
}

fn leaky_relu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, alpha) = (c.input(0)?, c.float("alpha", 0.01)?);
    let scaled = c.by(B::Mul, x, alpha)?;
    one(where_negative(c, x, scaled, x)?)
}

fn prelu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, mut slope) = (c.input(0)?, c.input(1)?);
    if c.node.opset < 7 && c.ty(slope).shape.elements()?.fixed() != Some(1) {
        slope = per_channel(c, slope, c.ty(x).shape.rank())?;
    }
    let scaled = c.binary(B::Mul, x, slope)?;
    one(where_negative(c, x, scaled, x)?)
}

/// `scale * (e^(x / width) - 1)` for negative `x`, `beyond * x` for others.
fn exponential(c: &mut Call<'_, '_>, scale: f64, width: f64, beyond: f64) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    // Large arguments, of which the exponential is not used, would overflow.
    let low = c.by(B::Min, x, 0.0)?;
    let low = if width == 1.0 { low } else { c.by(B::Div, low, width)? };
    let e = c.unary(U::Exp, low)?;
    let e = c.by(B::Sub, e, 1.0)?;
    let e = c.by(B::Mul, e, scale)?;
    let high = if beyond == 1.0 { x } else { c.by(B::Mul, x, beyond)? };
    one(where_negative(c, x, e, high)?)
}

fn elu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let alpha = c.float("alpha", 1.0)?;
    exponential(c, alpha, 1.0, 1.0)
}

fn celu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let alpha = c.float("alpha", 1.0)?;
    exponential(c, alpha, alpha, 1.0)
}

fn selu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let alpha = c.float("alpha", 1.673_263_192_176_818_8)?;
    let gamma = c.float("gamma", 1.050_701_022_148_132_3)?;
    exponential(c, alpha * gamma, 1.0, gamma)
}

fn thresholded_relu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, alpha) = (c.input(0)?, c.float("alpha", 1.0)?);
    let dtype = c.ty(x).dtype;
    let (alpha, zero) = (c.number(alpha, dtype)?, c.number(0.0, dtype)?);
    let above = c.binary(B::Less, alpha, x)?;
    one(c.select(above, x, zero)?)
}

/// `min(1, max(0, alpha x + beta))`.
fn hard(c: &mut Call<'_, '_>, x: Value, alpha: f64, beta: f64) -> Result<Value> {
    let y = c.by(B::Mul, x, alpha)?;
    let y = c.by(B::Add, y, beta)?;
    let y = c.by(B::Max, y, 0.0)?;
    c.by(B::Min, y, 1.0)
}

fn hard_sigmoid(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, alpha, beta) = (c.input(0)?, c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
    one(hard(c, x, alpha, beta)?)
}

fn hard_swish(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let y = hard(c, x, 1.0 / 6.0, 0.5)?;
    one(c.binary(B::Mul, x, y)?)
}

fn softsign(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let size = c.unary(U::Abs, x)?;
    let below = c.by(B::Add, size, 1.0)?;
    one(c.binary(B::Div, x, below)?)
}

fn mish(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let y = c.unary(U::Softplus, x)?;
    let y = c.unary(U::Tanh, y)?;
    one(c.binary(B::Mul, x, y)?)
}

fn swish(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    one(swished(c)?)
}

/// `x sigmoid(alpha x)` of the first input.
fn swished(c: &mut Call<'_, '_>) -> Result<Value> {
    let (x, alpha) = (c.input(0)?, c.float("alpha", 1.0)?);
    if alpha == 1.0 {
        return c.unary(U::Silu, x);
    }
    let y = c.by(B::Mul, x, alpha)?;
    let y = c.unary(U::Sigmoid, y)?;
    c.binary(B::Mul, x, y)
}

fn swiglu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (gate, up) = (swished(c)?, c.input(1)?);
    if c.ty(gate).shape != c.ty(up).shape {
        return Err(c.refuse(format!("a gate {} of {}", c.ty(gate).shape, c.ty(up).shape)));
    }
    one(c.binary(B::Mul, gate, up)?)
}

fn shrink(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, bias, lambd) = (c.input(0)?, c.float("bias", 0.0)?, c.float("lambd", 0.5)?);
    let dtype = c.ty(x).dtype;
    let (low, high, zero) = (c.number(-lambd, dtype)?, c.number(lambd, dtype)?, c.number(0.0, dtype)?);
    let (below, above) = (c.binary(B::Less, x, low)?, c.binary(B::Less, high, x)?);
    let (raised, lowered) = (c.by(B::Add, x, bias)?, c.by(B::Sub, x, bias)?);
    let rest = c.select(above, lowered, zero)?;
    one(c.select(below, raised, rest)?)
}

/// Bounds are attributes up to version 10, inputs from then on.
fn clip(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let mut x = c.input(0)?;
    let bounds = [("min", 1, B::Max), ("max", 2, B::Min)];
    for (name, i, function) in bounds {
        if c.node.opset < 11 {
            if let Some(n) = c.optional_float(name)? {
                x = c.by(function, x, n.into())?;
            }
        } else if c.has(i) {
            let bound = c.input(i)?;
            x = c.binary(function, x, bound)?;
        }
    }
    one(x)
}

fn is_inf(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let all = c.unary(U::IsInf, x)?;
    let (negative, positive) = (c.int("detect_negative", 1)? != 0, c.int("detect_positive", 1)? != 0);
    let zero = c.number(0.0, c.ty(x).dtype)?;
    let side = match (negative, positive) {
        (true, true) => return one(all),
        (true, false) => c.binary(B::Less, x, zero)?,
        (false, true) => c.binary(B::Less, zero, x)?,
        (false, false) => c.binary(B::Less, zero, zero)?,
    };
    one(c.binary(B::And, all, side)?)
}

/// The result has the type of the base; both are computed in a type that holds either.
fn pow(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let place = Place::of(c)?;
    let (a, b) = (c.input(0)?, c.input(1)?);
    let b = place.put(c, a, b)?;
    let (base, exponent) = (c.ty(a).dtype, c.ty(b).dtype);
    let common = if base.is_float() || !exponent.is_float() { base } else { DType::F64 };
    let (a, b) = (c.cast(a, common)?, c.cast(b, common)?);
    let y = c.binary(B::Pow, a, b)?;
    one(c.cast(y, base)?)
}

fn modulo(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let function = if c.int("fmod", 0)? == 0 { B::Mod } else { B::Rem };
    binary(c, function)
}

fn bit_shift(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    match c.text("direction", "")? {
        "LEFT" => binary(c, B::ShiftLeft),
        "RIGHT" => binary(c, B::ShiftRight),
        other => Err(c.refuse(format!("`direction` is `{other}`, expected `LEFT` or `RIGHT`"))),
    }
}
