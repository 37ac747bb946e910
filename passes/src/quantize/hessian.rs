//! Second moments of a linear's input: `H = (2/n) * sum x^T x` over `n` calibration sequences.
//!
//! The factor does not matter to what is minimised; it is that of the published code, so that scores and losses compare.

use super::gemm::{View, gemm_f32};
use actc_types::{Diagnostic, Result};
use rayon::prelude::*;

const ENERGY_ROWS: usize = 256;
const ENERGY_COLS: usize = 256;

/// The share of a channel's energy below which it is constant: sums of f32 over some thousand tokens say no less.
const CONSTANT: f64 = 1e-5;

/// A symmetric `[cols, cols]` matrix, finite throughout.
#[derive(Clone, Debug)]
pub struct Hessian {
    cols: usize,
    values: Vec<f32>,
}

impl Hessian {
    /// From `sum x^T x` over `sequences` sequences; refuses none at all and values that are not finite.
    pub fn from_gram(mut gram: Vec<f32>, cols: usize, sequences: u64) -> Result<Hessian> {
        if sequences == 0 {
            return Err(Diagnostic::new("calibration-empty", "no calibration sequence reached this layer"));
        }
        let factor = (2.0 / sequences as f64) as f32;
        for g in &mut gram {
            *g *= factor;
        }
        Hessian::new(gram, cols)
    }

    /// From the matrix itself.
    pub fn new(values: Vec<f32>, cols: usize) -> Result<Hessian> {
        if values.len() != cols * cols {
            let headline = format!("a Hessian of {cols} columns has {} elements", values.len());
            return Err(Diagnostic::new("gram-size", headline));
        }
        if let Some(i) = values.iter().position(|v| !v.is_finite()) {
            let headline = format!("the activations of channel {} are not finite", i % cols);
            return Err(Diagnostic::new("activation-not-finite", headline)
                .help("the model overflows on the calibration data; keep its activations in f32"));
        }
        Ok(Hessian { cols, values })
    }

