//! Rows of matrices in GGUF block formats.

use super::{Act, Bound, Input, ways};
use crate::kir::{Acc, Builder, CodeSource, Elem, IntOp, Mem, Ty, Val, Var};
use actc_types::packed::CHUNK;
use actc_types::{BlockFormat, Role};

/// What a run's weights are made of: `w = scale * code + shift`.
struct Grid {
    scale: Val,
    shift: Option<Val>,
}

impl Bound<'_> {
    pub(super) fn blocks(&self, k: &mut Builder, format: BlockFormat, row: Val, rows: usize) -> Vec<Vec<Val>> {
        let source = CodeSource(format);
        let int8 = self.act == Act::Int8;
        let (bias, gain) = if int8 { (source.int_bias(), 1.0) } else { (source.bias(), source.gain()) };
        let prepared = match self.mat.input(self.cols as u32, self.act) {
            Input::Raw => None,
            Input::Prepared(p) => Some(p),
        };
        let blocks = self.cols / format.block_len();
        let starts = self.rows(k, Role::Data, row, rows, blocks * format.block_bytes());
        let records = self.inputs(k);
        let zero = k.float(0.0);
        let sums: Vec<Vec<(Var, Var)>> = (0..rows)
            .map(|_| (0..self.tokens).map(|_| (k.partial(Elem::F32, 1, zero), k.var(zero))).collect())
            .collect();
        let (from, to) = (k.int(0), k.int(blocks as i64));
        let (run, len) = (format.run(), format.block_len());
        k.seq(from, to, 1, |k, b| {
            let bytes = k.imul_n(b, format.block_bytes() as i64);
            let block: Vec<Val> = starts.iter().map(|s| k.iadd(*s, bytes)).collect();
            let heads: Vec<Head> = block.iter().map(|at| Head::load(k, format, *at)).collect();
            let size = if int8 { 1 } else { 4 };
            let bytes = k.imul_n(b, (size * len) as i64);
            let xs: Vec<Val> = records.iter().map(|x| k.iadd(*x, bytes)).collect();
            let bytes = k.imul_n(b, (4 * len / run) as i64);
            let sums_of_x: Vec<Val> = records.iter().map(|x| k.iadd(*x, bytes)).collect();
            // Scales of rounded inputs: one for 64 columns, so half a one for a block of 32.
            let column = k.imul_n(b, len as i64);
            let chunk = k.idiv_n(column, CHUNK as i64);
            let bytes = k.imul_n(chunk, 4);
            let scales_of_x: Vec<Val> = records.iter().map(|x| k.iadd(*x, bytes)).collect();
            for i in 0..len / run {
                let first = i * run;
                let inner: Vec<Vec<Var>> = (0..rows)
                    .map(|_| {
                        let (elem, ways, start) = if int8 {
                            (Elem::I32, 1, k.int(0))
                        } else {
                            (Elem::F32, ways(rows * self.tokens), k.float(0.0))
                        };
                        (0..self.tokens).map(|_| k.partial(elem, ways, start)).collect()
                    })
                    .collect();
                let (mem, at) = match (&prepared, int8) {
                    (Some(p), true) => (Mem::I8, p.q_at() + first),
                    (Some(_) | None, _) => (Mem::F32, 4 * first),
                };
                k.lane_n(run, |k| {
                    let shared = (self.tokens == 1).then(|| k.load_lane(mem, xs[0], at as i32));
                    for (block, inner) in block.iter().zip(&inner) {
                        let w = k.code(source, *block, 0, first as u16);
                        for (x, inner) in xs.iter().zip(inner) {
                            let x = shared.unwrap_or_else(|| k.load_lane(mem, *x, at as i32));
                            k.acc(*inner, Acc::Dot(w, x));
                        }
                    }
                });
                for r in 0..rows {
                    let grid = heads[r].grid(k, format, block[r], i);
                    let gain = k.float(gain);
                    let gained = k.fmul(grid.scale, gain);
                    let minus = k.float(-bias);
                    let shift = match grid.shift {
                        Some(shift) => Some(k.muladd(grid.scale, minus, shift)),
                        None => (bias != 0.0).then(|| k.fmul(grid.scale, minus)),
                    };
                    for t in 0..self.tokens {
                        let (sum, correction) = sums[r][t];
                        let x = k.get(inner[r][t]);
                        match (&prepared, int8) {
                            (Some(p), true) => {
                                let x = k.convert(Ty::Lane(Elem::F32), x);
                                let at = p.a_at() + 4 * (first / CHUNK);
                                let a = k.load(Mem::F32, scales_of_x[t], at as i32);
                                let scale = k.fmul(gained, a);
                                k.acc(sum, Acc::Dot(x, scale));
                            }
                            (Some(_) | None, _) => k.acc(sum, Acc::Dot(x, gained)),
                        }
                        if let (Some(p), Some(shift)) = (&prepared, shift) {
                            let x = k.load(Mem::F32, sums_of_x[t], (p.sums_at() + 4 * i) as i32);
                            k.acc(correction, Acc::Dot(shift, x));
                        }
                    }
                }
            }
        });
        sums.iter()
            .map(|sums| {
                sums.iter()
                    .map(|(sum, correction)| {
                        let y = k.lane_sum(*sum);
                        let c = k.get(*correction);
                        k.fadd(y, c)
                    })
                    .collect()
            })
            .collect()
    }
}

