//! The factor that the column sweep reads: upper triangular `U` with `H^-1 = U^T U`.
//!
//! `H = R R^T` with `R` upper triangular gives `U = R^-1` (methods: invert once instead of factoring twice). `R` is the
//! ordinary Cholesky factor of the matrix with rows and columns reversed. All of it is in f64, by blocks; the blocks of
//! a step are independent of each other, so the result does not depend on the number of threads.

use super::gemm::{View, gemm_f64};
use super::hessian::Hessian;
use actc_types::{Diagnostic, Result};
use rayon::prelude::*;

/// Rows of a block.
const BLOCK: usize = 128;

/// How far a factorisation may go to succeed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// Share of the mean diagonal that is added to the diagonal, first try.
    pub share: f64,
    /// Whose diagonal the mean is over.
    pub mean: MeanOver,
    /// Where no damping up to 1 helps: keep the diagonal alone (which is rounding to nearest) instead of failing.
    pub allow_fallback: bool,
}

impl Default for Damping {
    fn default() -> Damping {
        Damping { share: 0.01, mean: MeanOver::All, allow_fallback: false }
    }
}

/// The columns whose mean diagonal scales the damping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeanOver {
    /// All of them, as in the published code.
    All,
    /// The first so many in processing order: those that are rounded. A weak column's energy can exceed that of the others
    /// a thousandfold; a damping scaled by it would keep the others from compensating each other.
    First(usize),
}

/// What it took to factor.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The share of the mean diagonal that was added.
    Damped(f64),
    /// No damping helped; the factor is diagonal.
    DiagonalOnly,
}

/// `U` for the columns in processing order, row-major `[cols, cols]`, zeros below the diagonal.
#[derive(Clone, Debug)]
pub struct Factor {
    cols: usize,
    upper: Vec<f32>,
    damp: f64,
    /// What it took.
    pub outcome: Outcome,
}

impl Factor {
    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All of `U`, row-major.
    pub fn upper(&self) -> &[f32] {
        &self.upper
    }

    /// What was added to the diagonal of `H`.
    pub fn damp(&self) -> f64 {
        self.damp
    }

    /// Factors `hessian` with columns taken in `order`. Dead columns get a diagonal of 1, so that they stand alone.
    /// Damping grows tenfold up to 1 until the matrix is positive definite.
    pub fn new(hessian: &Hessian, order: &[u32], damping: Damping) -> Result<Factor> {
        let n = hessian.cols();
        assert_eq!(order.len(), n, "the order names every column once");
        let live = |d: f32| if d == 0.0 { 1.0 } else { f64::from(d) };
        let counted = match damping.mean {
            MeanOver::First(count) if count > 0 => count.min(n),
            MeanOver::First(_) | MeanOver::All => n,
        };
        let diagonal: Vec<f32> = hessian.diagonal().collect();
        let mean = order[..counted].iter().map(|j| live(diagonal[*j as usize])).sum::<f64>() / counted.max(1) as f64;
        let mut share = damping.share;
        loop {
            if let Some(upper) = factor(hessian, order, share * mean) {
                return Ok(Factor { cols: n, upper, damp: share * mean, outcome: Outcome::Damped(share) });
            }
            if share >= 1.0 {
                break;
            }
            share = (share * 10.0).clamp(1e-4, 1.0);
        }
        if !damping.allow_fallback {
            let headline =
                format!("the Hessian of {n} channels is not positive definite, damped by up to {share} of its mean");
            return Err(Diagnostic::new("hessian-not-positive", headline)
                .help("give more calibration text, or allow the fallback to rounding for this layer"));
        }
        let mut upper = vec![0.0; n * n];
        for (i, column) in order.iter().enumerate() {
            let j = *column as usize;
            upper[i * n + i] = (live(hessian.values()[j * n + j]) + share * mean).sqrt().recip() as f32;
        }
        Ok(Factor { cols: n, upper, damp: share * mean, outcome: Outcome::DiagonalOnly })
    }
}

/// One row of blocks of a lower triangular matrix: `rows` rows of `width` elements.
struct Panel {
    rows: usize,
    width: usize,
    data: Vec<f64>,
}

