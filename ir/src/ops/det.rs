//! `det`: determinants of matrices.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::determinant::determinant;
use actc_types::{Result, Shape, Tensor, TensorData};

/// Payload of `det`. Argument: `x [.., n, n]`, floats; result `[..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Det;

impl Payload for Det {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("det", args.len(), 1..=1)?;
        match args[0].shape.dims() {
            [outer @ .., rows, cols] if rows == cols && args[0].dtype.is_float() => {
                Ok(vec![TensorType::new(args[0].dtype, Shape(outer.to_vec()))])
            }
            _ => Err(mismatch("det", "x", &args[0], "square matrices of floats")),
        }
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (dims, mut x) = args[0].to_f64()?;
        let (outer, &[n, _]) = dims.split_last_chunk().unwrap_or((&[], &[0, 0]));
        let size = (n * n) as usize;
        let each = |i: usize| determinant(&mut x[i * size..][..size], n as usize);
        let y: Vec<f64> = (0..outer.iter().product::<u64>() as usize).map(each).collect();
        Ok(vec![Tensor::new(outer, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Det> {
        Ok(Det)
    }
}