/// The floats at the head (or foot) of a block.
struct Head {
    d: Val,
    m: Option<Val>,
}

impl Head {
    fn load(k: &mut Builder, format: BlockFormat, at: Val) -> Head {
        let (d, m) = match format {
            BlockFormat::Q8_0 | BlockFormat::Q4_0 | BlockFormat::Q5_0 => (0, None),
            BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q4K | BlockFormat::Q5K => (0, Some(2)),
            BlockFormat::Q2K => (80, Some(82)),
            BlockFormat::Q3K => (108, None),
            BlockFormat::Q6K => (208, None),
        };
        Head { d: k.load(Mem::F16, at, d), m: m.map(|m| k.load(Mem::F16, at, m)) }
    }

    /// Scale and shift of run `i`.
    fn grid(&self, k: &mut Builder, format: BlockFormat, at: Val, i: usize) -> Grid {
        let scaled = |k: &mut Builder, by: f32, d: Val| {
            let by = k.float(by);
            k.fmul(d, by)
        };
        let with_minimum = |k: &mut Builder, s: Val, m: Val| {
            let scale = k.fmul(self.d, s);
            let minimum = k.fmul(self.m.expect("formats with minima have dmin"), m);
            Grid { scale, shift: Some(scaled(k, -1.0, minimum)) }
        };
        match format {
            BlockFormat::Q8_0 => Grid { scale: self.d, shift: None },
            BlockFormat::Q4_0 => Grid { scale: self.d, shift: Some(scaled(k, -8.0, self.d)) },
            BlockFormat::Q5_0 => Grid { scale: self.d, shift: Some(scaled(k, -16.0, self.d)) },
            BlockFormat::Q4_1 | BlockFormat::Q5_1 => Grid { scale: self.d, shift: self.m },
            BlockFormat::Q2K => {
                let s = bits(k, at, i, 0, 4);
                let s = k.convert(Ty::F32, s);
                let m = bits(k, at, i, 4, 4);
                let m = k.convert(Ty::F32, m);
                with_minimum(k, s, m)
            }
            BlockFormat::Q4K | BlockFormat::Q5K => {
                let at = k.iadd_n(at, 4);
                let (s, m) = if i < 4 {
                    (bits(k, at, i, 0, 6), bits(k, at, i + 4, 0, 6))
                } else {
                    let (s, m) = (bits(k, at, i + 4, 0, 4), bits(k, at, i + 4, 4, 4));
                    (joined(k, s, at, i - 4, 6, 2), joined(k, m, at, i, 6, 2))
                };
                let (s, m) = (k.convert(Ty::F32, s), k.convert(Ty::F32, m));
                with_minimum(k, s, m)
            }
            BlockFormat::Q3K => {
                let low = bits(k, at, 96 + i % 8, 4 * (i / 8) as i64, 4);
                let s = joined(k, low, at, 104 + i % 4, 2 * (i / 4) as i64, 2);
                let s = k.iadd_n(s, -32);
                let s = k.convert(Ty::F32, s);
                let scale = k.fmul(self.d, s);
                Grid { scale, shift: Some(scaled(k, -4.0, scale)) }
            }
            BlockFormat::Q6K => {
                let s = k.load(Mem::I8, at, 192 + i as i32);
                let s = k.convert(Ty::F32, s);
                let scale = k.fmul(self.d, s);
                Grid { scale, shift: Some(scaled(k, -32.0, scale)) }
            }
        }
    }
}

/// `width` bits from bit `down` up of the byte at `at + byte`.
fn bits(k: &mut Builder, at: Val, byte: usize, down: i64, width: u32) -> Val {
    let v = k.load(Mem::U8, at, byte as i32);
    let v = if down > 0 {
        let down = k.int(down);
        k.i(IntOp::Shr, v, down)
    } else {
        v
    };
    let mask = k.int((1 << width) - 1);
    k.i(IntOp::And, v, mask)
}

/// `low` with `width` more bits above its four.
fn joined(k: &mut Builder, low: Val, at: Val, byte: usize, down: i64, width: u32) -> Val {
    let high = bits(k, at, byte, down, width);
    let four = k.int(4);
    let high = k.i(IntOp::Shl, high, four);
    k.i(IntOp::Or, low, high)
}
