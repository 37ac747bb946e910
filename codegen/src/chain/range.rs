//! Bounds of integers that are computed: where they are below 2^24, f32 holds the integers exactly.

use crate::cluster::storage;
use actc_ir::ops::pointwise::{BinaryFunction, UnaryFunction};
use actc_ir::{Graph, Op, Value};
use actc_types::{DType, Encoding};

/// Largest number up to which f32 holds all integers.
const EXACT: i64 = 1 << 24;
/// Most elements of a constant that is searched for its extremes.
const SEARCHED: u64 = 1 << 16;
/// Most nodes behind one another that are looked through.
const DEPTH: u32 = 12;

/// Whether all elements of `value`, integers or truth values, are below 2^24 in size.
pub(super) fn is_exact(graph: &Graph, value: Value) -> bool {
    range(graph, value, DEPTH).is_some_and(|(low, high)| -EXACT <= low && high <= EXACT)
}

/// The smallest and the largest that elements of `value` can be, if something is known of them.
fn range(graph: &Graph, value: Value, depth: u32) -> Option<(i64, i64)> {
    let ty = graph.ty(value);
    match ty.dtype {
        DType::Bool => return Some((0, 1)),
        DType::U8 => return Some((0, 255)),
        DType::I8 => return Some((-128, 127)),
        DType::I32 => {}
        DType::F32
        | DType::I64
        | DType::U16
        | DType::I16
        | DType::U32
        | DType::U64
        | DType::F16
        | DType::Bf16
        | DType::F64
        | DType::Narrow(_) => return None,
    }
    let depth = depth.checked_sub(1)?;
    let data = graph.node(graph.def_node(storage(graph, value))?);
    let of = |i: usize| range(graph, data.args[i], depth).filter(|(low, high)| low.abs().max(high.abs()) <= EXACT);
    match &data.op {
        Op::Const(id) => {
            let constant = graph.const_data(*id);
            let few = ty.shape.elements().ok()?.fixed()? <= SEARCHED && constant.encoding == Encoding::Dense;
            let all = few.then(|| constant.decode().ok())??.data().to_integers();
            let (low, high) = (all.iter().min()?, all.iter().max()?);
            Some((i64::try_from(*low).ok()?, i64::try_from(*high).ok()?))
        }
        Op::Cast(_) if !graph.ty(data.args[0]).dtype.is_float() => of(0),
        Op::Select(_) => {
            let ((a, x), (b, y)) = (of(1)?, of(2)?);
            Some((a.min(b), x.max(y)))
        }
        Op::Unary(u) => {
            let (low, high) = of(0)?;
            match u.function {
                UnaryFunction::Neg => Some((-high, -low)),
                UnaryFunction::Abs => Some((0, low.abs().max(high.abs()))),
                UnaryFunction::Relu => Some((low.max(0), high.max(0))),
                _ => None,
            }
        }
        Op::Binary(b) => {
            let ((a, x), (c, y)) = (of(0)?, of(1)?);
            match b.function {
                BinaryFunction::Add => Some((a + c, x + y)),
                BinaryFunction::Sub => Some((a - y, x - c)),
                BinaryFunction::Mul => {
                    let ends = [a * c, a * y, x * c, x * y];
                    Some((*ends.iter().min()?, *ends.iter().max()?))
                }
                BinaryFunction::Min => Some((a.min(c), x.min(y))),
                BinaryFunction::Max => Some((a.max(c), x.max(y))),
                _ => None,
            }
        }
        _ => None,
    }
}
