//! Rotary positions: `rope_table` makes the cosines and sines of the new positions once a step, `rope` turns heads by
//! them.
//!
//! Angles are computed in double precision as parts of a full turn, `position * theta^(-2i / rotary) / 2 pi` less its
//! nearest integer, so that cosines and sines are right to 1e-7 at any position below 2^31.

use super::{Buffer, BufferRole};
use crate::kir::{Builder, FloatOp, Fun, Mem, Ty, Val};
use actc_types::{DType, Diagnostic, Result};
use std::f64::consts::TAU;
use std::fmt;

/// Which elements of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RopeStyle {
    /// Elements `i` and `i + rotary / 2` (Llama as Hugging Face stores it, NeoX).
    Half,
    /// Elements `2i` and `2i + 1` (GPT-J, Llama as GGUF stores it).
    Interleaved,
}

/// Cosines and sines: a table `f32[S, rotary]`, each row `rotary / 2` cosines, then as many sines.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeTable {
    /// Elements of a head that are turned; even.
    pub rotary: u32,
    /// Base of the frequencies.
    pub theta: f64,
    /// Positions are divided by it: linear scaling to longer contexts, else 1.
    pub stretch: f64,
    /// Factor of all cosines and sines; 1 unless long-context scaling says otherwise.
    pub scale: f32,
    /// Whether frequency i is divided by `factors[i]`, `f32[rotary / 2]`.
    pub factors: bool,
}

/// Turns heads `f32[S, heads * head_dim]`; input and output may be the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rope {
    /// Number of heads.
    pub heads: u32,
    /// Elements of a head.
    pub head_dim: u32,
    /// Elements of a head that are turned; even. The others are copied.
    pub rotary: u32,
    /// Which elements belong together.
    pub style: RopeStyle,
}

impl fmt::Display for RopeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let factors = if self.factors { ", factors" } else { "" };
        let (rotary, theta, stretch, scale) = (self.rotary, self.theta, self.stretch, self.scale);
        write!(f, "rope_table{{rotary={rotary}, theta={theta:e}, stretch={stretch:e}, scale={scale:e}{factors}}}")
    }
}

impl fmt::Display for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = format!("{:?}", self.style).to_lowercase();
        let (heads, dim, rotary) = (self.heads, self.head_dim, self.rotary);
        write!(f, "rope{{heads={heads}, head_dim={dim}, rotary={rotary}, style={style}}}")
    }
}

fn check_rotary(rotary: u32) -> Result<()> {
    match rotary {
        n @ 2..=65536 if n % 2 == 0 => Ok(()),
        n => Err(Diagnostic::new("kernel-shape", format!("{n} rotary elements: an even number up to 65536 is wanted"))),
    }
}

/// `sum of terms[n] x^n`, highest power first.
fn horner(k: &mut Builder, x: Val, terms: &[f64]) -> Val {
    let mut sum = k.double(terms[terms.len() - 1]);
    for term in terms.iter().rev().skip(1) {
        let term = k.double(*term);
        let product = k.fmul(sum, x);
        sum = k.fadd(product, term);
    }
    sum
}

/// Taylor terms of `sin(2 pi r) / r` (from power 1) or `cos(2 pi r)` (from power 0) in r squared, enough for half a turn.
fn taylor(first: usize) -> Vec<f64> {
    let term = |n: usize| (1..=n).fold(1.0, |t, i| t * TAU / i as f64);
    (0..14).map(|i| if i % 2 == 0 { term(first + 2 * i) } else { -term(first + 2 * i) }).collect()
}

impl RopeTable {
    pub(super) fn check(&self) -> Result<()> {
        let positive = |x: f64| x.is_finite() && x > 0.0;
        if !(positive(self.theta) && positive(self.stretch) && self.scale.is_finite()) {
            return Err(Diagnostic::new("kernel-shape", format!("theta {} and scale {}", self.theta, self.scale)));
        }
        check_rotary(self.rotary)
    }

