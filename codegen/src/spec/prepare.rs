//! `prepare`: inputs of quantised matrices, made once for all matrices that share weak columns and groups.
//!
//! Each set has a buffer of one record a token. A record holds, each part on a multiple of 64 bytes:
//!
//! ```text
//! x       f32[cols rounded up to 64]        inputs, weak columns and padding zero; rounded inputs if act is int8
//! q       i8[the same]                      int8 only: rounded inputs
//! a       f32[chunks of 64, up to 16]       int8 only: x = q * a
//! sums    f32[groups, up to 16]             sums of x over each group of columns; padding zero
//! weak    f32[weak columns, up to 16]       inputs of the weak columns
//! ```
//!
//! Rounding: weak inputs are left out first; then `a = absmax / 127` over 64 columns and `q = round(x * (127 / absmax))`,
//! ties to even. An absmax below 1e-30 counts as 1e-30.

use super::linear::Act;
use super::{Buffer, BufferRole};
use crate::kir::{Acc, Builder, Elem, FloatOp, Fun, IntOp, Mem, Val};
use actc_types::packed::CHUNK;
use actc_types::{DType, Diagnostic, Group, Result};
use std::fmt;

/// Prepares the inputs `[tokens, cols]` for several sets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prepare {
    /// Columns of the input.
    pub cols: u32,
    /// What is made.
    pub sets: Vec<Prepared>,
}

/// What a prepared input holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prepared {
    /// Columns of the low-bit body.
    pub cols: u32,
    /// Whether inputs are rounded.
    pub act: Act,
    /// Groups whose sums are wanted.
    pub sums: Option<Group>,
    /// Which columns are weak.
    pub weak: WeakSet,
}

/// Which columns are weak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WeakSet {
    /// None.
    None,
    /// Those that an index names; their number is given at run time.
    Scattered,
    /// The last columns.
    Suffix(u32),
}

fn lines(bytes: usize) -> usize {
    bytes.next_multiple_of(64)
}

impl Prepared {
    /// Columns with padding.
    pub fn padded(&self) -> usize {
        (self.cols as usize).next_multiple_of(CHUNK)
    }

    /// Chunks of 64 columns.
    pub fn chunks(&self) -> usize {
        self.padded() / CHUNK
    }

    /// Number of sums.
    pub fn groups(&self) -> usize {
        self.sums.map_or(0, |g| g.count(self.cols as usize))
    }

    /// Offset of the rounded inputs in a record.
    pub fn q_at(&self) -> usize {
        4 * self.padded()
    }

    /// Offset of the chunks' scales in a record.
    pub fn a_at(&self) -> usize {
        match self.act {
            Act::F32 => self.q_at(),
            Act::Int8 => self.q_at() + self.padded(),
        }
    }

    /// Offset of the sums in a record.
    pub fn sums_at(&self) -> usize {
        match self.act {
            Act::F32 => self.a_at(),
            Act::Int8 => self.a_at() + lines(4 * self.chunks()),
        }
    }

    /// Offset of the weak inputs in a record.
    pub fn weak_at(&self) -> usize {
        self.sums_at() + lines(4 * self.groups())
    }

    /// Bytes of the record of a token; `scattered` is the number of weak columns that an index names.
    pub fn record_bytes(&self, scattered: usize) -> usize {
        let weak = match self.weak {
            WeakSet::None => 0,
            WeakSet::Scattered => scattered,
            WeakSet::Suffix(n) => n as usize,
        };
        self.weak_at() + lines(4 * weak)
    }

    /// The same, in a kernel.
    pub(super) fn record(&self, k: &mut Builder, scattered: Option<Val>) -> Val {
        let Some(count) = scattered else { return k.int(self.record_bytes(0) as i64) };
        let bytes = k.imul_n(count, 4);
        let up = k.iadd_n(bytes, 63);
        let mask = k.int(-64);
        let padded = k.i(IntOp::And, up, mask);
        k.iadd_n(padded, self.weak_at() as i64)
    }
}

