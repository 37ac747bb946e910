//! Products of matrices.

use super::{Operator, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::shaping::Transpose;
use actc_ir::{Op, Value};
use actc_types::{DType, Encoding, Result, Tensor};

pub(super) const OPERATORS: &[Operator] = &[since("MatMul", 1, matmul), since("Gemm", 7, gemm)];

/// `weight`, a constant `[K, N]` or, with `transposed`, `[N, K]`, as the `[N, K]` that linears read.
fn rows(c: &mut Call<'_, '_>, weight: Value, transposed: bool) -> Result<Value> {
    let Some(constant) = c.constant(weight).cloned() else {
        return Err(c.refuse("a product of two computed matrices is not supported yet"));
    };
    let dims = constant.fixed_dims()?;
    let (&[k, n], DType::F32, Encoding::Dense) = (&dims[..], constant.ty.dtype, &constant.encoding) else {
        return Err(c.refuse(format!("a weight {} is not supported yet", constant.ty)));
    };
    if transposed {
        return Ok(weight);
    }
    let turned = constant.decode()?.into_data().pick((0..n * k).map(|i| (i % k * n + i / k) as usize));
    Ok(c.tensor(&Tensor::new(&[n, k], turned)?))
}

fn linear(c: &mut Call<'_, '_>, x: Value, weight: Value, bias: Option<Value>) -> Result<Value> {
    let args: Vec<Value> = [x, weight].into_iter().chain(bias).collect();
    c.add(Op::Linear(Linear { act: Act::F32 }), &args)
}

fn matmul(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, weight) = (c.input(0)?, c.input(1)?);
    let weight = rows(c, weight, false)?;
    one(linear(c, x, weight, None)?)
}

/// `alpha A B + beta C`, `A` and `B` transposed where asked for.
fn gemm(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (mut x, weight) = (c.input(0)?, c.input(1)?);
    if c.int("transA", 0)? != 0 {
        x = c.add(Op::Transpose(Transpose { order: vec![1, 0] }), &[x])?;
    }
    let transposed = c.int("transB", 0)? != 0;
    let weight = rows(c, weight, transposed)?;
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    let scaled = |c: &mut Call<'_, '_>, x: Value, by: f64| {
        if by == 1.0 {
            return Ok(x);
        }
        let by = c.number(by, c.ty(x).dtype)?;
        c.binary(B::Mul, x, by)
    };
    let y = linear(c, x, weight, None)?;
    let y = scaled(c, y, alpha)?;
    if !c.has(2) {
        return one(y);
    }
    let added = c.input(2)?;
    let added = scaled(c, added, beta)?;
    one(c.binary(B::Add, y, added)?)
}
