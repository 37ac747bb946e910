//! Products of matrices in blocks that stay in registers, and the blocks of f32: an unsafe room.
//!
//! The left matrix is read where it lies, a few rows at a time, each of their elements spread over all lanes. Of the right one
//! [`LANES`] neighbouring columns are read at a time, a strip, and from anywhere: row `k` of a strip begins `offsets[k]`
//! elements behind the strip's start. So the right side may be packed, or dense, or an image under the windows of a
//! convolution whose columns nobody makes.
//!
//! An element's value is the sum, in order, of sums in order of up to [`DEPTH`] products. It depends neither on how a matrix
//! was cut into blocks nor on the number of members. Where the processor adds a product with one rounding, that is used.
//! Integers have blocks of [their own](super::pairs).
#![expect(unsafe_code, reason = "reads at offsets that are checked once for all, code for features found at run time")]

use super::gemm::Matrix;
use bytemuck::{Pod, Zeroable};

/// Columns of a strip.
pub(crate) const LANES: usize = 16;

/// Most rows of a block.
pub(super) const MOST: usize = 12;

/// Products that are added up before they are added to the others.
const DEPTH: usize = 256;

/// Bytes of the left matrix that strip after strip is multiplied with before the next rows are: they stay in the second cache.
const GROUP: usize = 256 << 10;

/// Bytes from one line to the next that the first cache keeps in the same few places: rows that lie so far apart push each other
/// out of it before all elements of a line are used.
const ALIAS: usize = 4096;

/// Rows that may lie so: there is room for them.
const ALIASES: usize = 4;

/// Bytes between copies of rows.
const GAP: usize = 64;

/// An element of the matrices that are multiplied, of four bytes.
pub(crate) trait Factor: Pod {
    /// What products add up to.
    type Sum: Pod;

    /// The blocks of the best kind that this machine has.
    fn level() -> &'static Level<Self>;
}

/// Rows of a product, one strip of each; as many as the block has rows are meant.
pub(crate) type Block<T = f32> = [[<T as Factor>::Sum; LANES]; MOST];

/// The right side of a product.
#[derive(Clone, Copy)]
pub(crate) struct Strips<'a, T = f32> {
    data: &'a [T],
    offsets: &'a [usize],
    /// Elements from the start of a strip to the end of its farthest row.
    reach: usize,
    /// Columns of the last strip that are meant.
    last: usize,
}

impl<'a, T> Strips<'a, T> {
    /// Strips in `data`, whose rows begin at `offsets` from their starts.
    pub(crate) fn new(data: &'a [T], offsets: &'a [usize]) -> Strips<'a, T> {
        let reach = offsets.iter().max().map_or(0, |o| o.checked_add(LANES).expect("offsets lie in memory"));
        Strips { data, offsets, reach, last: LANES }
    }

    /// The same, of whose last strip only the first `last` columns are meant: what blocks hold of the others is not said.
    pub(crate) fn ending(self, last: usize) -> Strips<'a, T> {
        Strips { last, ..self }
    }
}

/// One block: the address of the left matrix's first row, the distance of its rows (or of its columns), the address of the
/// strip, the offsets of its rows, and where the sums go.
pub(super) type Tile<T> = unsafe fn(*const T, usize, *const T, &[usize], &mut Block<T>);

