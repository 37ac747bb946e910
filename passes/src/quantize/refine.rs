//! Refinement of a swept layer under its full Hessian: coordinate descent over scales and codes.
//!
//! The sweep rounds a column knowing only what follows; here every code is looked at again knowing all others
//! (QuantEase, Behdin et al. 2023, algorithm 1; the scales and the weak columns are ours). With `D = W - Q` over the rounded
//! columns and `S` the damped Hessian from which the weak columns are eliminated, as they take up what they can of any
//! `D`, the loss of a row is `D S D^T`. Group by group, the scale moves to its least loss, as it is stored, and then each
//! code to the grid value nearest to its column's least loss. No step raises the loss. In the end weak columns take
//! theirs. A round costs about as much as two products of the layer with `S`.

use super::cholesky::{Factor, Outcome};
use super::gemm::{View, gemm_f32};
use super::grid::{Grid, GridSpec};
use super::hessian::Hessian;
use super::plan::{Freshness, Plan, Rounded, Weights};
use rayon::prelude::*;
use std::ops::Range;

/// Rows refined together.
const ROWS: usize = 64;

/// Refines `rounded`, which [`sweep`](super::gptq::sweep) made of `weights` with `factor` and a plan of our layouts, in at
/// most `rounds` rounds. Does nothing where the factor is diagonal: there rounding to nearest is best already.
pub fn refine(
    weights: Weights<'_>,
    hessian: &Hessian,
    factor: &Factor,
    spec: GridSpec,
    plan: &Plan,
    rounded: &mut Rounded,
    rounds: u32,
) {
    assert_eq!(plan.freshness, Freshness::Current, "groups lie over natural column slots");
    let problem = match factor.outcome {
        Outcome::Damped(_) if plan.quantised > 0 => Problem::new(hessian, factor.damp(), plan),
        Outcome::Damped(_) | Outcome::DiagonalOnly => None,
    };
    let Some(problem) = problem else { return };
    let (cols, groups) = (weights.cols(), plan.groups.len());
    let losses: Vec<f64> = rounded
        .codes
        .par_chunks_mut(ROWS * cols)
        .zip(rounded.scales.par_chunks_mut(ROWS * groups))
        .zip(rounded.zeros.par_chunks(ROWS * groups))
        .zip(rounded.values.par_chunks_mut(ROWS * cols))
        .zip(weights.data().par_chunks(ROWS * cols))
        .map(|((((codes, scales), zeros), values), data)| {
            Chunk { problem: &problem, spec, cols, data, codes, scales, zeros, values }.refine(rounds)
        })
        .collect();
    rounded.loss = losses.iter().sum::<f64>() / 2.0;
}

/// What the rows of a layer share.
struct Problem {
    /// The rounded columns, ascending.
    columns: Vec<usize>,
    /// The weak columns.
    weak: Vec<usize>,
    /// Ranges of `columns` that share a grid, by group.
    groups: Vec<Range<usize>>,
    /// `S = H_qq - H_qw H_ww^-1 H_wq`, `[columns, columns]`, of the damped Hessian.
    hessian: Vec<f32>,
    /// `H_qw H_ww^-1`, `[columns, weak]`: what weak columns take up of the others' errors.
    taken: Vec<f32>,
}

