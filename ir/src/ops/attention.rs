//! `attention` and `cache_append`: scaled dot-product attention, of a batch, with a mask, or over a functional cache.
//!
//! `attention`: `q [S, H, D]`, `k [T, KV, D]`, `v [T, KV, E]`, `KV` divides `H`, result `[S, H, E]`; all may have a batch `B`
//! before these axes. A fourth argument is added to the scaled scores, f32 that repeats over `[B, H, S, T]`; minus infinity hides
//! a key, and a query from which all are hidden becomes NaN. With `causal` or a window, query `i` stands at position
//! `T - S + i`: it sees keys up to its own position, and only the last `window` of them.
//! Keys and values may both be rows that [`round_rows`](super::rows) made; their numbers are what such rows mean.
//! `cache_append`: `cache [P, ..]` and `new [S, ..]` give `[P + S, ..]`; where the graph donates the cache, in place.

use super::rows::{numbers, restore};
use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::ops::pointwise::{broadcast, source};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Dim, Result, RowForm, Shape, Tensor, TensorData};
use std::ops::Range;

/// Payload of `attention`. Arguments: `q`, `k`, `v`, and `mask` where there are four.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// Factor on the scores before softmax.
    pub scale: f64,
    /// Whether a query is blind to later keys.
    pub causal: bool,
    /// Number of latest keys a query sees, where limited.
    pub window: Option<u32>,
}

/// Payload of `cache_append`. Arguments: `cache`, `new`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CacheAppend;

/// The batch, if there is one, and what stands behind it.
fn behind_batch(shape: &Shape) -> Option<(&[Dim], [&Dim; 3])> {
    let (batch, [rows, heads, width]) = shape.dims().split_last_chunk()?;
    (batch.len() <= 1).then_some((batch, [rows, heads, width]))
}

impl Attention {
    /// The shape that a mask repeats over: scores of `q` on `k`; `None` where these are no heads.
    pub fn scores(q: &Shape, k: &Shape) -> Option<Shape> {
        let ((batch, [s, h, _]), (_, [t, _, _])) = (behind_batch(q)?, behind_batch(k)?);
        Some(Shape([batch, &[h.clone(), s.clone(), t.clone()]].concat()))
    }

    /// The keys that query `i` sees of `s` over `t`.
    fn seen(&self, i: u64, [s, t]: [u64; 2]) -> Result<Range<u64>> {
        if !self.causal && self.window.is_none() {
            return Ok(0..t);
        }
        let past = t.checked_sub(s);
        let past = past.ok_or_else(|| Diagnostic::new("ir-type", format!("attention: {s} queries over {t} keys")))?;
        let first = self.window.map_or(0, |w| (past + i + 1).saturating_sub(w.into()));
        Ok(first..if self.causal { past + i + 1 } else { t })
    }
}

