//! Panels of packed and mixed matrices: eight rows side by side, a lane each.
//!
//! A panel is read from its first byte to its last. For each group of columns the products are summed chunk by chunk, 64
//! columns of eight rows; then they meet the group's scales, and the zero points' part of the rows, `-s * zero * sum of x`,
//! is added. Nothing is summed across lanes.

use super::dense::memory;
use super::{Act, Bound, Input, TILE};
use crate::kir::{Acc, Builder, Elem, IntOp, Mem, Ty, Val, Var, quad_bias, quad_gain};
use crate::spec::{LINE, Prepared};
use actc_types::packed::{CHUNK, PANEL, QUAD};
use actc_types::{Encoding, Group, Mixed, Packed, Role, Zero};

/// Chains of sums that hide the latency of a sum, as many as columns of a quad.
const WAYS: usize = QUAD;

/// How far before their use codes are asked for: what a core reads from memory in the time that a line takes to come. The
/// processor's own foresight ends at pages and falls behind where codes are few bits wide.
const AHEAD: usize = 3072;

/// Weak columns whose products are written out in a round of their loop.
const WEAK_ROUND: usize = 4;

/// A panel of a matrix whose sums are being made.
struct Panel<'a> {
    bound: &'a Bound<'a>,
    packed: &'a Packed,
    prepared: Prepared,
    /// Addresses of the panel's codes, scales and zero points.
    codes: Val,
    scales: Val,
    zeros: Option<Val>,
    /// Records of the tokens.
    records: Vec<Val>,
    /// The rows' sums, one variable a token.
    sums: Vec<Var>,
}

/// How the groups of a matrix lie on its chunks.
enum Grouping {
    /// One group for a row.
    Whole,
    /// Groups of this many chunks.
    Chunks(usize),
    /// Groups of this many columns, cut at runs of the second number, of which a chunk has several.
    Runs(usize, usize),
}

impl Bound<'_> {
    /// The packed body of the matrix, if it has one, and its weak columns.
    fn body(&self) -> Option<(&Packed, Option<&Mixed>)> {
        match &self.mat.encoding {
            Encoding::Packed(p) => Some((p, None)),
            Encoding::Mixed(m) => Some((&m.body, Some(m))),
            Encoding::Dense | Encoding::Block(_) => None,
        }
    }

    /// Computes the rows of panel `panel`, of which `rows` count, and gives `write` their sums with bias, a lane value a
    /// token. The matrix is packed or mixed.
    pub(super) fn panel(&self, k: &mut Builder, panel: Val, rows: usize, write: impl FnOnce(&mut Builder, &[Val])) {
        let (Some((packed, mixed)), Input::Prepared(prepared)) =
            (self.body(), self.mat.input(self.cols as u32, self.act))
        else {
            panic!("panels are of packed matrices, which read prepared inputs");
        };
        let cols = prepared.cols as usize;
        let start = |k: &mut Builder, role: Role, bytes: usize| {
            let at = k.imul_n(panel, bytes as i64);
            k.iadd(self.part(role), at)
        };
        let codes = start(k, Role::Codes, packed.panel_bytes(cols));
        let scales = start(k, Role::Scales, packed.scale_panel_bytes(cols));
        let zeros = (packed.zero != Zero::Symmetric).then(|| start(k, Role::Zeros, packed.zero_panel_bytes(cols)));
        for (addr, bytes) in [(Some(scales), packed.scale_panel_bytes(cols)), (zeros, packed.zero_panel_bytes(cols))] {
            let Some(addr) = addr else { continue };
            let next = panels_ahead(packed, cols) * bytes;
            (0..bytes).step_by(LINE).for_each(|line| k.prefetch(addr, (next + line) as i32));
        }
        let mixed = mixed.filter(|m| m.cols > 0);
        let weak = mixed.map(|m| {
            let count = self.weak.unwrap_or_else(|| k.int(i64::from(m.cols)));
            let index = k.i(IntOp::Mul, panel, count);
            let at = k.imul_n(index, (PANEL * m.weak.size()) as i64);
            (m, k.iadd(self.part(Role::Weak), at), count)
        });
        let bias = self.bias.map(|bias| {
            let bytes = k.imul_n(panel, 4 * PANEL as i64);
            k.iadd(bias, bytes)
        });
        let records = self.inputs(k);
        k.lane_n(rows, |k| {
            let zero = k.float(0.0);
            let sums: Vec<Var> = records.iter().map(|_| k.partial(Elem::F32, 1, zero)).collect();
            let p = Panel { bound: self, packed, prepared, codes, scales, zeros, records, sums };
            p.groups(k);
            if let Some((mixed, weak, count)) = weak {
                p.weak(k, mixed, weak, count);
            }
            let bias = bias.map(|bias| k.load_lane(Mem::F32, bias, 0));
            let sums: Vec<Val> = p
                .sums
                .iter()
                .map(|sum| {
                    let sum = k.get(*sum);
                    bias.map_or(sum, |bias| k.fadd(sum, bias))
                })
                .collect();
            write(k, &sums);
        });
    }
}

