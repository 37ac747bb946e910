//! Functions element by element.

use super::call::Call;
use super::sheet::{Attr, element};
use actc_ir::ops::pointwise::{BinaryFunction as B, Cast, UnaryFunction as U};
use actc_types::dtype::Kind;
use actc_types::{DType, Result};

pub(super) fn unary(c: &mut Call<'_, '_>, function: U) -> Result<Vec<String>> {
    let op = match function {
        U::Neg => "Neg",
        U::Abs => "Abs",
        U::Sqrt => "Sqrt",
        U::Exp => "Exp",
        U::Tanh => "Tanh",
        U::Sigmoid => "Sigmoid",
        U::Relu => "Relu",
        U::Silu => {
            let x = c.arg(0)?;
            let gate = c.node("Sigmoid", &[&x], vec![]);
            return Ok(vec![c.node("Mul", &[&x, &gate], vec![])]);
        }
        U::GeluTanh => return c.whole("Gelu", vec![("approximate", Attr::Text("tanh"))]),
        U::GeluErf => "Gelu",
        U::Log => "Log",
        U::Sin => "Sin",
        U::Cos => "Cos",
        U::Tan => "Tan",
        U::Asin => "Asin",
        U::Acos => "Acos",
        U::Atan => "Atan",
        U::Sinh => "Sinh",
        U::Cosh => "Cosh",
        U::Asinh => "Asinh",
        U::Acosh => "Acosh",
        U::Atanh => "Atanh",
        U::Erf => "Erf",
        U::Softplus => "Softplus",
        U::Reciprocal => "Reciprocal",
        U::Sign => "Sign",
        U::Floor => "Floor",
        U::Ceil => "Ceil",
        U::Round => "Round",
        U::Not => "Not",
        U::BitNot => "BitwiseNot",
        U::IsNan => "IsNaN",
        U::IsInf => "IsInf",
    };
    c.same(op)
}

pub(super) fn binary(c: &mut Call<'_, '_>, function: B) -> Result<Vec<String>> {
    let dtype = c.ty(0).dtype;
    let op = match function {
        B::Add => "Add",
        B::Sub => "Sub",
        B::Mul => "Mul",
        B::Div => "Div",
        B::Min => "Min",
        B::Max => "Max",
        B::Pow => "Pow",
        B::Mod if dtype.is_float() => {
            let (a, b) = (c.arg(0)?, c.arg(1)?);
            let quotient = c.node("Div", &[&a, &b], vec![]);
            let whole = c.node("Floor", &[&quotient], vec![]);
            let taken = c.node("Mul", &[&whole, &b], vec![]);
            return Ok(vec![c.node("Sub", &[&a, &taken], vec![])]);
        }
        B::Mod => "Mod",
        B::Rem => return c.whole("Mod", vec![("fmod", Attr::Int(1))]),
        B::And => "And",
        B::Or => "Or",
        B::Xor => "Xor",
        B::BitAnd => "BitwiseAnd",
        B::BitOr => "BitwiseOr",
        B::BitXor => "BitwiseXor",
        B::ShiftLeft | B::ShiftRight => {
            if dtype.kind() != Kind::Unsigned {
                return Err(c.refuse(format!("the standard shifts no {dtype}")));
            }
            let left = function == B::ShiftLeft;
            return c.whole("BitShift", vec![("direction", Attr::Text(if left { "LEFT" } else { "RIGHT" }))]);
        }
        B::Equal => "Equal",
        B::Less => "Less",
        B::LessEqual => "LessOrEqual",
    };
    c.same(op)
}

pub(super) fn cast(c: &mut Call<'_, '_>, cast: &Cast) -> Result<Vec<String>> {
    let to = i64::from(element(cast.to)?.code());
    if matches!(cast.to, DType::Narrow(_)) && *cast != Cast::to(cast.to) {
        return Err(c.refuse("it narrows otherwise than by default"));
    }
    c.whole("Cast", vec![("to", Attr::Int(to))])
}
