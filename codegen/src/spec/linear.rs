//! `linear`: `y[t, r] = sum over c of W[r, c] x[t, c]` for tokens and one to four matrices in a launch.
//!
//! Dense matrices (and q8_0 with f32 activations) read the input `f32[tokens, cols]` itself; the others read what
//! [`prepare`](super::prepare) made of it. A row is computed by one part, in the order of its columns:
//!
//! `y = sum over groups of s (sum of code * x - zero * sum of x) + sum over weak columns of w x`, then bias, then epilogue.
//!
//! Weak slots of a scattered body hold the zero point's code and meet a zero input: they contribute exactly nothing.
//! Sums are f32; with int8 activations the inner sum is an exact integer within 64 columns.

use super::prepare::{Prepared, WeakSet};
use super::{Buffer, BufferRole};
use crate::kir::{Builder, Fun, IntOp, Mem, Val};
use actc_types::braced::write_fields;
use actc_types::packed::PANEL;
use actc_types::{
    BlockFormat, DType, Diagnostic, Encoding, Group, Mixed, Order, Packed, Result, Role, WeakPlace, Zero,
};
use bound::Bound;
use std::fmt;

mod block;
mod bound;
mod dense;
mod grouped;

/// Most tokens that share the codes that are decoded.
const TILE: usize = 8;

/// Precision of activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Single precision.
    F32,
    /// Eight bits for each token and 64 columns.
    Int8,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Act::F32 => "f32",
            Act::Int8 => "int8",
        })
    }
}

/// What happens to the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epilogue {
    /// They are stored, each matrix to its own output.
    None,
    /// `out = y + residual`; one matrix. The residual may be the output.
    AddResidual,
    /// `out = silu(y0) * y1`; two matrices of equal rows.
    GatedSilu,
    /// `out = gelu(y0) * y1` with the tanh form; two matrices of equal rows.
    GatedGeluTanh,
}

impl Epilogue {
    pub(super) fn name(self) -> &'static str {
        match self {
            Epilogue::None => "none",
            Epilogue::AddResidual => "add_residual",
            Epilogue::GatedSilu => "gated_silu",
            Epilogue::GatedGeluTanh => "gated_gelu_tanh",
        }
    }
}

/// One matrix of a launch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mat {
    /// Output channels.
    pub rows: u32,
    /// How it is stored.
    pub encoding: Encoding,
    /// Element type of a dense matrix.
    pub dtype: DType,
    /// Whether an f32 bias is added to each row.
    pub bias: bool,
}

/// How many tokens a launch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tokens {
    /// This many: 1 to 8, on GPUs to 16.
    Few(u8),
    /// Any number, given at run time: tiles of eight, one of four, then one by one. Packed matrices only.
    Many,
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tokens::Few(n) => n.fmt(f),
            Tokens::Many => f.write_str("many"),
        }
    }
}

/// Matrices times tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// The matrices.
    pub mats: Vec<Mat>,
    /// Input channels of all of them.
    pub cols: u32,
    /// Tokens.
    pub tokens: Tokens,
    /// Precision of activations.
    pub act: Act,
    /// What happens to the sums.
    pub epilogue: Epilogue,
}

/// What a matrix reads its input from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// `f32[tokens, cols]`.
    Raw,
    /// Records made by `prepare`.
    Prepared(Prepared),
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("linear")?;
        let fields = [
            ("cols", Some(self.cols.to_string())),
            ("tokens", Some(self.tokens.to_string())),
            ("act", Some(self.act.to_string())),
            ("epilogue", Some(self.epilogue.name().to_owned())),
        ];
        write_fields(f, &fields)?;
        for mat in &self.mats {
            write!(f, " [{} {} {}{}]", mat.rows, mat.dtype, mat.encoding, if mat.bias { " bias" } else { "" })?;
        }
        Ok(())
    }
}

fn shape(headline: String) -> Diagnostic {
    Diagnostic::new("kernel-shape", headline)
}

