//! `elementwise`: a chain of operations on f32 inputs, broadcast along leading dimensions, to one output
//! `[rows, cols]`.

use super::norm::check_cols;
use super::{Buffer, BufferRole};
use crate::kir::{Builder, FloatOp, Fun, Mem};
use actc_types::function::{BinaryFunction, UnaryFunction};
use actc_types::{DType, Diagnostic, Dim, Result, Shape};
use std::fmt;

/// How an input is repeated over `[rows, cols]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Broadcast {
    /// `[rows, cols]`.
    Full,
    /// `[cols]`, the same for every row.
    Row,
    /// `[rows]`, the same for every column.
    Column,
    /// One element.
    Scalar,
}

impl Broadcast {
    /// How a tensor of shape `from` is repeated over one of shape `to`, or `None` where it is in no such way.
    pub fn of(from: &Shape, to: &Shape) -> Option<Broadcast> {
        let one = Dim::from(1);
        let (f, t) = (from.dims(), to.dims());
        let core: Vec<&Dim> = f.iter().skip_while(|d| **d == one).collect();
        if f == t || core.iter().copied().eq(t.iter().skip_while(|d| **d == one)) {
            return Some(Broadcast::Full);
        }
        if core.is_empty() {
            return Some(Broadcast::Scalar);
        }
        if core.len() == 1 && Some(core[0]) == t.last() {
            return Some(Broadcast::Row);
        }
        let column = f.len() == t.len() && f.last() == Some(&one) && f[..f.len() - 1] == t[..t.len() - 1];
        column.then_some(Broadcast::Column)
    }
}

/// The operation of kernels that is `function`, if there is one.
pub fn unary(function: UnaryFunction) -> Option<Fun> {
    match function {
        UnaryFunction::Neg => Some(Fun::Neg),
        UnaryFunction::Abs => Some(Fun::Abs),
        UnaryFunction::Sqrt => Some(Fun::Sqrt),
        UnaryFunction::Exp => Some(Fun::Exp),
        UnaryFunction::Tanh => Some(Fun::Tanh),
        UnaryFunction::Sigmoid => Some(Fun::Sigmoid),
        UnaryFunction::Relu => Some(Fun::Relu),
        UnaryFunction::Silu => Some(Fun::Silu),
        UnaryFunction::GeluTanh => Some(Fun::GeluTanh),
        UnaryFunction::GeluErf => Some(Fun::GeluErf),
        UnaryFunction::Log
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
        | UnaryFunction::Erf
        | UnaryFunction::Softplus
        | UnaryFunction::Reciprocal
        | UnaryFunction::Sign
        | UnaryFunction::Floor
        | UnaryFunction::Ceil
        | UnaryFunction::Round
        | UnaryFunction::Not
        | UnaryFunction::BitNot
        | UnaryFunction::IsNan
        | UnaryFunction::IsInf => None,
    }
}

/// The operation of kernels that is `function`, if there is one.
pub fn binary(function: BinaryFunction) -> Option<FloatOp> {
    match function {
        BinaryFunction::Add => Some(FloatOp::Add),
        BinaryFunction::Sub => Some(FloatOp::Sub),
        BinaryFunction::Mul => Some(FloatOp::Mul),
        BinaryFunction::Div => Some(FloatOp::Div),
        BinaryFunction::Min => Some(FloatOp::Min),
        BinaryFunction::Max => Some(FloatOp::Max),
        BinaryFunction::Pow
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
        | BinaryFunction::Equal
        | BinaryFunction::Less
        | BinaryFunction::LessEqual => None,
    }
}

/// One operation. Values are numbered: inputs first, then the results of steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// A number.
    Constant(f32),
    /// A function of a value.
    Unary(Fun, u16),
    /// Arithmetic on two values.
    Binary(FloatOp, u16, u16),
}

/// A chain whose last step is the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Elementwise {
    /// Elements of a row.
    pub cols: u32,
    /// The inputs.
    pub inputs: Vec<Broadcast>,
    /// The operations in order.
    pub steps: Vec<Step>,
}

impl fmt::Display for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elementwise{{cols={}}}", self.cols)?;
        for (i, input) in self.inputs.iter().enumerate() {
            write!(f, " %{i}={}", format!("{input:?}").to_lowercase())?;
        }
        for (i, step) in self.steps.iter().enumerate() {
            write!(f, " %{}=", i + self.inputs.len())?;
            match step {
                Step::Constant(x) => write!(f, "{x:e}")?,
                Step::Unary(fun, a) => write!(f, "{}(%{a})", format!("{fun:?}").to_lowercase())?,
                Step::Binary(op, a, b) => write!(f, "{}(%{a},%{b})", format!("{op:?}").to_lowercase())?,
            }
        }
        Ok(())
    }
}

impl Elementwise {
    pub(super) fn check(&self) -> Result<()> {
        check_cols(self.cols)?;
        let bad = |what: String| Err(Diagnostic::new("kernel-chain", what));
        if self.steps.is_empty() || self.inputs.len() > 32 || self.steps.len() > 256 {
            return bad(format!("a chain of {} inputs and {} steps", self.inputs.len(), self.steps.len()));
        }
        for (i, step) in self.steps.iter().enumerate() {
            let known = i + self.inputs.len();
            let last = match step {
                Step::Constant(_) => 0,
                Step::Unary(_, a) => *a as usize + 1,
                Step::Binary(_, a, b) => *a.max(b) as usize + 1,
            };
            if last > known {
                return bad(format!("step {i} reads value {} of {known}", last - 1));
            }
        }
        Ok(())
    }

    /// The inputs, then the output. The output may be an input of full shape.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers: Vec<Buffer> =
            (0..self.inputs.len()).map(|i| Buffer::read(BufferRole::Input(i as u8), DType::F32)).collect();
        buffers.push(Buffer::write(BufferRole::Output(0)));
        buffers
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let rows = k.dim(0);
        let addresses: Vec<_> = (0..=self.inputs.len()).map(|i| k.buffer(i)).collect();
        k.grid(0, rows, rows, |k, row| {
            let bytes = k.imul_n(row, 4 * i64::from(self.cols));
            let four = k.imul_n(row, 4);
            let places: Vec<_> = self
                .inputs
                .iter()
                .zip(&addresses)
                .map(|(input, at)| match input {
                    Broadcast::Full => k.iadd(*at, bytes),
                    Broadcast::Column => k.iadd(*at, four),
                    Broadcast::Row | Broadcast::Scalar => *at,
                })
                .collect();
            let out = k.iadd(addresses[self.inputs.len()], bytes);
            k.lane_n(self.cols as usize, |k| {
                let mut values = Vec::new();
                for (input, at) in self.inputs.iter().zip(&places) {
                    values.push(match input {
                        Broadcast::Full | Broadcast::Row => k.load_lane(Mem::F32, *at, 0),
                        Broadcast::Column | Broadcast::Scalar => k.load(Mem::F32, *at, 0),
                    });
                }
                for step in &self.steps {
                    values.push(match *step {
                        Step::Constant(x) => k.float(x),
                        Step::Unary(fun, a) => k.fun(fun, values[a as usize]),
                        Step::Binary(op, a, b) => k.f(op, values[a as usize], values[b as usize]),
                    });
                }
                let last = values[values.len() - 1];
                k.store_lane(Mem::F32, last, out, 0);
            });
        });
    }
}
