//! Quads: four columns of the eight rows of a panel, the unit that packed matrices are computed in.
//!
//! A lane is a row. The codes of a quad are 32 bytes, four a row, which [`actc_types::packed`] lays side by side; a field of
//! every plane is loaded, shifted and masked, and what comes out are the codes of all rows. Dots with rounded activations
//! leave a sum in each lane; for floats the codes of one column are put into the mantissa of 2.0, which saves the conversion
//! from integer, and the constant that this adds is taken out once a group ([`quad_bias`]).

use super::dot::{self, Chains, Running};
use super::legalise::{Legaliser, Lowered};
use super::vector::Out;
use super::{Dot, Elem, Fetch, Val, Var, VecOp};
use actc_types::packed::{CHUNK, PANEL, QUAD};
use actc_types::{Group, Packed};

/// Bytes of a quad, one a code.
const BYTES: usize = PANEL * QUAD;

/// Number of quads in a chunk.
const QUADS: usize = CHUNK / QUAD;

/// What [`super::Op::QuadFloat`] adds to each code.
pub fn quad_bias(bits: u8) -> f32 {
    if bits < 8 { f32::from(1u16 << bits) } else { 0.0 }
}

/// What [`super::Op::QuadFloat`] divides by.
pub fn quad_gain(bits: u8) -> f32 {
    if bits < 8 { f32::from(1u16 << bits) / 2.0 } else { 1.0 }
}

/// The codes of a quad for the rows of one vector, shifted left by `up`, one a byte. `half` counts 16 bytes: the rows from
/// the fourth on are in the second half.
fn codes(out: &mut Out, bits: u8, addr: Val, offset: i32, quad: usize, half: usize, up: u8) -> Val {
    let plane = |out: &mut Out, at: usize| {
        let offset = offset + (at + 16 * half) as i32;
        match out.fetched.get(&(addr, offset, 0)) {
            Some(v) => *v,
            None => {
                let v = out.fetch(Elem::I8, Fetch::Full, addr, offset, 16);
                out.fetched.insert((addr, offset, 0), v);
                v
            }
        }
    };
    if bits == 3 {
        // Quads i and i + 8 lie four bits apart in both planes, so that one mask serves both in each plane and both codes
        // stand in one byte.
        let i = quad % (QUADS / 2);
        let key = (addr, offset + (16 * half) as i32, 1 + i);
        let both = match out.fetched.get(&key) {
            Some(both) => *both,
            None => {
                let pairs = plane(out, i % 4 * BYTES);
                let pairs = out.shift(Elem::I16, pairs, -2 * (i as i32 / 4));
                let mask = out.bytes(0x33);
                let pairs = out.and(pairs, mask);
                let ones = plane(out, (4 + i % 2) * BYTES);
                let ones = out.shift(Elem::I16, ones, 2 - i as i32 / 2);
                let mask = out.bytes(0x44);
                let ones = out.and(ones, mask);
                let both = out.or(pairs, ones);
                out.fetched.insert(key, both);
                both
            }
        };
        let down = if quad == i { 0 } else { 4 };
        let v = out.shift(Elem::I16, both, i32::from(up) - down);
        let mask = out.bytes(7 << up);
        return out.and(v, mask);
    }
    let fields = Packed::new(bits, Group::Channel).planes().map(|p| {
        let first = quad * BYTES;
        let v = plane(out, p.offset + first % p.stride());
        if p.width == 8 {
            return v;
        }
        let (down, to) = ((first / p.stride()) as u8 * p.width, p.shift + up);
        let v = out.shift(Elem::I16, v, i32::from(to) - i32::from(down));
        let mask = out.bytes((((1u16 << p.width) - 1) << to) as u8);
        out.and(v, mask)
    });
    let fields: Vec<Val> = fields.collect();
    fields.into_iter().reduce(|a, b| out.or(a, b)).expect("a code has a plane")
}

/// How a dot sums codes of `bits` bits, of which `ways` chains are wanted. Where dots take any byte, codes stay where they
/// stand in their bytes, as far as there are chains for it: that saves their shift, and the sums are shifted instead.
fn chains(dot: Dot, bits: u8, quad: usize, ways: u8) -> Chains {
    let places = match (dot, bits) {
        (Dot::MixedQuads, 1 | 2 | 4) => ways.min(8 / bits),
        (Dot::MixedQuads, 3) => ways.min(2),
        (Dot::MixedQuads | Dot::Quads | Dot::Pairs, _) => 1,
    };
    Chains { ways: usize::from(ways / places), up: (quad * usize::from(places) / QUADS) as u8 * (8 / places) }
}