impl Mat {
    /// What this matrix of `cols` columns reads its input from.
    pub fn input(&self, cols: u32, act: Act) -> Input {
        let packed =
            |packed: &Packed, cols, weak| Input::Prepared(Prepared { cols, act, sums: Some(packed.group), weak });
        match &self.encoding {
            Encoding::Dense => Input::Raw,
            Encoding::Packed(p) => packed(p, cols, WeakSet::None),
            Encoding::Mixed(Mixed { cols: 0, body, .. }) => packed(body, cols, WeakSet::None),
            Encoding::Mixed(m) => match m.place {
                WeakPlace::Scattered => packed(&m.body, cols, WeakSet::Scattered),
                WeakPlace::Suffix => packed(&m.body, cols - m.cols, WeakSet::Suffix(m.cols)),
            },
            Encoding::Block(BlockFormat::Q8_0) if act == Act::F32 => Input::Raw,
            Encoding::Block(format) => {
                let sums = Some(Group::Columns(format.run() as u32));
                Input::Prepared(Prepared { cols, act, sums, weak: WeakSet::None })
            }
        }
    }

    /// Whether it has weak columns that an index names.
    pub fn scattered(&self) -> bool {
        matches!(&self.encoding, Encoding::Mixed(m) if m.cols > 0 && m.place == WeakPlace::Scattered)
    }

    /// Whether a kernel is told the number of its weak columns when it is launched: where an index names them, and on GPUs.
    pub fn counts_weak(&self) -> bool {
        self.scattered() || matches!(&self.encoding, Encoding::Mixed(m) if m.cols > 0 && m.body.order == Order::Mma16)
    }

    /// Whether it is stored, and computed, in panels of eight rows; kernels for any number of tokens are for these.
    pub fn in_panels(&self) -> bool {
        matches!(self.encoding, Encoding::Packed(_) | Encoding::Mixed(_))
    }

    fn check(&self, cols: u32, act: Act) -> Result<()> {
        let parts = self.encoding.parts(self.dtype, self.rows as usize, cols as usize)?;
        if self.rows == 0 || cols == 0 || cols > 1 << 24 {
            return Err(shape(format!("a matrix of {} rows and {cols} columns", self.rows)));
        }
        if parts.iter().any(|(_, bytes)| *bytes >= 1 << 46) {
            return Err(shape(format!("{} rows of {cols} columns are too many", self.rows)));
        }
        match (&self.encoding, self.dtype) {
            (Encoding::Dense, DType::F32 | DType::F16 | DType::Bf16) if act == Act::F32 => Ok(()),
            (Encoding::Dense, dtype) => Err(Diagnostic::new(
                "kernel-encoding",
                format!("no kernel multiplies dense {dtype} weights with {act} activations"),
            )),
            (Encoding::Mixed(m), _) if m.body_cols(cols as usize) == 0 => {
                Err(shape(format!("all {cols} columns are weak: the matrix is dense")))
            }
            (Encoding::Packed(p) | Encoding::Mixed(Mixed { body: p, .. }), _) if p.order != Order::Panels8 => {
                Err(Diagnostic::new("kernel-encoding", format!("no CPU kernel reads the order {}", p.order.name())))
            }
            (Encoding::Packed(p) | Encoding::Mixed(Mixed { body: p, .. }), _) => match p.group {
                Group::Columns(n) if n == 0 || n % 16 != 0 => Err(shape(format!("groups of {n} columns"))),
                Group::Channel | Group::Columns(_) => Ok(()),
            },
            (Encoding::Block(_), _) => Ok(()),
        }
    }

    /// The stored parts that the kernel reads; a weak index is read by `prepare`.
    pub(super) fn parts(&self) -> Vec<(Role, DType)> {
        let body = |p: &Packed| {
            let mut parts = vec![(Role::Codes, DType::U8), (Role::Scales, p.scale)];
            match p.zero {
                Zero::Symmetric => {}
                Zero::Packed => parts.push((Role::Zeros, DType::U8)),
                Zero::Minimum => parts.push((Role::Zeros, p.scale)),
            }
            parts
        };
        match &self.encoding {
            Encoding::Dense => vec![(Role::Data, self.dtype)],
            Encoding::Block(_) => vec![(Role::Data, DType::U8)],
            Encoding::Packed(p) => body(p),
            Encoding::Mixed(m) => {
                let mut parts = body(&m.body);
                if m.cols > 0 {
                    parts.push((Role::Weak, m.weak));
                }
                parts
            }
        }
    }
}

/// Independent chains of a running sum when `sums` of them run side by side: four cycles at two a cycle, in 16 registers.
fn ways(sums: usize) -> u8 {
    match sums {
        0..=2 => 4,
        3..=4 => 2,
        _ => 1,
    }
}

