//! `matmul`: products of matrices that may both be computed, `a [.., M, K]`, `b [.., K, N]`; leading axes broadcast.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::ops::pointwise::{broadcast, source};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Dim, Result, Shape, Tensor, TensorData};

/// Payload of `matmul`. Arguments: `a`, `b`, of one type: floats, or integers of 32 or 64 bits, which wrap.
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
        let integers = matches!(args[0].dtype, DType::I32 | DType::U32 | DType::I64 | DType::U64);
        if args[0].dtype != args[1].dtype || !(args[0].dtype.is_float() || integers) {
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
        // For each element of the result the places of its factors.
        let at = |flat: u64| {
            let (batch, row, col) = (flat / (m * n), flat / n % m, flat % n);
            let (i, j) = (source(outer_a, &outer, batch), source(outer_b, &outer, batch));
            let (i, j) = (i * (m * k) as usize + (row * k) as usize, j * (k * n) as usize + col as usize);
            (0..k as usize).map(move |l| (i + l, j + l * n as usize))
        };
        let dims = [&outer[..], &[m, n]].concat();
        let total = 0..dims.iter().product::<u64>();
        let dtype = results[0].dtype;
        let y = if dtype.is_float() {
            let (x, w) = (a.data().to_f64(), b.data().to_f64());
            let each = |flat| at(flat).map(|(i, j)| x[i] * w[j]).sum::<f64>();
            TensorData::from_f64(dtype, &total.map(each).collect::<Vec<_>>())
        } else {
            let (x, w) = (a.data().to_integers(), b.data().to_integers());
            let each = |flat| at(flat).fold(0i128, |sum, (i, j)| sum.wrapping_add(x[i].wrapping_mul(w[j])));
            TensorData::from_integers(dtype, &total.map(each).collect::<Vec<_>>())
        };
        Ok(vec![Tensor::new(&dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<Matmul> {
        Ok(Matmul)
    }
}