impl Problem {
    /// `None` where rounding noise leaves `S` without a positive diagonal.
    fn new(hessian: &Hessian, damp: f64, plan: &Plan) -> Option<Problem> {
        let n = hessian.cols();
        // Dead columns have a diagonal of 1, as in the factor.
        let h = |i: usize, j: usize| -> f64 {
            let v = f64::from(hessian.values()[i * n + j]);
            match (i == j, v == 0.0) {
                (true, true) => 1.0 + damp,
                (true, false) => v + damp,
                (false, _) => v,
            }
        };
        let h = &h;
        let mut columns: Vec<usize> = plan.order[..plan.quantised].iter().map(|c| *c as usize).collect();
        columns.sort_unstable();
        let weak: Vec<usize> = plan.weak().iter().map(|c| *c as usize).collect();
        let mut end = 0;
        let groups = plan.groups.iter().map(|g| {
            end += g.len();
            end - g.len()..end
        });
        let groups = groups.collect();
        let (nq, nw) = (columns.len(), weak.len());
        let lower = lower_factor(nw, |i, j| h(weak[i], weak[j]))?;
        let mut taken = vec![0.0f32; nq * nw];
        if nw > 0 {
            taken.par_chunks_mut(nw).zip(&columns).for_each(|(row, c)| {
                let mut x: Vec<f64> = weak.iter().map(|w| h(*w, *c)).collect();
                solve(&lower, &mut x);
                row.iter_mut().zip(&x).for_each(|(r, x)| *r = *x as f32);
            });
        }
        let coupling: Vec<f32> = weak.iter().flat_map(|w| columns.iter().map(move |c| h(*w, *c) as f32)).collect();
        let mut reduced = vec![0.0f32; nq * nq];
        reduced.par_chunks_mut(ROWS * nq).enumerate().for_each(|(chunk, rows)| {
            let (from, count) = (chunk * ROWS, rows.len() / nq);
            for (row, c) in rows.chunks_exact_mut(nq).zip(&columns[from..]) {
                row.iter_mut().zip(&columns).for_each(|(v, d)| *v = h(*c, *d) as f32);
            }
            if nw > 0 {
                let left = View::new(&taken[from * nw..], count, nw, nw);
                gemm_f32(-1.0, left, View::new(&coupling, nw, nq, nq), 1.0, rows, nq);
            }
        });
        let positive = (0..nq).all(|i| reduced[i * nq + i] > 0.0);
        positive.then_some(Problem { columns, weak, groups, hessian: reduced, taken })
    }

    fn row(&self, i: usize) -> &[f32] {
        &self.hessian[i * self.columns.len()..][..self.columns.len()]
    }
}

/// The lower Cholesky factor of the `[n, n]` matrix `a`, or `None` where that is not positive definite.
fn lower_factor(n: usize, a: impl Fn(usize, usize) -> f64) -> Option<Vec<f64>> {
    let mut lower = vec![0.0f64; n * n];
    for i in 0..n {
        for j in 0..=i {
            let (above, row) = (&lower[j * n..j * n + j], &lower[i * n..i * n + j]);
            let rest = a(i, j) - row.iter().zip(above).map(|(x, y)| x * y).sum::<f64>();
            lower[i * n + j] = match (i == j, rest > 0.0) {
                (true, false) => return None,
                (true, true) => rest.sqrt(),
                (false, _) => rest / lower[j * n + j],
            };
        }
    }
    Some(lower)
}

/// `x` becomes `(L L^T)^-1 x`.
fn solve(lower: &[f64], x: &mut [f64]) {
    let n = x.len();
    for i in 0..n {
        let dot: f64 = lower[i * n..i * n + i].iter().zip(&x[..i]).map(|(l, x)| l * x).sum();
        x[i] = (x[i] - dot) / lower[i * n + i];
    }
    for i in (0..n).rev() {
        let dot: f64 = (i + 1..n).map(|k| lower[k * n + i] * x[k]).sum();
        x[i] = (x[i] - dot) / lower[i * n + i];
    }
}

/// Some rows of the result.
struct Chunk<'a> {
    problem: &'a Problem,
    spec: GridSpec,
    cols: usize,
    data: &'a [f32],
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a [u8],
    values: &'a mut [f32],
}

