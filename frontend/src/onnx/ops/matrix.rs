//! Products of matrices.

use super::indexing::expanded;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::ops::matmul::Matmul;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::shaping::Transpose;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Encoding, Result, Shape, Tensor};

pub(super) const OPERATORS: &[Operator] = &[since("MatMul", 1, matmul), since("Gemm", 6, gemm)];

/// `weight`, an f32 constant `[K, N]` or, with `transposed`, `[N, K]`, as the `[N, K]` that linears read; `None` where it is
/// no such thing.
pub(super) fn rows(c: &mut Call<'_, '_>, weight: Value, transposed: bool) -> Result<Option<Value>> {
    let Some(constant) = c.constant(weight).cloned() else { return Ok(None) };
    let dims = constant.fixed_dims()?;
    let (&[k, n], DType::F32, Encoding::Dense) = (&dims[..], constant.ty.dtype, &constant.encoding) else {
        return Ok(None);
    };
    if transposed {
        return Ok(Some(weight));
    }
    let turned = constant.decode()?.into_data().pick((0..n * k).map(|i| (i % k * n + i / k) as usize));
    Ok(Some(c.tensor(&Tensor::new(&[n, k], turned)?)))
}

/// `x W^T` for a constant `W`.
pub(super) fn linear(c: &mut Call<'_, '_>, x: Value, weight: Value) -> Result<Value> {
    let (mut shape, wanted) = (c.ty(x).shape, c.ty(weight).shape);
    if let (Some(last), Some(inputs)) = (shape.0.last_mut(), wanted.last())
        && last.fixed().is_none()
    {
        last.clone_from(inputs);
    }
    let x = c.expect(x, shape)?;
    c.add(Op::Linear(Linear { act: Act::F32 }), &[x, weight])
}

/// The type in which products of matrices of `dtype` are computed, where there is one: narrower ones come back rounded, or
/// modulo their size.
fn wide(dtype: DType) -> Option<DType> {
    match dtype {
        DType::Bool | DType::Narrow(_) => None,
        DType::U8 | DType::U16 => Some(DType::U32),
        DType::I8 | DType::I16 => Some(DType::I32),
        DType::F16 | DType::Bf16 => Some(DType::F32),
        DType::I32 | DType::U32 | DType::I64 | DType::U64 | DType::F32 | DType::F64 => Some(dtype),
    }
}

/// `a b`, both of at least two axes.
pub(super) fn multiplied(c: &mut Call<'_, '_>, a: Value, b: Value) -> Result<Value> {
    let (dtype, other) = (c.ty(a).dtype, c.ty(b).dtype);
    let Some(wide) = wide(dtype).filter(|_| other == dtype) else {
        return Err(c.refuse(format!("a product of matrices of {dtype} and {other}")));
    };
    let (a, b) = (c.cast(a, wide)?, c.cast(b, wide)?);
    let (own, other) = (c.ty(a).shape, c.ty(b).shape);
    let ([outer_a @ .., m, k], [outer_b @ .., l, n]) = (own.dims(), other.dims()) else {
        return Err(c.refuse(format!("{own} and {other} are no matrices")));
    };
    let outer = c.joint(&[Shape(outer_a.to_vec()), Shape(outer_b.to_vec())])?;
    let whole = |rows: &Dim, cols: &Dim| Shape([outer.dims(), &[rows.clone(), cols.clone()]].concat());
    // Of two extents that are not known to be equal the fixed one is wanted of both.
    let k = if k.fixed().is_some() { k } else { l };
    let a = c.expect(a, Shape([outer_a, &[m.clone(), k.clone()]].concat()))?;
    let b = c.expect(b, Shape([outer_b, &[k.clone(), n.clone()]].concat()))?;
    let a = expanded(c, a, whole(m, k))?;
    let b = if outer_b.is_empty() { b } else { expanded(c, b, whole(k, n))? };
    let y = c.add(Op::Matmul(Matmul), &[a, b])?;
    c.cast(y, dtype)
}

fn matmul(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (a, b) = (c.input(0)?, c.input(1)?);
    one(matrices(c, a, b)?)
}

/// `a b`. A vector is one row of `a`, one column of `b`, and that axis is left out of the result.
pub(super) fn matrices(c: &mut Call<'_, '_>, a: Value, b: Value) -> Result<Value> {
    if let (Some(weight), true) = (rows(c, b, false)?, c.ty(a).dtype == DType::F32 && c.ty(a).shape.rank() > 0) {
        return linear(c, a, weight);
    }
    let (own, other) = (c.ty(a).shape, c.ty(b).shape);
    let row = own.rank() == 1;
    let column = other.rank() == 1;
    let a = if row { c.reshape(a, Shape([&[Dim::from(1)], own.dims()].concat()))? } else { a };
    let b = if column { c.reshape(b, Shape([other.dims(), &[Dim::from(1)]].concat()))? } else { b };
    let y = multiplied(c, a, b)?;
    let mut dims = c.ty(y).shape.0;
    if column {
        dims.pop();
    }
    if row {
        dims.remove(dims.len() - usize::from(!column) - 1);
    }
    c.reshape(y, Shape(dims))
}

/// `alpha A B + beta C`, `A` and `B` transposed where asked for.
fn gemm(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (mut x, weight) = (c.input(0)?, c.input(1)?);
    if c.node.opset < 7 {
        // The third input lies over the product in the same way, whether it says so or has its extents.
        c.int("broadcast", 0)?;
    }
    let turned = |c: &mut Call<'_, '_>, x: Value| c.add(Op::Transpose(Transpose { order: vec![1, 0] }), &[x]);
    if c.int("transA", 0)? != 0 {
        x = turned(c, x)?;
    }
    let transposed = c.int("transB", 0)? != 0;
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    let scaled = |c: &mut Call<'_, '_>, x: Value, by: f64| {
        if by == 1.0 {
            return Ok(x);
        }
        let by = c.number(by, c.ty(x).dtype)?;
        c.binary(B::Mul, x, by)
    };
    let y = match rows(c, weight, transposed)? {
        Some(weight) if c.ty(x).dtype == DType::F32 => linear(c, x, weight)?,
        Some(_) | None => {
            let weight = if transposed { turned(c, weight)? } else { weight };
            multiplied(c, x, weight)?
        }
    };
    let y = scaled(c, y, alpha)?;
    if !c.has(2) {
        return one(y);
    }
    let added = c.input(2)?;
    let added = scaled(c, added, beta)?;
    one(c.binary(B::Add, y, added)?)
}
