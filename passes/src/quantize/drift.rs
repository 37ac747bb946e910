//! Input drift: layers behind a quantised prefix see other inputs than the original model's.
//!
//! The sweep keeps `W x^` where `x^` is what the quantised prefix gives; the original model has `W x` there. The weights
//! whose output on `x^` comes nearest to `W x` are `W + W D H^-1` with `D = E[(x - x^) x^^T]` and `H = E[x^ x^^T]` (asymmetric
//! calibration: GPTAQ, Li et al. 2025, arXiv 2504.02692). A layer is rounded from a share of the way there, as the drift of
//! calibration text is only in part that of other text (QEP, Arai and Ichikawa 2025, arXiv 2504.09629).

use super::cholesky::Factor;
use super::gemm::{View, gemm_f32};
use actc_types::{Diagnostic, Result};
use rayon::prelude::*;

/// Rows of a matrix that are worked on together.
const ROWS: usize = 64;

/// `D` of one linear input, `[cols, cols]`, in the scale of its [`Hessian`](super::hessian::Hessian).
#[derive(Clone, Debug)]
pub struct Drift {
    cols: usize,
    values: Vec<f32>,
}

impl Drift {
    /// None yet.
    pub fn zeros(cols: usize) -> Drift {
        Drift { cols, values: vec![0.0; cols * cols] }
    }

    /// Adds the tokens of one of `sequences` sequences: `original` inputs and those of the quantised prefix, both
    /// `[tokens, cols]`.
    pub fn add(&mut self, original: &[f32], seen: &[f32], sequences: u64) {
        let n = self.cols;
        assert!(original.len() == seen.len() && seen.len().is_multiple_of(n), "both are the inputs of one layer");
        let tokens = seen.len() / n;
        let apart: Vec<f32> = original.iter().zip(seen).map(|(x, s)| x - s).collect();
        let factor = (2.0 / sequences.max(1) as f64) as f32;
        self.values.par_chunks_mut(ROWS * n).enumerate().for_each(|(chunk, rows)| {
            let left = View::new(&apart[chunk * ROWS..], tokens, rows.len() / n, n).transpose();
            gemm_f32(factor, left, View::new(seen, tokens, n, n), 1.0, rows, n);
        });
    }

    /// That of the same inputs without `share` of what their means, `original` and `seen`, make of it, where a sequence has
    /// `tokens` tokens: of what a bias takes up.
    pub fn centred(&self, original: &[f64], seen: &[f64], tokens: f64, share: f64) -> Drift {
        let mut values = self.values.clone();
        values.par_chunks_exact_mut(self.cols.max(1)).enumerate().for_each(|(i, row)| {
            let apart = share * 2.0 * tokens * (original[i] - seen[i]);
            row.iter_mut().zip(seen).for_each(|(v, s)| *v = (f64::from(*v) - apart * s) as f32);
        });
        Drift { cols: self.cols, values }
    }

    /// Adds `other`, which has the same channels: for a weight that several inputs meet.
    pub fn join(&mut self, other: &Drift) {
        assert_eq!(self.cols, other.cols, "inputs of one weight have its width");
        self.values.iter_mut().zip(&other.values).for_each(|(a, b)| *a += b);
    }

    /// Moves the rows of `weights`, `[_, cols]`, by `share` of `W D H^-1`, where `factor` is that of `H` in `order`.
    pub fn follow(&self, weights: &mut [f32], factor: &Factor, order: &[u32], share: f32) -> Result<()> {
        let n = self.cols;
        assert!(order.len() == n && factor.cols() == n, "factor and order are the layer's");
        let inverse = View::new(factor.upper(), n, n, n);
        weights.par_chunks_mut(ROWS * n).for_each(|rows| {
            let count = rows.len() / n;
            let (mut a, mut b) = (vec![0.0f32; rows.len()], vec![0.0f32; rows.len()]);
            gemm_f32(share, View::new(rows, count, n, n), View::new(&self.values, n, n, n), 0.0, &mut a, n);
            for (to, from) in b.chunks_exact_mut(n).zip(a.chunks_exact(n)) {
                to.iter_mut().zip(order).for_each(|(t, column)| *t = from[*column as usize]);
            }
            // H^-1 = U^T U in the factor's order.
            gemm_f32(1.0, View::new(&b, count, n, n), inverse.transpose(), 0.0, &mut a, n);
            gemm_f32(1.0, View::new(&a, count, n, n), inverse, 0.0, &mut b, n);
            for (to, from) in rows.chunks_exact_mut(n).zip(b.chunks_exact(n)) {
                from.iter().zip(order).for_each(|(f, column)| to[*column as usize] += f);
            }
        });
        match weights.par_iter().all(|w| w.is_finite()) {
            true => Ok(()),
            false => Err(Diagnostic::new("drift-not-finite", "weights that follow the drift of this input overflow")
                .help("`drift=0` rounds the weights as they are")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cholesky::Damping;
    use super::super::hessian::Hessian;
    use super::*;

    /// Values between -1 and 1.
    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// `|x W^T - y V^T|^2`
    fn apart(x: &[f32], w: &[f32], y: &[f32], v: &[f32], n: usize) -> f64 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let tokens = x.chunks_exact(n).zip(y.chunks_exact(n));
        tokens
            .flat_map(|(x, y)| {
                w.chunks_exact(n).zip(v.chunks_exact(n)).map(move |(w, v)| (dot(x, w) - dot(y, v)).powi(2))
            })
            .sum()
    }

    #[test]
    fn following_comes_nearer_to_the_original_output_and_all_the_way_is_best() {
        let (n, tokens, sequences) = (70, 400, 4);
        let original = noise(n * tokens, 5);
        // Each channel leaks into the next, and some of it is lost.
        let seen: Vec<f32> = (0..n * tokens)
            .map(|i| 0.8 * original[i] + 0.3 * original[(i / n) * n + (i + 1) % n] + 0.02 * noise(1, i as u64 + 9)[0])
            .collect();
        let mut drift = Drift::zeros(n);
        let mut gram = vec![0.0f32; n * n];
        for (x, s) in original.chunks_exact(n * 100).zip(seen.chunks_exact(n * 100)) {
            drift.add(x, s, sequences);
        }
        for token in seen.chunks_exact(n) {
            for (i, a) in token.iter().enumerate() {
                gram[i * n..][..n].iter_mut().zip(token).for_each(|(g, b)| *g += a * b);
            }
        }
        let hessian = Hessian::from_gram(gram, n, sequences).unwrap();
        let order: Vec<u32> = (0..n as u32).map(|i| (i * 31 + 7) % n as u32).collect();
        let factor = Factor::new(&hessian, &order, Damping { share: 1e-6, ..Damping::default() }).unwrap();
        let weights = noise(9 * n, 77);
        let after = |share: f32| {
            let mut moved = weights.clone();
            drift.follow(&mut moved, &factor, &order, share).unwrap();
            apart(&original, &weights, &seen, &moved, n)
        };
        let shares = [0.0, 0.25, 0.5, 1.0, 1.2].map(after);
        assert_eq!(shares[0], apart(&original, &weights, &seen, &weights, n));
        assert!(shares[1] < 0.7 * shares[0] && shares[2] < 0.7 * shares[1], "{shares:?}");
        assert!(shares[3] < 0.1 * shares[2] && shares[3] < shares[4], "{shares:?}");
        let mut moved = weights.clone();
        Drift::zeros(n).follow(&mut moved, &factor, &order, 1.0).unwrap();
        assert_eq!(moved, weights);
    }
}
