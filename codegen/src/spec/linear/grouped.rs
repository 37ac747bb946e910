//! Rows of packed and mixed matrices: codes in bit planes, a scale and a zero point for each group of columns.
//!
//! Groups are taken 16 at a time: their scales are made floats and kept on the stack, and the zero points' part of the
//! row, `-s * zero * sum of x`, is summed for all 16 side by side. Then the chunks of codes follow, 64 columns each. A
//! whole number of groups makes a whole number of chunks there, because groups are multiples of 16 columns.

use super::dense::memory;
use super::{Act, Bound, Input, source, ways};
use crate::kir::{Acc, Builder, Elem, FloatOp, IntOp, Mem, Ty, Val, Var};
use crate::spec::Prepared;
use actc_types::packed::CHUNK;
use actc_types::{DType, Group, Mixed, Packed, Role, Zero};

/// Groups whose scales are made floats together.
const BATCH: usize = 16;

/// The largest f32 scale. What stands behind a row's last one may be anything and is multiplied by zero, so it must be
/// finite, also times gain and zero point.
const LARGEST: f32 = 1e30;

struct Row<'a> {
    bound: &'a Bound<'a>,
    packed: &'a Packed,
    prepared: Prepared,
    codes: Vec<Val>,
    scales: Vec<Val>,
    zeros: Vec<Val>,
    /// Records of the tokens.
    records: Vec<Val>,
    /// The row's sums `[row][token]`.
    sums: Vec<Vec<Var>>,
}

impl Bound<'_> {
    pub(super) fn grouped(
        &self,
        k: &mut Builder,
        packed: &Packed,
        mixed: Option<&Mixed>,
        row: Val,
        rows: usize,
    ) -> Vec<Vec<Val>> {
        let Input::Prepared(prepared) = self.mat.input(self.cols as u32, self.act) else {
            panic!("packed matrices read prepared inputs");
        };
        let cols = prepared.cols as usize;
        let codes = self.rows(k, Role::Codes, row, rows, packed.row_bytes(cols));
        let scales = self.rows(k, Role::Scales, row, rows, packed.scale_row_bytes(cols));
        let zeros = match packed.zero {
            Zero::Symmetric => Vec::new(),
            Zero::Packed => self.rows(k, Role::Zeros, row, rows, packed.zero_row_bytes(cols)),
        };
        let records: Vec<Val> =
            (0..self.tokens).map(|t| k.iadd_n(self.input, (t * prepared.record_bytes()) as i64)).collect();
        let zero = k.float(0.0);
        let sums: Vec<Vec<Var>> =
            (0..rows).map(|_| (0..self.tokens).map(|_| k.partial(Elem::F32, 1, zero)).collect()).collect();
        let r = Row { bound: self, packed, prepared, codes, scales, zeros, records, sums };
        let whole = match packed.group {
            Group::Columns(n) if (n as usize) < cols => {
                r.batches(k, n as usize);
                None
            }
            Group::Channel | Group::Columns(_) => Some(r.channel(k)),
        };
        if let Some(mixed) = mixed.filter(|m| m.cols > 0) {
            let bytes = mixed.cols as usize * mixed.weak.size();
            let weak = self.rows(k, Role::Weak, row, rows, bytes);
            k.lane_n(mixed.cols as usize, |k| {
                for (start, sums) in weak.iter().zip(&r.sums) {
                    let w = k.load_lane(memory(mixed.weak), *start, 0);
                    for (sum, record) in sums.iter().zip(&r.records) {
                        let x = k.load_lane(Mem::F32, *record, r.prepared.weak_at() as i32);
                        k.acc(*sum, Acc::Dot(w, x));
                    }
                }
            });
        }
        let finish = |k: &mut Builder, (row, t): (usize, usize)| {
            let sum = k.lane_sum(r.sums[row][t]);
            whole.as_ref().map_or(sum, |whole| k.fadd(whole[row][t], sum))
        };
        (0..rows).map(|row| (0..self.tokens).map(|t| finish(k, (row, t))).collect()).collect()
    }
}