impl fmt::Display for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{cols={}, act={}", self.cols, self.act)?;
        if let Some(group) = self.sums {
            write!(f, ", sums={group}")?;
        }
        match self.weak {
            WeakSet::None => {}
            WeakSet::Scattered => f.write_str(", scattered")?,
            WeakSet::Suffix(n) => write!(f, ", suffix={n}")?,
        }
        f.write_str("}")
    }
}

impl fmt::Display for Prepare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prepare cols={}", self.cols)?;
        self.sets.iter().try_for_each(|s| write!(f, " {s}"))
    }
}

impl Prepare {
    pub(super) fn check(&self) -> Result<()> {
        for set in &self.sets {
            let covered = match set.weak {
                WeakSet::None | WeakSet::Scattered => set.cols,
                WeakSet::Suffix(n) => set.cols.saturating_add(n),
            };
            if covered != self.cols || self.cols == 0 {
                return Err(Diagnostic::new("kernel-shape", format!("set {set} does not cover {} columns", self.cols)));
            }
        }
        match self.sets.len() {
            1..=16 => Ok(()),
            n => Err(Diagnostic::new("kernel-shape", format!("prepare takes 1 to 16 sets, not {n}"))),
        }
    }

    /// The number of tokens; for each set with scattered weak columns their number.
    pub(super) fn dims(&self) -> Vec<String> {
        let scattered = self.sets.iter().enumerate().filter(|(_, set)| set.weak == WeakSet::Scattered);
        std::iter::once("tokens".to_owned()).chain(scattered.map(|(i, _)| format!("weak{i}"))).collect()
    }

    /// `x f32[tokens, cols]`; for each set its weak index (scattered only) and its records.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers = vec![Buffer::read(BufferRole::Input(0), DType::F32)];
        for (i, set) in self.sets.iter().enumerate() {
            if set.weak == WeakSet::Scattered {
                buffers.push(Buffer::read(BufferRole::WeakIndex(i as u8), DType::I32));
            }
            buffers.push(Buffer { access: super::Access::ReadWrite, ..Buffer::write(BufferRole::Prepared(i as u8)) });
        }
        buffers
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let tokens = k.dim(0);
        let x = k.buffer(0);
        let (mut next, mut dims) = (1, 1);
        for set in &self.sets {
            let weak = (set.weak == WeakSet::Scattered).then(|| {
                next += 1;
                dims += 1;
                (k.buffer(next - 1), k.dim(dims - 1))
            });
            let bytes = set.record(k, weak.map(|(_, count)| count));
            let records = k.buffer(next);
            next += 1;
            k.grid(0, tokens, tokens, |k, t| {
                let input = k.imul_n(t, 4 * i64::from(self.cols));
                let input = k.iadd(x, input);
                let record = k.i(IntOp::Mul, t, bytes);
                let record = k.iadd(records, record);
                set.token(k, input, weak, record);
            });
        }
    }
}

/// Stores zeros from `offset` to the next multiple of 64 bytes.
fn pad(k: &mut Builder, addr: Val, offset: usize) {
    let floats = (lines(offset) - offset) / 4;
    if floats > 0 {
        let zero = k.float(0.0);
        k.lane_n(floats, |k| k.store_lane(Mem::F32, zero, addr, offset as i32));
    }
}

impl Prepared {
    fn token(&self, k: &mut Builder, input: Val, weak: Option<(Val, Val)>, record: Val) {
        let cols = self.cols as usize;
        k.lane_n(cols, |k| {
            let x = k.load_lane(Mem::F32, input, 0);
            k.store_lane(Mem::F32, x, record, 0);
        });
        // Columns are padded to 64, which is four times what `pad` rounds to.
        let zero = k.float(0.0);
        k.lane_n(self.padded() - cols, |k| k.store_lane(Mem::F32, zero, record, 4 * cols as i32));
        self.take_weak_out(k, input, weak, record);
        if self.act == Act::Int8 {
            self.round(k, record);
        }
        if let Some(group) = self.sums {
            self.sum(k, group, record);
        }
    }

