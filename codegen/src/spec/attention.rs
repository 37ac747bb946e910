//! `attention`: softmax of scaled scores against a cache, for decode and short prefill.
//!
//! A unit is a token and a key/value head; it computes all query heads of that group, so that keys and values are read,
//! and where they are rounded converted, once for several of them. Rows of 8 bits are summed as they are: the scale of a
//! key is multiplied into its score, that of a value into its weight. Three passes: scores, weights, weighted values. The
//! first and the last walk tiles of a few positions and run all units on a tile before the next, because the rows of a
//! position's heads lie side by side: memory is read in order, whatever the width of a row. Scores, and queries where they
//! are rounded, stand in a scratch area of their unit, so that its size does not depend on the number of parts.

mod scores;
mod values;

use super::{Buffer, BufferRole, LINE};
use crate::kir::{Acc, Builder, Elem, FloatOp, Fun, IntOp, Mem, Val};
use actc_types::{DType, Diagnostic, Dim, Result, RowForm};
use std::fmt;
use std::ops::Range;

/// Positions whose scores are computed side by side.
const FOUR: usize = 4;

/// Query heads that are computed side by side: each has a query, or a weight, in a register.
const HEADS: usize = 4;

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
    /// How the rows of keys and values lie in memory.
    pub cache: RowForm,
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
        match self.cache {
            RowForm::F32 => {}
            RowForm::F16 | RowForm::Int8 => write!(f, ", cache={}", self.cache)?,
        }
        f.write_str("}")
    }
}

