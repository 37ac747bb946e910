//! Blocks of products of 16-bit integers, exact modulo 2^32: an unsafe room.
//!
//! Neighbouring products come in [pairs](Pair): an element of such a matrix is two integers, and the product of two elements the
//! sum of two products, for which processors have one instruction. Differences of 8-bit integers fit, whatever their signs.
#![expect(unsafe_code, reason = "reads at offsets that are checked once for all, code for features found at run time")]

use super::product::{Block, Factor, LANES, Level};

/// Two neighbouring factors.
pub(crate) type Pair = [i16; 2];

/// The sums of a row of a block.
type Sums = [i32; LANES];

/// `sums` and the products of `x` with the elements of `row`.
fn add(mut sums: Sums, x: Pair, row: [Pair; LANES]) -> Sums {
    for (sum, y) in sums.iter_mut().zip(row) {
        let products = [0, 1].map(|i| i32::from(x[i]) * i32::from(y[i]));
        *sum = sum.wrapping_add(products[0].wrapping_add(products[1]));
    }
    sums
}

/// # Safety
///
/// See [`super::product`]: `a` is the address of `R` rows of `offsets.len()` elements, `stride` from row to row, or with
/// `COLUMNS` from column to column. [`LANES`] elements can be read at every one of `offsets` from `b`.
#[inline(always)]
unsafe fn tile<const R: usize, const COLUMNS: bool>(
    a: *const Pair,
    stride: usize,
    b: *const Pair,
    offsets: &[usize],
    out: &mut Block<Pair>,
    add: impl Fn(Sums, Pair, [Pair; LANES]) -> Sums,
) {
    let mut all = [[0; LANES]; R];
    for (k, offset) in offsets.iter().enumerate() {
        // SAFETY: by the contract of this function.
        let row: [Pair; LANES] = unsafe { b.add(*offset).cast::<[Pair; LANES]>().read_unaligned() };
        for (r, sums) in all.iter_mut().enumerate() {
            let at = if COLUMNS { k * stride + r } else { r * stride + k };
            // SAFETY: by the contract of this function.
            let x = unsafe { a.add(at).read() };
            *sums = add(*sums, x, row);
        }
    }
    out[..R].copy_from_slice(&all);
}

macro_rules! level {
    ($name:ident, $rows:literal, [$($n:literal)*], $add:expr $(, $features:literal)?) => {
        mod $name {
            use super::{Block, Level, Pair, tile};

            /// # Safety
            ///
            /// See [`tile`]; the processor has the features.
            $(#[target_feature(enable = $features)])?
            unsafe fn block<const R: usize, const COLUMNS: bool>(
                a: *const Pair,
                stride: usize,
                b: *const Pair,
                offsets: &[usize],
                out: &mut Block<Pair>,
            ) {
                // SAFETY: by the contract of this function.
                unsafe { tile::<R, COLUMNS>(a, stride, b, offsets, out, $add) };
            }

            // Half a strip takes as many instructions.
            pub(super) static LEVEL: Level<Pair> = Level {
                rows: $rows,
                plain: [$(block::<$n, false>),*],
                halves: [$(block::<$n, false>),*],
                transposed: [$(block::<$n, true>),*],
            };
        }
    };
}
#[cfg(target_arch = "x86_64")]
level!(
    wide,
    12,
    [1 2 3 4 5 6 7 8 9 10 11 12],
    |sums, x, row| {
        use std::{arch::x86_64::{__m512i, _mm512_add_epi32, _mm512_madd_epi16, _mm512_set1_epi32}, mem::transmute};
        let x = _mm512_set1_epi32(bytemuck::cast(x));
        // Vectors are the integers that they hold.
        let (sums, row) = (transmute::<[i32; 16], __m512i>(sums), transmute::<[Pair; 16], __m512i>(row));
        transmute::<__m512i, [i32; 16]>(_mm512_add_epi32(sums, _mm512_madd_epi16(row, x)))
    },
    "avx512f,avx512bw,avx512vl,avx2"
);
#[cfg(target_arch = "x86_64")]
level!(
    narrow,
    6,
    [1 2 3 4 5 6 6 6 6 6 6 6],
    |sums, x, row| {
        use std::{arch::x86_64::{__m256i, _mm256_add_epi32, _mm256_madd_epi16, _mm256_set1_epi32}, mem::transmute};
        let x = _mm256_set1_epi32(bytemuck::cast(x));
        let [low, high] = transmute::<[i32; 16], [__m256i; 2]>(sums);
        let [first, second] = transmute::<[Pair; 16], [__m256i; 2]>(row);
        transmute::<[__m256i; 2], [i32; 16]>([
            _mm256_add_epi32(low, _mm256_madd_epi16(first, x)),
            _mm256_add_epi32(high, _mm256_madd_epi16(second, x)),
        ])
    },
    "avx2"
);
level!(plain, 2, [1 2 2 2 2 2 2 2 2 2 2 2], super::add);

impl Factor for Pair {
    type Sum = i32;

    fn level() -> &'static Level<Pair> {
        #[cfg(target_arch = "x86_64")]
        {
            let has = |wide: bool| wide && std::is_x86_feature_detected!("avx2");
            if has(std::is_x86_feature_detected!("avx512bw") && std::is_x86_feature_detected!("avx512vl")) {
                return &wide::LEVEL;
            }
            if has(true) {
                return &narrow::LEVEL;
            }
        }
        &plain::LEVEL
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cpu::product::MOST;

    /// The blocks of the levels that this machine has give the same integers, those whose sums wrap included.
    #[test]
    fn levels_are_exact() {
        let (rows, depth) = (MOST, 301);
        let numbers = |n: usize, seed: usize| -> Vec<Pair> {
            let number = |i: usize| ((i * 7919 + seed) % 1021) as i16 * 64 + i16::MIN;
            (0..n).map(|i| [number(2 * i), number(2 * i + 1)]).collect()
        };
        let (mut a, mut b) = (numbers(rows * depth, 1), numbers(depth * LANES, 2));
        // The one pair of products whose sum 31 bits do not hold.
        (a[0], b[0]) = ([i16::MIN; 2], [i16::MIN; 2]);
        let offsets: Vec<usize> = (0..depth).map(|k| k * LANES).collect();
        let mut levels = vec![Pair::level(), &plain::LEVEL];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            levels.push(&narrow::LEVEL);
        }
        for level in levels {
            for n in 1..=level.rows {
                for (tiles, down, across) in [(&level.plain, depth, 1), (&level.transposed, 1, rows)] {
                    let mut block = [[i32::MAX; LANES]; MOST];
                    // SAFETY: the level's features are there, and all rows lie in the vectors.
                    unsafe { tiles[n - 1](a.as_ptr(), down.max(across), b.as_ptr(), &offsets, &mut block) };
                    for (r, sums) in block[..n].iter().enumerate() {
                        for (lane, sum) in sums.iter().enumerate() {
                            let product = |k: usize| {
                                let (x, y) = (a[r * down + k * across], b[k * LANES + lane]);
                                (0..2).map(|i| i64::from(x[i]) * i64::from(y[i])).sum::<i64>()
                            };
                            assert_eq!(*sum, (0..depth).map(product).sum::<i64>() as i32, "{n} {r} {lane}");
                        }
                    }
                }
            }
        }
    }
}