    fn take_weak_out(&self, k: &mut Builder, input: Val, weak: Option<(Val, Val)>, record: Val) {
        let at = self.weak_at() as i32;
        match (self.weak, weak) {
            (WeakSet::Scattered, Some((index, to))) => {
                let from = k.int(0);
                let zero = k.float(0.0);
                k.seq(from, to, 1, |k, j| {
                    let four = k.imul_n(j, 4);
                    let entry = k.iadd(index, four);
                    let column = k.load(Mem::U32, entry, 0);
                    let bytes = k.imul_n(column, 4);
                    let source = k.iadd(input, bytes);
                    let x = k.load(Mem::F32, source, 0);
                    let slot = k.iadd(record, four);
                    k.store(Mem::F32, x, slot, at);
                    let slot = k.iadd(record, bytes);
                    k.store(Mem::F32, zero, slot, 0);
                });
            }
            (WeakSet::Suffix(n), _) => k.lane_n(n as usize, |k| {
                let x = k.load_lane(Mem::F32, input, 4 * self.cols as i32);
                k.store_lane(Mem::F32, x, record, at);
            }),
            (WeakSet::None | WeakSet::Scattered, _) => {}
        }
    }

    fn round(&self, k: &mut Builder, record: Val) {
        let (from, to) = (k.int(0), k.int(self.chunks() as i64));
        let (zero, least, most) = (k.float(0.0), k.float(1e-30), k.float(127.0));
        k.seq(from, to, 1, |k, c| {
            let bytes = k.imul_n(c, 4 * CHUNK as i64);
            let x = k.iadd(record, bytes);
            let peak = k.partial(Elem::F32, 4, zero);
            k.lane_n(CHUNK, |k| {
                let x = k.load_lane(Mem::F32, x, 0);
                let size = k.fun(Fun::Abs, x);
                k.acc(peak, Acc::Max(size));
            });
            let peak = k.lane_max(peak);
            let peak = k.f(FloatOp::Max, peak, least);
            let a = k.fdiv(peak, most);
            let inverse = k.fdiv(most, peak);
            let four = k.imul_n(c, 4);
            let slot = k.iadd(record, four);
            k.store(Mem::F32, a, slot, self.a_at() as i32);
            let bytes = k.imul_n(c, CHUNK as i64);
            let q = k.iadd(record, bytes);
            k.lane_n(CHUNK, |k| {
                let v = k.load_lane(Mem::F32, x, 0);
                let v = k.fmul(v, inverse);
                let v = k.fun(Fun::Nearest, v);
                k.store_lane(Mem::I8, v, q, self.q_at() as i32);
                let v = k.fmul(v, a);
                k.store_lane(Mem::F32, v, x, 0);
            });
        });
        pad(k, record, self.a_at() + 4 * self.chunks());
    }

    fn sum(&self, k: &mut Builder, group: Group, record: Val) {
        let cols = self.cols as usize;
        let width = group.width(cols);
        let whole = cols / width;
        let one = |k: &mut Builder, addr: Val, offset: usize, n: usize| {
            let zero = k.float(0.0);
            let sum = k.partial(Elem::F32, 4, zero);
            k.lane_n(n, |k| {
                let x = k.load_lane(Mem::F32, addr, offset as i32);
                k.acc(sum, Acc::Sum(x));
            });
            k.lane_sum(sum)
        };
        let (from, to) = (k.int(0), k.int(whole as i64));
        k.seq(from, to, 1, |k, g| {
            let bytes = k.imul_n(g, 4 * width as i64);
            let x = k.iadd(record, bytes);
            let sum = one(k, x, 0, width);
            let four = k.imul_n(g, 4);
            let slot = k.i(IntOp::Add, record, four);
            k.store(Mem::F32, sum, slot, self.sums_at() as i32);
        });
        if whole * width < cols {
            let sum = one(k, record, 4 * whole * width, cols - whole * width);
            k.store(Mem::F32, sum, record, (self.sums_at() + 4 * whole) as i32);
        }
        pad(k, record, self.sums_at() + 4 * self.groups());
    }
}
