//! Dots of packed codes: the forms that legalisation chooses from. In vectors of two halves each half does the same with
//! 16 columns of its own.
//!
//! * codes x f32: a code of up to 7 bits is put into the mantissa of 2.0 by two byte shuffles, which saves the
//!   conversion from integer; the constant that this adds is taken out once a group ([`CodeSource::bias`]).
//! * codes x int8: pairs of products in 16 bits, summed in 16 bits as far as the bound allows, then in 32; or, where the
//!   machine has it, four products at once in 32 bits.

use super::vector::Out;
use super::{CodeSource, Dot, Elem, Val, VecOp};
use std::collections::{BTreeMap, VecDeque};

/// The code vectors of 16 columns a half as four vectors of floats `(code + bias) / gain`.
pub(super) fn floats(out: &mut Out, source: CodeSource, addr: Val, offset: i32, first: usize) -> Vec<Val> {
    if source.bits() < 8 {
        let codes = source.decode(out, addr, offset, first, 7 - source.bits());
        let exponent = out.bytes(0x40);
        let zero = out.pattern(Elem::I16, [0; 16]);
        let mut floats = Vec::new();
        for upper in [false, true] {
            let halves = out.interleave(codes, exponent, 1, upper);
            let halves = out.bits(Elem::I16, halves);
            for upper in [false, true] {
                let v = out.interleave(zero, halves, 2, upper);
                floats.push(out.bits(Elem::F32, v));
            }
        }
        return floats;
    }
    // Signed bytes go to the top of 32 bits, which is 2^24 times their value; unsigned ones to the bottom.
    let codes = source.decode(out, addr, offset, first, 0);
    let zero = out.bytes(0);
    let place = |out: &mut Out, v, size, upper| {
        let (a, b) = if source.signed() { (zero, v) } else { (v, zero) };
        out.interleave(a, b, size, upper)
    };
    let mut floats = Vec::new();
    for upper in [false, true] {
        let words = place(out, codes, 1, upper);
        for upper in [false, true] {
            let v = place(out, words, 2, upper);
            let v = out.bits(Elem::I32, v);
            floats.push(out.to_float(v));
        }
    }
    floats
}

/// Unsigned codes of 16 columns a half, as one vector of bytes or as the vectors of their low and high nibbles.
pub(super) fn bytes(out: &mut Out, source: CodeSource, addr: Val, offset: i32, first: usize) -> Vec<Val> {
    let mut codes = source.decode(out, addr, offset, first, 0);
    if source.signed() {
        let flip = out.bytes(0x80);
        codes = out.v(out.ty(codes), VecOp::Xor(codes, flip));
    }
    nibbles(out, source.bits(), codes)
}

/// Unsigned codes, those of 8 bits as their low and high nibbles where a dot takes no larger ones.
pub(super) fn nibbles(out: &mut Out, bits: u8, codes: Val) -> Vec<Val> {
    match out.isa.dot {
        Dot::MixedQuads => return vec![codes],
        Dot::Quads | Dot::Pairs if bits < 8 => return vec![codes],
        Dot::Quads | Dot::Pairs => {}
    }
    let nibble = out.bytes(15);
    let low = out.and(codes, nibble);
    let high = out.shift(Elem::I16, codes, -4);
    vec![low, out.and(high, nibble)]
}

/// Independent sums of quads, which hide the latency of a sum that is part of a slow instruction.
#[derive(Clone, Copy)]
pub(super) struct Chains {
    /// How many of them sum codes that stand alike in their bytes.
    pub(super) ways: usize,
    /// How many bits above the bottom of their bytes the codes of this dot stand: its sum is that much larger.
    pub(super) up: u8,
}

impl Chains {
    /// One sum, of codes at the bottom of their bytes.
    pub(super) const ONE: Chains = Chains { ways: 1, up: 0 };
}

/// Running sums of one dot: 16-bit ones of pairs with the number of products that still fit, or 32-bit ones of quads.
#[derive(Clone)]
pub(super) struct Running {
    /// Of quads several chains, of which the first of its kind is the next one's turn; of pairs one.
    chains: VecDeque<Chain>,
    room: u32,
}

/// A sum, or one for each nibble of 8-bit codes, of codes that stand `up` bits above the bottom of their bytes.
#[derive(Clone)]
struct Chain {
    up: u8,
    sums: Vec<Val>,
}

