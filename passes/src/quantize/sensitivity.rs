//! Which input channels suffer most from rounding: `H_jj * sum_i (W_ij - Q(W)_ij)^2`, the score of OWQ.

use super::grid::{GridSpec, Scratch};
use super::plan::Weights;
use rayon::prelude::*;

/// Step sizes that the score's grid search tries.
pub const STEPS: u32 = 40;
/// Rows whose squared errors are summed together.
const ROWS: usize = 64;

/// The score of every column: rows on one grid each, found over the full row, times the undamped `diagonal` of `H`.
pub fn scores(weights: Weights<'_>, diagonal: &[f32], spec: GridSpec) -> Vec<f64> {
    let cols = weights.cols();
    assert_eq!(diagonal.len(), cols, "one diagonal element a column");
    let spec = spec.by_norm(STEPS);
    let levels = spec.levels();
    let sums: Vec<Vec<f64>> = weights
        .data()
        .par_chunks(ROWS * cols)
        .map_init(Scratch::default, |scratch, chunk| {
            let mut sum = vec![0.0f64; cols];
            for row in chunk.chunks_exact(cols) {
                let grid = spec.fit(row, scratch);
                for (s, w) in sum.iter_mut().zip(row) {
                    let e = f64::from(w - grid.round(*w, levels));
                    *s += e * e;
                }
            }
            sum
        })
        .collect();
    let mut scores = vec![0.0f64; cols];
    for sum in sums {
        for (score, s) in scores.iter_mut().zip(sum) {
            *score += s;
        }
    }
    for (score, d) in scores.iter_mut().zip(diagonal) {
        *score *= f64::from(*d);
    }
    scores
}

/// The energy of the outputs of `weights` by the `diagonal` of `H` alone: `sum of H_jj W_ij^2`.
pub fn energy(weights: Weights<'_>, diagonal: &[f32]) -> f64 {
    let of =
        |row: &[f32]| row.iter().zip(diagonal).map(|(w, s)| f64::from(*w) * f64::from(*w) * f64::from(*s)).sum::<f64>();
    weights.data().chunks_exact(weights.cols()).map(of).sum()
}

/// The `count` columns of highest score, highest first, the lower index first among equals.
pub fn strongest(scores: &[f64], count: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|a, b| scores[*b as usize].total_cmp(&scores[*a as usize]));
    order.truncate(count);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_go_to_the_lower_index() {
        assert_eq!(strongest(&[1.0, 3.0, 3.0, 0.5, 3.0], 3), [1, 2, 4]);
        assert_eq!(strongest(&[0.0; 3], 5), [0, 1, 2]);
    }
}
