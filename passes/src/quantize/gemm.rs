//! Matrix products on slices: bounds are checked here, once, before the library's kernels see a pointer.
//!
//! One thread a call; callers cut work into fixed pieces, so that sums do not depend on the number of threads.
#![expect(unsafe_code, reason = "the library's entry points take pointers and strides")]

/// A matrix `[rows, cols]` in a slice, read only.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T> View<'a, T> {
    /// Rows of `cols` elements, `stride` apart.
    pub(super) fn new(data: &'a [T], rows: usize, cols: usize, stride: usize) -> View<'a, T> {
        assert!(fits(data.len(), rows, cols, stride), "[{rows}, {cols}] by {stride} in {} elements", data.len());
        View { data, rows, cols, row_stride: stride, col_stride: 1 }
    }

    /// Rows as columns.
    pub(super) fn transpose(self) -> View<'a, T> {
        View { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }
}

fn fits(len: usize, rows: usize, cols: usize, stride: usize) -> bool {
    let last = || (rows - 1).checked_mul(stride)?.checked_add(cols);
    stride <= isize::MAX as usize
        && (rows == 0 || cols == 0 || (cols <= stride || rows == 1) && last().is_some_and(|l| l <= len))
}

macro_rules! gemm {
    ($(#[$doc:meta])* $name:ident $t:ty, $kernel:path) => {
        $(#[$doc])*
        pub(super) fn $name(alpha: $t, a: View<'_, $t>, b: View<'_, $t>, beta: $t, c: &mut [$t], stride: usize) {
            let (m, k, n) = (a.rows, a.cols, b.cols);
            assert_eq!(b.rows, k, "inner extents agree");
            assert!(fits(c.len(), m, n, stride), "[{m}, {n}] by {stride} in {} elements", c.len());
            if m == 0 || n == 0 {
                return;
            }
            // SAFETY: `View::new` and the assertion above saw that the last element of each operand lies in its slice
            // (a transposed view addresses the same elements); rows of `c` do not overlap as `n <= stride` or `m == 1`;
            // `c` is borrowed mutably, so it overlaps neither `a` nor `b`.
            unsafe {
                $kernel(
                    m,
                    k,
                    n,
                    alpha,
                    a.data.as_ptr(),
                    a.row_stride as isize,
                    a.col_stride as isize,
                    b.data.as_ptr(),
                    b.row_stride as isize,
                    b.col_stride as isize,
                    beta,
                    c.as_mut_ptr(),
                    stride as isize,
                    1,
                );
            }
        }
    };
}

gemm!(
    /// `c = alpha a b + beta c`, rows of `c` being `stride` apart.
    gemm_f32 f32, matrixmultiply::sgemm
);
gemm!(
    /// `c = alpha a b + beta c`, rows of `c` being `stride` apart.
    gemm_f64 f64, matrixmultiply::dgemm
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strided_and_transposed_operands() {
        let a: Vec<f64> = (0..12).map(f64::from).collect();
        let b: Vec<f64> = (0..10).map(f64::from).collect();
        let mut c = vec![1.0; 9];
        // [2, 3] by rows of 4, times the transpose of [2, 3] by rows of 5.
        gemm_f64(2.0, View::new(&a[1..], 2, 3, 4), View::new(&b, 2, 3, 5).transpose(), 1.0, &mut c, 4);
        // [1 2 3] [0 1 2] = 8, [1 2 3] [5 6 7] = 38, [5 6 7] [0 1 2] = 20, [5 6 7] [5 6 7] = 110
        assert_eq!(c, [17.0, 77.0, 1.0, 1.0, 41.0, 221.0, 1.0, 1.0, 1.0]);
    }

    #[test]
    #[should_panic(expected = "in 5 elements")]
    fn short_slices_are_refused() {
        View::new(&[0.0f32; 5], 2, 3, 3);
    }
}