/// # Safety
///
/// `a` is the address of `R` rows of `offsets.len()` elements, `stride` from row to row, or with `COLUMNS` from column to
/// column. [`LANES`] elements can be read at every one of `offsets` from `b`; the first `L` of them are multiplied.
#[inline(always)]
unsafe fn tile<const R: usize, const L: usize, const FUSED: bool, const COLUMNS: bool>(
    a: *const f32,
    stride: usize,
    b: *const f32,
    offsets: &[usize],
    out: &mut Block,
) {
    for (i, offsets) in offsets.chunks(DEPTH).enumerate() {
        let mut sums = [[0.0f32; L]; R];
        for (k, offset) in offsets.iter().enumerate() {
            let k = i * DEPTH + k;
            // SAFETY: by the contract of this function.
            let row: [f32; L] = unsafe { b.add(*offset).cast::<[f32; L]>().read_unaligned() };
            for (r, sums) in sums.iter_mut().enumerate() {
                let at = if COLUMNS { k * stride + r } else { r * stride + k };
                // SAFETY: by the contract of this function.
                let x = unsafe { a.add(at).read() };
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum = if FUSED { x.mul_add(y, *sum) } else { x * y + *sum };
                }
            }
        }
        for (out, sums) in out.iter_mut().zip(sums) {
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if i == 0 { sum } else { *out + sum };
            }
        }
    }
}

/// Columns of half a strip.
pub(super) const HALF: usize = LANES / 2;

/// The blocks of a kind of processor: by one less than their rows, of the left matrix as it is, of the same with half a strip,
/// and of the transposed one.
pub(crate) struct Level<T: Factor> {
    pub(super) rows: usize,
    pub(super) plain: [Tile<T>; MOST],
    pub(super) halves: [Tile<T>; MOST],
    pub(super) transposed: [Tile<T>; MOST],
}

macro_rules! level {
    ($name:ident, $rows:literal, $fused:literal, [$($n:literal)*] $(, $features:literal)?) => {
        mod $name {
            use super::{Block, HALF, LANES, Level, tile};

            /// # Safety
            ///
            /// See [`tile`]; the processor has the features.
            $(#[target_feature(enable = $features)])?
            unsafe fn block<const R: usize, const L: usize, const COLUMNS: bool>(
                a: *const f32,
                stride: usize,
                b: *const f32,
                offsets: &[usize],
                out: &mut Block,
            ) {
                // SAFETY: by the contract of this function.
                unsafe { tile::<R, L, $fused, COLUMNS>(a, stride, b, offsets, out) };
            }

            pub(super) static LEVEL: Level<f32> = Level {
                rows: $rows,
                plain: [$(block::<$n, LANES, false>),*],
                halves: [$(block::<$n, HALF, false>),*],
                transposed: [$(block::<$n, LANES, true>),*],
            };
        }
    };
}
// Twelve rows are as many sums as hide a fused addition's latency; six times two vectors are where there are 16 registers.
#[cfg(target_arch = "x86_64")]
level!(wide, 12, true, [1 2 3 4 5 6 7 8 9 10 11 12], "avx512f,avx512vl,avx2,fma");
#[cfg(target_arch = "x86_64")]
level!(fused, 6, true, [1 2 3 4 5 6 6 6 6 6 6 6], "avx2,fma");
#[cfg(not(target_arch = "aarch64"))]
level!(plain, 2, false, [1 2 2 2 2 2 2 2 2 2 2 2]);
#[cfg(target_arch = "aarch64")]
level!(plain, 6, true, [1 2 3 4 5 6 6 6 6 6 6 6]);

impl Factor for f32 {
    type Sum = f32;

    fn level() -> &'static Level<f32> {
        #[cfg(target_arch = "x86_64")]
        {
            let fused = std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma");
            if fused && std::is_x86_feature_detected!("avx512f") && std::is_x86_feature_detected!("avx512vl") {
                return &wide::LEVEL;
            }
            if fused {
                return &fused::LEVEL;
            }
        }
        &plain::LEVEL
    }
}

/// Rows that blocks have where there are enough.
pub(crate) fn block_rows() -> usize {
    f32::level().rows
}

/// Copies a piece of a row of a block; a whole one takes no call.
pub(crate) fn put<T: Copy>(to: &mut [T], from: &[T]) {
    match (to.as_mut_array::<LANES>(), from.as_array::<LANES>()) {
        (Some(to), Some(from)) => *to = *from,
        _ => to.copy_from_slice(from),
    }
}

