//! Which lane holds which element of a matrix operand: one rule for all shapes m16n8kK.
//!
//! With E elements in a register of 32 bits, lane = 4 g + t and register r of A:
//!   row = g + 8 (r & 1), columns E t + 4 E (r >> 1) and the E - 1 after it;
//! of B, register r: column g, rows E t + 4 E r and the E - 1 after it;
//! of C and D, element i: row = g + 8 (i >> 1), column 2 t + (i & 1).

use crate::number::small::{E4M3, E5M2};
use crate::ty::Type;
use half::{bf16, f16};

/// Elements of the two factors: `rows` rows of A, columns of B, each along K.
pub(crate) struct Factor<T> {
    pub(crate) k: usize,
    pub(crate) values: Vec<T>,
}

/// Collects A (`rows` = 16) or B transposed (`rows` = 8) from registers, each `[lane]`.
pub(crate) fn gather<T: Copy + Default>(
    registers: &[[u64; 32]],
    bits: u32,
    rows: usize,
    k: usize,
    decode: impl Fn(u32) -> T,
) -> Factor<T> {
    let per = (32 / bits) as usize;
    let mask = u32::MAX >> (32 - bits);
    let mut values = vec![T::default(); rows * k];
    for (r, lanes) in registers.iter().enumerate() {
        for (lane, word) in lanes.iter().enumerate() {
            let (g, t) = (lane / 4, lane % 4);
            let (row, block) = if rows == 16 { (g + 8 * (r & 1), r >> 1) } else { (g, r) };
            for e in 0..per {
                let column = per * t + 4 * per * block + e;
                values[row * k + column] = decode(*word as u32 >> (bits * e as u32) & mask);
            }
        }
    }
    Factor { k, values }
}

impl<T> Factor<T> {
    pub(crate) fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.k..(row + 1) * self.k]
    }
}

/// Row and column of element `i` of the sums that a lane holds.
pub(crate) fn sum_at(lane: usize, i: usize) -> (usize, usize) {
    (lane / 4 + 8 * (i >> 1), 2 * (lane % 4) + (i & 1))
}

/// An element of a float factor.
pub(crate) fn float(ty: Type) -> Option<fn(u32) -> f64> {
    match ty {
        Type::F16 => Some(|v| f64::from(f16::from_bits(v as u16).to_f32())),
        Type::Bf16 => Some(|v| f64::from(bf16::from_bits(v as u16).to_f32())),
        // The bits below tf32's are not looked at.
        Type::Tf32 => Some(|v| f64::from(f32::from_bits(v & !0x1fff))),
        Type::E4m3 => Some(|v| E4M3.widen(u64::from(v))),
        Type::E5m2 => Some(|v| E5M2.widen(u64::from(v))),
        _ => None,
    }
}

/// An element of an integer factor.
pub(crate) fn integer(ty: Type) -> Option<fn(u32) -> i32> {
    match ty {
        Type::S8 => Some(|v| i32::from(v as u8 as i8)),
        Type::U8 => Some(|v| i32::from(v as u8)),
        Type::S4 => Some(|v| (v << 28) as i32 >> 28),
        Type::U4 => Some(|v| v as i32),
        _ => None,
    }
}
