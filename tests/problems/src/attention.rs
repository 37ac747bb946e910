//! What attention means, in double precision: a random problem of a batch of queries over keys, and how far results are off.

use crate::Rng;
use crate::rows::{numbers, rows};
use actc_codegen::spec::Attention;
use actc_types::RowForm;

/// Queries, keys and values of a batch.
pub struct Problem {
    /// What is computed.
    pub attention: Attention,
    /// How often.
    pub batch: usize,
    /// New tokens, the last of `total`.
    pub tokens: usize,
    /// All of them.
    pub total: usize,
    /// Queries `[batch, tokens, heads, head_dim]`.
    pub q: Vec<f32>,
    /// Rows as they lie in memory.
    pub keys: Vec<u8>,
    /// The same of values.
    pub values: Vec<u8>,
    /// What is added to scores, with its four extents.
    pub mask: Option<(Vec<f32>, [usize; 4])>,
}

impl Problem {
    /// Everything random, without a mask.
    pub fn random(attention: Attention, [batch, tokens, total]: [usize; 3], rng: &mut Rng) -> Problem {
        let (heads, kv, dim) = (attention.heads as usize, attention.kv_heads as usize, attention.head_dim as usize);
        let q = rng.floats(batch * tokens * heads * dim);
        let [keys, values] = [0, 1].map(|_| rows(&rng.floats(batch * total * kv * dim), dim, attention.cache));
        Problem { attention, batch, tokens, total, q, keys, values, mask: None }
    }

    /// The largest error of outputs `[batch, tokens, heads, head_dim]` against what they may be off. `scores` is the error of a
    /// score relative to the sizes of its terms, `weights` that of a weight and of a value.
    pub fn error(&self, got: &[f32], scores: f64, weights: f64) -> f64 {
        let mut worst = 0f64;
        let a = &self.attention;
        let (heads, kv, dim) = (a.heads as usize, a.kv_heads as usize, a.head_dim as usize);
        let [k, v] = [&self.keys, &self.values].map(|x| numbers(x, dim, a.cache));
        let past = self.total as i64 - self.tokens as i64;
        assert_eq!(got.len(), self.batch * self.tokens * heads * dim);
        for b in 0..self.batch {
            for i in 0..self.tokens {
                for h in 0..heads {
                    let at = ((b * self.tokens + i) * heads + h) * dim;
                    let q = &self.q[at..][..dim];
                    let row = |j: usize| ((b * self.total + j) * kv + h / (heads / kv)) * dim;
                    let own = past + i as i64;
                    let seen = |j: &usize| {
                        let j = *j as i64;
                        (!a.causal || j <= own) && a.window.is_none_or(|w| j > own - i64::from(w))
                    };
                    let seen: Vec<usize> = (0..self.total).filter(seen).collect();
                    let terms = |j: &usize| q.iter().zip(&k[row(*j)..]).map(|(q, k)| f64::from(*q) * k);
                    let mut size = 0f64;
                    let score = |j: &usize| {
                        let mut s = terms(j).sum::<f64>() * f64::from(a.scale);
                        if let Some(cap) = a.cap {
                            s = f64::from(cap) * (s / f64::from(cap)).tanh();
                        }
                        if let Some((mask, extents)) = &self.mask {
                            let place = [b, h, i, *j].iter().zip(extents).fold(0, |at, (i, e)| at * e + i % e);
                            s += f64::from(mask[place]);
                        }
                        s
                    };
                    let s: Vec<f64> = seen.iter().map(score).collect();
                    for j in &seen {
                        size = size.max(terms(j).map(f64::abs).sum::<f64>() * f64::from(a.scale).abs());
                    }
                    let most = s.iter().fold(f64::NEG_INFINITY, |m, s| m.max(*s));
                    let total: f64 = s.iter().map(|s| (s - most).exp()).sum();
                    for d in 0..dim {
                        let (mut want, mut sizes) = (0.0, 0.0);
                        for (j, s) in seen.iter().zip(&s) {
                            let p = (s - most).exp() / total;
                            want += p * v[row(*j) + d];
                            sizes += p * v[row(*j) + d].abs();
                        }
                        // An error of a score is one of its weight, and of the sum of weights.
                        let tolerance = (2.0 * scores * size + weights) * sizes + 1e-30;
                        let error = (f64::from(got[at + d]) - want).abs() / tolerance;
                        // What is no number is as wrong as can be.
                        worst = worst.max(if error.is_nan() { f64::INFINITY } else { error });
                    }
                }
            }
        }
        worst
    }
}

/// The relative errors of scores and weights of single precision: sums of `dim` and of `total` terms, a power within 2 units
/// in the last place of an argument that is rounded too.
pub fn single(dim: usize, total: usize) -> (f64, f64) {
    let unit = 2f64.powi(-24);
    ((dim as f64 + 16.0) * unit, (2.0 * total as f64 + 64.0) * unit)
}

/// An attention to start from.
pub fn attention(heads: u32, kv_heads: u32, head_dim: u32, cache: RowForm) -> Attention {
    let scale = 1.0 / (head_dim as f32).sqrt();
    Attention { heads, kv_heads, head_dim, scale, causal: true, window: None, cap: None, cache }
}
