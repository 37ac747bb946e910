//! Products of matrices: of f32 in [blocks](super::product), of f64 by the library in safe clothes: an unsafe room.
//!
//! One thread. Products are added in an order that depends on the inner extent only, so an element's value does not depend on
//! how its matrix was cut into cells.
#![expect(unsafe_code, reason = "the library's matrix product takes addresses")]

use super::memory::Tile;
use super::product::{LANES, Strips, multiply, pack, put};
use bytemuck::Pod;

/// A matrix inside a slice: element (`i`, `j`) at `i * row_stride + j * col_stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, T = f32> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Pod> Matrix<'a, T> {
    /// A matrix; panics where it does not fit `data`.
    pub(crate) fn new(data: &'a [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Matrix<'a, T> {
        if rows > 0 && cols > 0 {
            let last = (rows - 1).checked_mul(row_stride).zip((cols - 1).checked_mul(col_stride));
            let last = last.and_then(|(r, c)| r.checked_add(c));
            assert!(last.is_some_and(|l| l < data.len()), "[{rows}, {cols}] does not fit {} elements", data.len());
        }
        Matrix { data, rows, cols, row_stride, col_stride }
    }

    /// A dense row-major matrix.
    pub(crate) fn dense(data: &'a [T], rows: usize, cols: usize) -> Matrix<'a, T> {
        Matrix::new(data, rows, cols, cols, 1)
    }

    /// Rows `row..row + count`.
    pub(crate) fn rows_of(self, row: usize, count: usize) -> Matrix<'a, T> {
        assert!(row + count <= self.rows, "rows {row} + {count} of {}", self.rows);
        let data = if count > 0 && self.cols > 0 { &self.data[row * self.row_stride..] } else { &[] };
        Matrix { data, rows: count, ..self }
    }

    /// Columns `col..col + count`.
    pub(crate) fn cols_of(self, col: usize, count: usize) -> Matrix<'a, T> {
        self.transposed().rows_of(col, count).transposed()
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub(crate) fn cols(&self) -> usize {
        self.cols
    }

    /// The address of the first element, and elements from row to row and from column to column.
    pub(crate) fn raw(&self) -> (*const T, [usize; 2]) {
        (self.data.as_ptr(), [self.row_stride, self.col_stride])
    }

    /// Element (`i`, `j`).
    pub(crate) fn at(&self, i: usize, j: usize) -> T {
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// The rows, where each is dense.
    pub(crate) fn dense_rows(self) -> Option<impl Iterator<Item = &'a [T]>> {
        (self.col_stride == 1).then(|| (0..self.rows).map(move |i| &self.data[i * self.row_stride..][..self.cols]))
    }

    /// The transposed matrix.
    pub(crate) fn transposed(self) -> Matrix<'a, T> {
        Matrix {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            data: self.data,
        }
    }
}

impl Matrix<'_> {
    /// Writes the rows one behind the other.
    pub(crate) fn copy(self, to: &mut [f32]) {
        const SIDE: usize = 8;
        // Squares, so that the lines that are read stay until all of them is used.
        for row in (0..self.rows).step_by(SIDE) {
            for col in (0..self.cols).step_by(SIDE) {
                for i in row..self.rows.min(row + SIDE) {
                    let to = &mut to[i * self.cols..][..self.cols];
                    (col..self.cols.min(col + SIDE)).for_each(|j| to[j] = self.at(i, j));
                }
            }
        }
    }
}

/// Memory for the sides of products.
#[derive(Default)]
pub(crate) struct Room {
    floats: Vec<f32>,
    offsets: Vec<usize>,
    /// Copies of rows of left sides that would lie badly in the caches.
    pub(crate) apart: Vec<f32>,
}

impl Room {
    /// The strips of a packed matrix of `depth` rows and `cols` columns, the elements from strip to strip, and the memory for
    /// rows of the left side.
    pub(crate) fn packed<'a>(
        &'a mut self,
        data: &'a [f32],
        [depth, cols]: [usize; 2],
    ) -> (Strips<'a>, usize, &'a mut Vec<f32>) {
        self.offsets.clear();
        self.offsets.extend((0..depth).map(|k| k * LANES));
        (Strips::new(data, &self.offsets).ending(ending(cols)), depth * LANES, &mut self.apart)
    }
}

/// Columns of the last strip of `cols`.
fn ending(cols: usize) -> usize {
    cols.saturating_sub(1) % LANES + 1
}

/// Rows of the left matrix up to which a dense right one is read where it lies, since each strip is read once.
const FEW: usize = 12;

/// Strips from which on the columns of the left matrix are copied to rows: they lie pages apart.
const MANY: usize = 4;

/// `c = a b`, or `c += a b` with `add`.
pub(crate) fn gemm<T: Scalar>(a: Matrix<'_, T>, b: Matrix<'_, T>, c: &mut Tile<'_, T>, add: bool, room: &mut Room) {
    assert!(a.rows == c.rows() && b.cols == c.cols() && a.cols == b.rows, "matrices of a product agree");
    T::product(a, b, c, add, room);
}

/// `c = a b` into rows of a slice, `stride` elements from row to row.
pub(crate) fn gemm_rows(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], stride: usize, room: &mut Room) {
    assert!(a.cols == b.rows, "matrices of a product agree");
    product(a, b, room, |row, col, values| put(&mut c[row * stride + col..][..values.len()], values));
}