fn factor(hessian: &Hessian, order: &[u32], damp: f64) -> Option<Vec<f32>> {
    let n = hessian.cols();
    let mut panels: Vec<Panel> =
        (0..n.div_ceil(BLOCK)).into_par_iter().map(|p| reversed_panel(hessian, order, damp, p)).collect();
    // A pivot of a positive semidefinite matrix damped by `damp` is at least `damp`; one far below it is rounding noise.
    let inverses = cholesky(&mut panels, damp * 1e-3)?;
    let columns: Vec<Vec<f64>> =
        (0..panels.len()).into_par_iter().map(|p| inverse_columns(&panels, &inverses, p)).collect();
    let mut upper = vec![0.0f32; n * n];
    // U[r][c] = L^-1[n-1-r][n-1-c]
    upper.par_chunks_mut(n).enumerate().for_each(|(r, row)| {
        let from = n - 1 - r;
        for (c, u) in row.iter_mut().enumerate().skip(r) {
            let col = n - 1 - c;
            let (panel, within) = (col / BLOCK, col % BLOCK);
            let width = panels[panel].rows;
            *u = columns[panel][(from - panel * BLOCK) * width + within] as f32;
        }
    });
    upper.par_iter().all(|u| u.is_finite()).then_some(upper)
}

/// Rows of the reversed, permuted, damped matrix up to the diagonal block.
fn reversed_panel(hessian: &Hessian, order: &[u32], damp: f64, p: usize) -> Panel {
    let n = hessian.cols();
    let rows = BLOCK.min(n - p * BLOCK);
    let width = p * BLOCK + rows;
    let mut data = vec![0.0; rows * width];
    for (r, out) in data.chunks_exact_mut(width).enumerate() {
        let i = p * BLOCK + r;
        let column = order[n - 1 - i] as usize;
        let source = &hessian.values()[column * n..][..n];
        for (j, x) in out.iter_mut().enumerate() {
            *x = f64::from(source[order[n - 1 - j] as usize]);
        }
        let diagonal = if source[column] == 0.0 { 1.0 } else { out[i] };
        out[i] = diagonal + damp;
    }
    Panel { rows, width, data }
}

/// Replaces the panels by those of the Cholesky factor and returns the inverses of its diagonal blocks.
fn cholesky(panels: &mut [Panel], least: f64) -> Option<Vec<Vec<f64>>> {
    let mut inverses = Vec::with_capacity(panels.len());
    for k in 0..panels.len() {
        let at = k * BLOCK;
        let (done, below) = panels.split_at_mut(k + 1);
        let Panel { rows, width, data } = &mut done[k];
        let (rows, width) = (*rows, *width);
        factor_block(&mut data[at..], rows, width, least)?;
        let inverse = invert_block(&data[at..], rows, width);
        // L_ik = A_ik L_kk^-T
        let columns: Vec<Vec<f64>> = below
            .par_iter_mut()
            .map(|panel| {
                let mut column = vec![0.0; panel.rows * rows];
                let a = View::new(&panel.data[at..], panel.rows, rows, panel.width);
                let inverse = View::new(&inverse, rows, rows, rows).transpose();
                gemm_f64(1.0, a, inverse, 0.0, &mut column, rows);
                for (row, from) in panel.data.chunks_exact_mut(panel.width).zip(column.chunks_exact(rows)) {
                    row[at..at + rows].copy_from_slice(from);
                }
                column
            })
            .collect();
        // A_ij -= L_ik L_jk^T for k < j <= i
        let stacked = columns.concat();
        below.par_iter_mut().enumerate().for_each(|(i, panel)| {
            let (next, m) = (at + rows, panel.rows);
            let count = panel.width - next;
            let left = View::new(&columns[i], m, rows, rows);
            let right = View::new(&stacked, count, rows, rows).transpose();
            let width = panel.width;
            gemm_f64(-1.0, left, right, 1.0, &mut panel.data[next..], width);
        });
        inverses.push(inverse);
    }
    Some(inverses)
}

/// Cholesky of one block in place; `None` where a pivot does not exceed `least`.
fn factor_block(a: &mut [f64], n: usize, stride: usize, least: f64) -> Option<()> {
    for j in 0..n {
        for i in j..n {
            let mut sum = a[i * stride + j];
            for k in 0..j {
                sum -= a[i * stride + k] * a[j * stride + k];
            }
            if i == j {
                if !(sum > least && sum.is_finite()) {
                    return None;
                }
                a[j * stride + j] = sum.sqrt();
            } else {
                a[i * stride + j] = sum / a[j * stride + j];
            }
        }
    }
    Some(())
}

/// The inverse of a lower triangular block, `[n, n]` without gaps.
fn invert_block(l: &[f64], n: usize, stride: usize) -> Vec<f64> {
    let mut x = vec![0.0; n * n];
    for i in 0..n {
        let d = l[i * stride + i].recip();
        let (above, row) = x.split_at_mut(i * n);
        let row = &mut row[..n];
        for k in 0..i {
            let lik = l[i * stride + k];
            for (r, a) in row[..=k].iter_mut().zip(&above[k * n..]) {
                *r -= lik * a;
            }
        }
        row[..i].iter_mut().for_each(|r| *r *= d);
        row[i] = d;
    }
    x
}

