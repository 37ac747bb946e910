//! The determinant of a matrix, by elimination with the largest pivot of each column, in f64.

/// The determinant of the row-major matrix `a [n, n]`, which is used up; 1 for no rows. Panics where `a` has other elements
/// than `n * n`.
pub fn determinant(a: &mut [f64], n: usize) -> f64 {
    assert_eq!(a.len(), n * n, "a matrix of {n} rows");
    let mut product = 1.0;
    for k in 0..n {
        let mut pivot = k;
        for i in k + 1..n {
            if a[i * n + k].abs() > a[pivot * n + k].abs() {
                pivot = i;
            }
        }
        if pivot != k {
            for j in k..n {
                a.swap(k * n + j, pivot * n + j);
            }
            product = -product;
        }
        let lead = a[k * n + k];
        product *= lead;
        if lead == 0.0 {
            return 0.0;
        }
        let (above, below) = a.split_at_mut((k + 1) * n);
        let own = &above[k * n..][..n];
        for row in below.chunks_exact_mut(n) {
            let factor = row[k] / lead;
            if factor != 0.0 {
                row[k..].iter_mut().zip(&own[k..]).for_each(|(x, y)| *x -= factor * y);
            }
        }
    }
    product
}

#[cfg(test)]
mod tests {
    use super::determinant;

    #[test]
    fn small_matrices() {
        assert_eq!(determinant(&mut [], 0), 1.0);
        assert_eq!(determinant(&mut [0.0, 1.0, 1.0, 0.0], 2), -1.0);
        assert_eq!(determinant(&mut [1.0, 2.0, 2.0, 4.0], 2), 0.0);
        assert!((determinant(&mut [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0], 3) + 3.0).abs() < 1e-12);
        assert!(determinant(&mut [f64::NAN, 1.0, 1.0, 1.0], 2).is_nan());
    }
}