/// An element type of products.
pub(crate) trait Scalar: Pod {
    /// `c = a b`, or `c += a b` with `add`; the extents agree.
    fn product(a: Matrix<'_, Self>, b: Matrix<'_, Self>, c: &mut Tile<'_, Self>, add: bool, room: &mut Room);
}

impl Scalar for f32 {
    fn product(a: Matrix<'_>, b: Matrix<'_>, c: &mut Tile<'_, f32>, add: bool, room: &mut Room) {
        product(a, b, room, |row, col, values| {
            let to = &mut c.row_mut(row)[col..][..values.len()];
            if add {
                to.iter_mut().zip(values).for_each(|(y, x)| *y += x);
            } else {
                put(to, values);
            }
        });
    }
}

impl Scalar for f64 {
    fn product(a: Matrix<'_, f64>, b: Matrix<'_, f64>, c: &mut Tile<'_, f64>, add: bool, _: &mut Room) {
        let (address, stride) = c.raw();
        // SAFETY: the extents agree, `a` and `b` were checked against their slices, and the tile is this member's alone.
        unsafe {
            matrixmultiply::dgemm(
                a.rows,
                a.cols,
                b.cols,
                1.0,
                a.data.as_ptr(),
                a.row_stride as isize,
                a.col_stride as isize,
                b.data.as_ptr(),
                b.row_stride as isize,
                b.col_stride as isize,
                if add { 1.0 } else { 0.0 },
                address,
                stride as isize,
                1,
            );
        }
    }
}

/// `a b`, piece by piece of its rows: `give` gets each piece with its row and first column.
pub(crate) fn product(a: Matrix<'_>, b: Matrix<'_>, room: &mut Room, mut give: impl FnMut(usize, usize, &[f32])) {
    let (depth, strips) = (a.cols, b.cols.div_ceil(LANES));
    // Strips that are read in place; the others, the last one if it is narrow or all, are packed.
    let direct = if b.col_stride == 1 && a.rows <= FEW { b.cols / LANES } else { 0 };
    let neat = a.col_stride == 1 || a.row_stride == 1 && strips < MANY;
    let (packed, copied) = ((strips - direct) * depth * LANES, if neat { 0 } else { a.rows * depth });
    let Room { floats, offsets, apart } = room;
    floats.resize(floats.len().max(packed + copied), 0.0);
    let (packed, copied) = floats[..packed + copied].split_at_mut(packed);
    let a = if neat {
        a
    } else {
        a.copy(copied);
        Matrix::dense(copied, a.rows, depth)
    };
    let mut run = |data: &[f32], stride: usize, count: usize, step: usize, first: usize| {
        offsets.clear();
        offsets.extend((0..depth).map(|k| k * stride));
        let right = Strips::new(data, offsets).ending(ending(b.cols.min((first + count) * LANES)));
        multiply(a, right, (count, step), apart, |row, rows, strip, block| {
            let col = (first + strip) * LANES;
            let width = LANES.min(b.cols - col);
            for (i, values) in block[..rows].iter().enumerate() {
                give(row + i, col, &values[..width]);
            }
        });
    };
    run(b.data, b.row_stride, direct, LANES, 0);
    if direct < strips {
        pack(b, direct, packed);
        run(packed, LANES, strips - direct, depth * LANES, direct);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: usize) -> Vec<f32> {
        (0..n).map(|i| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1001.5 - 1.0).collect()
    }

    /// All forms of both sides, over extents with tails. A sum of `k` products of numbers up to 1 is off by at most `k` roundings
    /// of sums up to `k`, so by less than `k * k * 2^-24`.
    #[test]
    fn products_of_all_forms_are_close_to_exact_ones_and_do_not_depend_on_cells() {
        let mut room = Room::default();
        for (m, k, n) in
            [(1, 1, 1), (1, 7, 33), (13, 5, 16), (24, 300, 17), (25, 300, 47), (40, 64, 15), (3, 0, 5), (37, 513, 31)]
        {
            let (x, y) = (numbers(m * k, 1), numbers(k * n, 2));
            for form in 0..6 {
                let a = match form {
                    0 | 1 => Matrix::dense(&x, m, k),
                    2 | 3 => Matrix::dense(&x, k, m).transposed(),
                    // Neither its rows nor its columns are dense.
                    _ => Matrix::new(&x, m.div_ceil(2), k.div_ceil(2), 2 * k, 2),
                };
                let k = a.cols();
                let b =
                    if form % 2 == 0 { Matrix::dense(&y, k, n) } else { Matrix::dense(&y[..n * k], n, k).transposed() };
                let mut all = vec![f32::NAN; a.rows() * n];
                gemm_rows(a, b, &mut all, n, &mut room);
                for i in 0..a.rows() {
                    for j in 0..n {
                        let wanted: f64 = (0..k).map(|l| f64::from(a.at(i, l)) * f64::from(b.at(l, j))).sum();
                        let off = (f64::from(all[i * n + j]) - wanted).abs();
                        assert!(
                            off <= (k * k) as f64 / f64::from(1 << 24),
                            "[{m}, {k}, {n}] form {form} ({i}, {j}): {off}"
                        );
                    }
                }
                // The same bits from any cell.
                let (row, col) = (a.rows() / 3, n / 2);
                let mut cell = vec![0.0; (a.rows() - row) * (n - col)];
                gemm_rows(a.rows_of(row, a.rows() - row), b.cols_of(col, n - col), &mut cell, n - col, &mut room);
                for (i, cell) in cell.chunks_exact(n - col).enumerate() {
                    assert_eq!(cell, &all[(row + i) * n + col..][..n - col], "[{m}, {k}, {n}] form {form}");
                }
            }
        }
    }
}
