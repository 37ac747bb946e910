//! The column sweep: rounds columns one after another and pushes each rounding error onto the columns not yet rounded.
//!
//! Columns are taken in a given order; the first `quantised` of them are rounded, the rest (weak columns) only receive
//! compensation. Grids belong to ranges of positions in that order and are fitted when the sweep reaches them, so that
//! they see the compensation. Rows are independent of each other given the factor; they are swept in fixed chunks, so the
//! result does not depend on the number of threads.
//!
//! For every row `W - Q = E U`, hence `(W - Q) H (W - Q)^T = sum e^2` for the damped `H`: the loss is the output error.

use super::cholesky::Factor;
use super::gemm::{View, gemm_f32};
use super::grid::{Grid, GridSpec, Scratch};
use super::plan::{Freshness, Plan, Rounded, Weights};
use actc_types::{Diagnostic, Result};
use rayon::prelude::*;
use std::ops::Range;

/// Columns whose updates of the rest are applied together.
pub const BLOCK: usize = 128;
/// Rows swept together: few, so that layers with few rows occupy all threads.
pub const ROWS: usize = 64;

/// The blocks `0..quantised` is swept in.
fn blocks(plan: &Plan) -> Vec<Range<usize>> {
    let split = |r: Range<usize>| {
        let end = r.end;
        r.step_by(BLOCK).map(move |start| start..(start + BLOCK).min(end))
    };
    match plan.freshness {
        Freshness::BlockStart => split(0..plan.quantised).collect(),
        Freshness::Current => {
            let mut out: Vec<Range<usize>> = Vec::new();
            let mut groups: Vec<&Range<usize>> = plan.groups.iter().filter(|g| !g.is_empty()).collect();
            groups.sort_by_key(|g| g.start);
            for group in groups {
                match out.last_mut() {
                    Some(last) if group.end - last.start <= BLOCK => last.end = group.end,
                    Some(_) | None => out.extend(split(group.clone())),
                }
            }
            out
        }
    }
}

/// Sweeps `weights` with `factor`, which must be of the plan's order.
pub fn sweep(weights: Weights<'_>, factor: &Factor, spec: GridSpec, plan: &Plan) -> Result<Rounded> {
    let (rows, cols) = (weights.rows(), weights.cols());
    assert_eq!(factor.cols(), cols, "the factor is that of another layer");
    let groups = plan.groups.len();
    let mut out = Rounded::zeros(rows, cols, groups);
    let blocks = blocks(plan);
    let costs: Vec<f32> = (0..plan.quantised).map(|i| factor.upper()[i * cols + i].powi(-2)).collect();
    let losses: Vec<f64> = out
        .codes
        .par_chunks_mut(ROWS * cols)
        .zip(out.scales.par_chunks_mut(ROWS * groups))
        .zip(out.zeros.par_chunks_mut(ROWS * groups))
        .zip(out.values.par_chunks_mut(ROWS * cols))
        .zip(weights.data().par_chunks(ROWS * cols))
        .map(|((((codes, scales), zeros), values), data)| {
            let mut chunk = Chunk { factor, costs: &costs, spec, plan, codes, scales, zeros, values, loss: 0.0 };
            chunk.sweep(data, &blocks);
            chunk.loss / 2.0
        })
        .collect();
    out.loss = losses.iter().sum();
    if !out.loss.is_finite() {
        return Err(Diagnostic::new("sweep-not-finite", "the compensated weights of this layer are not finite")
            .help("more damping or more calibration text steadies the sweep"));
    }
    Ok(out)
}

/// Some rows of the result.
struct Chunk<'a> {
    factor: &'a Factor,
    /// What a squared error costs at each position that is rounded: `1 / U_ii^2`.
    costs: &'a [f32],
    spec: GridSpec,
    plan: &'a Plan,
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a mut [u8],
    values: &'a mut [f32],
    /// `sum e^2`.
    loss: f64,
}

/// A block of columns with what its rows need.
struct Columns<'a> {
    range: Range<usize>,
    /// `U` of these columns, without gaps.
    triangle: &'a [f32],
    /// The groups that start here, in order, each with its number.
    starting: Vec<(usize, Range<usize>)>,
}