impl Chunk<'_> {
    /// Gives the sum of the rows' losses.
    fn refine(&mut self, rounds: u32) -> f64 {
        let problem = self.problem;
        let n = problem.columns.len();
        let rows = self.data.len() / self.cols;
        // `D S`, kept up to date with every step: half the slope of the loss.
        let mut slopes = self.slopes(&self.changes());
        let widest = problem.groups.iter().map(Range::len).max().unwrap_or(0);
        let mut steps = vec![0.0f32; rows * widest];
        let mut pulls = vec![0.0f32; rows * n];
        for _ in 0..rounds {
            let mut moved = false;
            for (g, range) in problem.groups.iter().enumerate().filter(|(_, g)| !g.is_empty()) {
                let width = range.len();
                // What a scale multiplies, and that times `S`.
                for (r, steps) in steps.chunks_exact_mut(width).take(rows).enumerate() {
                    let zero = f32::from(self.zeros[self.group(r, g)]);
                    for (step, c) in steps.iter_mut().zip(&problem.columns[range.clone()]) {
                        *step = f32::from(self.codes[r * self.cols + c]) - zero;
                    }
                }
                let part = View::new(&problem.hessian[range.start * n..], width, n, n);
                gemm_f32(1.0, View::new(&steps, rows, width, width), part, 0.0, &mut pulls, n);
                for (r, slopes) in slopes.chunks_exact_mut(n).enumerate() {
                    let (steps, pull) = (&steps[r * width..][..width], &pulls[r * n..][..n]);
                    moved |= self.rescale(r, g, steps, pull, slopes);
                    moved |= self.recode(r, g, slopes);
                }
            }
            if !moved {
                break;
            }
        }
        let changes = self.changes();
        self.settle_weak(&changes);
        let slopes = self.slopes(&changes);
        changes.iter().zip(&slopes).map(|(d, s)| f64::from(*d) * f64::from(*s)).sum()
    }

    fn group(&self, r: usize, g: usize) -> usize {
        r * self.problem.groups.len() + g
    }

    /// `D`, `[rows, columns]`.
    fn changes(&self) -> Vec<f32> {
        let rows = self.data.chunks_exact(self.cols).zip(self.values.chunks_exact(self.cols));
        rows.flat_map(|(w, q)| self.problem.columns.iter().map(move |c| w[*c] - q[*c])).collect()
    }

    /// `D S`, `[rows, columns]`.
    fn slopes(&self, changes: &[f32]) -> Vec<f32> {
        let n = self.problem.columns.len();
        let rows = changes.len() / n;
        let mut out = vec![0.0f32; changes.len()];
        let hessian = View::new(&self.problem.hessian, n, n, n);
        gemm_f32(1.0, View::new(changes, rows, n, n), hessian, 0.0, &mut out, n);
        out
    }

    /// Moves the scale of group `g` in row `r` to its least loss; whether it moved.
    fn rescale(&mut self, r: usize, g: usize, steps: &[f32], pull: &[f32], slopes: &mut [f32]) -> bool {
        let range = self.problem.groups[g].clone();
        let at = self.group(r, g);
        let dot = |a: &[f32]| a.iter().zip(steps).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let (slope, bend) = (dot(&slopes[range.clone()]), dot(&pull[range.clone()]));
        let before = self.scales[at];
        let wanted = (f64::from(before) + slope / bend) as f32;
        if !wanted.is_finite() || wanted <= 0.0 {
            return false;
        }
        let scale = self.spec.scale.round(wanted);
        let by = f64::from(scale) - f64::from(before);
        if by * (by * bend - 2.0 * slope) >= 0.0 {
            return false;
        }
        slopes.iter_mut().zip(pull).for_each(|(s, p)| *s -= by as f32 * p);
        self.scales[at] = scale;
        let grid = Grid { scale, zero: self.zeros[at] };
        for c in &self.problem.columns[range] {
            let slot = r * self.cols + c;
            self.values[slot] = grid.value(self.codes[slot]);
        }
        true
    }

    /// Moves each code of group `g` in row `r` to its least loss; whether one moved.
    fn recode(&mut self, r: usize, g: usize, slopes: &mut [f32]) -> bool {
        let at = self.group(r, g);
        let grid = Grid { scale: self.scales[at], zero: self.zeros[at] };
        let levels = self.spec.levels();
        let mut moved = false;
        for j in self.problem.groups[g].clone() {
            let slot = r * self.cols + self.problem.columns[j];
            let row = self.problem.row(j);
            let code = grid.code(self.values[slot] + slopes[j] / row[j], levels);
            let by = grid.value(code) - self.values[slot];
            if code != self.codes[slot] && by * (by * row[j] - 2.0 * slopes[j]) < 0.0 {
                slopes.iter_mut().zip(row).for_each(|(s, h)| *s -= by * h);
                self.codes[slot] = code;
                self.values[slot] = grid.value(code);
                moved = true;
            }
        }
        moved
    }

    /// Gives weak columns what they take up of `changes`.
    fn settle_weak(&mut self, changes: &[f32]) {
        let Problem { columns, weak, taken, .. } = self.problem;
        let (n, nw) = (columns.len(), weak.len());
        if nw == 0 {
            return;
        }
        let rows = changes.len() / n;
        let mut up = vec![0.0f32; rows * nw];
        gemm_f32(1.0, View::new(changes, rows, n, n), View::new(taken, n, nw, nw), 0.0, &mut up, nw);
        for (r, row) in up.chunks_exact(nw).enumerate() {
            for (u, c) in row.iter().zip(weak) {
                self.values[r * self.cols + c] = self.data[r * self.cols + c] + u;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cholesky::Damping;
    use super::super::gptq::sweep;
    use super::super::grid::{ScalePrecision, Search};
    use super::*;
    use actc_types::Group;

    const COLS: usize = 200;

    /// Channel 3 is dead, channel 60 loud.
    fn layer(rows: usize) -> (Vec<f32>, Hessian) {
        let data = (0..rows * COLS).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect();
        let loud = |i: usize| if i == 60 { 20.0 } else { 1.0 };
        let mut h = vec![0.0f32; COLS * COLS];
        for i in (0..COLS).filter(|i| *i != 3) {
            for j in (0..COLS).filter(|j| *j != 3) {
                let own = if i == j { 1.1 } else { 1.0 };
                h[i * COLS + j] = loud(i) * loud(j) * 0.9f32.powi(i.abs_diff(j) as i32) * own;
            }
        }
        (data, Hessian::new(h, COLS).unwrap())
    }

    #[test]
    fn every_round_lowers_the_loss_and_it_is_the_damped_output_error() {
        let (data, hessian) = layer(70);
        let weights = Weights::new(&data, COLS).unwrap();
        for (bits, group, weak) in [
            (3, Group::Columns(32), &[60u32, 7, 150][..]),
            (4, Group::Columns(128), &[60]),
            (2, Group::Channel, &[]),
            (4, Group::Columns(16), &[32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47]),
        ] {
            let spec = GridSpec { bits, search: Search::Loss { steps: 50 }, scale: ScalePrecision::F16 };
            let plan = Plan::natural(COLS, weak, group);
            let factor = Factor::new(&hessian, &plan.order, Damping::default()).unwrap();
            let swept = sweep(weights, &factor, spec, &plan).unwrap();
            let error = |out: &Rounded| -> f64 {
                let change: Vec<f32> = data.iter().zip(&out.values).map(|(w, q)| w - q).collect();
                let square = |v: &f32| f64::from(*v) * f64::from(*v);
                let dead: f64 = change.iter().skip(3).step_by(COLS).map(square).sum();
                hessian.energy(&change) + factor.damp() * change.iter().map(square).sum::<f64>() + dead
            };
            let mut before = swept.loss;
            for rounds in 0..4 {
                let mut out = swept.clone();
                refine(weights, &hessian, &factor, spec, &plan, &mut out, rounds);
                let measured = error(&out);
                assert!((2.0 * out.loss / measured - 1.0).abs() < 1e-3, "{group}: {} is {measured}", 2.0 * out.loss);
                // Without a round nothing moves but the last bits of the loss.
                let most = if rounds == 1 { 0.99 } else { 1.0 + 1e-4 };
                assert!(out.loss <= before * most, "{group}, round {rounds}: {before} became {}", out.loss);
                before = out.loss;
                let (width, groups) = (group.width(COLS), group.count(COLS));
                for (i, (code, value)) in out.codes.iter().zip(&out.values).enumerate() {
                    let at = i / COLS * groups + i % COLS / width;
                    let grid = Grid { scale: out.scales[at], zero: out.zeros[at] };
                    if plan.weak().contains(&((i % COLS) as u32)) {
                        assert_eq!(*code, grid.zero);
                    } else {
                        assert_eq!(grid.value(*code), *value);
                        assert_eq!(spec.scale.round(grid.scale), grid.scale);
                    }
                }
            }
        }
    }

    #[test]
    fn a_layer_on_its_grid_stays() {
        let (_, hessian) = layer(1);
        let data: Vec<f32> = (0..5 * COLS).map(|i| 0.125 * ((i * 31 % 16) as f32 - 7.0)).collect();
        let weights = Weights::new(&data, COLS).unwrap();
        let spec = GridSpec { bits: 4, search: Search::MinMax, scale: ScalePrecision::F16 };
        let plan = Plan::natural(COLS, &[60], Group::Columns(128));
        let factor = Factor::new(&hessian, &plan.order, Damping::default()).unwrap();
        let swept = sweep(weights, &factor, spec, &plan).unwrap();
        let mut out = swept.clone();
        refine(weights, &hessian, &factor, spec, &plan, &mut out, 3);
        assert_eq!(out, swept);
    }
}