impl Attention {
    /// Bytes of scratch for `tokens` new and `past` old positions.
    pub fn scratch_bytes(&self, tokens: &Dim, past: &Dim) -> Option<Dim> {
        // Rows of scores are rounded up to 16.
        let row = tokens.checked_add(past)?.checked_add(&Dim::from(15))?.checked_mul(&Dim::from(4))?;
        let head = row.checked_add(&Dim::from(self.query_bytes() as u64))?;
        head.checked_mul(&Dim::from(u64::from(self.heads)))?.checked_mul(tokens)
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
            Buffer::read(BufferRole::Keys, self.cache.dtype()),
            Buffer::read(BufferRole::Values, self.cache.dtype()),
            Buffer { access: super::Access::ReadWrite, ..Buffer::write(BufferRole::Scratch) },
            Buffer::write(BufferRole::Output(0)),
        ]
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let (tokens, past) = (k.dim(0), k.dim(1));
        let all = k.iadd(past, tokens);
        let padded = k.iadd_n(all, 15);
        let mask = k.int(!15);
        let padded = k.i(IntOp::And, padded, mask);
        let (pitch, units) = (k.imul_n(padded, 4), k.imul_n(tokens, i64::from(self.kv_heads)));
        let buffers = [0, 1, 2, 3, 4].map(|i| k.buffer(i));
        let unit_bytes = k.imul_n(pitch, i64::from(self.group()));
        let scores = k.i(IntOp::Mul, unit_bytes, units);
        let rounded = k.iadd(buffers[3], scores);
        let launch = Launch { buffers, past, all, pitch, units, rounded };
        if self.rounds_queries() {
            k.grid(0, launch.units, launch.units, |k, index| {
                let unit = self.unit(k, &launch, index);
                self.round_queries(k, &unit);
            });
        }
        // No token sees positions before the window of the first.
        let own = k.iadd_n(past, 1);
        let first = self.start(k, own);
        self.tiles(k, &launch, first, |k, unit, from, to| {
            self.scores(k, &launch, unit, from, to);
        });
        k.grid(0, launch.units, launch.units, |k, index| {
            let unit = self.unit(k, &launch, index);
            self.weights(k, &launch, &unit);
            let zero = k.float(0.0);
            k.lane_n((self.group() * self.head_dim) as usize, |k| k.store_lane(Mem::F32, zero, unit.out, 0));
        });
        self.tiles(k, &launch, first, |k, unit, from, to| {
            self.fold_scales(k, &launch, unit, from, to);
            for heads in split(self.group() as usize, HEADS) {
                self.outputs(k, &launch, unit, from, to, heads);
            }
        });
    }

    /// First position that a token sees which sees those below `end`.
    fn start(&self, k: &mut Builder, end: Val) -> Val {
        let zero = k.int(0);
        match self.window {
            None => zero,
            Some(window) => {
                let start = k.iadd_n(end, -i64::from(window));
                k.i(IntOp::Max, start, zero)
            }
        }
    }

    /// For each tile of positions from `first` on, each unit with the positions `from..to` of the tile that it sees.
    fn tiles(&self, k: &mut Builder, launch: &Launch, first: Val, run: impl FnOnce(&mut Builder, &Unit, Val, Val)) {
        k.seq(first, launch.all, self.tile(), |k, tile| {
            k.grid(0, launch.units, launch.units, |k, index| {
                let unit = self.unit(k, launch, index);
                let from = k.i(IntOp::Max, tile, unit.start);
                let to = k.iadd_n(tile, self.tile());
                let to = k.i(IntOp::Min, to, unit.end);
                run(k, &unit, from, to);
            });
        });
    }

    fn unit(&self, k: &mut Builder, launch: &Launch, index: Val) -> Unit {
        let t = k.idiv_n(index, i64::from(self.kv_heads));
        let kv = k.irem_n(index, i64::from(self.kv_heads));
        let end = if self.causal {
            let own = k.iadd(launch.past, t);
            k.iadd_n(own, 1)
        } else {
            launch.all
        };
        let group = i64::from(self.group());
        let head_bytes = 4 * i64::from(self.head_dim);
        // Units count through token and group just as the query heads lie.
        let at = k.imul_n(index, head_bytes * group);
        let head = k.imul_n(kv, self.cache.row_bytes(self.head_dim as usize) as i64);
        let area = k.imul_n(launch.pitch, group);
        let area = k.i(IntOp::Mul, area, index);
        let rounded = k.imul_n(index, group * self.query_bytes() as i64);
        let [q, keys, values, scratch, out] = launch.buffers;
        Unit {
            start: self.start(k, end),
            end,
            q: k.iadd(q, at),
            keys: k.iadd(keys, head),
            values: k.iadd(values, head),
            scores: k.iadd(scratch, area),
            rounded: k.iadd(launch.rounded, rounded),
            out: k.iadd(out, at),
        }
    }

    /// Bytes between the same head's rows of two positions.
    fn row(&self) -> i64 {
        i64::from(self.kv_heads) * self.cache.row_bytes(self.head_dim as usize) as i64
    }

    fn score_rows(&self, k: &mut Builder, launch: &Launch, unit: &Unit, heads: Range<usize>) -> Vec<Val> {
        heads
            .map(|h| {
                let bytes = k.imul_n(launch.pitch, h as i64);
                k.iadd(unit.scores, bytes)
            })
            .collect()
    }

    /// Runs `body` with each position of `from..to`: first with the first of four, then with those that are left alone.
    fn fours(&self, k: &mut Builder, from: Val, to: Val, body: impl Fn(&mut Builder, Val, usize)) {
        let (zero, mask) = (k.int(0), k.int(!(FOUR as i64 - 1)));
        let n = k.i(IntOp::Sub, to, from);
        let n = k.i(IntOp::Max, n, zero);
        let n = k.i(IntOp::And, n, mask);
        let rest = k.iadd(from, n);
        k.seq(from, rest, FOUR as i64, |k, j| body(k, j, FOUR));
        k.seq(rest, to, 1, |k, j| body(k, j, 1));
    }

    /// Addresses of a head's rows of `count` positions from `j` on.
    fn head_rows(&self, k: &mut Builder, head: Val, j: Val, count: usize) -> Vec<Val> {
        let bytes = k.imul_n(j, self.row());
        let first = k.iadd(head, bytes);
        (0..count).map(|i| k.iadd_n(first, i as i64 * self.row())).collect()
    }

    /// Asks for the rows of the next tile that lie as `rows` lie in theirs: a tile is too short for the processor to see
    /// where it leads.
    fn ask_ahead(&self, k: &mut Builder, rows: &[Val]) {
        let ahead = self.tile() * self.row();
        for row in rows {
            for line in (0..self.cache.row_bytes(self.head_dim as usize)).step_by(LINE) {
                k.prefetch(*row, (ahead + line as i64) as i32);
            }
        }
    }

    /// The scales behind `rows`, where rows have them.
    fn scales(&self, k: &mut Builder, rows: &[Val]) -> Vec<Val> {
        match self.cache {
            RowForm::F32 | RowForm::F16 => Vec::new(),
            RowForm::Int8 => rows.iter().map(|row| k.load(Mem::F32, *row, self.head_dim as i32)).collect(),
        }
    }

    fn mem(&self) -> Mem {
        match self.cache {
            RowForm::F32 => Mem::F32,
            RowForm::F16 => Mem::F16,
            RowForm::Int8 => Mem::Q8,
        }
    }

    /// Positions of a tile: many enough that a tile's sums are worth fetching, few enough that its rows stay in a
    /// first-level cache, of whose sets rows of a power of two share eight places.
    fn tile(&self) -> i64 {
        match self.cache {
            RowForm::F32 => 8,
            RowForm::F16 => 16,
            RowForm::Int8 => 16,
        }
    }

    /// Scores to weights: capped, less their maximum, exponential, divided by their sum.
    fn weights(&self, k: &mut Builder, launch: &Launch, unit: &Unit) {
        let n = k.i(IntOp::Sub, unit.end, unit.start);
        let first = k.imul_n(unit.start, 4);
        let scores = k.iadd(unit.scores, first);
        let (from, to) = (k.int(0), k.int(i64::from(self.group())));
        k.seq(from, to, 1, |k, h| {
            let bytes = k.i(IntOp::Mul, launch.pitch, h);
            let row = k.iadd(scores, bytes);
            let (lowest, zero, one) = (k.float(f32::MIN), k.float(0.0), k.float(1.0));
            let peak = k.partial(Elem::F32, 4, lowest);
            let cap = self.cap.map(|cap| (k.float(cap), k.float(1.0 / cap)));
            k.lane(n, |k| {
                let mut s = k.load_lane(Mem::F32, row, 0);
                if let Some((cap, inverse)) = cap {
                    s = k.fmul(s, inverse);
                    s = k.fun(Fun::Tanh, s);
                    s = k.fmul(s, cap);
                    k.store_lane(Mem::F32, s, row, 0);
                }
                k.acc(peak, Acc::Max(s));
            });
            let peak = k.lane_max(peak);
            let sum = k.partial(Elem::F32, 4, zero);
            k.lane(n, |k| {
                let s = k.load_lane(Mem::F32, row, 0);
                let s = k.f(FloatOp::Sub, s, peak);
                let e = k.fun(Fun::Exp, s);
                k.store_lane(Mem::F32, e, row, 0);
                k.acc(sum, Acc::Sum(e));
            });
            let sum = k.lane_sum(sum);
            let share = k.fdiv(one, sum);
            k.lane(n, |k| {
                let e = k.load_lane(Mem::F32, row, 0);
                let p = k.fmul(e, share);
                k.store_lane(Mem::F32, p, row, 0);
            });
        });
    }
}

/// What all units of a launch share.
struct Launch {
    /// Queries, keys, values, scratch, output.
    buffers: [Val; 5],
    past: Val,
    /// Positions in all.
    all: Val,
    /// Bytes of a head's scores.
    pitch: Val,
    units: Val,
    /// Rounded queries of all units.
    rounded: Val,
}

/// Addresses of a token and key/value head, and the positions `start..end` that it sees.
struct Unit {
    start: Val,
    end: Val,
    q: Val,
    keys: Val,
    values: Val,
    scores: Val,
    rounded: Val,
    out: Val,
}

/// `0..n` in as few ranges of at most `most` as there are, about equal.
fn split(n: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let count = n.div_ceil(most);
    (0..count).map(move |i| i * n / count..(i + 1) * n / count)
}
