//! One form for functions that can be written in several: those that other rules, passes and kernels look for.
//!
//! `max(x, 0)` is `relu`, `x^2` is `x x`, `x^0.5` a root, `1 / x` a reciprocal; a division by a power of two is a multiplication;
//! adding nothing and multiplying by one go, and so do casts there and back through a type that holds every number. Each is
//! exact but for the sign of a zero, and the root of minus infinity. Left alone is what changes a shape or a type, and casts
//! to integers, which wrap or saturate by where they come from.

use super::findings::Findings;
use super::look::{cast, number};
use super::rewrite::Rewrite;
use actc_ir::ops::pointwise::{Binary, BinaryFunction as B, Unary, UnaryFunction as U};
use actc_ir::{Const, Graph, Op, Value};
use actc_types::{DType, Result, Tensor, TensorData};

/// What a node is written as instead.
enum Form {
    /// One of its arguments, or what that is made of.
    Same(Value),
    Unary(U, Value),
    Binary(B, [Value; 2]),
    /// Times a number.
    Times(Value, f64),
}

pub(super) fn forms(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let order = graph.order().to_vec();
    let mut rewrite = Rewrite::new(graph, "form");
    for node in order {
        let data = rewrite.graph().node(node);
        let [result] = data.results[..] else { continue };
        let args: Vec<Value> = data.args.iter().map(|v| rewrite.now(*v)).collect();
        let Some(form) = form(rewrite.graph(), &data.op, &args, result) else { continue };
        let new = match form {
            Form::Same(value) => value,
            Form::Unary(function, x) => rewrite.add(Op::Unary(Unary { function }), &[x], result)?,
            Form::Binary(function, args) => rewrite.add(Op::Binary(Binary { function }), &args, result)?,
            Form::Times(x, factor) => {
                let dtype = rewrite.graph().ty(x).dtype;
                let tensor = Tensor::new(&[], TensorData::from_f64(dtype, &[factor]))?;
                let factor = rewrite.constant(Const::dense(findings.fresh("factor"), &tensor));
                rewrite.add(Op::Binary(Binary { function: B::Mul }), &[x, factor], result)?
            }
        };
        if rewrite.graph().ty(new) == rewrite.graph().ty(result) {
            rewrite.replace(result, new);
            findings.made("simpler forms");
        }
    }
    rewrite.apply()
}

fn form(graph: &Graph, op: &Op, args: &[Value], result: Value) -> Option<Form> {
    if let Op::Cast(c) = op {
        let from = cast(graph, args[0])?;
        let (own, between) = (graph.ty(from).dtype, graph.ty(args[0]).dtype);
        return (c.to == own && holds(own, between)).then_some(Form::Same(from));
    }
    let (Op::Binary(Binary { function }), &[a, b]) = (op, args) else { return None };
    let whole = |x: Value| graph.ty(x) == graph.ty(result);
    let float = graph.ty(a).dtype.is_float();
    let (left, right) = (number(graph, a), number(graph, b));
    match (function, left, right) {
        (B::Add | B::Sub, _, Some(0.0)) if whole(a) => Some(Form::Same(a)),
        (B::Add, Some(0.0), _) if whole(b) => Some(Form::Same(b)),
        (B::Mul | B::Div | B::Pow, _, Some(1.0)) if whole(a) => Some(Form::Same(a)),
        (B::Mul, Some(1.0), _) if whole(b) => Some(Form::Same(b)),
        (B::Max, _, Some(0.0)) if whole(a) && float => Some(Form::Unary(U::Relu, a)),
        (B::Max, Some(0.0), _) if whole(b) && float => Some(Form::Unary(U::Relu, b)),
        (B::Div, Some(1.0), _) if whole(b) && float => Some(Form::Unary(U::Reciprocal, b)),
        (B::Pow, _, Some(2.0)) if whole(a) && float => Some(Form::Binary(B::Mul, [a, a])),
        (B::Pow, _, Some(0.5)) if whole(a) && float => Some(Form::Unary(U::Sqrt, a)),
        (B::Div, _, Some(n)) if whole(a) && float && inverts(n) => Some(Form::Times(a, 1.0 / n)),
        _no_simpler_one => None,
    }
}

/// Whether a division by `n` is exactly a multiplication by its inverse in every float type: a power of two near enough to one.
fn inverts(n: f64) -> bool {
    n.abs() != 1.0 && (2f64.powi(-14)..=2f64.powi(14)).contains(&n.abs()) && n.to_bits().trailing_zeros() >= 52
}

/// Whether each number of type `from` is one of type `to`.
fn holds(from: DType, to: DType) -> bool {
    use DType::{Bf16, Bool, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64};
    match from {
        F16 | Bf16 => matches!(to, F32 | F64),
        F32 => to == F64,
        Bool | U8 => matches!(to, U16 | U32 | U64 | I16 | I32 | I64 | F32 | F64),
        I8 => matches!(to, I16 | I32 | I64 | F32 | F64),
        U16 => matches!(to, U32 | U64 | I32 | I64 | F32 | F64),
        I16 => matches!(to, I32 | I64 | F32 | F64),
        U32 => matches!(to, U64 | I64 | F64),
        I32 => matches!(to, I64 | F64),
        F64 | I64 | U64 | DType::Narrow(_) => false,
    }
}
