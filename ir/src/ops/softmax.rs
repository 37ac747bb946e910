//! `softmax` over the last axis: `y = exp(x - max) / sum exp(x - max)`.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{Result, Tensor, TensorData};

/// Payload of `softmax`. Argument: `x [.., n]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Softmax;

impl Payload for Softmax {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("softmax", args.len(), 1..=1)?;
        if args[0].shape.rank() == 0 || !args[0].dtype.is_float() {
            return Err(mismatch("softmax", "x", &args[0], "a float tensor with an axis"));
        }
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (dims, mut x) = args[0].to_f64()?;
        let n = dims.last().copied().unwrap_or(1).max(1) as usize;
        for row in x.chunks_exact_mut(n) {
            let most = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|v| *v = (*v - most).exp());
            let total: f64 = row.iter().sum();
            row.iter_mut().for_each(|v| *v /= total);
        }
        Ok(vec![Tensor::new(&dims, TensorData::from_f64(results[0].dtype, &x))?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Softmax> {
        Ok(Softmax)
    }
}