impl Linear {
    pub(super) fn check(&self) -> Result<()> {
        if let Tokens::Few(n) = self.tokens
            && !(1..=TILE as u8).contains(&n)
        {
            return Err(shape(format!("{n} tokens")));
        }
        self.check_shapes()?;
        if self.tokens == Tokens::Many && !self.mats.iter().all(Mat::in_panels) {
            return Err(shape("many tokens need packed matrices".into()));
        }
        self.mats.iter().try_for_each(|m| m.check(self.cols, self.act))
    }

    /// What holds of every device: how many matrices there may be, and which epilogue fits them.
    pub(super) fn check_shapes(&self) -> Result<()> {
        if !(1..=4).contains(&self.mats.len()) {
            return Err(shape(format!("{} matrices", self.mats.len())));
        }
        let rows: Vec<u32> = self.mats.iter().map(|m| m.rows).collect();
        let fits = match self.epilogue {
            Epilogue::None => true,
            Epilogue::AddResidual => rows.len() == 1,
            Epilogue::GatedSilu | Epilogue::GatedGeluTanh => rows.len() == 2 && rows[0] == rows[1],
        };
        if !fits {
            return Err(shape(format!("epilogue {} on matrices of {rows:?} rows", self.epilogue.name())));
        }
        Ok(())
    }