/// How many panels ahead lies what is asked for.
fn panels_ahead(packed: &Packed, cols: usize) -> usize {
    AHEAD.div_ceil(packed.panel_bytes(cols))
}

impl Bound<'_> {
    /// Asks for the first codes of panel `panel`, which a part begins with: of the later ones the panels before ask.
    pub(super) fn ask_first(&self, k: &mut Builder, panel: Val) {
        let Some((packed, mixed)) = self.body() else { return };
        let bytes = packed.panel_bytes(mixed.map_or(self.cols, |m| m.body_cols(self.cols)));
        let at = k.imul_n(panel, bytes as i64);
        let codes = k.iadd(self.part(Role::Codes), at);
        let (from, to) = (k.int(0), k.int(AHEAD as i64));
        k.seq(from, to, LINE as i64, |k, line| {
            let at = k.iadd(codes, line);
            k.prefetch(at, 0);
        });
    }
}

impl Panel<'_> {
    fn int8(&self) -> bool {
        self.bound.act == Act::Int8
    }

    fn grouping(&self) -> Grouping {
        let cols = self.prepared.cols as usize;
        match self.packed.group {
            Group::Columns(n) if (n as usize) < cols => {
                let width = n as usize;
                if width.is_multiple_of(CHUNK) {
                    Grouping::Chunks(width / CHUNK)
                } else {
                    Grouping::Runs(width, 1 << width.trailing_zeros().min(CHUNK.trailing_zeros()))
                }
            }
            Group::Channel | Group::Columns(_) => Grouping::Whole,
        }
    }

    fn groups(&self, k: &mut Builder) {
        let chunks = self.prepared.chunks();
        let (from, last) = (k.int(0), k.int(chunks as i64));
        match self.grouping() {
            Grouping::Whole => {
                let sums = self.chunks(k, from, last);
                self.close(k, from, &sums);
            }
            Grouping::Chunks(1) => k.seq(from, last, 1, |k, chunk| {
                let sums = self.fresh(k);
                self.run(k, chunk, 0, CHUNK, &sums);
                self.close_run(k, chunk, chunk, &sums);
            }),
            Grouping::Chunks(n) => {
                let groups = k.int(chunks.div_ceil(n) as i64);
                k.seq(from, groups, 1, |k, group| {
                    let first = k.imul_n(group, n as i64);
                    let end = k.iadd_n(first, n as i64);
                    let end = if chunks.is_multiple_of(n) { end } else { k.i(IntOp::Min, end, last) };
                    let sums = self.chunks(k, first, end);
                    self.close(k, group, &sums);
                });
            }
            Grouping::Runs(width, run) => {
                let cols = self.prepared.cols as usize;
                let (whole, rest) = (cols / CHUNK, cols % CHUNK);
                let whole_end = k.int(whole as i64);
                k.seq(from, whole_end, 1, |k, chunk| self.runs(k, chunk, width, run, CHUNK / run));
                // Runs behind the last column have no group.
                if rest > 0 {
                    self.runs(k, whole_end, width, run, rest.div_ceil(run));
                }
            }
        }
    }

    /// The first `count` runs of `run` columns of a chunk, each in one group of `width` columns.
    fn runs(&self, k: &mut Builder, chunk: Val, width: usize, run: usize, count: usize) {
        let column = k.imul_n(chunk, CHUNK as i64);
        for first in (0..count).map(|i| i * run) {
            let sums = self.fresh(k);
            self.run(k, chunk, first, run, &sums);
            let column = k.iadd_n(column, first as i64);
            let group = k.idiv_n(column, width as i64);
            self.scale(k, chunk, group, &sums);
            // The sums of inputs are whole groups': their part is added with a group's first run.
            let inside = k.irem_n(column, width as i64);
            let one = k.int(1);
            k.if_less(inside, one, |k| {
                let scale = self.scales(k, group);
                self.zero_part(k, group, scale);
            });
        }
    }

    /// Fresh sums of codes times inputs, for each token its chains.
    fn fresh(&self, k: &mut Builder) -> Vec<Vec<Var>> {
        if self.int8() {
            let zero = k.int(0);
            return self.records.iter().map(|_| vec![k.partial(Elem::I32, self.ways() as u8, zero)]).collect();
        }
        self.float_chains(k)
    }

    /// Chains of sums that each token has.
    fn ways(&self) -> usize {
        (2 * WAYS / self.records.len()).clamp(1, WAYS)
    }

    /// Fresh sums of floats, for each token its chains.
    fn float_chains(&self, k: &mut Builder) -> Vec<Vec<Var>> {
        let zero = k.float(0.0);
        self.records.iter().map(|_| (0..self.ways()).map(|_| k.partial(Elem::F32, 1, zero)).collect()).collect()
    }

    /// Adds the codes of columns `first..first + n` of chunk `chunk` times their inputs.
    fn run(&self, k: &mut Builder, chunk: Val, first: usize, n: usize, into: &[Vec<Var>]) {
        let bytes = k.imul_n(chunk, self.packed.chunk_bytes() as i64);
        let codes = k.iadd(self.codes, bytes);
        // Eight tokens on a code are arithmetic enough that memory keeps up.
        if first == 0 && self.records.len() < TILE {
            (0..self.packed.chunk_bytes()).step_by(LINE).for_each(|at| k.prefetch(codes, (AHEAD + at) as i32));
        }
        let (size, at) = if self.int8() { (1, self.prepared.q_at()) } else { (4, 0) };
        let bytes = k.imul_n(chunk, (size * CHUNK) as i64);
        let inputs: Vec<Val> = self.records.iter().map(|x| k.iadd(*x, bytes)).collect();
        if self.int8() {
            // Quads that share bytes of the planes follow each other.
            let half = CHUNK / QUAD / 2;
            let mut quads: Vec<usize> = (first / QUAD..(first + n) / QUAD).collect();
            quads.sort_by_key(|quad| (quad % half, quad / half));
            for quad in quads {
                let code = k.quad(self.packed.bits, codes, 0, quad as u8);
                for (input, into) in inputs.iter().zip(into) {
                    let q = k.four(*input, (at + quad * QUAD) as i32);
                    k.acc(into[0], Acc::Quad(code, q));
                }
            }
        } else if n < CHUNK {
            (first / QUAD..(first + n) / QUAD).for_each(|quad| self.quad(k, codes, &inputs, quad, into));
        } else {
            // Quads lie alike at every place of the narrowest plane: a loop over its places keeps the code small.
            let narrowest = self.packed.planes().last().expect("a code has a plane");
            let places = narrowest.stride() / (PANEL * QUAD);
            let (from, to) = (k.int(0), k.int(places as i64));
            k.seq(from, to, 1, |k, place| {
                let bytes = k.imul_n(place, (PANEL * QUAD) as i64);
                let codes = k.iadd(codes, bytes);
                let bytes = k.imul_n(place, 4 * QUAD as i64);
                let inputs: Vec<Val> = inputs.iter().map(|x| k.iadd(*x, bytes)).collect();
                (0..CHUNK / QUAD).step_by(places).for_each(|quad| self.quad(k, codes, &inputs, quad, into));
            });
        }
    }

    /// Adds the codes of a quad times their f32 inputs.
    fn quad(&self, k: &mut Builder, codes: Val, inputs: &[Val], quad: usize, into: &[Vec<Var>]) {
        let code = k.quad(self.packed.bits, codes, 0, quad as u8);
        for n in 0..QUAD {
            let w = k.quad_float(code, n as u8);
            for (input, into) in inputs.iter().zip(into) {
                let x = k.load(Mem::F32, *input, 4 * (quad * QUAD + n) as i32);
                k.acc(into[n % into.len()], Acc::Dot(w, x));
            }
        }
    }

    /// The scales of the rounded inputs of `chunk`, one a token.
    fn input_scales(&self, k: &mut Builder, chunk: Val) -> Vec<Val> {
        let four = k.imul_n(chunk, 4);
        let load = |record: &Val| {
            let at = k.iadd(*record, four);
            k.load(Mem::F32, at, self.prepared.a_at() as i32)
        };
        self.records.iter().map(load).collect()
    }

    /// Sums of codes times inputs over chunks `from..to`, in floats.
    fn chunks(&self, k: &mut Builder, from: Val, to: Val) -> Vec<Vec<Var>> {
        if !self.int8() {
            let sums = self.fresh(k);
            k.seq(from, to, 1, |k, chunk| self.run(k, chunk, 0, CHUNK, &sums));
            return sums;
        }
        let zero = k.float(0.0);
        let sums: Vec<Vec<Var>> = self.records.iter().map(|_| vec![k.partial(Elem::F32, 1, zero)]).collect();
        k.seq(from, to, 1, |k, chunk| {
            let integers = self.fresh(k);
            self.run(k, chunk, 0, CHUNK, &integers);
            let scales = self.input_scales(k, chunk);
            for ((sum, integer), scale) in sums.iter().zip(&integers).zip(scales) {
                let n = k.get(integer[0]);
                let x = k.convert(Ty::Lane(Elem::F32), n);
                k.acc(sum[0], Acc::Dot(x, scale));
            }
        });
        sums
    }

    fn total(k: &mut Builder, chains: &[Var]) -> Val {
        let values: Vec<Val> = chains.iter().map(|v| k.get(*v)).collect();
        values.into_iter().reduce(|a, b| k.fadd(a, b)).expect("a sum has a chain")
    }

    /// The scales of the rows in group `group`.
    fn scales(&self, k: &mut Builder, group: Val) -> Val {
        let bytes = k.imul_n(group, (PANEL * self.packed.scale.size()) as i64);
        let at = k.iadd(self.scales, bytes);
        k.load_lane(memory(self.packed.scale), at, 0)
    }

    /// Adds a group whose sums are floats, and its zero points' part.
    fn close(&self, k: &mut Builder, group: Val, sums: &[Vec<Var>]) {
        let scale = self.scales(k, group);
        self.add_floats(k, scale, sums);
        self.zero_part(k, group, scale);
    }

    /// Adds a group that is one chunk, and its zero points' part.
    fn close_run(&self, k: &mut Builder, chunk: Val, group: Val, sums: &[Vec<Var>]) {
        let scale = self.scale(k, chunk, group, sums);
        self.zero_part(k, group, scale);
    }

    /// Adds a run of a group without its zero points' part; gives the group's scales.
    fn scale(&self, k: &mut Builder, chunk: Val, group: Val, sums: &[Vec<Var>]) -> Val {
        let scale = self.scales(k, group);
        if self.int8() {
            self.add_integers(k, chunk, scale, sums);
        } else {
            self.add_floats(k, scale, sums);
        }
        scale
    }

    fn add_floats(&self, k: &mut Builder, scale: Val, sums: &[Vec<Var>]) {
        let gained = self.gained(k, scale);
        for (sum, chains) in self.sums.iter().zip(sums) {
            let x = Self::total(k, chains);
            k.acc(*sum, Acc::Dot(x, gained));
        }
    }

    fn add_integers(&self, k: &mut Builder, chunk: Val, scale: Val, sums: &[Vec<Var>]) {
        let inputs = self.input_scales(k, chunk);
        for ((sum, integer), input) in self.sums.iter().zip(sums).zip(inputs) {
            let n = k.get(integer[0]);
            let x = k.convert(Ty::Lane(Elem::F32), n);
            let scale = k.fmul(scale, input);
            k.acc(*sum, Acc::Dot(x, scale));
        }
    }

    /// Scales with the gain of the dot's form.
    fn gained(&self, k: &mut Builder, scale: Val) -> Val {
        if self.int8() {
            return scale;
        }
        let gain = k.float(quad_gain(self.packed.bits));
        k.fmul(scale, gain)
    }

    /// Adds `-s (zero + bias) * sum of x` of a group, or `(minimum - s bias) * sum of x`.
    fn zero_part(&self, k: &mut Builder, group: Val, scale: Val) {
        let bias = if self.int8() { 0.0 } else { quad_bias(self.packed.bits) };
        let factor = match self.zeros {
            None => {
                let middle = k.float(-bias - f32::from(1u16 << (self.packed.bits - 1)));
                k.fmul(scale, middle)
            }
            Some(stored) => {
                let bytes = k.imul_n(group, self.packed.zero_group_bytes() as i64);
                let at = k.iadd(stored, bytes);
                match self.packed.zero {
                    Zero::Minimum => {
                        let minimum = k.load_lane(memory(self.packed.scale), at, 0);
                        let bias = k.float(-bias);
                        let lifted = k.fmul(scale, bias);
                        k.fadd(lifted, minimum)
                    }
                    Zero::Packed | Zero::Symmetric => {
                        let mem = if self.packed.bits <= 4 { Mem::U4 } else { Mem::U8 };
                        let zero = k.load_lane(mem, at, 0);
                        let bias = k.float(-bias);
                        let zero = k.fsub(bias, zero);
                        k.fmul(scale, zero)
                    }
                }
            }
        };
        let four = k.imul_n(group, 4);
        for (sum, record) in self.sums.iter().zip(&self.records) {
            let at = k.iadd(*record, four);
            let x = k.load(Mem::F32, at, self.prepared.sums_at() as i32);
            k.acc(*sum, Acc::Dot(factor, x));
        }
    }

    /// Adds `count` weak columns, in chains of their own: they are few, and what waits for the sum before it takes longer than
    /// what reads them.
    fn weak(&self, k: &mut Builder, mixed: &Mixed, weak: Val, count: Val) {
        let chains = self.float_chains(k);
        let bytes = PANEL * mixed.weak.size();
        let ahead = panels_ahead(self.packed, self.prepared.cols as usize) * bytes;
        let ahead = k.imul_n(count, ahead as i64);
        let some = |k: &mut Builder, first: Val, n: usize| {
            let at = k.imul_n(first, bytes as i64);
            let weak = k.iadd(weak, at);
            let next = k.iadd(weak, ahead);
            (0..n * bytes).step_by(LINE).for_each(|line| k.prefetch(next, line as i32));
            let four = k.imul_n(first, 4);
            let inputs: Vec<Val> = self.records.iter().map(|x| k.iadd(*x, four)).collect();
            for i in 0..n {
                let w = k.load_lane(memory(mixed.weak), weak, (i * bytes) as i32);
                for (chains, input) in chains.iter().zip(&inputs) {
                    let x = k.load(Mem::F32, *input, (self.prepared.weak_at() + 4 * i) as i32);
                    k.acc(chains[i % chains.len()], Acc::Dot(w, x));
                }
            }
        };
        let (zero, mask) = (k.int(0), k.int(-(WEAK_ROUND as i64)));
        let whole = k.i(IntOp::And, count, mask);
        k.seq(zero, whole, WEAK_ROUND as i64, |k, first| some(k, first, WEAK_ROUND));
        k.seq(whole, count, 1, |k, first| some(k, first, 1));
        for (sum, chains) in self.sums.iter().zip(&chains) {
            let (old, weak) = (k.get(*sum), Self::total(k, chains));
            let new = k.fadd(old, weak);
            k.set(*sum, new);
        }
    }
}
