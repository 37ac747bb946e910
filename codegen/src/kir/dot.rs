//! Dots of packed codes: the forms that legalisation chooses from. In vectors of two halves each half does the same with
//! 16 columns of its own.
//!
//! * codes x f32: a code of up to 7 bits is put into the mantissa of 2.0 by two byte shuffles, which saves the
//!   conversion from integer; the constant that this adds is taken out once a group ([`CodeSource::bias`]).
//! * codes x int8: pairs of products in 16 bits, summed in 16 bits as far as the bound allows, then in 32; or, where the
//!   machine has it, four products at once in 32 bits.

use super::vector::Out;
use super::{CodeSource, Dot, Elem, Val, VecOp};
use std::collections::VecDeque;

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

/// Unsigned codes of 16 columns a half, as one vector of bytes or, for 8 bits, as the vectors of their low and high nibbles.
pub(super) fn bytes(out: &mut Out, source: CodeSource, addr: Val, offset: i32, first: usize) -> Vec<Val> {
    let mut codes = source.decode(out, addr, offset, first, 0);
    if source.signed() {
        let flip = out.bytes(0x80);
        codes = out.v(out.ty(codes), VecOp::Xor(codes, flip));
    }
    nibbles(out, source.bits(), codes)
}

/// Unsigned codes, those of 8 bits as their low and high nibbles.
pub(super) fn nibbles(out: &mut Out, bits: u8, codes: Val) -> Vec<Val> {
    if bits < 8 {
        return vec![codes];
    }
    let nibble = out.bytes(15);
    let low = out.and(codes, nibble);
    let high = out.shift(Elem::I16, codes, -4);
    vec![low, out.and(high, nibble)]
}

/// Running sums of one dot: 16-bit ones of pairs with the number of products that still fit, or 32-bit ones of quads.
#[derive(Clone)]
pub(super) struct Running {
    /// For each chain a sum, or one for each nibble of 8-bit codes. Pairs have one chain; quads, whose sum is part of a
    /// slow instruction, take the next of several in turn. The first is the next one's turn.
    chains: VecDeque<Vec<Val>>,
    room: u32,
}

/// How many results of a pair product fit into 16 bits: codes below `2^bits`, activations of at most 127.
fn room(bits: u8) -> u32 {
    let bits = if bits == 8 { 4 } else { bits };
    32767 / (2 * ((1 << bits) - 1) * 127)
}

impl Running {
    /// The running sums behind one more product, in up to `ways` chains; the second value is the 32-bit sum that had to be
    /// closed for it.
    pub(super) fn add(mut self, out: &mut Out, bits: u8, codes: &[Val], q: Val, ways: u8) -> (Running, Option<Val>) {
        if out.isa.dot == Dot::Quads {
            let zero = out.ints(0);
            let fresh = self.chains.len() < usize::from(ways);
            let before = if fresh { None } else { self.chains.pop_front() };
            let before = before.unwrap_or_else(|| vec![zero; codes.len()]);
            let quads = |(sum, c): (Val, &Val)| out.v(out.like(Elem::I32, q), VecOp::DotQuads(sum, *c, q));
            self.chains.push_back(before.into_iter().zip(codes).map(quads).collect());
            return (self, None);
        }
        let products: Vec<Val> = codes.iter().map(|c| out.v(out.like(Elem::I16, q), VecOp::DotPairs(*c, q))).collect();
        let begun = |sums| Running { chains: [sums].into(), room: room(bits) - 1 };
        let Some(before) = self.chains.front() else { return (begun(products), None) };
        if self.room == 0 {
            let closed = self.close(out);
            return (begun(products), Some(closed));
        }
        let sums = before.iter().zip(products).map(|(a, b)| out.v(out.ty(b), VecOp::Add(*a, b))).collect();
        (Running { chains: [sums].into(), room: self.room - 1 }, None)
    }

    /// No sum yet.
    pub(super) fn empty() -> Running {
        Running { chains: VecDeque::new(), room: 0 }
    }

    /// The sums as 32-bit integers.
    pub(super) fn close(self, out: &mut Out) -> Val {
        let wide = out.like(Elem::I32, self.chains[0][0]);
        let sum = |out: &mut Out, a: Val, b: Val| out.v(wide, VecOp::Add(a, b));
        let whole = |out: &mut Out, sums: &[Val]| match *sums {
            [one] => one,
            [low, high] => {
                let high = out.v(wide, VecOp::Shl(high, 4));
                sum(out, low, high)
            }
            _ => unreachable!("a dot has one sum or two"),
        };
        let mut parts: Vec<Val> = self
            .chains
            .iter()
            .map(|sums| {
                let wide: Vec<Val> = match out.isa.dot {
                    Dot::Pairs => sums.iter().map(|s| out.v(wide, VecOp::WidenPairs(*s))).collect(),
                    Dot::Quads => sums.clone(),
                };
                whole(out, &wide)
            })
            .collect();
        while parts.len() > 1 {
            parts = parts.chunks(2).map(|c| if c.len() == 2 { sum(out, c[0], c[1]) } else { c[0] }).collect();
        }
        parts[0]
    }
}
