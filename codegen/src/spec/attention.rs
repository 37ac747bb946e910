//! `attention`: softmax of scaled scores against a cache, for decode and short prefill.
//!
//! A unit is a token and a key/value head; it computes all query heads of that group, so that keys and values are read
//! once for several of them. Three passes: scores and their maxima, exponentials and their sums, the weighted values.
//! Scores stand in a scratch area of their unit, so that its size does not depend on the number of parts.

use super::{Buffer, BufferRole};
use crate::kir::{Acc, Builder, Elem, FloatOp, Fun, IntOp, Mem, Val};
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Query heads whose scores are computed side by side.
const SCORES: usize = 4;

/// Query heads whose outputs are computed side by side: 8 vectors of sums, 4 of values.
const OUTPUTS: usize = 2;

/// Positions whose values are added to all of a group's outputs before the next: rows of a wide cache may share the sets of
/// a first-level cache, which holds eight of them.
const TILE: i64 = 8;

/// `out[t, h] = sum over j of softmax_j(scale q[t, h] . k[j, h / group]) v[j, h / group]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub heads: u32,
    /// Key/value heads, a divisor of `heads`.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Factor of the scores.
    pub scale: f32,
    /// Whether token t sees only positions up to its own, `P + t`.
    pub causal: bool,
    /// How many positions back a token sees, itself included.
    pub window: Option<u32>,
    /// Scores become `cap * tanh(score / cap)`.
    pub cap: Option<f32>,
}

impl fmt::Display for Attention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (heads, kv, dim) = (self.heads, self.kv_heads, self.head_dim);
        write!(f, "attention{{heads={heads}, kv_heads={kv}, head_dim={dim}, scale={:e}", self.scale)?;
        if self.causal {
            f.write_str(", causal")?;
        }
        if let Some(window) = self.window {
            write!(f, ", window={window}")?;
        }
        if let Some(cap) = self.cap {
            write!(f, ", cap={cap:e}")?;
        }
        f.write_str("}")
    }
}

impl Attention {
    /// Bytes of scratch for `tokens` new and `past` old positions.
    pub fn scratch_bytes(&self, tokens: u64, past: u64) -> Option<u64> {
        let row = tokens.checked_add(past)?.checked_next_multiple_of(16)?.checked_mul(4)?;
        row.checked_mul(u64::from(self.heads))?.checked_mul(tokens)
    }

    fn group(&self) -> u32 {
        self.heads / self.kv_heads
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = self.kv_heads > 0
            && self.heads > 0
            && self.heads.is_multiple_of(self.kv_heads)
            && (1..=4096).contains(&self.head_dim)
            && u64::from(self.heads) * u64::from(self.head_dim) <= 1 << 24
            && self.window != Some(0)
            && (self.window.is_none() || self.causal);
        if fits { Ok(()) } else { Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}"))) }
    }

