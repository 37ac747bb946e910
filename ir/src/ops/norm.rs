//! `rms_norm` and `layer_norm` over the last axis.
//!
//! `rms_norm`: `y = x / sqrt(mean(x^2) + eps) * w`. `layer_norm`: `y = (x - mean) / sqrt(var + eps) * w (+ b)`, biased variance.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Result, Tensor};

/// Payload of `rms_norm`. Arguments: `x [.., n]`, `w [n]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsNorm {
    /// Added to the mean square.
    pub eps: f64,
}

/// Payload of `layer_norm`. Arguments: `x [.., n]`, `w [n]`, and `b [n]` where there are three.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNorm {
    /// Added to the variance.
    pub eps: f64,
}

fn infer(op: &str, args: &[TensorType], most: usize) -> Result<Vec<TensorType>> {
    arity(op, args.len(), 2..=most)?;
    for w in &args[1..] {
        if w.shape.rank() != 1 || w.shape.last() != args[0].shape.last() {
            return Err(mismatch(op, "shape of a weight", &w.shape, format!("the last axis of {}", args[0].shape)));
        }
    }
    if args[0].dtype != DType::F32 {
        return Err(mismatch(op, "x", args[0].dtype, DType::F32));
    }
    Ok(vec![args[0].clone()])
}

fn eval(args: &[Arg<'_>], row: impl Fn(&[f64]) -> (f64, f64)) -> Result<Vec<Tensor>> {
    let (dims, x) = args[0].to_f64()?;
    let (_, w) = args[1].to_f64()?;
    let b = args.get(2).map(|b| b.to_f64()).transpose()?.map(|(_, b)| b);
    let mut out = Vec::with_capacity(x.len());
    for x in x.chunks_exact(w.len().max(1)) {
        let (centre, factor) = row(x);
        out.extend(
            x.iter()
                .zip(&w)
                .enumerate()
                .map(|(i, (v, w))| ((v - centre) * factor * w + b.as_ref().map_or(0.0, |b| b[i])) as f32),
        );
    }
    Ok(vec![Tensor::f32(&dims, out)?])
}

fn mean(x: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = x.len() as f64;
    x.sum::<f64>() / n
}

impl Payload for RmsNorm {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        infer("rms_norm", args, 2)
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        eval(args, |x| (0.0, 1.0 / (mean(x.iter().map(|v| v * v)) + self.eps).sqrt()))
    }

    fn fields(&self) -> PayloadFields {
        vec![("eps", Some(self.eps.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<RmsNorm> {
        let eps = fields.number("eps")?;
        Ok(RmsNorm { eps: fields.need("eps", eps)? })
    }
}

impl Payload for LayerNorm {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        infer("layer_norm", args, 3)
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        eval(args, |x| {
            let centre = mean(x.iter().copied());
            let variance = mean(x.iter().map(|v| (v - centre).powi(2)));
            (centre, 1.0 / (variance + self.eps).sqrt())
        })
    }

    fn fields(&self) -> PayloadFields {
        vec![("eps", Some(self.eps.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<LayerNorm> {
        let eps = fields.number("eps")?;
        Ok(LayerNorm { eps: fields.need("eps", eps)? })
    }
}
