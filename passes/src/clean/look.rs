//! What rules look for in a graph: an op with a function, a constant of one number, one number for each channel.

use actc_ir::ops::pointwise::{Binary, BinaryFunction, Unary, UnaryFunction};
use actc_ir::ops::shaping::Transpose;
use actc_ir::{Const, Graph, Op, Value};
use actc_types::Encoding;

/// Relative distance of a constant from the one that is meant: exporters round to a few digits.
const NEAR: f64 = 1e-4;

pub(super) fn is_binary(op: &Op, function: BinaryFunction) -> bool {
    matches!(op, Op::Binary(Binary { function: f }) if *f == function)
}

/// The arguments of `value`, where it is `function` of two.
pub(super) fn binary(graph: &Graph, value: Value, function: BinaryFunction) -> Option<[Value; 2]> {
    let data = graph.node(graph.def_node(value)?);
    let pair = <[Value; 2]>::try_from(&data.args[..]).ok()?;
    is_binary(&data.op, function).then_some(pair)
}

/// The argument of `value`, where it is `function` of it.
pub(super) fn unary(graph: &Graph, value: Value, function: UnaryFunction) -> Option<Value> {
    let data = graph.node(graph.def_node(value)?);
    matches!(&data.op, Op::Unary(Unary { function: f }) if *f == function).then(|| data.args[0])
}

/// The argument of `value`, where it is that in another type.
pub(super) fn cast(graph: &Graph, value: Value) -> Option<Value> {
    let data = graph.node(graph.def_node(value)?);
    matches!(&data.op, Op::Cast(_)).then(|| data.args[0])
}

/// What `value` is a reshape of, if it is one.
pub(super) fn reshaped(graph: &Graph, value: Value) -> Option<Value> {
    let data = graph.node(graph.def_node(value)?);
    matches!(data.op, Op::Reshape(_)).then(|| data.args[0])
}

/// The argument of `value` and the order of its axes, where it is a transpose.
pub(super) fn transposed(graph: &Graph, value: Value) -> Option<(Value, &[usize])> {
    let data = graph.node(graph.def_node(value)?);
    let Op::Transpose(Transpose { order }) = &data.op else { return None };
    Some((data.args[0], order))
}

/// The other argument of `value`, where it is `function`, in which the order does not matter, of that and `number`.
pub(super) fn with_number(graph: &Graph, value: Value, function: BinaryFunction, number: f64) -> Option<Value> {
    let [a, b] = binary(graph, value, function)?;
    if is_near(graph, b, number) {
        return Some(a);
    }
    is_near(graph, a, number).then_some(b)
}

/// The first argument of `value`, where it is `function` of that and, behind it, `number`.
pub(super) fn by_number(graph: &Graph, value: Value, function: BinaryFunction, number: f64) -> Option<Value> {
    let [a, b] = binary(graph, value, function)?;
    is_near(graph, b, number).then_some(a)
}

/// The argument of `value` beside a number, and that, where it is `function`, in which the order does not matter, of both.
pub(super) fn beside_number(graph: &Graph, value: Value, function: BinaryFunction) -> Option<(Value, f64)> {
    let [a, b] = binary(graph, value, function)?;
    number(graph, b).map(|n| (a, n)).or_else(|| number(graph, a).map(|n| (b, n)))
}

/// The dense constant that `value` is.
pub(super) fn dense(graph: &Graph, value: Value) -> Option<&Const> {
    let constant = graph.const_data(graph.as_const(value)?);
    (constant.encoding == Encoding::Dense).then_some(constant)
}

/// The number that `value` is, where it is a dense constant of one element.
pub(super) fn number(graph: &Graph, value: Value) -> Option<f64> {
    let constant = dense(graph, value)?;
    let single = constant.ty.shape.elements().ok().and_then(|n| n.fixed()) == Some(1);
    if single { constant.decode().ok().map(|t| t.data().to_f64()[0]) } else { None }
}

/// Whether `value` is a constant of one element near `number`.
pub(super) fn is_near(graph: &Graph, value: Value, number: f64) -> bool {
    let float = graph.ty(value).dtype.is_float();
    float && self::number(graph, value).is_some_and(|x| (x - number).abs() <= NEAR * number.abs())
}

/// The `count` numbers that `value` repeats over all axes of `rank` but `axis`, where it is such a dense constant of floats; one
/// number stands for all channels.
pub(super) fn channels(graph: &Graph, value: Value, rank: usize, axis: usize, count: usize) -> Option<Vec<f64>> {
    repeated(dense(graph, value).filter(|c| c.ty.dtype.is_float())?, rank, axis, count)
}

/// The same of a dense constant of any numbers.
pub(super) fn repeated(constant: &Const, rank: usize, axis: usize, count: usize) -> Option<Vec<f64>> {
    let dims = constant.fixed_dims().ok()?;
    let lead = rank.checked_sub(dims.len())?;
    let along = |(i, d): (usize, &u64)| *d == 1 || i + lead == axis && *d == count as u64;
    if !dims.iter().enumerate().all(along) {
        return None;
    }
    let numbers = constant.decode().ok()?.data().to_f64();
    Some(if numbers.len() == 1 { vec![numbers[0]; count] } else { numbers })
}
