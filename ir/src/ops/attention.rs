//! `attention` and `cache_append`: decoder attention over a functional cache.
//!
//! `attention`: `q [S, H, D]`, `k [T, KV, D]`, `v [T, KV, E]`, `KV` divides `H`, result `[S, H, E]`. Query `i` stands at
//! position `T - S + i`; with `causal` it sees keys up to its own position, with `window = w` only the last `w` of them.
//! Keys and values may both be rows that [`round_rows`](super::rows) made; their numbers are what such rows mean.
//! `cache_append`: `cache [P, ..]` and `new [S, ..]` give `[P + S, ..]`; where the graph donates the cache, in place.

use super::rows::{numbers, restore};
use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{Diagnostic, Result, RowForm, Shape, Tensor, TensorData};

/// Payload of `attention`. Arguments: `q`, `k`, `v`.
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

impl Payload for Attention {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("attention", args.len(), 3..=3)?;
        let ([s, h, d], [t, kv, dk], [tv, kvv, ev]) =
            (args[0].shape.dims(), args[1].shape.dims(), args[2].shape.dims())
        else {
            return Err(mismatch("attention", "rank of an argument", "not 3", 3));
        };
        let both = || format!("{} and {}", args[1], args[2]);
        let form = RowForm::of(args[1].dtype).filter(|_| args[1].dtype == args[2].dtype);
        let form = form.ok_or_else(|| mismatch("attention", "k and v", both(), "f32, f16 or u8 rows twice"))?;
        let (Some(dk), Some(e)) = (numbers(form, dk), numbers(form, ev)) else {
            return Err(mismatch("attention", "k and v", both(), format!("rows of {} bytes and more", form.extra())));
        };
        if *d != dk || t != tv || kv != kvv {
            let wanted = match form {
                RowForm::F32 | RowForm::F16 => format!("[T, KV, {d}] twice"),
                RowForm::Int8 => format!("[T, KV, {d} + {}] twice", form.extra()),
            };
            return Err(mismatch("attention", "k and v", both(), wanted));
        }
        match (h.fixed(), kv.fixed()) {
            (Some(h), Some(kv)) if kv > 0 && h % kv == 0 => {}
            _ => return Err(mismatch("attention", "number of query heads", h, format!("a multiple of {kv}"))),
        }
        Ok(vec![TensorType::new(args[0].dtype, Shape(vec![s.clone(), h.clone(), e]))])
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
        let (&[s, h, d], &[t, kv, _], &[_, _, e]) = (&qd[..], &kd[..], &vd[..]) else {
            return Err(Diagnostic::new("ir-type", "attention: arguments have not three dimensions"));
        };
        if t < s {
            return Err(Diagnostic::new("ir-type", format!("attention: {s} queries over {t} keys")));
        }
        let mut out = vec![0f32; (s * h * e) as usize];
        for i in 0..s {
            let position = t - s + i;
            let last = if self.causal { position } else { t - 1 };
            let first = self.window.map_or(0, |w| (position + 1).saturating_sub(u64::from(w)));
            for head in 0..h {
                let group = head / (h / kv);
                let query = &q[((i * h + head) * d) as usize..][..d as usize];
                let score = |j: u64| -> f64 {
                    let key = &k[((j * kv + group) * d) as usize..][..d as usize];
                    query.iter().zip(key).map(|(a, b)| a * b).sum::<f64>() * self.scale
                };
                let scores: Vec<f64> = (first..=last).map(score).collect();
                let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let total: f64 = weights.iter().sum();
                for c in 0..e {
                    let sum: f64 =
                        weights.iter().zip(first..).map(|(w, j)| w * v[((j * kv + group) * e + c) as usize]).sum();
                    out[((i * h + head) * e + c) as usize] = (sum / total) as f32;
                }
            }
        }
        Ok(vec![Tensor::f32(&[s, h, e], out)?])
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