/// Multiplies all rows of `a`, whose rows or columns are dense, with `count` strips, `step` elements from start to start. Rows
/// that would push each other out of the first cache are copied to `apart`, a few at a time. `give` gets each block with its
/// first row, its number of rows and its strip. Panics where strips do not fit their memory.
pub(crate) fn multiply<T: Factor>(
    a: Matrix<'_, T>,
    b: Strips<'_, T>,
    (count, step): (usize, usize),
    apart: &mut Vec<f32>,
    mut give: impl FnMut(usize, usize, usize, &Block<T>),
) {
    let (rows, depth) = (a.rows(), a.cols());
    assert!(depth == b.offsets.len(), "matrices of a product agree");
    if rows == 0 || count == 0 {
        return;
    }
    let mut block = [[T::Sum::zeroed(); LANES]; MOST];
    if depth == 0 {
        for strip in 0..count {
            (0..rows).step_by(MOST).for_each(|row| give(row, MOST.min(rows - row), strip, &block));
        }
        return;
    }
    let end = (count - 1).checked_mul(step).and_then(|n| n.checked_add(b.reach));
    assert!(end.is_some_and(|n| n <= b.data.len()), "{count} strips do not fit {} elements", b.data.len());
    let (_, [down, across]) = a.raw();
    let transposed = across != 1;
    assert!(!transposed || down == 1, "rows or columns are dense");
    let level = T::level();
    let tiles = if transposed { &level.transposed } else { &level.plain };
    let group = (GROUP / size_of::<T>() / depth).next_multiple_of(level.rows);
    // One strip reads rows once, which copies cannot make cheaper.
    let aliased = !transposed && count > 1 && rows > ALIASES && (down * size_of::<T>()).is_multiple_of(ALIAS);
    for first in (0..rows).step_by(group) {
        let last = rows.min(first + group);
        let few = a.rows_of(first, last - first);
        let few = if aliased { copy_apart(few, apart) } else { few };
        let (address, [down, across]) = few.raw();
        let stride = if transposed { across } else { down };
        for strip in 0..count {
            let half = strip + 1 == count && b.last <= HALF && !transposed;
            let tiles = if half { &level.halves } else { tiles };
            for row in (0..few.rows()).step_by(level.rows) {
                let n = level.rows.min(few.rows() - row);
                // SAFETY: a matrix was checked against its slice, and rows `row..row + n` are in it; the strips' farthest
                // end was checked above; the level's features are there.
                unsafe {
                    let a = address.add(row * down);
                    tiles[n - 1](a, stride, b.data.as_ptr().add(strip * step), b.offsets, &mut block);
                }
                give(first + row, n, strip, &block);
            }
        }
    }
}

/// Copies the rows of `a`, which are dense, to where they are a line more than their length apart.
fn copy_apart<'a, T: Factor>(a: Matrix<'_, T>, to: &'a mut Vec<f32>) -> Matrix<'a, T> {
    let stride = a.cols() + GAP / size_of::<T>();
    let rows = a.dense_rows().expect("rows are dense");
    to.resize(to.len().max(a.rows() * stride), 0.0);
    let to: &mut [T] = bytemuck::cast_slice_mut(&mut to[..a.rows() * stride]);
    to.chunks_exact_mut(stride).zip(rows).for_each(|(to, row)| to[..row.len()].copy_from_slice(row));
    Matrix::new(to, a.rows(), a.cols(), stride, 1)
}

