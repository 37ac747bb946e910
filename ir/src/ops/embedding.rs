//! `embedding`: `y[i, :] = scale * table[ids[i], :]`, `ids i64 [..]`, `table [V, d]` in any encoding.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Result, Shape, Tensor};

/// Payload of `embedding`. Arguments: `ids`, `table`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Embedding {
    /// Factor on every element, 1 unless the model scales its embedding.
    pub scale: f64,
}

impl Payload for Embedding {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("embedding", args.len(), 2..=2)?;
        if args[0].dtype != DType::I64 {
            return Err(mismatch("embedding", "ids", args[0].dtype, DType::I64));
        }
        let [_, width] = args[1].shape.dims() else {
            return Err(mismatch("embedding", "rank of the table", args[1].shape.rank(), 2));
        };
        let mut dims = args[0].shape.0.clone();
        dims.push(width.clone());
        Ok(vec![TensorType::new(DType::F32, Shape(dims))])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (mut dims, ids) = args[0].to_f64()?;
        let dense;
        let table = match args[1] {
            Arg::Const(c) => c,
            Arg::Tensor(t) => {
                dense = crate::Const::dense("table", t);
                &dense
            }
        };
        let view = table.view()?;
        let mut out = vec![0f32; ids.len() * view.cols()];
        for (id, row) in ids.iter().zip(out.chunks_exact_mut(view.cols().max(1))) {
            if *id < 0.0 || *id >= view.rows() as f64 {
                return Err(Diagnostic::new(
                    "id-range",
                    format!("token id {id} is outside the {} rows of the table", view.rows()),
                ));
            }
            view.row(*id as usize, row);
            row.iter_mut().for_each(|v| *v = (f64::from(*v) * self.scale) as f32);
        }
        dims.push(view.cols() as u64);
        Ok(vec![Tensor::f32(&dims, out)?])
    }

    fn fields(&self) -> PayloadFields {
        if self.scale == 1.0 { Vec::new() } else { vec![("scale", Some(self.scale.to_string()))] }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Embedding> {
        Ok(Embedding { scale: fields.number("scale")?.unwrap_or(1.0) })
    }
}
