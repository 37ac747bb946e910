//! One operation of a chain: its text, what it reads and makes, and the rounding to small integers.

use super::{Fixed, Input};
use crate::kir::{Builder, FloatOp, Fun, Logic, Test, Val};
use actc_types::DType;
use std::fmt;

/// One operation. It makes the value of its own number from values of smaller ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// The element of an input: a number, or of `bool` a truth value.
    Read(u8),
    /// A number.
    Constant(f32),
    /// A function of a number.
    Unary(Fun, u16),
    /// Arithmetic on two numbers.
    Binary(FloatOp, u16, u16),
    /// A truth value: the answer of two numbers.
    Test(Test, u16, u16),
    /// Of two truth values another; of a truth value and a number, with `and`, the number or 0.
    Logic(Logic, u16, u16),
    /// Where the first, a truth value, is true the second, elsewhere the third.
    Choose(u16, u16, u16),
    /// A number as an element of an integer type of eight bits: its integer part, the nearer end beyond them, 0 of
    /// what is not a number.
    Saturate(DType, u16),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |debug: &dyn fmt::Debug| format!("{debug:?}").to_lowercase();
        match self {
            Step::Read(n) => write!(f, "in{n}"),
            Step::Constant(x) => write!(f, "{x:e}"),
            Step::Unary(fun, a) => write!(f, "{}(%{a})", word(fun)),
            Step::Binary(op, a, b) => write!(f, "{}(%{a},%{b})", word(op)),
            Step::Test(test, a, b) => write!(f, "{}(%{a},%{b})", word(test)),
            Step::Logic(logic, a, b) => write!(f, "{}(%{a},%{b})", word(logic)),
            Step::Choose(c, a, b) => write!(f, "choose(%{c},%{a},%{b})"),
            Step::Saturate(to, a) => write!(f, "{to}(%{a})"),
        }
    }
}

/// The smallest and the largest number of an integer type of eight bits.
pub(super) fn ends(dtype: DType) -> Option<[f32; 2]> {
    match dtype {
        DType::U8 => Some([0.0, 255.0]),
        DType::I8 => Some([-128.0, 127.0]),
        DType::F32
        | DType::Bool
        | DType::I32
        | DType::I64
        | DType::U16
        | DType::I16
        | DType::U32
        | DType::U64
        | DType::F16
        | DType::Bf16
        | DType::F64
        | DType::Narrow(_) => None,
    }
}

impl Step {
    /// Whether it makes a truth value, where `truths` says that of the values before; `None` where it reads what is not
    /// there, or of the other kind.
    pub(super) fn truth(&self, inputs: &[Input], truths: &[bool]) -> Option<bool> {
        let at = |i: &u16| truths.get(usize::from(*i)).copied();
        let number = |i: &u16| at(i).filter(|truth| !truth);
        match self {
            Step::Read(n) => Some(inputs.get(usize::from(*n))?.dtype == DType::Bool),
            Step::Constant(_) => Some(false),
            Step::Unary(_, a) => number(a),
            Step::Binary(_, a, b) => number(a).and(number(b)),
            Step::Test(_, a, b) => number(a).and(number(b)).map(|_| true),
            Step::Logic(logic, a, b) => match (at(a)?, at(b)?) {
                (true, truth) => (truth || *logic == Logic::And).then_some(truth),
                (false, _) => None,
            },
            Step::Choose(c, a, b) => {
                let (a, b) = (at(a)?, at(b)?);
                (at(c)? && a == b).then_some(a)
            }
            Step::Saturate(to, a) => ends(*to).and(number(a)),
        }
    }

    /// The numbers that it needs beside its arguments.
    pub(super) fn numbers(&self) -> Vec<f32> {
        match self {
            Step::Constant(x) => vec![*x],
            Step::Saturate(to, _) => ends(*to).map_or(Vec::new(), |ends| ends.to_vec()),
            Step::Read(_)
            | Step::Unary(..)
            | Step::Binary(..)
            | Step::Test(..)
            | Step::Logic(..)
            | Step::Choose(..) => Vec::new(),
        }
    }
}

/// `x` as [`Step::Saturate`] makes it.
pub(super) fn saturate(k: &mut Builder, fixed: &Fixed, to: DType, x: Val) -> Val {
    let [low, high] = ends(to).expect("checked").map(|end| fixed.of(end));
    let number = k.test(Test::Equal, x, x);
    let x = k.logic(Logic::And, number, x);
    let x = k.fun(Fun::Trunc, x);
    let x = k.f(FloatOp::Max, x, low);
    k.f(FloatOp::Min, x, high)
}
