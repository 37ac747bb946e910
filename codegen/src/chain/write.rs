//! The steps of elementwise nodes. A value of the graph is a number, or of `bool` a truth value.

use super::range::is_exact;
use crate::cluster::storage;
use crate::kir::{FloatOp, Fun, Logic, Test};
use crate::spec::elementwise::{Step, read_as};
use actc_ir::ops::pointwise::{BinaryFunction, UnaryFunction};
use actc_ir::{Graph, Node, Op, Value};
use actc_types::{DType, Encoding};
use std::collections::BTreeMap;

/// Writes the steps of nodes, one after the other.
pub(super) struct Writer<'g> {
    graph: &'g Graph,
    /// Values that are read.
    pub(super) inputs: Vec<Value>,
    /// The steps so far.
    pub(super) steps: Vec<Step>,
    /// Which step makes a value.
    made: BTreeMap<Value, u16>,
}

/// What elements are to a chain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Float,
    /// Integers that f32 holds exactly.
    Whole,
    Truth,
}

impl<'g> Writer<'g> {
    pub(super) fn new(graph: &'g Graph) -> Writer<'g> {
        Writer { graph, inputs: Vec::new(), steps: Vec::new(), made: BTreeMap::new() }
    }

    /// Writes `node`; `None` where there are no steps for it. What is not written is an input.
    pub(super) fn node(&mut self, node: Node) -> Option<()> {
        let graph = self.graph;
        let data = graph.node(node);
        let result = data.results.first()?;
        let made = match &data.op {
            Op::Unary(u) => self.unary(u.function, data.args[0], *result)?,
            Op::Binary(b) => self.binary(b.function, data.args[0], data.args[1], *result)?,
            Op::Select(_) => {
                self.kind(*result)?;
                let [c, a, b] = [0, 1, 2].map(|i| self.value(data.args[i]));
                self.push(Step::Choose(c?, a?, b?))
            }
            Op::Cast(c) => self.cast(c.to, data.args[0])?,
            _ => return None,
        };
        self.made.insert(*result, made);
        Some(())
    }

    fn push(&mut self, step: Step) -> u16 {
        self.steps.push(step);
        self.steps.len() as u16 - 1
    }

    /// What `value` is, if chains have values of its type.
    fn kind(&self, value: Value) -> Option<Kind> {
        match self.graph.ty(value).dtype {
            DType::F32 => Some(Kind::Float),
            DType::Bool => Some(Kind::Truth),
            DType::U8 | DType::I8 => Some(Kind::Whole),
            DType::I32 => is_exact(self.graph, value).then_some(Kind::Whole),
            DType::I64
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

    /// The step that makes `value`: what a node before wrote, or a read of an input.
    fn value(&mut self, value: Value) -> Option<u16> {
        if let Some(made) = self.made.get(&value) {
            return Some(*made);
        }
        read_as(self.graph.ty(value).dtype)?;
        if let Some(id) = self.graph.as_const(storage(self.graph, value))
            && self.graph.const_data(id).encoding != Encoding::Dense
        {
            return None;
        }
        let number = u8::try_from(self.inputs.len()).ok()?;
        self.inputs.push(value);
        let made = self.push(Step::Read(number));
        self.made.insert(value, made);
        Some(made)
    }

    /// The number that `value` is everywhere, where it is known and one. Others are read, so that layers which differ in
    /// their numbers alone share a kernel.
    fn known(&self, value: Value) -> Option<f32> {
        let constant = self.graph.const_data(self.graph.as_const(storage(self.graph, value))?);
        if constant.ty.shape.elements().ok()?.fixed()? != 1 || constant.ty.dtype != DType::F32 {
            return None;
        }
        let number = *constant.decode().ok()?.data().to_f64().first()? as f32;
        (!number.is_nan()).then_some(number)
    }

    /// Whether arithmetic that gives `value` is modulo 256, which that of floats is not.
    fn is_modular(&self, value: Value) -> bool {
        matches!(self.graph.ty(value).dtype, DType::U8 | DType::I8)
    }

    fn not(&mut self, truth: u16) -> u16 {
        let zero = self.push(Step::Constant(0.0));
        let always = self.push(Step::Test(Test::Equal, zero, zero));
        self.push(Step::Logic(Logic::Xor, truth, always))
    }

    fn unary(&mut self, function: UnaryFunction, x: Value, result: Value) -> Option<u16> {
        let (kind, _) = (self.kind(x)?, self.kind(result)?);
        let modular = self.is_modular(result);
        let x = self.value(x)?;
        let fun = match (function, kind) {
            (UnaryFunction::Not, Kind::Truth) => return Some(self.not(x)),
            (UnaryFunction::Neg, Kind::Float | Kind::Whole) if !modular => Fun::Neg,
            (UnaryFunction::Abs, Kind::Float | Kind::Whole) if !modular => Fun::Abs,
            (UnaryFunction::Relu, Kind::Float | Kind::Whole) => Fun::Relu,
            (UnaryFunction::Sign, Kind::Float | Kind::Whole) => Fun::Sign,
            (_, Kind::Truth | Kind::Whole) => return None,
            (UnaryFunction::Sqrt, _) => Fun::Sqrt,
            (UnaryFunction::Exp, _) => Fun::Exp,
            (UnaryFunction::Tanh, _) => Fun::Tanh,
            (UnaryFunction::Sigmoid, _) => Fun::Sigmoid,
            (UnaryFunction::Silu, _) => Fun::Silu,
            (UnaryFunction::GeluTanh, _) => Fun::GeluTanh,
            (UnaryFunction::GeluErf, _) => Fun::GeluErf,
            (UnaryFunction::Log, _) => Fun::Log,
            (UnaryFunction::Erf, _) => Fun::Erf,
            (UnaryFunction::Softplus, _) => Fun::Softplus,
            (UnaryFunction::Floor, _) => Fun::Floor,
            (UnaryFunction::Ceil, _) => Fun::Ceil,
            (UnaryFunction::Round, _) => Fun::Nearest,
            (UnaryFunction::Reciprocal, _) => {
                let one = self.push(Step::Constant(1.0));
                return Some(self.push(Step::Binary(FloatOp::Div, one, x)));
            }
            (UnaryFunction::IsNan, _) => {
                let number = self.push(Step::Test(Test::Equal, x, x));
                return Some(self.not(number));
            }
            (UnaryFunction::IsInf, _) => {
                let size = self.push(Step::Unary(Fun::Abs, x));
                let infinity = self.push(Step::Constant(f32::INFINITY));
                return Some(self.push(Step::Test(Test::Equal, size, infinity)));
            }
            (
                UnaryFunction::Neg
                | UnaryFunction::Abs
                | UnaryFunction::Sin
                | UnaryFunction::Cos
                | UnaryFunction::Tan
                | UnaryFunction::Asin
                | UnaryFunction::Acos
                | UnaryFunction::Atan
                | UnaryFunction::Sinh
                | UnaryFunction::Cosh
                | UnaryFunction::Asinh
                | UnaryFunction::Acosh
                | UnaryFunction::Atanh
                | UnaryFunction::Not
                | UnaryFunction::BitNot,
                _,
            ) => return None,
        };
        Some(self.push(Step::Unary(fun, x)))
    }

    fn binary(&mut self, function: BinaryFunction, a: Value, b: Value, result: Value) -> Option<u16> {
        let (kind, _) = (self.kind(a)?, self.kind(result)?);
        self.kind(b)?;
        let modular = self.is_modular(result);
        let op = match (function, kind) {
            (BinaryFunction::Add, Kind::Float | Kind::Whole) if !modular => FloatOp::Add,
            (BinaryFunction::Sub, Kind::Float | Kind::Whole) if !modular => FloatOp::Sub,
            (BinaryFunction::Mul, Kind::Float | Kind::Whole) if !modular => FloatOp::Mul,
            (BinaryFunction::Div, Kind::Float) => FloatOp::Div,
            (BinaryFunction::Min, Kind::Whole) => FloatOp::Min,
            (BinaryFunction::Max, Kind::Whole) => FloatOp::Max,
            (BinaryFunction::Min, Kind::Float) => return self.extreme(FloatOp::Min, a, b),
            (BinaryFunction::Max, Kind::Float) => return self.extreme(FloatOp::Max, a, b),
            (BinaryFunction::Pow, Kind::Float) => return self.power(a, b),
            (BinaryFunction::Equal, Kind::Float | Kind::Whole) => return self.test(Test::Equal, a, b),
            (BinaryFunction::Less, Kind::Float | Kind::Whole) => return self.test(Test::Less, a, b),
            (BinaryFunction::LessEqual, Kind::Float | Kind::Whole) => return self.test(Test::LessEqual, a, b),
            (BinaryFunction::And, Kind::Truth) => return self.logic(Logic::And, a, b),
            (BinaryFunction::Or, Kind::Truth) => return self.logic(Logic::Or, a, b),
            (BinaryFunction::Xor, Kind::Truth) => return self.logic(Logic::Xor, a, b),
            (BinaryFunction::Equal, Kind::Truth) => {
                let other = self.logic(Logic::Xor, a, b)?;
                return Some(self.not(other));
            }
            (
                BinaryFunction::Add
                | BinaryFunction::Sub
                | BinaryFunction::Mul
                | BinaryFunction::Div
                | BinaryFunction::Min
                | BinaryFunction::Max
                | BinaryFunction::Pow
                | BinaryFunction::Mod
                | BinaryFunction::Rem
                | BinaryFunction::And
                | BinaryFunction::Or
                | BinaryFunction::Xor
                | BinaryFunction::BitAnd
                | BinaryFunction::BitOr
                | BinaryFunction::BitXor
                | BinaryFunction::ShiftLeft
                | BinaryFunction::ShiftRight
                | BinaryFunction::Less
                | BinaryFunction::LessEqual,
                _,
            ) => return None,
        };
        let (a, b) = (self.value(a)?, self.value(b)?);
        Some(self.push(Step::Binary(op, a, b)))
    }

    fn test(&mut self, test: Test, a: Value, b: Value) -> Option<u16> {
        let (a, b) = (self.value(a)?, self.value(b)?);
        Some(self.push(Step::Test(test, a, b)))
    }

    fn logic(&mut self, logic: Logic, a: Value, b: Value) -> Option<u16> {
        let (a, b) = (self.value(a)?, self.value(b)?);
        Some(self.push(Step::Logic(logic, a, b)))
    }

    /// The smaller or larger of two floats, not-a-number where one is. The machine gives the second where one is not a
    /// number: a number that is known comes first, otherwise the first is asked.
    fn extreme(&mut self, op: FloatOp, a: Value, b: Value) -> Option<u16> {
        let known = [(a, b), (b, a)].into_iter().find_map(|(number, x)| Some((self.known(number)?, x)));
        if let Some((number, x)) = known {
            let x = self.value(x)?;
            let number = self.push(Step::Constant(number));
            return Some(self.push(Step::Binary(op, number, x)));
        }
        let (a, b) = (self.value(a)?, self.value(b)?);
        let either = self.push(Step::Binary(op, a, b));
        let number = self.push(Step::Test(Test::Equal, a, a));
        Some(self.push(Step::Choose(number, either, a)))
    }

    /// Powers whose exponents are known and small: products and roots.
    fn power(&mut self, x: Value, exponent: Value) -> Option<u16> {
        let exponent = self.known(exponent)?;
        let size = exponent.abs();
        if ![0.0, 0.5, 1.0, 2.0, 3.0, 4.0].contains(&size) {
            return None;
        }
        let x = self.value(x)?;
        let mul = |w: &mut Self, a, b| w.push(Step::Binary(FloatOp::Mul, a, b));
        if size == 0.0 {
            return Some(self.push(Step::Constant(1.0)));
        }
        let one = self.push(Step::Constant(1.0));
        if size == 0.5 {
            let root = self.root(x);
            return Some(if exponent > 0.0 { root } else { self.push(Step::Binary(FloatOp::Div, one, root)) });
        }
        // The inverse first: of a power that overflows or vanishes it would be wrong.
        let x = if exponent > 0.0 { x } else { self.push(Step::Binary(FloatOp::Div, one, x)) };
        if size == 1.0 {
            return Some(mul(self, x, one));
        }
        let square = mul(self, x, x);
        Some(match size {
            2.0 => square,
            3.0 => mul(self, square, x),
            _ => mul(self, square, square),
        })
    }

    /// The power of a half, which unlike the square root is 0 of a negative zero and infinite of negative infinity.
    fn root(&mut self, x: u16) -> u16 {
        let zero = self.push(Step::Constant(0.0));
        let sum = self.push(Step::Binary(FloatOp::Add, x, zero));
        let root = self.push(Step::Unary(Fun::Sqrt, sum));
        let size = self.push(Step::Unary(Fun::Abs, x));
        let infinity = self.push(Step::Constant(f32::INFINITY));
        let endless = self.push(Step::Test(Test::Equal, size, infinity));
        self.push(Step::Choose(endless, size, root))
    }

    fn cast(&mut self, to: DType, x: Value) -> Option<u16> {
        let from = self.graph.ty(x).dtype;
        // An i32 of any size is rounded once as it is read.
        let kind = if from == DType::I32 { Kind::Whole } else { self.kind(x)? };
        let at = self.value(x)?;
        match (kind, to) {
            (Kind::Float, DType::F32) => Some(at),
            (Kind::Whole, DType::F32) if matches!(self.steps[usize::from(at)], Step::Read(_)) => Some(at),
            // Zeros that arithmetic of floats made have a sign, those of integers have none.
            (Kind::Whole, DType::F32) => {
                let zero = self.push(Step::Constant(0.0));
                Some(self.push(Step::Binary(FloatOp::Add, at, zero)))
            }
            (Kind::Whole, DType::I32) => Some(at),
            (Kind::Whole, to) if to == from => Some(at),
            (Kind::Float, DType::U8 | DType::I8) => Some(self.push(Step::Saturate(to, at))),
            (Kind::Truth, DType::F32 | DType::I32 | DType::U8 | DType::I8) => {
                let one = self.push(Step::Constant(1.0));
                Some(self.push(Step::Logic(Logic::And, at, one)))
            }
            (Kind::Truth, DType::Bool) => Some(at),
            (Kind::Float | Kind::Whole, DType::Bool) => {
                let zero = self.push(Step::Constant(0.0));
                let nothing = self.push(Step::Test(Test::Equal, at, zero));
                Some(self.not(nothing))
            }
            (Kind::Float | Kind::Whole | Kind::Truth, _) => None,
        }
    }
}