/// The strips of `b` from `first` on, as many as `to` holds, packed: row by row, a strip behind the other, zeros behind the last
/// column.
pub(crate) fn pack(b: Matrix<'_>, first: usize, to: &mut [f32]) {
    let depth = b.rows();
    for (i, strip) in to.chunks_exact_mut((depth * LANES).max(1)).enumerate() {
        let col = (first + i) * LANES;
        let width = LANES.min(b.cols() - col);
        let b = b.cols_of(col, width);
        if let Some(rows) = b.dense_rows() {
            for (to, from) in strip.chunks_exact_mut(LANES).zip(rows) {
                put(&mut to[..width], from);
                to[width..].fill(0.0);
            }
        } else if let Some(columns) = b.transposed().dense_rows() {
            let columns: Vec<&[f32]> = columns.collect();
            transpose(&columns, strip);
        } else {
            for (k, to) in strip.chunks_exact_mut(LANES).enumerate() {
                to.fill(0.0);
                to[..width].iter_mut().enumerate().for_each(|(j, y)| *y = b.at(k, j));
            }
        }
    }
}

/// Writes up to [`LANES`] rows of equal length to `strip` as columns, zeros behind them.
pub(crate) fn transpose(rows: &[&[f32]], strip: &mut [f32]) {
    const SIDE: usize = 4;
    let depth = strip.len() / LANES;
    for lane in (0..LANES).step_by(SIDE) {
        let four = rows.get(lane..lane + SIDE).and_then(|rows| <[&[f32]; SIDE]>::try_from(rows).ok());
        let mut done = 0;
        if let Some([a, b, c, d]) = four {
            let (a, b, c, d) =
                (a.as_chunks::<SIDE>().0, b.as_chunks::<SIDE>().0, c.as_chunks::<SIDE>().0, d.as_chunks::<SIDE>().0);
            let quads = strip.as_chunks_mut::<{ SIDE * LANES }>().0.iter_mut();
            for ((((to, a), b), c), d) in quads.zip(a).zip(b).zip(c).zip(d) {
                for k in 0..SIDE {
                    to[k * LANES + lane..][..SIDE].copy_from_slice(&[a[k], b[k], c[k], d[k]]);
                }
                done += SIDE;
            }
        }
        for k in done..depth {
            for (lane, to) in strip[k * LANES..][lane..lane + SIDE].iter_mut().enumerate().map(|(i, to)| (lane + i, to))
            {
                *to = rows.get(lane).map_or(0.0, |row| row[k]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The blocks of the levels that this machine has agree, up to the rounding of the products that one of them does not round.
    #[test]
    fn levels_agree() {
        let (rows, depth) = (12, 2 * DEPTH + 3);
        let a: Vec<f32> = (0..rows * depth).map(|i| (i % 101) as f32 / 50.0 - 1.0).collect();
        let b: Vec<f32> = (0..depth * LANES).map(|i| (i % 89) as f32 / 44.0 - 1.0).collect();
        let offsets: Vec<usize> = (0..depth).map(|k| k * LANES).collect();
        let mut levels = vec![f32::level()];
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") && std::is_x86_feature_detected!("fma") {
            levels.extend([&fused::LEVEL, &plain::LEVEL]);
        }
        for level in levels {
            for n in 1..=level.rows {
                let of = [
                    (&level.plain, depth, 1, LANES),
                    (&level.halves, depth, 1, HALF),
                    (&level.transposed, 1, rows, LANES),
                ];
                for (tiles, down, across, lanes) in of {
                    let mut block = [[f32::NAN; LANES]; MOST];
                    // SAFETY: the level's features are there, and all rows lie in the vectors.
                    unsafe { tiles[n - 1](a.as_ptr(), down.max(across), b.as_ptr(), &offsets, &mut block) };
                    for (r, sums) in block[..n].iter().enumerate() {
                        for (lane, sum) in sums[..lanes].iter().enumerate() {
                            let at = |k: usize| f64::from(a[r * down + k * across]) * f64::from(b[k * LANES + lane]);
                            let wanted: f64 = (0..depth).map(at).sum();
                            // Fewer than 2^10 products of up to 1, sums of up to DEPTH of them.
                            assert!(
                                (f64::from(*sum) - wanted).abs() < 1024.0 * 256.0 / f64::from(1 << 24),
                                "{n} {r} {lane}"
                            );
                        }
                    }
                }
            }
        }
    }
}
