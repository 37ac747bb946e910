//! The error norm of the grid search: sums of `|e|^2.4`, eight elements at a time.
//!
//! `|e|^2.4 = e^2 * 2^(0.2 * log2(e^2))`, with a series for the logarithm and one for the power of two, both good to
//! about 2e-7 relative. The same operations run in the same order on every x86 level (no fused multiply-add), so the
//! result does not depend on the machine.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "calls the AVX2 build of one safe function after checking for AVX2")
)]

use super::grid::Grid;

const LANES: usize = 8;
/// Vectors summed in f32 before the lanes go to f64.
const RUN: usize = 32;
/// Adding and subtracting it rounds to the nearest even integer, for magnitudes below 2^22.
const ROUND: f32 = 12_582_912.0;
const LIMIT: f32 = 2_097_152.0;

/// `|e|^2.4` from `e^2`.
#[inline(always)]
fn power(e2: f32) -> f32 {
    let bits = e2.to_bits() as i32;
    // The exponent that leaves a mantissa within [sqrt(1/2), sqrt(2)).
    let exponent = (bits - 0x3f35_04f3) >> 23;
    let mantissa = f32::from_bits((bits - (exponent << 23)) as u32);
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let z2 = z * z;
    let series = 1.0 + z2 * (1.0 / 3.0 + z2 * (0.2 + z2 * (1.0 / 7.0)));
    let log2 = exponent as f32 + z * series * (2.0 * std::f32::consts::LOG2_E);
    let y = 0.2 * log2;
    let shifted = y + ROUND;
    let whole = shifted - ROUND;
    let t = (y - whole) * std::f32::consts::LN_2;
    let exp = 1.0 + t * (1.0 + t * (0.5 + t * (1.0 / 6.0 + t * (1.0 / 24.0 + t * (1.0 / 120.0 + t * (1.0 / 720.0))))));
    // The low bits of `shifted` hold the integer.
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    e2 * exp * scale
}

/// The nearest integer to `v` (halves to even), at most 2^21 in magnitude: beyond every code.
#[inline(always)]
pub(super) fn nearest(v: f32) -> f32 {
    (v.clamp(-LIMIT, LIMIT) + ROUND) - ROUND
}

#[inline(always)]
fn element(x: f32, scale: f32, low: f32, high: f32) -> f32 {
    let e = scale * nearest(x / scale).max(low).min(high) - x;
    power(e * e)
}

#[inline(always)]
fn sum_body(xs: &[f32], scale: f32, low: f32, high: f32, limit: f64) -> f64 {
    let mut total = 0.0f64;
    for run in xs.chunks(RUN * LANES) {
        let (vectors, rest) = run.as_chunks::<LANES>();
        let mut lanes = [0.0f32; LANES];
        for v in vectors {
            for (lane, x) in lanes.iter_mut().zip(v) {
                *lane += element(*x, scale, low, high);
            }
        }
        for (lane, x) in lanes.iter_mut().zip(rest) {
            *lane += element(*x, scale, low, high);
        }
        total += lanes.iter().map(|l| f64::from(*l)).sum::<f64>();
        if total > limit {
            break;
        }
    }
    total
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn sum_avx2(xs: &[f32], scale: f32, low: f32, high: f32, limit: f64) -> f64 {
    sum_body(xs, scale, low, high, limit)
}

/// `sum |grid(x) - x|^2.4` over `xs`; any value above `limit` once the partial sum exceeds it.
pub(super) fn error_sum(xs: &[f32], grid: Grid, levels: u32, limit: f64) -> f64 {
    let low = -f32::from(grid.zero);
    let high = (levels - 1) as f32 + low;
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the function needs AVX2 and nothing else, and the line above saw it.
        return unsafe { sum_avx2(xs, grid.scale, low, high, limit) };
    }
    sum_body(xs, grid.scale, low, high, limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_follows_the_library_over_the_whole_range() {
        assert_eq!(power(0.0), 0.0);
        let mut e = 1e-12f32;
        while e < 1e12 {
            let want = f64::from(e).powf(2.4);
            let got = f64::from(power(e * e));
            assert!((got / want - 1.0).abs() < 1e-6, "{e}: {got} against {want}");
            e *= 1.0173;
        }
    }

    #[test]
    fn nearest_rounds_halves_to_even() {
        for (v, want) in [(0.5, 0.0), (1.5, 2.0), (-0.5, 0.0), (-2.5, -2.0), (2.4999, 2.0), (1e30, LIMIT)] {
            assert_eq!(nearest(v), want, "{v}");
        }
    }
}
