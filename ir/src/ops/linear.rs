//! `linear`: `y[.., r] = sum_c x[.., c] W[r, c] (+ bias[r])`, `x [.., IC]`, `W [OC, IC]`, `bias [OC]`.
//!
//! The weight is a constant in any encoding. `act` is the precision that the activations are rounded to on the way in:
//! with `int8`, per token and run of 64 input channels, the weak channels of the weight left out (they stay exact).

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Result, Tensor, TensorData};

/// Channels that share a scale when activations are rounded to 8 bits.
pub const ACT_RUN: usize = 64;

/// Precision of the activations that enter a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// As they come.
    F32,
    /// Symmetric 8 bits per token and run of [`ACT_RUN`] channels.
    Int8,
}

/// Payload of `linear`. Arguments: `x`, `weight`, and `bias` where there are three.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Linear {
    /// Precision of the activations.
    pub act: Act,
}

impl Linear {
    /// Activations as they come.
    pub const F32: Linear = Linear { act: Act::F32 };
}

/// Rounds `x` to 8 bits in runs of [`ACT_RUN`], leaving the channels in `weak` (ascending) as they are.
///
/// `a = absmax / 127`, `q = round_ties_even(x * (127 / absmax))`, value `q a`, all in f32; a run of zeros stays zero.
pub fn round_int8(x: &mut [f32], weak: &[usize]) {
    for (i, run) in x.chunks_mut(ACT_RUN).enumerate() {
        let first = i * ACT_RUN;
        let kept = |j: usize| weak.binary_search(&(first + j)).is_ok();
        let absmax = run.iter().enumerate().filter(|(j, _)| !kept(*j)).fold(0f32, |m, (_, v)| m.max(v.abs()));
        let (scale, inverse) = if absmax > 0.0 { (absmax / 127.0, 127.0 / absmax) } else { (0.0, 0.0) };
        for (j, v) in run.iter_mut().enumerate() {
            if !kept(j) {
                *v = (*v * inverse).round_ties_even() * scale;
            }
        }
    }
}

impl Payload for Linear {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("linear", args.len(), 2..=3)?;
        let [oc, ic] = args[1].shape.dims() else {
            return Err(mismatch("linear", "rank of the weight", args[1].shape.rank(), 2));
        };
        if args[0].shape.last() != Some(ic) {
            return Err(mismatch("linear", "shape of x", &args[0].shape, format!("[.., {ic}]")));
        }
        if args[0].dtype != DType::F32 {
            return Err(mismatch("linear", "x", args[0].dtype, DType::F32));
        }
        if let Some(bias) = args.get(2)
            && bias.shape.dims() != std::slice::from_ref(oc)
        {
            return Err(mismatch("linear", "shape of the bias", &bias.shape, format!("[{oc}]")));
        }
        let mut ty = args[0].clone();
        *ty.shape.0.last_mut().expect("x has a last dimension: it equals the weight's") = oc.clone();
        Ok(vec![ty])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (mut dims, x) = args[0].to_f64()?;
        let dense;
        let weight = match args[1] {
            Arg::Const(c) => c,
            Arg::Tensor(t) => {
                dense = crate::Const::dense("weight", t);
                &dense
            }
        };
        let view = weight.view()?;
        let (oc, ic) = (view.rows(), view.cols());
        let bias = args.get(2).map(|b| b.to_f64()).transpose()?.map(|(_, b)| b);
        let mut x: Vec<f32> = x.into_iter().map(|v| v as f32).collect();
        let weak: Vec<usize> = view.weak_columns().collect();
        if ic == 0 {
            return Err(Diagnostic::new("ir-type", "linear: weight without columns"));
        }
        match self.act {
            Act::F32 => {}
            Act::Int8 => x.chunks_exact_mut(ic).for_each(|row| round_int8(row, &weak)),
        }
        let tokens = x.len() / ic;
        let mut y = vec![0f32; tokens * oc];
        let mut row = vec![0f32; ic];
        for r in 0..oc {
            view.row(r, &mut row);
            for (t, x) in x.chunks_exact(ic).enumerate() {
                let dot: f64 = x.iter().zip(&row).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                y[t * oc + r] = (dot + bias.as_ref().map_or(0.0, |b| b[r])) as f32;
            }
        }
        *dims.last_mut().expect("x has a last dimension") = oc as u64;
        Ok(vec![Tensor::new(&dims, TensorData::F32(y))?])
    }

    fn fields(&self) -> PayloadFields {
        match self.act {
            Act::F32 => Vec::new(),
            Act::Int8 => vec![("act", Some("int8".into()))],
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Linear> {
        let act = fields.with("act", "f32 or int8", |v| match v {
            "f32" => Some(Act::F32),
            "int8" => Some(Act::Int8),
            _ => None,
        })?;
        Ok(Linear { act: act.unwrap_or(Act::F32) })
    }
}