/// Columns of block `p` of the inverse, from its diagonal block downwards: `[n - p * BLOCK, rows of p]`.
fn inverse_columns(panels: &[Panel], inverses: &[Vec<f64>], p: usize) -> Vec<f64> {
    let at = p * BLOCK;
    let width = panels[p].rows;
    let mut out = inverses[p].clone();
    let mut sum = Vec::new();
    for i in p + 1..panels.len() {
        let Panel { rows, width: stride, data } = &panels[i];
        let known = i * BLOCK - at;
        sum.clear();
        sum.resize(rows * width, 0.0);
        let l = View::new(&data[at..], *rows, known, *stride);
        gemm_f64(1.0, l, View::new(&out, known, width, width), 0.0, &mut sum, width);
        out.resize((known + rows) * width, 0.0);
        let inverse = View::new(&inverses[i], *rows, *rows, *rows);
        let sum = View::new(&sum, *rows, width, width);
        gemm_f64(-1.0, inverse, sum, 0.0, &mut out[known * width..], width);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(n: usize, tokens: usize, seed: u64) -> Hessian {
        let mut state = seed;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        let x: Vec<f32> = (0..n * tokens).map(|_| next()).collect();
        let mut h = vec![0.0; n * n];
        for t in 0..tokens {
            for i in 0..n {
                for j in 0..n {
                    h[i * n + j] += x[t * n + i] * x[t * n + j];
                }
            }
        }
        Hessian::new(h, n).unwrap()
    }

    #[test]
    fn the_factor_is_the_inverse_of_the_upper_root() {
        for n in [1, 5, 128, 200, 300] {
            let h = random(n, n + 20, 7 + n as u64);
            let order: Vec<u32> = (0..n as u32).map(|i| (i * 7 + 3) % n as u32).collect();
            let order = if n % 7 == 0 { (0..n as u32).rev().collect() } else { order };
            let f = Factor::new(&h, &order, Damping::default()).unwrap();
            assert_eq!(f.outcome, Outcome::Damped(0.01));
            // U H U^T = I
            let mut uh = vec![0.0f64; n * n];
            for i in 0..n {
                for j in 0..n {
                    uh[i * n + j] = (i..n)
                        .map(|k| {
                            let (a, b) = (order[k] as usize, order[j] as usize);
                            let d = if k == j { f.damp() } else { 0.0 };
                            f64::from(f.upper()[i * n + k]) * (f64::from(h.values()[a * n + b]) + d)
                        })
                        .sum();
                }
            }
            for i in 0..n {
                for j in 0..n {
                    let got: f64 = (j..n).map(|k| uh[i * n + k] * f64::from(f.upper()[j * n + k])).sum();
                    assert!((got - f64::from(u8::from(i == j))).abs() < 1e-4, "n {n} at {i} {j}: {got}");
                }
                assert!(f.upper()[i * n..][..i].iter().all(|u| *u == 0.0));
            }
        }
    }

    #[test]
    fn the_ladder_ends_in_an_error_or_the_diagonal() {
        // Eigenvalues 3 and -1: a damping share of 1 adds 1, which leaves 0.
        let h = Hessian::new(vec![1.0, 2.0, 2.0, 1.0], 2).unwrap();
        let strict = Damping::default();
        assert_eq!(Factor::new(&h, &[0, 1], strict).unwrap_err().code, "hessian-not-positive");
        let f = Factor::new(&h, &[0, 1], Damping { allow_fallback: true, ..strict }).unwrap();
        assert_eq!(f.outcome, Outcome::DiagonalOnly);
        assert_eq!(f.upper()[1], 0.0);
        // Eigenvalues 2.05 and -0.05.
        let h = Hessian::new(vec![1.0, 1.05, 1.05, 1.0], 2).unwrap();
        assert_eq!(Factor::new(&h, &[0, 1], strict).unwrap().outcome, Outcome::Damped(0.1));
    }

    #[test]
    fn a_dead_column_stands_alone() {
        let h = Hessian::new(vec![4.0, 0.0, 0.0, 0.0], 2).unwrap();
        let f = Factor::new(&h, &[1, 0], Damping::default()).unwrap();
        assert_eq!(f.upper()[1], 0.0);
        assert!(f.upper()[0] > 0.9 && f.upper()[0] < 1.0);
    }
}
