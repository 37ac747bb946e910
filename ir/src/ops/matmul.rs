//! `matmul`: products of matrices that may both be computed, `a [.., M, K]`, `b [.., K, N]`; leading axes broadcast.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::ops::pointwise::{broadcast, source};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{Dim, Result, Shape, Tensor, TensorData};

/// Payload of `matmul`. Arguments: `a`, `b`, floats of one type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Matmul;

/// Leading axes, rows and columns.
fn split(shape: &Shape) -> Option<(Shape, &Dim, &Dim)> {
    match shape.dims() {
        [outer @ .., rows, cols] => Some((Shape(outer.to_vec()), rows, cols)),
        _ => None,
    }
}

impl Payload for Matmul {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("matmul", args.len(), 2..=2)?;
        let wrong = || mismatch("matmul", "b", &args[1], format!("a matrix that {} can be multiplied by", args[0]));
        if args[0].dtype != args[1].dtype || !args[0].dtype.is_float() {
            return Err(wrong());
        }
        let ((a, m, k), (b, other, n)) =
            (split(&args[0].shape).ok_or_else(wrong)?, split(&args[1].shape).ok_or_else(wrong)?);
        if k != other {
            return Err(wrong());
        }
        let mut dims = broadcast(&a, &b).ok_or_else(wrong)?.0;
        dims.extend([m.clone(), n.clone()]);
        Ok(vec![TensorType::new(args[0].dtype, Shape(dims))])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (a, b) = (args[0].tensor()?, args[1].tensor()?);
        let (outer_a, &[m, k]) = a.dims().split_last_chunk().unwrap_or((&[], &[1, 1]));
        let (outer_b, &[_, n]) = b.dims().split_last_chunk().unwrap_or((&[], &[1, 1]));
        let outer = crate::ops::pointwise::repeated(&[outer_a, outer_b]);
        let (x, w) = (a.data().to_f64(), b.data().to_f64());
        let batches: u64 = outer.iter().product();
        let mut y = Vec::new();
        for batch in 0..batches {
            let (i, j) = (source(outer_a, &outer, batch), source(outer_b, &outer, batch));
            let (x, w) = (&x[i * (m * k) as usize..], &w[j * (k * n) as usize..]);
            for row in 0..m as usize {
                for col in 0..n as usize {
                    let products = (0..k as usize).map(|l| x[row * k as usize + l] * w[l * n as usize + col]);
                    y.push(products.sum::<f64>());
                }
            }
        }
        let dims = [&outer[..], &[m, n]].concat();
        Ok(vec![Tensor::new(&dims, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Matmul> {
        Ok(Matmul)
    }
}
