//! The library's matrix product in safe clothes: an unsafe room.
//!
//! One thread, f32 or f64. The library adds products in an order that depends on the inner extent only, so an element's value does
//! not depend on how its matrix was cut into cells.
#![expect(unsafe_code, reason = "the library's matrix product takes addresses")]

use super::memory::Tile;
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
    pub(crate) fn rows(self, row: usize, count: usize) -> Matrix<'a, T> {
        assert!(row + count <= self.rows, "rows {row} + {count} of {}", self.rows);
        let data = if count > 0 && self.cols > 0 { &self.data[row * self.row_stride..] } else { &[] };
        Matrix { data, rows: count, ..self }
    }

    /// Columns `col..col + count`.
    pub(crate) fn cols(self, col: usize, count: usize) -> Matrix<'a, T> {
        self.transposed().rows(col, count).transposed()
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

/// `c = a b`, or `c += a b` with `add`.
pub(crate) fn gemm<T: Scalar>(a: Matrix<'_, T>, b: Matrix<'_, T>, c: &mut Tile<'_, T>, add: bool) {
    let (address, stride) = c.raw();
    assert!(a.rows == c.rows() && b.cols == c.cols() && a.cols == b.rows, "matrices of a product agree");
    // SAFETY: the extents agree, `a` and `b` were checked against their slices, and the tile is this member's alone.
    unsafe { T::product(a, b, address, stride, add) };
}

/// `c = a b` into rows of a slice, `stride` elements from row to row.
pub(crate) fn gemm_rows(a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], stride: usize) {
    if a.rows > 0 && b.cols > 0 {
        let reach = (a.rows - 1).checked_mul(stride).and_then(|n| n.checked_add(b.cols));
        let fits = stride >= b.cols && reach.is_some_and(|n| n <= c.len());
        assert!(fits, "[{}, {}] does not fit {} elements", a.rows, b.cols, c.len());
    }
    assert!(a.cols == b.rows, "matrices of a product agree");
    // SAFETY: the extents agree, the rows of `c` do not overlap and end inside it, and `a` and `b` were checked against
    // their slices.
    unsafe { f32::product(a, b, c.as_mut_ptr(), stride, false) };
}

/// An element type that the library multiplies.
pub(crate) trait Scalar: Pod {
    /// # Safety
    ///
    /// `c` is the address of `[a.rows, b.cols]` elements, `stride` from row to row, for the caller alone; `a.cols == b.rows`.
    unsafe fn product(a: Matrix<'_, Self>, b: Matrix<'_, Self>, c: *mut Self, stride: usize, add: bool);
}

macro_rules! scalars {
    ($($t:ty, $function:path);*) => {$(
        impl Scalar for $t {
            unsafe fn product(a: Matrix<'_, $t>, b: Matrix<'_, $t>, c: *mut $t, stride: usize, add: bool) {
                // SAFETY: by the contract of the trait.
                unsafe {
                    $function(
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
                        c,
                        stride as isize,
                        1,
                    );
                }
            }
        }
    )*};
}
scalars!(f32, matrixmultiply::sgemm; f64, matrixmultiply::dgemm);