impl Legaliser<'_> {
    /// For each vector of rows the codes of a quad, shifted left by `up`.
    fn quad_codes(&mut self, code: Val, up: u8) -> Vec<Val> {
        let key = (code, false, up.into());
        if let Some(vectors) = self.decoded.get(&key) {
            return vectors.clone();
        }
        let Lowered::Quad { bits, addr, offset, quad } = self.values[&code] else { panic!("{code} is no quad") };
        let halves = usize::from(self.out.halves);
        let vectors: Vec<Val> =
            (0..2 / halves).map(|half| codes(&mut self.out, bits, addr, offset, quad.into(), half, up)).collect();
        self.decoded.insert(key, vectors.clone());
        vectors
    }

    /// The codes of column `n` of a quad as floats `(code + bias) / gain`.
    pub(super) fn quad_floats(&mut self, code: Val, n: u8) -> Vec<Val> {
        let Lowered::Quad { bits, .. } = self.values[&code] else { panic!("{code} is no quad") };
        // At the top of seven bits.
        let vectors = self.quad_codes(code, if bits < 8 { 7 - bits } else { 0 });
        let out = &mut self.out;
        let float = |v: Val| {
            let words = out.bits(Elem::I32, v);
            if bits == 8 {
                let v = out.shift(Elem::I32, words, -8 * i32::from(n));
                let mask = out.ints(0xff);
                let v = out.and(v, mask);
                return out.to_float(v);
            }
            let v = out.shift(Elem::I32, words, 16 - 8 * i32::from(n));
            let (mask, two) = (out.ints(0x007f_0000), out.ints(0x4000_0000));
            let v = out.and(v, mask);
            let v = out.or(v, two);
            out.bits(Elem::F32, v)
        };
        vectors.into_iter().map(float).collect()
    }

    /// Adds the products of a quad and four activations to the running sums of `var`.
    pub(super) fn quad_dot(&mut self, var: Var, code: Val, q: Val) {
        let Lowered::Quad { bits, quad, .. } = self.values[&code] else { panic!("{code} is no quad") };
        let q = self.pieces(q, 1)[0];
        let (targets, ways) = (self.vectors(var).to_vec(), self.source.vars[var.0 as usize].ways);
        let chains = chains(self.out.isa.dot, bits, quad.into(), ways);
        for (codes, target) in self.quad_codes(code, chains.up).into_iter().zip(targets) {
            let codes = dot::nibbles(&mut self.out, bits, codes);
            let at = self.running_of(target);
            let running = std::mem::replace(&mut self.running[at].1, Running::empty());
            let (running, closed) = running.add(&mut self.out, bits, &codes, q, chains);
            self.running[at].1 = running;
            if let Some(sum) = closed {
                self.add_integers(target, sum);
            }
        }
    }
}

impl Out {
    /// Four bytes at an address in every lane of 32 bits.
    pub(super) fn same4(&mut self, elem: Elem, addr: Val, offset: i32) -> Val {
        self.fetch(elem, Fetch::Same4, addr, offset, 0)
    }

    /// The nibbles of four rows, in 16 bits a half, as floats; `offset` is that of the lower half.
    pub(super) fn nibbles_of_rows(&mut self, addr: Val, offset: i32) -> Val {
        let v = self.same4(Elem::I32, addr, offset);
        let v = if self.halves == 2 { self.v(self.ty(v), VecOp::ShrEach(v, [0, 0, 16, 16])) } else { v };
        let mask = self.pattern(Elem::I32, words([0xf, 0xf0, 0xf00, 0xf000]));
        let v = self.and(v, mask);
        let v = self.to_float(v);
        let scale = self.pattern(Elem::F32, words([1.0f32, 0.0625, 0.003_906_25, 0.000_244_140_625].map(f32::to_bits)));
        self.mul(v, scale)
    }
}

fn words(words: [u32; 4]) -> [u8; 16] {
    std::array::from_fn(|i| words[i / 4].to_le_bytes()[i % 4])
}