impl Row<'_> {
    fn int8(&self) -> bool {
        self.bound.act == Act::Int8
    }

    fn gain(&self) -> f32 {
        if self.int8() { 1.0 } else { source(self.packed).gain() }
    }

    fn bias(&self) -> f32 {
        if self.int8() { source(self.packed).int_bias() } else { source(self.packed).bias() }
    }

    fn scale_memory(&self) -> Mem {
        memory(self.packed.scale)
    }

    /// Fresh running sums of codes times inputs, `[row][token]`.
    fn fresh(&self, k: &mut Builder) -> Vec<Vec<Var>> {
        let n = self.codes.len() * self.records.len();
        let (elem, ways, zero) =
            if self.int8() { (Elem::I32, 1, k.int(0)) } else { (Elem::F32, ways(n), k.float(0.0)) };
        (0..self.codes.len()).map(|_| (0..self.records.len()).map(|_| k.partial(elem, ways, zero)).collect()).collect()
    }

    /// Adds the codes of columns `first..first + n` of chunk `chunk` times their inputs.
    fn chunk(&self, k: &mut Builder, chunk: Val, first: usize, n: usize, into: &[Vec<Var>]) {
        let bytes = k.imul_n(chunk, self.packed.chunk_bytes() as i64);
        let (mem, size, at) = match self.bound.act {
            Act::F32 => (Mem::F32, 4, 0),
            Act::Int8 => (Mem::I8, 1, self.prepared.q_at()),
        };
        let inputs = k.imul_n(chunk, (size * CHUNK) as i64);
        let codes: Vec<Val> = self.codes.iter().map(|c| k.iadd(*c, bytes)).collect();
        let xs: Vec<Val> = self.records.iter().map(|x| k.iadd(*x, inputs)).collect();
        let at = (at + first * size) as i32;
        k.lane_n(n, |k| {
            // One token's inputs are loaded once for all rows; several would not fit the registers.
            let shared =
                (xs.len() == 1 || self.int8()).then(|| xs.iter().map(|x| k.load_lane(mem, *x, at)).collect::<Vec<_>>());
            for (code, into) in codes.iter().zip(into) {
                let w = k.code(source(self.packed), *code, 0, first as u16);
                for (t, into) in into.iter().enumerate() {
                    let x = match &shared {
                        Some(xs) => xs[t],
                        None => k.load_lane(mem, xs[t], at),
                    };
                    k.acc(*into, Acc::Dot(w, x));
                }
            }
        });
    }

    /// The chunks' scales of the rounded inputs, one a token.
    fn input_scales(&self, k: &mut Builder, chunk: Val) -> Vec<Val> {
        let four = k.imul_n(chunk, 4);
        self.records
            .iter()
            .map(|record| {
                let at = k.iadd(*record, four);
                k.load(Mem::F32, at, self.prepared.a_at() as i32)
            })
            .collect()
    }

    /// One pass over chunks `from..to`: sums of codes times inputs in floats, `[row][token]`, as partial variables.
    fn chunks(&self, k: &mut Builder, from: Val, to: Val) -> Vec<Vec<Var>> {
        let zero = k.float(0.0);
        if !self.int8() {
            let sums = self.fresh(k);
            k.seq(from, to, 1, |k, c| self.chunk(k, c, 0, CHUNK, &sums));
            return sums;
        }
        let sums: Vec<Vec<Var>> = (0..self.codes.len())
            .map(|_| (0..self.records.len()).map(|_| k.partial(Elem::F32, 1, zero)).collect())
            .collect();
        k.seq(from, to, 1, |k, c| {
            let integers = self.fresh(k);
            self.chunk(k, c, 0, CHUNK, &integers);
            let scales = self.input_scales(k, c);
            for (sums, integers) in sums.iter().zip(&integers) {
                for ((sum, integer), scale) in sums.iter().zip(integers).zip(&scales) {
                    let n = k.get(*integer);
                    let x = k.convert(Ty::Lane(Elem::F32), n);
                    k.acc(*sum, Acc::Dot(x, *scale));
                }
            }
        });
        sums
    }

    /// One group for the whole row.
    fn channel(&self, k: &mut Builder) -> Vec<Vec<Val>> {
        let mut whole = Vec::new();
        let (from, to) = (k.int(0), k.int(self.prepared.chunks() as i64));
        let inner = self.chunks(k, from, to);
        for (r, inner) in inner.iter().enumerate() {
            let scale = k.load(self.scale_memory(), self.scales[r], 0);
            let gain = k.float(self.gain());
            let gain = k.fmul(scale, gain);
            let zero = match self.packed.zero {
                Zero::Symmetric => k.float(f32::from(1u16 << (self.packed.bits - 1))),
                Zero::Packed => {
                    let z = k.load(Mem::U8, self.zeros[r], 0);
                    let z = if self.packed.bits <= 4 {
                        let mask = k.int(15);
                        k.i(IntOp::And, z, mask)
                    } else {
                        z
                    };
                    k.convert(Ty::F32, z)
                }
            };
            let bias = k.float(-self.bias());
            let zero = k.fsub(bias, zero);
            let zero = k.fmul(scale, zero);
            let mut row = Vec::new();
            for (t, inner) in inner.iter().enumerate() {
                let sum = k.lane_sum(*inner);
                let inputs = k.load(Mem::F32, self.records[t], self.prepared.sums_at() as i32);
                let y = k.fmul(zero, inputs);
                row.push(k.muladd(sum, gain, y));
            }
            whole.push(row);
        }
        whole
    }

    fn batches(&self, k: &mut Builder, width: usize) {
        let rows = self.codes.len();
        let groups = self.prepared.groups();
        // Where a group is a chunk, a scale has met the scale of its rounded inputs already.
        let joined = self.int8() && width == CHUNK;
        let floats = k.stack((4 * BATCH * rows * if joined { self.records.len() } else { 1 }) as u32);
        let (from, to) = (k.int(0), k.int(groups as i64));
        let chunks = k.int(self.prepared.chunks() as i64);
        k.seq(from, to, BATCH as i64, |k, batch| {
            self.scales_and_zeros(k, batch, floats, joined);
            let end = k.iadd_n(batch, BATCH as i64);
            if width.is_multiple_of(CHUNK) {
                let end = k.i(IntOp::Min, end, to);
                k.seq(batch, end, 1, |k, group| {
                    let first = k.imul_n(group, (width / CHUNK) as i64);
                    let last = k.iadd_n(first, (width / CHUNK) as i64);
                    let local = k.i(IntOp::Sub, group, batch);
                    if joined {
                        self.joined_run(k, first, local, floats);
                        return;
                    }
                    if width == CHUNK {
                        self.runs(k, first, |_, _| local, floats, CHUNK);
                        return;
                    }
                    let last = k.i(IntOp::Min, last, chunks);
                    let inner = self.chunks(k, first, last);
                    let scales = self.group_scales(k, floats, local);
                    for (r, inner) in inner.iter().enumerate() {
                        for (t, inner) in inner.iter().enumerate() {
                            let x = k.get(*inner);
                            self.add_ways(k, r, t, x, scales[r]);
                        }
                    }
                });
                return;
            }
            // BATCH * width / 64 chunks, from the batch's first column on.
            let first = k.imul_n(batch, width as i64);
            let start = k.idiv_n(first, CHUNK as i64);
            let last = k.iadd_n(start, (BATCH * width / CHUNK) as i64);
            let last = k.i(IntOp::Min, last, chunks);
            k.seq(start, last, 1, |k, chunk| {
                let column = k.imul_n(chunk, CHUNK as i64);
                let column = k.i(IntOp::Sub, column, first);
                let run = 1 << (width.trailing_zeros().min(CHUNK.trailing_zeros()));
                let local = |k: &mut Builder, at: usize| {
                    let column = k.iadd_n(column, at as i64);
                    k.idiv_n(column, width as i64)
                };
                self.runs(k, chunk, local, floats, run);
            });
        });
    }

    /// A chunk that is a group, by scales that have met those of the rounded inputs.
    fn joined_run(&self, k: &mut Builder, chunk: Val, local: Val, floats: Val) {
        let inner = self.fresh(k);
        self.chunk(k, chunk, 0, CHUNK, &inner);
        let four = k.imul_n(local, 4);
        let at = k.iadd(floats, four);
        for (r, inner) in inner.iter().enumerate() {
            for (t, inner) in inner.iter().enumerate() {
                let x = k.get(*inner);
                let x = k.convert(Ty::Lane(Elem::F32), x);
                let scale = k.load(Mem::F32, at, self.joined_at(r, t));
                k.acc(self.sums[r][t], Acc::Dot(x, scale));
            }
        }
    }

    /// Where the scales of a batch times those of the rounded inputs start.
    fn joined_at(&self, row: usize, token: usize) -> i32 {
        (4 * BATCH * (row * self.records.len() + token)) as i32
    }

    /// The runs of one chunk, each in one group; `local` says which of the batch.
    fn runs(&self, k: &mut Builder, chunk: Val, local: impl Fn(&mut Builder, usize) -> Val, floats: Val, run: usize) {
        let inputs = if self.int8() { self.input_scales(k, chunk) } else { Vec::new() };
        for first in (0..CHUNK).step_by(run) {
            let inner = self.fresh(k);
            self.chunk(k, chunk, first, run, &inner);
            let local = local(k, first);
            let scales = self.group_scales(k, floats, local);
            for (r, inner) in inner.iter().enumerate() {
                for (t, inner) in inner.iter().enumerate() {
                    let x = k.get(*inner);
                    if self.int8() {
                        let x = k.convert(Ty::Lane(Elem::F32), x);
                        let scale = k.fmul(scales[r], inputs[t]);
                        k.acc(self.sums[r][t], Acc::Dot(x, scale));
                    } else {
                        self.add_ways(k, r, t, x, scales[r]);
                    }
                }
            }
        }
    }

    fn add_ways(&self, k: &mut Builder, r: usize, t: usize, x: Val, scale: Val) {
        k.acc(self.sums[r][t], Acc::Dot(x, scale));
    }

    /// The scales of group `local` of the batch, one a row.
    fn group_scales(&self, k: &mut Builder, floats: Val, local: Val) -> Vec<Val> {
        let four = k.imul_n(local, 4);
        let at = k.iadd(floats, four);
        (0..self.codes.len()).map(|r| k.load(Mem::F32, at, (4 * BATCH * r) as i32)).collect()
    }

    /// Scales of a batch to the stack, with the gain of the dot's form, and times those of the rounded inputs where they
    /// are `joined`; the zero points' part to the sums.
    fn scales_and_zeros(&self, k: &mut Builder, batch: Val, floats: Val, joined: bool) {
        let gain = k.float(self.gain());
        let bias = k.float(-self.bias());
        let middle = k.float(-self.bias() - f32::from(1u16 << (self.packed.bits - 1)));
        let largest = k.float(LARGEST);
        let scale_at = k.imul_n(batch, self.packed.scale.size() as i64);
        let four = k.imul_n(batch, 4);
        let zero_at = if self.packed.bits <= 4 { k.idiv_n(batch, 2) } else { batch };
        for r in 0..self.codes.len() {
            let scales = k.iadd(self.scales[r], scale_at);
            let zeros = self.zeros.get(r).map(|z| k.iadd(*z, zero_at));
            let inputs: Vec<Val> = self.records.iter().map(|x| k.iadd(*x, four)).collect();
            k.lane_n(BATCH, |k| {
                let s = k.load_lane(self.scale_memory(), scales, 0);
                let s = if self.packed.scale == DType::F32 { k.f(FloatOp::Min, s, largest) } else { s };
                if joined {
                    for (t, inputs) in inputs.iter().enumerate() {
                        let a = k.load_lane(Mem::F32, *inputs, self.prepared.a_at() as i32);
                        let a = k.fmul(s, a);
                        k.store_lane(Mem::F32, a, floats, self.joined_at(r, t));
                    }
                } else {
                    let gained = k.fmul(s, gain);
                    k.store_lane(Mem::F32, gained, floats, (4 * BATCH * r) as i32);
                }
                let zero = match zeros {
                    None => k.fmul(s, middle),
                    Some(zeros) => {
                        let mem = if self.packed.bits <= 4 { Mem::U4 } else { Mem::U8 };
                        let z = k.load_lane(mem, zeros, 0);
                        let z = k.fsub(bias, z);
                        k.fmul(s, z)
                    }
                };
                for (t, sums) in inputs.iter().enumerate() {
                    let x = k.load_lane(Mem::F32, *sums, self.prepared.sums_at() as i32);
                    k.acc(self.sums[r][t], Acc::Dot(zero, x));
                }
            });
        }
    }
}
