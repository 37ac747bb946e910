//! Observers: what calibration learns about activations is computed by ordinary ops with functional accumulators.
//!
//! `gram`: `acc + x^T x`, `acc [K, K]`, `x [.., K]`: the Hessian of a linear layer up to a factor (Frantar et al. 2022).
//! `channel_stats`: `acc [4, K]` with rows count, largest magnitude, sum and sum of squares, updated by the rows of `x`;
//! with `first_apart` `acc [8, K]`, the last four rows for the first row of `x`.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Result, Tensor};

/// Payload of `gram`. Arguments: `acc`, `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gram;

/// Payload of `channel_stats`. Arguments: `acc`, `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelStats {
    /// Keep the first row of `x` apart: models put massive activations on the first token. The accumulator then has
    /// eight rows, four for all rows but the first and four for the first.
    pub first_apart: bool,
}

fn infer(op: &str, args: &[TensorType], rows: Option<u64>) -> Result<Vec<TensorType>> {
    arity(op, args.len(), 2..=2)?;
    let k = args[1].shape.last().and_then(actc_types::Dim::fixed);
    let Some(k) = k else {
        return Err(mismatch(op, "shape of x", &args[1].shape, "a fixed last axis"));
    };
    let wanted = TensorType::new(DType::F32, actc_types::Shape::fixed(&[rows.unwrap_or(k), k]));
    if args[0] != wanted {
        return Err(mismatch(op, "the accumulator", &args[0], wanted));
    }
    Ok(vec![wanted])
}

impl Payload for Gram {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        infer("gram", args, None)
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, mut acc), (_, x)) = (args[0].to_f64()?, args[1].to_f64()?);
        let k = dims[0] as usize;
        for row in x.chunks_exact(k.max(1)) {
            for (a, out) in row.iter().zip(acc.chunks_exact_mut(k)) {
                out.iter_mut().zip(row).for_each(|(o, b)| *o += a * b);
            }
        }
        Ok(vec![Tensor::f32(&dims, acc.into_iter().map(|v| v as f32).collect())?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Gram> {
        Ok(Gram)
    }
}

impl Payload for ChannelStats {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        infer("channel_stats", args, Some(if self.first_apart { 8 } else { 4 }))
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, mut acc), (_, x)) = (args[0].to_f64()?, args[1].to_f64()?);
        let k = dims[1] as usize;
        for (i, row) in x.chunks_exact(k.max(1)).enumerate() {
            let base = if self.first_apart && i == 0 { 4 * k } else { 0 };
            for (c, v) in row.iter().enumerate() {
                let at = base + c;
                acc[at] += 1.0;
                acc[at + k] = acc[at + k].max(v.abs());
                acc[at + 2 * k] += v;
                acc[at + 3 * k] += v * v;
            }
        }
        Ok(vec![Tensor::f32(&dims, acc.into_iter().map(|v| v as f32).collect())?])
    }

    fn fields(&self) -> PayloadFields {
        if self.first_apart { vec![("first_apart", None)] } else { Vec::new() }
    }

    fn read(fields: &mut Fields<'_>) -> Result<ChannelStats> {
        Ok(ChannelStats { first_apart: fields.flag("first_apart")? })
    }
}