impl Payload for Attention {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("attention", args.len(), 3..=4)?;
        let heads = |i: usize| {
            let wanted = "heads behind one batch or none";
            behind_batch(&args[i].shape).ok_or_else(|| mismatch("attention", "an argument", &args[i], wanted))
        };
        let ((batch, [s, h, d]), (of_k, [t, kv, dk]), (of_v, [tv, kvv, ev])) = (heads(0)?, heads(1)?, heads(2)?);
        if args[0].dtype != DType::F32 {
            return Err(mismatch("attention", "q", &args[0], "f32"));
        }
        let both = || format!("{} and {}", args[1], args[2]);
        let form = RowForm::of(args[1].dtype).filter(|_| args[1].dtype == args[2].dtype);
        let form = form.ok_or_else(|| mismatch("attention", "k and v", both(), "f32, f16 or u8 rows twice"))?;
        let (Some(dk), Some(e)) = (numbers(form, dk), numbers(form, ev)) else {
            return Err(mismatch("attention", "k and v", both(), format!("rows of {} bytes and more", form.extra())));
        };
        if *d != dk || t != tv || kv != kvv || batch != of_k || batch != of_v {
            let batch: String = batch.iter().map(|b| format!("{b}, ")).collect();
            let wanted = match form {
                RowForm::F32 | RowForm::F16 => format!("[{batch}T, KV, {d}] twice"),
                RowForm::Int8 => format!("[{batch}T, KV, {d} + {}] twice", form.extra()),
            };
            return Err(mismatch("attention", "k and v", both(), wanted));
        }
        match (h.fixed(), kv.fixed()) {
            (Some(h), Some(kv)) if kv > 0 && h % kv == 0 => {}
            _ => return Err(mismatch("attention", "number of query heads", h, format!("a multiple of {kv}"))),
        }
        if let Some(mask) = args.get(3) {
            let scores = Attention::scores(&args[0].shape, &args[1].shape).unwrap_or_default();
            if mask.dtype != DType::F32 || broadcast(&mask.shape, &scores).as_ref() != Some(&scores) {
                return Err(mismatch("attention", "the mask", mask, format!("f32 that repeats over {scores}")));
            }
        }
        Ok(vec![TensorType::new(args[0].dtype, Shape([batch, &[s.clone(), h.clone(), e]].concat()))])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let form = |arg: &Arg<'_>| {
            let dtype = match arg {
                Arg::Tensor(t) => t.dtype(),
                Arg::Const(c) => c.ty.dtype,
            };
            RowForm::of(dtype).ok_or_else(|| mismatch("attention", "type of rows", dtype, "f32, f16 or u8"))
        };
        let ((qd, q), (kd, k)) = (args[0].to_f64()?, restore(args[1], form(&args[1])?)?);
        let (vd, v) = restore(args[2], form(&args[2])?)?;
        let mask = args.get(3).map(|mask| mask.to_f64()).transpose()?;
        let (Some((batch, &[s, h, d])), Some((_, &[t, kv, _])), Some((_, &[_, _, e]))) =
            (qd.split_last_chunk(), kd.split_last_chunk(), vd.split_last_chunk())
        else {
            return Err(Diagnostic::new("ir-type", "attention: arguments have not three dimensions"));
        };
        let each = batch.iter().product::<u64>();
        let over = [batch, &[h, s, t]].concat();
        let mut out = vec![0f32; (each * s * h * e) as usize];
        // A cell is a query of one head in one of the batch.
        for cell in 0..each * s * h {
            let (b, i, head) = (cell / (s * h), cell / h % s, cell % h);
            let group = head / (h / kv);
            let query = &q[(cell * d) as usize..][..d as usize];
            let row = |j: u64| (b * t + j) * kv + group;
            let seen = self.seen(i, [s, t])?;
            let score = |j: u64| -> f64 {
                let key = &k[(row(j) * d) as usize..][..d as usize];
                let flat = ((b * h + head) * s + i) * t + j;
                let masked = mask.as_ref().map_or(0.0, |(dims, mask)| mask[source(dims, &over, flat)]);
                query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * self.scale + masked
            };
            let scores: Vec<f64> = seen.clone().map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
            let total: f64 = weights.iter().sum();
            for c in 0..e {
                let sum: f64 = weights.iter().zip(seen.clone()).map(|(w, j)| w * v[(row(j) * e + c) as usize]).sum();
                out[(cell * e + c) as usize] = (sum / total) as f32;
            }
        }
        Ok(vec![Tensor::f32(&[batch, &[s, h, e]].concat(), out)?])
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = vec![("scale", Some(self.scale.to_string()))];
        if self.causal {
            fields.push(("causal", None));
        }
        if let Some(window) = self.window {
            fields.push(("window", Some(window.to_string())));
        }
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Attention> {
        let scale = fields.number("scale")?;
        Ok(Attention {
            scale: fields.need("scale", scale)?,
            causal: fields.flag("causal")?,
            window: fields.with("window", "a positive number", |v| v.parse().ok().filter(|w| *w > 0))?,
        })
    }
}

impl Payload for CacheAppend {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("cache_append", args.len(), 2..=2)?;
        let (a, b) = (args[0].shape.dims(), args[1].shape.dims());
        if a.is_empty() || b.is_empty() || a[1..] != b[1..] || args[0].dtype != args[1].dtype {
            return Err(mismatch(
                "cache_append",
                "the new part",
                &args[1],
                format!("{} but for its first axis", args[0]),
            ));
        }
        let rows =
            a[0].checked_add(&b[0]).ok_or_else(|| Diagnostic::new("dim-overflow", "cache_append: too many rows"))?;
        let mut dims = a.to_vec();
        dims[0] = rows;
        Ok(vec![TensorType::new(args[0].dtype, Shape(dims))])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((mut dims, mut rows), (new_dims, new)) = (args[0].to_f64()?, args[1].to_f64()?);
        rows.extend(new);
        dims[0] += new_dims[0];
        let dtype = match args[1] {
            Arg::Tensor(t) => t.dtype(),
            Arg::Const(c) => c.ty.dtype,
        };
        Ok(vec![Tensor::new(&dims, TensorData::from_f64(dtype, &rows))?])
    }

    fn fields(&self) -> PayloadFields {
        Vec::new()
    }

    fn read(_fields: &mut Fields<'_>) -> Result<CacheAppend> {
        Ok(CacheAppend)
    }
}
