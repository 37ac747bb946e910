//! Where the bits of GGUF's codes lie, for every format, and their decoding to vectors of bytes.
//!
//! A format says for each run of 16 columns which fields make up their codes; all of them keep 16 neighbouring columns in
//! 16 neighbouring bytes (or in 2 bytes of single bits). Decoding is then a load, a shift and a mask for each field.

use super::vector::Out;
use super::{Elem, Fetch, Val, VecOp};
use actc_types::BlockFormat;
use std::fmt;

/// The GGUF format that a code is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeSource(pub BlockFormat);

/// Bits of the codes of 16 columns.
#[derive(Clone, Copy)]
enum Field {
    /// In byte i: `width` bits from bit `down` up, which are bits `up..` of code i.
    Bytes { at: usize, down: u8, width: u8, up: u8 },
    /// Bit i of two bytes is bit `up` of code i.
    Sixteenth { at: usize, up: u8 },
}

impl fmt::Display for CodeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl CodeSource {
    /// Bits of a code.
    pub fn bits(self) -> u8 {
        self.0.bits()
    }

    /// Whether codes are signed bytes.
    pub fn signed(self) -> bool {
        self.0 == BlockFormat::Q8_0
    }

    /// What a dot of codes and floats adds to each code: codes up to 7 bits become floats by standing in the mantissa
    /// of 2, which gives `2 + code / gain`.
    pub fn bias(self) -> f32 {
        if self.bits() < 8 { f32::from(1u16 << self.bits()) } else { 0.0 }
    }

    /// What a dot of codes and floats must be multiplied by: it sums `(code + bias) * x / gain`.
    pub fn gain(self) -> f32 {
        match self.bits() {
            8 if self.signed() => 1.0 / 16_777_216.0,
            8 => 1.0,
            bits => f32::from(1u16 << bits) / 2.0,
        }
    }

    /// What a dot of codes and rounded activations adds to each code: signed codes are made unsigned.
    pub fn int_bias(self) -> f32 {
        if self.signed() { 128.0 } else { 0.0 }
    }

    /// The fields of columns `first..first + 16`.
    fn fields(self, first: usize) -> Vec<Field> {
        let nibbles = |at| Field::Bytes { at: at + first % 16, down: (first / 16 * 4) as u8, width: 4, up: 0 };
        let (run, sub) = (first / 16, first / 32);
        let (h, k, side) = (run / 8, run % 8 / 2, run % 2);
        match self {
            CodeSource(format) => match format {
                BlockFormat::Q8_0 => vec![Field::Bytes { at: 2 + first, down: 0, width: 8, up: 0 }],
                BlockFormat::Q4_0 => vec![nibbles(2)],
                BlockFormat::Q4_1 => vec![nibbles(4)],
                BlockFormat::Q5_0 => vec![nibbles(6), Field::Sixteenth { at: 2 + first / 8, up: 4 }],
                BlockFormat::Q5_1 => vec![nibbles(8), Field::Sixteenth { at: 4 + first / 8, up: 4 }],
                BlockFormat::Q2K => {
                    vec![Field::Bytes { at: 16 + h * 32 + side * 16, down: 2 * k as u8, width: 2, up: 0 }]
                }
                BlockFormat::Q3K => vec![
                    Field::Bytes { at: 32 + h * 32 + side * 16, down: 2 * k as u8, width: 2, up: 0 },
                    Field::Bytes { at: side * 16, down: (h * 4 + k) as u8, width: 1, up: 2 },
                ],
                BlockFormat::Q4K => {
                    let at = 16 + sub / 2 * 32 + first % 32;
                    vec![Field::Bytes { at, down: 4 * (sub % 2) as u8, width: 4, up: 0 }]
                }
                BlockFormat::Q5K => {
                    let at = 48 + sub / 2 * 32 + first % 32;
                    vec![
                        Field::Bytes { at, down: 4 * (sub % 2) as u8, width: 4, up: 0 },
                        Field::Bytes { at: 16 + first % 32, down: sub as u8, width: 1, up: 4 },
                    ]
                }
                BlockFormat::Q6K => {
                    let (h, k) = (sub / 4, sub % 4);
                    let low = h * 64 + (k % 2) * 32 + first % 32;
                    let high = 128 + h * 32 + first % 32;
                    vec![
                        Field::Bytes { at: low, down: 4 * (k / 2) as u8, width: 4, up: 0 },
                        Field::Bytes { at: high, down: 2 * k as u8, width: 2, up: 4 },
                    ]
                }
            },
        }
    }

    /// Sixteen codes a half shifted left by `up`, one a byte. `up` and the bits of a code do not exceed a byte. The upper
    /// half holds the 16 columns behind those of the lower one.
    pub(super) fn decode(self, out: &mut Out, addr: Val, offset: i32, first: usize, up: u8) -> Val {
        let low = self.fields(first);
        let high = if out.halves == 2 { self.fields(first + 16) } else { self.fields(first) };
        let parts: Vec<Val> = low.iter().zip(&high).map(|(a, b)| a.decode(b, out, addr, offset, up)).collect();
        parts.into_iter().reduce(|a, b| out.or(a, b)).expect("every layout has a field")
    }
}

impl Field {
    /// This field's bits, and those of `upper`, the same field of the columns of the upper half, if there is one.
    fn decode(&self, upper: &Field, out: &mut Out, addr: Val, offset: i32, more: u8) -> Val {
        match (*self, *upper) {
            (Field::Bytes { at, down, width, up }, Field::Bytes { at: upper_at, down: upper_down, .. }) => {
                let v = out.fetch(Elem::I8, Fetch::Full, addr, offset + at as i32, upper_at as i32 - at as i32);
                if width == 8 {
                    return v;
                }
                let to = up + more;
                // Bits that cross into a neighbouring byte are masked.
                let least = down.min(upper_down);
                let v = if down == upper_down {
                    v
                } else {
                    let (low, high) = (down - least, upper_down - least);
                    out.v(out.ty(v), VecOp::ShrEach(v, [low, low, high, high]))
                };
                let v = out.shift(Elem::I16, v, i32::from(to) - i32::from(least));
                let mask = out.bytes((((1u16 << width) - 1) << to) as u8);
                out.and(v, mask)
            }
            (Field::Sixteenth { at, up }, Field::Sixteenth { at: upper_at, .. }) => {
                let v = out.fetch(Elem::I8, Fetch::Low2, addr, offset + at as i32, upper_at as i32 - at as i32);
                let v = out.shuffle(v, v, std::array::from_fn(|i| (i / 8) as u8));
                spread(out, v, std::array::from_fn(|i| 1 << (i % 8)), up + more)
            }
            (Field::Bytes { .. } | Field::Sixteenth { .. }, _) => {
                unreachable!("a layout has the same fields everywhere")
            }
        }
    }
}

/// Bit `to` set in the bytes of `v` that have the bit of `pick`.
fn spread(out: &mut Out, v: Val, pick: [u8; 16], to: u8) -> Val {
    let pick = out.pattern(Elem::I8, pick);
    let v = out.and(v, pick);
    let v = out.v(out.ty(v), VecOp::Equal(v, pick));
    let bit = out.bytes(1 << to);
    out.and(v, bit)
}
