//! Observers: what calibration learns about activations is computed by ordinary ops with functional accumulators.
//!
//! `gram`: `acc + x^T x`, `acc [K, K]`, `x [.., K]`: the Hessian of a linear layer up to a factor (Frantar et al. 2022).
//! `channel_stats`: `acc [4, K]` with rows count, largest magnitude, sum and sum of squares, updated by the rows of `x`.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Result, Tensor};

/// Payload of `gram`. Arguments: `acc`, `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gram;

/// Which rows of `x` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rows {
    /// All of them.
    All,
    /// The first alone: models keep massive activations on the first token.
    First,
    /// All but the first.
    Rest,
}

/// Payload of `channel_stats`. Arguments: `acc`, `x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChannelStats {
    /// Which rows of `x` count.
    pub rows: Rows,
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
        infer("channel_stats", args, Some(4))
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, mut acc), (_, x)) = (args[0].to_f64()?, args[1].to_f64()?);
        let k = dims[1] as usize;
        for (i, row) in x.chunks_exact(k.max(1)).enumerate() {
            let counts = match self.rows {
                Rows::All => true,
                Rows::First => i == 0,
                Rows::Rest => i > 0,
            };
            if counts {
                for (c, v) in row.iter().enumerate() {
                    acc[c] += 1.0;
                    acc[k + c] = acc[k + c].max(v.abs());
                    acc[2 * k + c] += v;
                    acc[3 * k + c] += v * v;
                }
            }
        }
        Ok(vec![Tensor::f32(&dims, acc.into_iter().map(|v| v as f32).collect())?])
    }

    fn fields(&self) -> PayloadFields {
        match self.rows {
            Rows::All => Vec::new(),
            Rows::First => vec![("rows", Some("first".into()))],
            Rows::Rest => vec![("rows", Some("rest".into()))],
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<ChannelStats> {
        let rows = fields.with("rows", "`all`, `first` or `rest`", |v| match v {
            "all" => Some(Rows::All),
            "first" => Some(Rows::First),
            "rest" => Some(Rows::Rest),
            _ => None,
        })?;
        Ok(ChannelStats { rows: rows.unwrap_or(Rows::All) })
    }
}
