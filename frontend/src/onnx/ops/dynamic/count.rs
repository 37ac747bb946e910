//! Numbers of elements that are known only when the model runs.

use crate::onnx::import::Call;
use actc_ir::Value;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_types::{DType, Dim, Result, Shape};

/// `start, start + step, …` before `limit`, of inputs 0, 2 and 1.
pub(in crate::onnx::ops) fn range(c: &mut Call<'_, '_>) -> Result<Value> {
    let mut inputs = [c.input(0)?, c.input(1)?, c.input(2)?];
    for x in &mut inputs {
        *x = c.reshape(*x, Shape(Vec::new()))?;
    }
    let [start, limit, step] = inputs;
    let dtype = c.ty(start).dtype;
    let wide = if dtype.is_float() { DType::F64 } else { DType::I64 };
    let [from, to, by] = [c.cast(start, wide)?, c.cast(limit, wide)?, c.cast(step, wide)?];
    let way = c.binary(B::Sub, to, from)?;
    let zero = c.number(0.0, wide)?;
    let count = if wide == DType::F64 {
        let count = c.binary(B::Div, way, by)?;
        c.unary(U::Ceil, count)?
    } else {
        let sign = c.unary(U::Sign, by)?;
        let up = c.binary(B::Sub, by, sign)?;
        let way = c.binary(B::Add, way, up)?;
        c.binary(B::Div, way, by)?
    };
    let count = c.binary(B::Max, count, zero)?;
    let len = c.bind_one(count)?;
    let counting = c.counting(0, &len)?;
    let counting = c.cast(counting, wide)?;
    let steps = c.binary(B::Mul, counting, by)?;
    let y = c.binary(B::Add, steps, from)?;
    c.cast(y, dtype)
}

/// The number without axes, or in a list of one, that input `i` is, as an extent.
pub(in crate::onnx::ops) fn extent(c: &mut Call<'_, '_>, i: usize) -> Result<Dim> {
    if let Some(known) = c.known(i)?.and_then(|t| t.data().to_integers().first().copied()) {
        return u64::try_from(known).map(Dim::from).map_err(|_| c.refuse(format!("an extent of {known}")));
    }
    let x = c.input(i)?;
    let x = c.reshape(x, Shape(Vec::new()))?;
    c.bind_one(x)
}

/// `x`; an error when the model runs and `wrong`, a truth value, is true.
pub(in crate::onnx::ops) fn unless(c: &mut Call<'_, '_>, x: Value, wrong: Value) -> Result<Value> {
    let own = c.ty(x).shape;
    let wrong = c.cast(wrong, DType::I64)?;
    // An extent that would be negative is an error; one of 0 adds nothing to the elements of `x`.
    let less = c.unary(U::Neg, wrong)?;
    let none = c.bind_one(less)?;
    let count = own.elements()?;
    let more = count.checked_add(&none).ok_or_else(|| c.refuse("a number of elements exceeds 63 bits"))?;
    let flat = c.reshape(x, Shape(vec![count]))?;
    let flat = c.expect(flat, Shape(vec![more]))?;
    c.reshape(flat, own)
}