    /// Factors if any, then the table.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers = Vec::new();
        if self.factors {
            buffers.push(Buffer::read(BufferRole::Factors, DType::F32));
        }
        buffers.push(Buffer::write(BufferRole::Table));
        buffers
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let pairs = i64::from(self.rotary / 2);
        let (tokens, past) = (k.dim(0), k.dim(1));
        let factors = self.factors.then(|| k.buffer(0));
        let table = k.buffer(usize::from(self.factors));
        k.grid(0, tokens, tokens, |k, t| {
            let position = k.iadd(past, t);
            let position = k.convert(Ty::F64, position);
            let row = k.imul_n(t, 8 * pairs);
            let row = k.iadd(table, row);
            let start = k.double(1.0 / (TAU * self.stretch));
            // Each frequency from the one before: rounding adds up to a few units of 2^-53 for each.
            let frequency = k.var(start);
            let ratio = k.double(self.theta.powf(-2.0 / f64::from(self.rotary)));
            let scale = k.float(self.scale);
            let (from, to) = (k.int(0), k.int(pairs));
            k.seq(from, to, 1, |k, i| {
                let four = k.imul_n(i, 4);
                let now = k.get(frequency);
                let mut turns = k.fmul(position, now);
                if let Some(factors) = factors {
                    let at = k.iadd(factors, four);
                    let factor = k.load(Mem::F32, at, 0);
                    let factor = k.convert(Ty::F64, factor);
                    turns = k.fdiv(turns, factor);
                }
                let whole = k.fun(Fun::Nearest, turns);
                let r = k.fsub(turns, whole);
                let square = k.fmul(r, r);
                let cosine = horner(k, square, &taylor(0));
                let sine = horner(k, square, &taylor(1));
                let sine = k.fmul(sine, r);
                let at = k.iadd(row, four);
                for (v, offset) in [(cosine, 0), (sine, 4 * pairs)] {
                    let v = k.convert(Ty::F32, v);
                    let v = k.fmul(v, scale);
                    k.store(Mem::F32, v, at, offset as i32);
                }
                let next = k.fmul(now, ratio);
                k.set(frequency, next);
            });
        });
    }
}

impl Rope {
    pub(super) fn check(&self) -> Result<()> {
        check_rotary(self.rotary)?;
        if self.heads == 0 || self.rotary > self.head_dim || u64::from(self.heads) * u64::from(self.head_dim) > 1 << 24
        {
            let headline = format!("{} rotary of {} elements in {} heads", self.rotary, self.head_dim, self.heads);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// The heads, the table, the turned heads.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![
            Buffer::read(BufferRole::Input(0), DType::F32),
            Buffer::read(BufferRole::Table, DType::F32),
            Buffer::write(BufferRole::Output(0)),
        ]
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let (heads, dim) = (i64::from(self.heads), i64::from(self.head_dim));
        let pairs = (self.rotary / 2) as usize;
        let tokens = k.dim(0);
        let (x, table, y) = (k.buffer(0), k.buffer(1), k.buffer(2));
        let total = k.imul_n(tokens, heads);
        k.grid(0, total, total, |k, unit| {
            let t = k.idiv_n(unit, heads);
            let bytes = k.imul_n(unit, 4 * dim);
            let x = k.iadd(x, bytes);
            let y = k.iadd(y, bytes);
            let row = k.imul_n(t, 4 * i64::from(self.rotary));
            let row = k.iadd(table, row);
            k.lane_n(pairs, |k| {
                let cosine = k.load_lane(Mem::F32, row, 0);
                let sine = k.load_lane(Mem::F32, row, 4 * pairs as i32);
                let second = match self.style {
                    RopeStyle::Half => 4 * pairs as i32,
                    RopeStyle::Interleaved => 4,
                };
                let (a, b) = match self.style {
                    RopeStyle::Half => (k.load_lane(Mem::F32, x, 0), k.load_lane(Mem::F32, x, second)),
                    RopeStyle::Interleaved => (k.load_pair(x, 0), k.load_pair(x, second)),
                };
                let (ac, bs) = (k.fmul(a, cosine), k.fmul(b, sine));
                let first = k.f(FloatOp::Sub, ac, bs);
                let bc = k.fmul(b, cosine);
                let other = k.muladd(a, sine, bc);
                match self.style {
                    RopeStyle::Half => {
                        k.store_lane(Mem::F32, first, y, 0);
                        k.store_lane(Mem::F32, other, y, second);
                    }
                    RopeStyle::Interleaved => {
                        k.store_pair(first, y, 0);
                        k.store_pair(other, y, second);
                    }
                }
            });
            let rest = (self.head_dim - self.rotary) as usize;
            if rest > 0 {
                let offset = 4 * self.rotary as i32;
                k.lane_n(rest, |k| {
                    let v = k.load_lane(Mem::F32, x, offset);
                    k.store_lane(Mem::F32, v, y, offset);
                });
            }
        });
    }
}