    /// The sum with `others`, which have the same channels: for a weight that several inputs meet.
    pub fn sum(&self, others: &[&Hessian]) -> Result<Hessian> {
        let mut values = self.values.clone();
        for other in others {
            assert_eq!(other.cols, self.cols, "inputs of one weight have its width");
            values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += b);
        }
        Hessian::new(values, self.cols)
    }

    /// That of the same inputs without `share` of the energy of their `mean`, where a sequence has `tokens` tokens: of what a bias
    /// takes up. Channels that do not vary beyond the rounding of these sums are dead.
    pub fn centred(&self, mean: &[f64], tokens: f64, share: f64) -> Result<Hessian> {
        let n = self.cols;
        assert_eq!(mean.len(), n, "one mean a channel");
        let less = |i: usize, j: usize| f64::from(self.values[i * n + j]) - share * 2.0 * tokens * mean[i] * mean[j];
        let varies: Vec<bool> = (0..n).map(|i| less(i, i) > CONSTANT * f64::from(self.values[i * n + i])).collect();
        let mut values = vec![0.0f32; n * n];
        values.par_chunks_exact_mut(n.max(1)).enumerate().filter(|(i, _)| varies[*i]).for_each(|(i, row)| {
            row.iter_mut().enumerate().filter(|(j, _)| varies[*j]).for_each(|(j, v)| *v = less(i, j) as f32);
        });
        Hessian::new(values, n)
    }

    /// That of the same inputs with channel `i` divided by `factors[i]`.
    pub fn divide(&mut self, factors: &[f32]) {
        assert_eq!(factors.len(), self.cols, "one factor a channel");
        self.values.par_chunks_exact_mut(self.cols.max(1)).zip(factors).for_each(|(row, own)| {
            row.iter_mut().zip(factors).for_each(|(v, f)| *v = *v / own / f);
        });
    }

    /// Number of channels.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All elements, row-major.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The diagonal, undamped.
    pub fn diagonal(&self) -> impl ExactSizeIterator<Item = f32> + '_ {
        (0..self.cols).map(|i| self.values[i * self.cols + i])
    }

    /// `sum_r w_r H w_r^T` over the rows of `rows`, `[_, cols]`: the energy of the layer's output in this scale.
    pub fn energy(&self, rows: &[f32]) -> f64 {
        let n = self.cols;
        let chunks: Vec<f64> = rows.par_chunks(ENERGY_ROWS * n).map(|chunk| self.energy_of(chunk)).collect();
        chunks.iter().sum()
    }

    /// Uses the symmetry: a block of columns meets only the rows of `H` from its own diagonal on.
    fn energy_of(&self, rows: &[f32]) -> f64 {
        let n = self.cols;
        let count = rows.len() / n;
        let mut product = vec![0.0f32; count * ENERGY_COLS];
        let mut total = 0.0f64;
        for from in (0..n).step_by(ENERGY_COLS) {
            let width = ENERGY_COLS.min(n - from);
            let left = View::new(&rows[from..], count, n - from, n);
            let right = View::new(&self.values[from * n + from..], n - from, width, n);
            gemm_f32(2.0, left, right, 0.0, &mut product, ENERGY_COLS);
            let left = View::new(&rows[from..], count, width, n);
            let diagonal = View::new(&self.values[from * n + from..], width, width, n);
            gemm_f32(-1.0, left, diagonal, 1.0, &mut product, ENERGY_COLS);
            for (row, product) in rows.chunks_exact(n).zip(product.chunks_exact(ENERGY_COLS)) {
                let pairs = row[from..from + width].iter().zip(product);
                total += pairs.map(|(w, p)| f64::from(*w) * f64::from(*p)).sum::<f64>();
            }
        }
        total
    }

    /// The channels that calibration never excited.
    pub fn dead(&self) -> impl Iterator<Item = usize> + '_ {
        self.diagonal().enumerate().filter(|(_, d)| *d == 0.0).map(|(i, _)| i)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_the_quadratic_form() {
        let n = 300;
        let mut values = vec![0.0f32; n * n];
        for i in 0..n {
            for j in 0..n {
                values[i * n + j] = ((i * j + i + j) % 17) as f32 / 16.0 - 0.4;
            }
        }
        let rows: Vec<f32> = (0..3 * n).map(|i| ((i * 31) % 23) as f32 / 22.0 - 0.5).collect();
        let want: f64 = rows
            .chunks(n)
            .map(|w| {
                let pairs = (0..n * n).map(|k| f64::from(w[k / n]) * f64::from(values[k]) * f64::from(w[k % n]));
                pairs.sum::<f64>()
            })
            .sum();
        let got = Hessian::new(values, n).unwrap().energy(&rows);
        assert!((got - want).abs() < 1e-3 * want.abs(), "{got} {want}");
    }

    #[test]
    fn sequences_are_averaged_and_hostile_values_refused() {
        let h = Hessian::from_gram(vec![4.0, 2.0, 2.0, 6.0], 2, 2).unwrap();
        assert_eq!(h.values(), [4.0, 2.0, 2.0, 6.0]);
        assert_eq!(Hessian::from_gram(vec![1.0], 1, 0).unwrap_err().code, "calibration-empty");
        assert_eq!(Hessian::from_gram(vec![f32::NAN], 1, 1).unwrap_err().code, "activation-not-finite");
        assert_eq!(Hessian::new(vec![0.0, 0.0, 0.0, 2.0], 2).unwrap().dead().collect::<Vec<_>>(), [0]);
        // Tokens (1, 3) and (3, 3), of two sequences.
        let h = Hessian::from_gram(vec![10.0, 12.0, 12.0, 18.0], 2, 2).unwrap();
        assert_eq!(h.centred(&[2.0, 3.0], 1.0, 1.0).unwrap().values(), [2.0, 0.0, 0.0, 0.0]);
        assert_eq!(h.centred(&[2.0, 3.0], 1.0, 0.5).unwrap().values(), [6.0, 6.0, 6.0, 9.0]);
        let mut h = Hessian::new(vec![4.0, 2.0, 2.0, 6.0], 2).unwrap();
        h.divide(&[2.0, 0.5]);
        assert_eq!(h.values(), [1.0, 2.0, 2.0, 24.0]);
    }
}