    /// For each matrix its parts (codes, scales, zeros, weak; or data), bias, input; then the residual; then the outputs
    /// `f32[tokens, rows]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        self.buffers_of(|mat, i| match mat.input(self.cols, self.act) {
            Input::Raw => Buffer::read(BufferRole::Input(i), DType::F32),
            Input::Prepared(_) => Buffer::read(BufferRole::Prepared(i), DType::F32),
        })
    }

    /// The same with what `input` says that each matrix reads.
    pub(super) fn buffers_of(&self, input: impl Fn(&Mat, u8) -> Buffer) -> Vec<Buffer> {
        let mut buffers = Vec::new();
        for (i, mat) in self.mats.iter().enumerate() {
            let i = i as u8;
            let parts = mat.parts();
            buffers.extend(
                parts.iter().map(|(part, elem)| Buffer::read(BufferRole::Weight { mat: i, part: *part }, *elem)),
            );
            if mat.bias {
                buffers.push(Buffer::read(BufferRole::Bias(i), DType::F32));
            }
            buffers.push(input(mat, i));
        }
        if self.epilogue == Epilogue::AddResidual {
            buffers.push(Buffer::read(BufferRole::Residual, DType::F32));
        }
        buffers.extend((0..self.outputs()).map(|i| Buffer::write(BufferRole::Output(i as u8))));
        buffers
    }

    /// The number of tokens, where it is not fixed; then for each matrix that [`Mat::counts_weak`] the number of its weak columns:
    /// layers that differ in nothing else share a kernel.
    pub(super) fn dims(&self) -> Vec<String> {
        let tokens = match self.tokens {
            Tokens::Few(_) => None,
            Tokens::Many => Some("tokens".to_owned()),
        };
        let weak = self.mats.iter().enumerate().filter(|(_, m)| m.counts_weak()).map(|(i, _)| format!("weak{i}"));
        tokens.into_iter().chain(weak).collect()
    }

    pub(super) fn outputs(&self) -> usize {
        match self.epilogue {
            Epilogue::None | Epilogue::AddResidual => self.mats.len(),
            Epilogue::GatedSilu | Epilogue::GatedGeluTanh => 1,
        }
    }

    /// Rows of matrix `i` computed side by side, where it is not computed in panels: 256-column blocks carry so much work for
    /// each input that one row at a time, a single stream of memory, is fastest; elsewhere inputs and the loop's overhead
    /// are shared by as many rows as have registers for their sums.
    fn side_by_side(&self, i: usize) -> usize {
        let tokens = match self.tokens {
            Tokens::Few(n) => usize::from(n),
            Tokens::Many => TILE,
        };
        match &self.mats[i].encoding {
            Encoding::Block(format) if format.block_len() == 256 => 1,
            Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) | Encoding::Mixed(_) => {
                (TILE / tokens).clamp(1, 4)
            }
        }
    }

    /// Rows of a unit of output `i`.
    fn unit_rows(&self, i: usize) -> usize {
        if self.gated() || self.mats[i].in_panels() { PANEL } else { self.side_by_side(i) }
    }

    pub(crate) fn gated(&self) -> bool {
        self.outputs() < self.mats.len()
    }

    /// Its sums alone: no bias, nothing done with them, each matrix to its own output.
    pub(crate) fn sums(&self) -> Linear {
        let mats = self.mats.iter().map(|m| Mat { bias: false, ..m.clone() }).collect();
        Linear { mats, epilogue: Epilogue::None, ..self.clone() }
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let mut next = 0;
        let mut take = |k: &mut Builder| {
            next += 1;
            k.buffer(next - 1)
        };
        let mut bound = Vec::new();
        let mut dims = u8::from(self.tokens == Tokens::Many);
        for mat in &self.mats {
            let parts = mat.parts().into_iter().map(|(role, _)| (role, take(k))).collect();
            let bias = mat.bias.then(|| take(k));
            let input = take(k);
            let weak = mat.scattered().then(|| {
                dims += 1;
                k.dim(dims - 1)
            });
            let record = match mat.input(self.cols, self.act) {
                Input::Raw => k.int(4 * i64::from(self.cols)),
                Input::Prepared(p) => p.record(k, weak),
            };
            bound.push(Bound {
                mat,
                cols: self.cols as usize,
                tokens: 1,
                act: self.act,
                parts,
                bias,
                input,
                record,
                weak,
            });
        }
        let residual = (self.epilogue == Epilogue::AddResidual).then(|| take(k));
        let outs: Vec<Val> = (0..self.outputs()).map(|_| take(k)).collect();
        let total: usize = (0..outs.len()).map(|i| self.units(i).iter().map(|u| u.count).sum::<usize>()).sum();
        let total = k.int(total as i64);
        let mut first = 0;
        for i in 0..outs.len() {
            for Units { count, start, .. } in self.units(i) {
                if self.mats[i].in_panels() && start == 0 {
                    let unit = k.first_unit(first as i64, count as i64, total);
                    let mats = if self.gated() { &bound[..] } else { &bound[i..=i] };
                    mats.iter().for_each(|mat| mat.ask_first(k, unit));
                }
                first += count;
            }
        }
        let mut first = 0;
        for (i, out) in outs.iter().enumerate() {
            for Units { count, rows, start } in self.units(i) {
                let counted = k.int(count as i64);
                k.grid(first as i64, counted, total, |k, unit| {
                    let row = k.imul_n(unit, rows as i64);
                    let row = k.iadd_n(row, start as i64);
                    let bytes = k.imul_n(row, 4);
                    let out = k.iadd(*out, bytes);
                    let residual = residual.map(|v| k.iadd(v, bytes));
                    self.tiles(k, &bound, i, |k, bound, bytes| {
                        let out = k.iadd(out, bytes);
                        let residual = residual.map(|v| k.iadd(v, bytes));
                        if self.gated() {
                            self.gates(k, bound, row, rows, out);
                        } else if self.mats[i].in_panels() {
                            self.panel(k, &bound[i], row, rows, residual, out);
                        } else {
                            self.rows(k, &bound[i], row, rows, residual, out);
                        }
                    });
                });
                first += count;
            }
        }
    }

    /// Runs `tile` for all tokens: with the matrices bound to the tile's inputs, and the bytes to its rows of output `i`.
    fn tiles(
        &self,
        k: &mut Builder,
        bound: &[Bound<'_>],
        i: usize,
        mut tile: impl FnMut(&mut Builder, &[Bound<'_>], Val),
    ) {
        let mut some = |k: &mut Builder, first: Val, tokens: usize| {
            let bound: Vec<Bound<'_>> = bound.iter().map(|b| b.from_token(k, first, tokens)).collect();
            let bytes = k.imul_n(first, 4 * i64::from(self.mats[i].rows));
            tile(k, &bound, bytes);
        };
        let zero = k.int(0);
        match self.tokens {
            Tokens::Few(n) => some(k, zero, n.into()),
            Tokens::Many => {
                let tokens = k.dim(0);
                let mask = k.int(-(TILE as i64));
                let whole = k.i(IntOp::And, tokens, mask);
                k.seq(zero, whole, TILE as i64, |k, first| some(k, first, TILE));
                let mask = k.int(-(TILE as i64 / 2));
                let four = k.i(IntOp::And, tokens, mask);
                k.seq(whole, four, TILE as i64 / 2, |k, first| some(k, first, TILE / 2));
                k.seq(four, tokens, 1, |k, first| some(k, first, 1));
            }
        }
    }

    /// The units of output `i`: whole ones, then what is left of its rows. Those of a panel stay together.
    fn units(&self, i: usize) -> Vec<Units> {
        let (rows, side) = (self.mats[i].rows as usize, self.unit_rows(i));
        let (blocks, rest) = (rows / side, rows % side);
        let start = blocks * side;
        let rest = if side == PANEL {
            Units { count: rest.min(1), rows: rest, start }
        } else {
            Units { count: rest, rows: 1, start }
        };
        [Units { count: blocks, rows: side, start: 0 }, rest].into_iter().filter(|u| u.count > 0).collect()
    }

    /// Up to eight rows of a packed matrix, from row `row` on.
    fn panel(&self, k: &mut Builder, mat: &Bound<'_>, row: Val, rows: usize, residual: Option<Val>, out: Val) {
        let panel = k.idiv_n(row, PANEL as i64);
        let pitch = 4 * mat.mat.rows as usize;
        mat.panel(k, panel, rows, |k, sums| {
            for (t, y) in sums.iter().enumerate() {
                let at = (t * pitch) as i32;
                let y = match residual {
                    None => *y,
                    Some(residual) => {
                        let old = k.load_lane(Mem::F32, residual, at);
                        k.fadd(*y, old)
                    }
                };
                k.store_lane(Mem::F32, y, out, at);
            }
        });
    }

    /// A few rows of a matrix that is not packed.
    fn rows(&self, k: &mut Builder, mat: &Bound<'_>, row: Val, rows: usize, residual: Option<Val>, out: Val) {
        for (r, sums) in mat.dots(k, row, rows).into_iter().enumerate() {
            for (t, y) in sums.into_iter().enumerate() {
                let at = (4 * (t * mat.mat.rows as usize + r)) as i32;
                let y = match residual {
                    None => y,
                    Some(residual) => {
                        let old = k.load(Mem::F32, residual, at);
                        k.fadd(y, old)
                    }
                };
                k.store(Mem::F32, y, out, at);
            }
        }
    }

    /// Up to eight gated rows: the sums of both matrices first, then the gates side by side, whose long chains of dependent
    /// operations would otherwise be waited for in every row.
    fn gates(&self, k: &mut Builder, mats: &[Bound<'_>], row: Val, rows: usize, out: Val) {
        let tokens = mats[0].tokens;
        let sums = k.stack((mats.len() * tokens * PANEL * 4) as u32);
        let at = |m: usize, t: usize| (4 * PANEL * (m * tokens + t)) as i32;
        for (m, mat) in mats.iter().enumerate() {
            if mat.mat.in_panels() {
                let panel = k.idiv_n(row, PANEL as i64);
                mat.panel(k, panel, rows, |k, ys| {
                    ys.iter().enumerate().for_each(|(t, y)| k.store_lane(Mem::F32, *y, sums, at(m, t)));
                });
                continue;
            }
            let side = self.side_by_side(m);
            let side = if rows.is_multiple_of(side) { side } else { 1 };
            let (from, to) = (k.int(0), k.int(rows as i64));
            k.seq(from, to, side as i64, |k, i| {
                let row = k.iadd(row, i);
                let four = k.imul_n(i, 4);
                let slot = k.iadd(sums, four);
                for (r, ys) in mat.dots(k, row, side).into_iter().enumerate() {
                    ys.into_iter().enumerate().for_each(|(t, y)| k.store(Mem::F32, y, slot, at(m, t) + 4 * r as i32));
                }
            });
        }
        for t in 0..tokens {
            k.lane_n(rows, |k| {
                let (gate, y) = (k.load_lane(Mem::F32, sums, at(0, t)), k.load_lane(Mem::F32, sums, at(1, t)));
                let gate = k.fun(self.gate(), gate);
                let y = k.fmul(gate, y);
                k.store_lane(Mem::F32, y, out, (4 * t * self.mats[0].rows as usize) as i32);
            });
        }
    }

    /// The function of the first matrix in a gated epilogue.
    fn gate(&self) -> Fun {
        if self.epilogue == Epilogue::GatedSilu { Fun::Silu } else { Fun::GeluTanh }
    }
}

/// Units of work of the same shape.
struct Units {
    count: usize,
    /// Rows of each.
    rows: usize,
    /// First row of the first.
    start: usize,
}
