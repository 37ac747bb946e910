//! Sums of weighted runs of memory, and of products of two, fast.
//!
//! The loops are plain code, compiled twice: as the build's baseline, and for AVX2 where the machine has it, which is why
//! this is an unsafe room. Both add the same products in the same order, so results do not depend on the machine.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "code compiled for processor features that are detected at run time")
)]

use bytemuck::Pod;
use std::ops::{Add, Mul};

/// Most runs that are added in one go.
const MOST: usize = 9;

/// Lanes of a vector, and vectors of sums of products: as many as hide the latency of an addition.
const WIDTH: usize = 8;
const VECTORS: usize = 4;

/// The sum of products of two slices of one length, in lanes that are folded by halves; its order depends on the length only.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the feature was detected.
        return unsafe { dot_avx2(a, b) };
    }
    dot_plain(a, b)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn dot_avx2(a: &[f32], b: &[f32]) -> f32 {
    dot_plain(a, b)
}

#[inline(always)]
fn dot_plain(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [[0f32; WIDTH]; VECTORS];
    let ((a, a_tail), (b, b_tail)) = (a.as_chunks(), b.as_chunks());
    for (a, b) in a.iter().zip(b) {
        add_products(&mut sums, a, b);
    }
    if !a_tail.is_empty() {
        let (mut a, mut b) = ([0.0; WIDTH * VECTORS], [0.0; WIDTH * VECTORS]);
        a[..a_tail.len()].copy_from_slice(a_tail);
        b[..b_tail.len()].copy_from_slice(b_tail);
        add_products(&mut sums, &a, &b);
    }
    let [p, q, r, s] = sums;
    let eight: [f32; WIDTH] = std::array::from_fn(|i| (p[i] + q[i]) + (r[i] + s[i]));
    let four: [f32; 4] = std::array::from_fn(|i| eight[i] + eight[i + 4]);
    (four[0] + four[2]) + (four[1] + four[3])
}

#[inline(always)]
fn add_products(sums: &mut [[f32; WIDTH]; VECTORS], a: &[f32; WIDTH * VECTORS], b: &[f32; WIDTH * VECTORS]) {
    for ((sum, a), b) in sums.iter_mut().zip(a.as_chunks::<WIDTH>().0).zip(b.as_chunks::<WIDTH>().0) {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
}

/// Numbers that convolutions add up.
pub(crate) trait Real: Pod + Send + Sync + Add<Output = Self> + Mul<Output = Self> {
    /// Adds to `sums` for each weight that times the run of `rows` which begins at its offset.
    fn weigh(sums: &mut [Self], rows: &[Self], offsets: &[usize], weights: &[Self]);
}

impl Real for f32 {
    fn weigh(sums: &mut [f32], rows: &[f32], offsets: &[usize], weights: &[f32]) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the feature was detected.
            return unsafe { weigh_avx2(sums, rows, offsets, weights) };
        }
        weigh(sums, rows, offsets, weights);
    }
}

impl Real for f64 {
    fn weigh(sums: &mut [f64], rows: &[f64], offsets: &[usize], weights: &[f64]) {
        weigh(sums, rows, offsets, weights);
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn weigh_avx2(sums: &mut [f32], rows: &[f32], offsets: &[usize], weights: &[f32]) {
    weigh(sums, rows, offsets, weights);
}

#[inline(always)]
fn weigh<T: Real>(sums: &mut [T], rows: &[T], offsets: &[usize], weights: &[T]) {
    for (offsets, weights) in offsets.chunks(MOST).zip(weights.chunks(MOST)) {
        match weights.len() {
            1 => run::<1, T>(sums, rows, offsets, weights),
            2 => run::<2, T>(sums, rows, offsets, weights),
            3 => run::<3, T>(sums, rows, offsets, weights),
            4 => run::<4, T>(sums, rows, offsets, weights),
            5 => run::<5, T>(sums, rows, offsets, weights),
            6 => run::<6, T>(sums, rows, offsets, weights),
            7 => run::<7, T>(sums, rows, offsets, weights),
            8 => run::<8, T>(sums, rows, offsets, weights),
            _ => run::<MOST, T>(sums, rows, offsets, weights),
        }
    }
}

#[inline(always)]
fn run<const N: usize, T: Real>(sums: &mut [T], rows: &[T], offsets: &[usize], weights: &[T]) {
    let n = sums.len();
    let (Some(offsets), Some(weights)) = (offsets.first_chunk::<N>(), weights.first_chunk::<N>()) else { return };
    let runs: [&[T]; N] = offsets.map(|at| &rows[at..][..n]);
    for (i, sum) in sums.iter_mut().enumerate() {
        let mut s = *sum;
        for k in 0..N {
            s = s + weights[k] * runs[k][i];
        }
        *sum = s;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_builds_of_sums_of_products_agree() {
        for n in 0..70 {
            let a: Vec<f32> = (0..n).map(|i| (i * 37 % 19) as f32 * 0.37 - 3.0).collect();
            let b: Vec<f32> = (0..n).map(|i| (i * 29 % 23) as f32 * 0.21 - 2.0).collect();
            assert_eq!(dot(&a, &b), dot_plain(&a, &b));
            let wanted: f64 = a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            // Fewer than 2^7 products below 2^4, each rounding below 2^-24 of a sum below 2^11.
            assert!((f64::from(dot(&a, &b)) - wanted).abs() < 128.0 * 2048.0 / f64::from(1 << 24));
        }
    }

    #[test]
    fn all_counts_of_runs_and_both_builds_agree() {
        let rows: Vec<f32> = (0..64).map(|i| (i * 37 % 19) as f32 * 0.37 - 3.0).collect();
        for taps in 0..23 {
            let offsets: Vec<usize> = (0..taps).map(|k| k * 7 % 40).collect();
            let weights: Vec<f32> = (0..taps).map(|k| 0.3 * k as f32 - 1.1).collect();
            let (mut fast, mut plain) = (vec![0.5; 21], vec![0.5; 21]);
            f32::weigh(&mut fast, &rows, &offsets, &weights);
            weigh(&mut plain, &rows, &offsets, &weights);
            assert_eq!(fast, plain);
            for (i, sum) in plain.iter().enumerate() {
                let wanted = offsets.iter().zip(&weights).fold(0.5, |s, (at, w)| s + w * rows[at + i]);
                assert_eq!(*sum, wanted);
            }
        }
    }
}