/// How many results of a pair product fit into 16 bits: codes below `2^bits`, activations of at most 127.
fn room(bits: u8) -> u32 {
    let bits = if bits == 8 { 4 } else { bits };
    32767 / (2 * ((1 << bits) - 1) * 127)
}

impl Running {
    /// The running sums behind one more product; the second value is the 32-bit sum that had to be closed for it.
    pub(super) fn add(self, out: &mut Out, bits: u8, codes: &[Val], q: Val, chains: Chains) -> (Running, Option<Val>) {
        match out.isa.dot {
            Dot::Pairs => self.add_pairs(out, bits, codes, q),
            Dot::Quads | Dot::MixedQuads => (self.add_quads(out, codes, q, chains), None),
        }
    }

    fn add_quads(mut self, out: &mut Out, codes: &[Val], q: Val, Chains { ways, up }: Chains) -> Running {
        let alike = |c: &Chain| c.up == up;
        let full = self.chains.iter().filter(|c| alike(c)).count() == ways;
        let turn = self.chains.iter().position(alike).filter(|_| full);
        let before = turn.and_then(|i| self.chains.remove(i)).map(|c| c.sums);
        let before = before.unwrap_or_else(|| vec![out.ints(0); codes.len()]);
        let quads = |(sum, c): (Val, &Val)| out.v(out.like(Elem::I32, q), VecOp::DotQuads(sum, *c, q));
        self.chains.push_back(Chain { up, sums: before.into_iter().zip(codes).map(quads).collect() });
        self
    }

    fn add_pairs(self, out: &mut Out, bits: u8, codes: &[Val], q: Val) -> (Running, Option<Val>) {
        let products: Vec<Val> = codes.iter().map(|c| out.v(out.like(Elem::I16, q), VecOp::DotPairs(*c, q))).collect();
        let running = |sums, room| Running { chains: [Chain { up: 0, sums }].into(), room };
        let Some(before) = self.chains.front() else { return (running(products, room(bits) - 1), None) };
        if self.room == 0 {
            let closed = self.close(out);
            return (running(products, room(bits) - 1), Some(closed));
        }
        let sums = before.sums.iter().zip(products).map(|(a, b)| out.v(out.ty(b), VecOp::Add(*a, b))).collect();
        (running(sums, self.room - 1), None)
    }

    /// No sum yet.
    pub(super) fn empty() -> Running {
        Running { chains: VecDeque::new(), room: 0 }
    }

    /// The sums as 32-bit integers.
    pub(super) fn close(self, out: &mut Out) -> Val {
        let wide = out.like(Elem::I32, self.chains[0].sums[0]);
        let sum = |out: &mut Out, a: Val, b: Val| out.v(wide, VecOp::Add(a, b));
        let whole = |out: &mut Out, sums: &[Val]| match *sums {
            [one] => one,
            [low, high] => {
                let high = out.v(wide, VecOp::Shl(high, 4));
                sum(out, low, high)
            }
            _ => unreachable!("a dot has one sum or two"),
        };
        let mut alike: BTreeMap<u8, Vec<Val>> = BTreeMap::new();
        for Chain { up, sums } in &self.chains {
            let sums: Vec<Val> = match out.isa.dot {
                Dot::Pairs => sums.iter().map(|s| out.v(wide, VecOp::WidenPairs(*s))).collect(),
                Dot::Quads | Dot::MixedQuads => sums.clone(),
            };
            let one = whole(out, &sums);
            alike.entry(*up).or_default().push(one);
        }
        let mut parts = Vec::new();
        for (up, mut sums) in alike {
            tree(out, &mut sums, sum);
            // Every product is a multiple of 2^up, and so is their sum.
            parts.push(if up == 0 { sums[0] } else { out.v(wide, VecOp::Sar(sums[0], up)) });
        }
        tree(out, &mut parts, sum);
        parts[0]
    }
}

/// Sums neighbours until one is left.
fn tree(out: &mut Out, parts: &mut Vec<Val>, sum: impl Fn(&mut Out, Val, Val) -> Val) {
    while parts.len() > 1 {
        *parts = parts.chunks(2).map(|c| if c.len() == 2 { sum(out, c[0], c[1]) } else { c[0] }).collect();
    }
}