impl Chunk<'_> {
    fn sweep(&mut self, data: &[f32], blocks: &[Range<usize>]) {
        let cols = self.factor.cols();
        let rows = data.len() / cols;
        let mut work = vec![0.0f32; data.len()];
        for (to, from) in work.chunks_exact_mut(cols).zip(data.chunks_exact(cols)) {
            for (w, column) in to.iter_mut().zip(&self.plan.order) {
                *w = from[*column as usize];
            }
        }
        let mut scratch = Scratch::default();
        // Groups whose columns are all weak have a grid too: that of no value.
        let mut grids = vec![self.spec.fit(&[], &mut scratch); rows];
        for (g, _) in self.plan.groups.iter().enumerate().filter(|(_, g)| g.is_empty()) {
            for (r, grid) in grids.iter().enumerate() {
                self.set_grid(r, g, *grid);
            }
        }
        let mut errors = vec![0.0f32; rows * BLOCK];
        let mut triangle = vec![0.0f32; BLOCK * BLOCK];
        for block in blocks {
            let width = block.len();
            for (i, row) in triangle.chunks_exact_mut(width).take(width).enumerate() {
                row.copy_from_slice(&self.factor.upper()[(block.start + i) * cols + block.start..][..width]);
            }
            let groups = self.plan.groups.iter().cloned().enumerate();
            let mut starting: Vec<(usize, Range<usize>)> =
                groups.filter(|(_, g)| !g.is_empty() && block.contains(&g.start)).collect();
            starting.sort_by_key(|(_, g)| g.start);
            let columns = Columns { range: block.clone(), triangle: &triangle, starting };
            for (r, grid) in grids.iter_mut().enumerate() {
                let row = &mut work[r * cols..(r + 1) * cols];
                self.row(r, row, &columns, grid, &mut errors[r * BLOCK..][..width], &mut scratch);
            }
            let rest = cols - block.end;
            if rest > 0 {
                let left = View::new(&errors, rows, width, BLOCK);
                let right = View::new(&self.factor.upper()[block.start * cols + block.end..], width, rest, cols);
                gemm_f32(-1.0, left, right, 1.0, &mut work[block.end..], cols);
            }
        }
        self.weak(&work);
    }

    fn set_grid(&mut self, r: usize, group: usize, grid: Grid) {
        let at = r * self.plan.groups.len() + group;
        self.scales[at] = grid.scale;
        self.zeros[at] = grid.zero;
    }

    /// Rounds the columns of one block in row `r`, compensating inside the block.
    fn row(
        &mut self,
        r: usize,
        row: &mut [f32],
        columns: &Columns<'_>,
        grid: &mut Grid,
        errors: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let block = &columns.range;
        let width = block.len();
        let levels = self.spec.levels();
        let mut before = [0.0f32; BLOCK];
        before[..width].copy_from_slice(&row[block.clone()]);
        let mut starting = columns.starting.iter().peekable();
        for i in 0..width {
            let at = block.start + i;
            if let Some((g, group)) = starting.next_if(|(_, group)| group.start == at) {
                let costs = &self.costs[group.clone()];
                *grid = match self.plan.freshness {
                    Freshness::Current => self.spec.fit_weighted(&row[group.clone()], costs, scratch),
                    Freshness::BlockStart => {
                        let mut seen = row[group.clone()].to_vec();
                        let inside = group.end.min(block.end) - at;
                        seen[..inside].copy_from_slice(&before[i..i + inside]);
                        self.spec.fit_weighted(&seen, costs, scratch)
                    }
                };
                self.set_grid(r, *g, *grid);
            }
            let w = row[at];
            let code = grid.code(w, levels);
            let q = grid.value(code);
            let u = &columns.triangle[i * width..(i + 1) * width];
            let e = (w - q) / u[i];
            let slot = r * row.len() + self.plan.order[at] as usize;
            self.codes[slot] = code;
            self.values[slot] = q;
            self.loss += f64::from(e) * f64::from(e);
            errors[i] = e;
            for (w, u) in row[at + 1..block.end].iter_mut().zip(&u[i + 1..]) {
                *w -= e * u;
            }
        }
    }

    /// Weak columns keep what compensation made of them; their slots in the body hold the zero point.
    fn weak(&mut self, work: &[f32]) {
        let cols = self.factor.cols();
        let groups = self.plan.groups.len();
        for (r, row) in work.chunks_exact(cols).enumerate() {
            let weak = self.plan.weak().iter().zip(&self.plan.weak_groups);
            for (w, (column, group)) in row[self.plan.quantised..].iter().zip(weak) {
                let slot = r * cols + *column as usize;
                self.values[slot] = *w;
                self.codes[slot] = self.zeros[r * groups + *group as usize];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::cholesky::Damping;
    use crate::quantize::grid::{ScalePrecision, Search};
    use crate::quantize::hessian::Hessian;
    use crate::quantize::rtn::round_nearest;
    use actc_types::Group;

    /// A layer of `cols` correlated channels, channel 3 dead.
    fn layer(rows: usize, cols: usize) -> (Vec<f32>, Hessian) {
        let data = (0..rows * cols).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect();
        let mut h = vec![0.0f32; cols * cols];
        for i in (0..cols).filter(|i| *i != 3) {
            for j in (0..cols).filter(|j| *j != 3) {
                h[i * cols + j] = 0.8f32.powi(i.abs_diff(j) as i32) * if i == j { 1.1 } else { 1.0 };
            }
        }
        (data, Hessian::new(h, cols).unwrap())
    }

    #[test]
    fn blocks_end_where_groups_end() {
        let plan = Plan::natural(400, &[5, 130], Group::Columns(48));
        assert_eq!(blocks(&plan), [0..95, 95..190, 190..286, 286..398]);
        let wide = Plan::natural(300, &[], Group::Columns(160));
        assert_eq!(blocks(&wide), [0..128, 128..160, 160..288, 288..300]);
        let published = Plan::published(300, &[], 32);
        assert_eq!(blocks(&published), [0..128, 128..256, 256..300]);
    }

    #[test]
    fn the_loss_is_the_damped_output_error_and_below_that_of_rounding() {
        let (data, hessian) = layer(5, 300);
        let weights = Weights::new(&data, 300).unwrap();
        let spec = GridSpec { bits: 3, search: Search::MinMax, scale: ScalePrecision::F16 };
        for group in [Group::Channel, Group::Columns(16), Group::Columns(160)] {
            let plan = Plan::natural(300, &[7, 150], group);
            let factor = Factor::new(&hessian, &plan.order, Damping::default()).unwrap();
            let out = sweep(weights, &factor, spec, &plan).unwrap();
            let error = |values: &[f32]| -> f64 {
                let change: Vec<f32> = data.iter().zip(values).map(|(w, q)| w - q).collect();
                let square: f64 = change.iter().map(|c| f64::from(*c) * f64::from(*c)).sum();
                let dead: f64 = change.iter().skip(3).step_by(300).map(|c| f64::from(*c) * f64::from(*c)).sum();
                hessian.energy(&change) + factor.damp() * square + dead
            };
            let measured = error(&out.values);
            assert!((2.0 * out.loss / measured - 1.0).abs() < 1e-3, "{group}: {} against {measured}", 2.0 * out.loss);
            assert!(measured < 0.8 * error(&round_nearest(weights, spec, &plan).values), "{group}");
            // What is stored gives what is meant, and a dead column is rounded to nearest.
            let (width, groups) = (group.width(300), group.count(300));
            for (i, (code, value)) in out.codes.iter().zip(&out.values).enumerate() {
                let (row, col) = (i / 300, i % 300);
                let at = row * groups + col / width;
                let grid = Grid { scale: out.scales[at], zero: out.zeros[at] };
                if plan.weak().contains(&(col as u32)) {
                    assert_eq!(*code, grid.zero);
                } else {
                    assert_eq!(grid.value(*code), *value);
                }
                if col == 3 {
                    assert_eq!(grid.round(data[i], 8), *value);
                }
            }
        }
    }
}
