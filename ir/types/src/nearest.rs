//! Numbers to the nearest of a smaller float type, ties to even, rounded once.
//!
//! A detour over a type between rounds twice, which may be off by one; here the last bit of what is between is set where
//! bits were lost, so that the second rounding sees that there were some.

use half::{bf16, f16};

/// `x` to the nearest half.
#[inline]
pub fn half(x: f64) -> f16 {
    f16::from_f32(odd(x))
}

/// `x` to the nearest brain float.
#[inline]
pub fn brain(x: f64) -> bf16 {
    bf16::from_f32(odd(x))
}

/// `x` in f32 with its last bit set where it is not exact.
#[inline]
fn odd(x: f64) -> f32 {
    let y = x as f32;
    let back = f64::from(y);
    if back == x || x.is_nan() {
        return y;
    }
    let below = y.to_bits() - u32::from(back.abs() > x.abs());
    f32::from_bits(below | 1)
}

/// `x` in f64 with its last bit set where it is not exact: what is rounded from it to a float type of fewer than 52 bits is
/// as if rounded from `x`.
#[inline]
pub fn sticky(x: i128) -> f64 {
    if (-(1 << 53)..=1 << 53).contains(&x) {
        return x as f64;
    }
    let magnitude = x.unsigned_abs();
    let lost = 128 - 53 - magnitude.leading_zeros();
    let kept = magnitude >> lost;
    let bit = u128::from(kept << lost != magnitude);
    let y = (kept | bit) as f64 * (1u128 << lost) as f64;
    if x < 0 { -y } else { y }
}