    /// Queries `[S, heads * head_dim]`, keys, values, scratch, output like the queries.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![
            Buffer::read(BufferRole::Input(0), DType::F32),
            Buffer::read(BufferRole::Keys, DType::F32),
            Buffer::read(BufferRole::Values, DType::F32),
            Buffer { access: super::Access::ReadWrite, ..Buffer::write(BufferRole::Scratch) },
            Buffer::write(BufferRole::Output(0)),
        ]
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let (tokens, past) = (k.dim(0), k.dim(1));
        let buffers: Vec<Val> = (0..5).map(|i| k.buffer(i)).collect();
        let group = self.group() as usize;
        let all = k.iadd(past, tokens);
        let padded = k.iadd_n(all, 15);
        let mask = k.int(!15);
        let padded = k.i(IntOp::And, padded, mask);
        let pitch = k.imul_n(padded, 4);
        let area = k.imul_n(pitch, group as i64);
        let inverse = k.stack(4 * group as u32);
        let maxima = k.stack(4 * group as u32);
        let total = k.imul_n(tokens, i64::from(self.kv_heads));
        k.grid(0, total, total, |k, unit| {
            let t = k.idiv_n(unit, i64::from(self.kv_heads));
            let kv = k.irem_n(unit, i64::from(self.kv_heads));
            let area = k.i(IntOp::Mul, area, unit);
            let scores = k.iadd(buffers[3], area);
            let end = if self.causal {
                let own = k.iadd(past, t);
                k.iadd_n(own, 1)
            } else {
                all
            };
            let start = match self.window {
                None => k.int(0),
                Some(window) => {
                    let start = k.iadd_n(end, -i64::from(window));
                    let zero = k.int(0);
                    k.i(IntOp::Max, start, zero)
                }
            };
            let head_bytes = 4 * i64::from(self.head_dim);
            // Units count through token and group just as the query heads lie.
            let at = k.imul_n(unit, head_bytes * group as i64);
            let q = k.iadd(buffers[0], at);
            let out = k.iadd(buffers[4], at);
            let row = head_bytes * i64::from(self.kv_heads);
            let first = k.imul_n(start, row);
            let head = k.imul_n(kv, head_bytes);
            let first = k.iadd(first, head);
            let (keys, values) = (k.iadd(buffers[1], first), k.iadd(buffers[2], first));
            let n = k.i(IntOp::Sub, end, start);
            for heads in split(group, SCORES) {
                self.scores(k, q, keys, row, n, scores, pitch, maxima, heads);
            }
            self.exponentials(k, n, scores, pitch, maxima, inverse, group);
            self.outputs(k, out, values, row, n, scores, pitch, inverse, group);
        });
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it addresses")]
    fn scores(
        &self,
        k: &mut Builder,
        q: Val,
        keys: Val,
        row: i64,
        n: Val,
        scores: Val,
        pitch: Val,
        maxima: Val,
        heads: std::ops::Range<usize>,
    ) {
        let dim = self.head_dim as usize;
        let lowest = k.float(f32::MIN);
        let (zero, none) = (k.float(0.0), k.int(0));
        let peaks: Vec<_> = heads.clone().map(|_| k.var(lowest)).collect();
        let rows: Vec<Val> = heads
            .clone()
            .map(|h| {
                let bytes = k.imul_n(pitch, h as i64);
                k.iadd(scores, bytes)
            })
            .collect();
        let scale = k.float(self.scale);
        k.seq(none, n, 1, |k, j| {
            let bytes = k.imul_n(j, row);
            let key = k.iadd(keys, bytes);
            let ways = if heads.len() > 2 { 2 } else { 4 };
            let dots: Vec<_> = heads.clone().map(|_| k.partial(Elem::F32, ways, zero)).collect();
            k.lane_n(dim, |k| {
                let key = k.load_lane(Mem::F32, key, 0);
                for (h, dot) in heads.clone().zip(&dots) {
                    let q = k.load_lane(Mem::F32, q, (4 * h * dim) as i32);
                    k.acc(*dot, Acc::Dot(key, q));
                }
            });
            let four = k.imul_n(j, 4);
            for ((dot, peak), row) in dots.iter().zip(&peaks).zip(&rows) {
                let s = k.lane_sum(*dot);
                let mut s = k.fmul(s, scale);
                if let Some(cap) = self.cap {
                    let (cap, inverse) = (k.float(cap), k.float(1.0 / cap));
                    let x = k.fmul(s, inverse);
                    let x = k.fun(Fun::Tanh, x);
                    s = k.fmul(x, cap);
                }
                let at = k.iadd(*row, four);
                k.store(Mem::F32, s, at, 0);
                k.acc(*peak, Acc::Max(s));
            }
        });
        for (h, peak) in heads.zip(&peaks) {
            let peak = k.get(*peak);
            k.store(Mem::F32, peak, maxima, 4 * h as i32);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it addresses")]
    fn exponentials(&self, k: &mut Builder, n: Val, scores: Val, pitch: Val, maxima: Val, inverse: Val, group: usize) {
        let (from, to) = (k.int(0), k.int(group as i64));
        k.seq(from, to, 1, |k, h| {
            let bytes = k.i(IntOp::Mul, pitch, h);
            let row = k.iadd(scores, bytes);
            let four = k.imul_n(h, 4);
            let at = k.iadd(maxima, four);
            let peak = k.load(Mem::F32, at, 0);
            let zero = k.float(0.0);
            let sum = k.partial(Elem::F32, 4, zero);
            k.lane(n, |k| {
                let s = k.load_lane(Mem::F32, row, 0);
                let s = k.f(FloatOp::Sub, s, peak);
                let e = k.fun(Fun::Exp, s);
                k.store_lane(Mem::F32, e, row, 0);
                k.acc(sum, Acc::Sum(e));
            });
            let sum = k.lane_sum(sum);
            let one = k.float(1.0);
            let share = k.fdiv(one, sum);
            let at = k.iadd(inverse, four);
            k.store(Mem::F32, share, at, 0);
        });
    }

    #[expect(clippy::too_many_arguments, reason = "one call, all of it addresses")]
    fn outputs(
        &self,
        k: &mut Builder,
        out: Val,
        values: Val,
        row: i64,
        n: Val,
        scores: Val,
        pitch: Val,
        inverse: Val,
        group: usize,
    ) {
        let dim = self.head_dim as usize;
        let (none, zero) = (k.int(0), k.float(0.0));
        k.lane_n(group * dim, |k| k.store_lane(Mem::F32, zero, out, 0));
        k.seq(none, n, TILE, |k, first| {
            let end = k.iadd_n(first, TILE);
            let end = k.i(IntOp::Min, end, n);
            for heads in split(group, OUTPUTS) {
                let rows: Vec<Val> = heads
                    .clone()
                    .map(|h| {
                        let bytes = k.imul_n(pitch, h as i64);
                        k.iadd(scores, bytes)
                    })
                    .collect();
                k.lane_n(dim, |k| {
                    let sums: Vec<_> = heads
                        .clone()
                        .map(|h| {
                            let sum = k.load_lane(Mem::F32, out, (4 * h * dim) as i32);
                            k.partial(Elem::F32, 1, sum)
                        })
                        .collect();
                    k.seq(first, end, 1, |k, j| {
                        let bytes = k.imul_n(j, row);
                        let value = k.iadd(values, bytes);
                        let v = k.load_lane(Mem::F32, value, 0);
                        let four = k.imul_n(j, 4);
                        for (sum, row) in sums.iter().zip(&rows) {
                            let at = k.iadd(*row, four);
                            let p = k.load(Mem::F32, at, 0);
                            k.acc(*sum, Acc::Dot(v, p));
                        }
                    });
                    for (h, sum) in heads.clone().zip(&sums) {
                        let sum = k.get(*sum);
                        k.store_lane(Mem::F32, sum, out, (4 * h * dim) as i32);
                    }
                });
            }
        });
        for h in 0..group {
            let share = k.load(Mem::F32, inverse, 4 * h as i32);
            let at = (4 * h * dim) as i32;
            k.lane_n(dim, |k| {
                let sum = k.load_lane(Mem::F32, out, at);
                let y = k.fmul(sum, share);
                k.store_lane(Mem::F32, y, out, at);
            });
        }
    }
}

/// `0..n` in ranges of at most `most`.
fn split(n: usize, most: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    (0..n).step_by(most).map(move |i| i..(i + most).min(n))
}
