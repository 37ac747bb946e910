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
use super::grid::{GridSpec, Scratch};
use super::plan::{Freshness, Plan, Rounded, Weights};
use actc_types::{Diagnostic, Result};
use rayon::prelude::*;
use std::ops::Range;

/// Columns whose updates of the rest are applied together.
pub const BLOCK: usize = 128;
/// Rows swept together.
pub const ROWS: usize = 256;

/// The blocks `0..quantised` is swept in.
fn blocks(plan: &Plan) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    let pieces: Vec<Range<usize>> = match plan.freshness {
        Freshness::BlockStart => vec![0..plan.quantised],
        Freshness::Current => plan.groups.clone(),
    };
    for piece in pieces.into_iter().filter(|p| !p.is_empty()) {
        match out.last_mut() {
            Some(last) if piece.end - last.start <= BLOCK => last.end = piece.end,
            _ => {
                let starts = piece.clone().step_by(BLOCK);
                out.extend(starts.map(|s| s..(s + BLOCK).min(piece.end)));
            }
        }
    }
    out
}

/// Sweeps `weights` with `factor`, which must be of the plan's order.
pub fn sweep(weights: Weights<'_>, factor: &Factor, spec: GridSpec, plan: &Plan) -> Result<Rounded> {
    let (rows, cols) = (weights.rows(), weights.cols());
    assert_eq!(factor.cols(), cols, "the factor is that of another layer");
    let groups = plan.groups.len();
    let mut out = Rounded::zeros(rows, cols, groups);
    let blocks = blocks(plan);
    let losses: Vec<f64> = out
        .codes
        .par_chunks_mut(ROWS * cols)
        .zip(out.scales.par_chunks_mut(ROWS * groups))
        .zip(out.zeros.par_chunks_mut(ROWS * groups))
        .zip(out.values.par_chunks_mut(ROWS * cols))
        .zip(weights.data().par_chunks(ROWS * cols))
        .map(|((((codes, scales), zeros), values), data)| {
            let chunk = Chunk { codes, scales, zeros, values };
            chunk.sweep(data, factor, spec, plan, &blocks)
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
    codes: &'a mut [u8],
    scales: &'a mut [f32],
    zeros: &'a mut [u8],
    values: &'a mut [f32],
}

impl Chunk<'_> {
    fn sweep(self, data: &[f32], factor: &Factor, spec: GridSpec, plan: &Plan, blocks: &[Range<usize>]) -> f64 {
        let cols = factor.cols();
        let rows = data.len() / cols;
        let groups = plan.groups.len();
        let levels = spec.levels();
        let mut work = vec![0.0f32; rows * cols];
        for (to, from) in work.chunks_exact_mut(cols).zip(data.chunks_exact(cols)) {
            for (w, column) in to.iter_mut().zip(&plan.order) {
                *w = from[*column as usize];
            }
        }
        let mut errors = vec![0.0f32; rows * BLOCK];
        let mut loss = 0.0f64;
        let mut scratch = Scratch::default();
        let mut grids = vec![spec.fit(&[], &mut scratch); rows];
        for (g, _) in plan.groups.iter().enumerate().filter(|(_, g)| g.is_empty()) {
            for r in 0..rows {
                self.scales[r * groups + g] = grids[r].scale;
                self.zeros[r * groups + g] = grids[r].zero;
            }
        }
        let mut triangle = vec![0.0f32; BLOCK * BLOCK];
        for block in blocks {
            let width = block.len();
            for (i, row) in triangle.chunks_exact_mut(width).take(width).enumerate() {
                row.copy_from_slice(&factor.upper()[(block.start + i) * cols + block.start..][..width]);
            }
            // Groups that start in this block, in order.
            let starting: Vec<(usize, &Range<usize>)> =
                plan.groups.iter().enumerate().filter(|(_, g)| !g.is_empty() && block.contains(&g.start)).collect();
            for r in 0..rows {
                let row = &mut work[r * cols..(r + 1) * cols];
                let mut before = [0.0f32; BLOCK];
                before[..width].copy_from_slice(&row[block.clone()]);
                let mut next = starting.iter();
                let mut upcoming = next.next();
                let errors = &mut errors[r * BLOCK..][..width];
                for i in 0..width {
                    let at = block.start + i;
                    if let Some((g, group)) = upcoming
                        && group.start == at
                    {
                        let grid = match plan.freshness {
                            Freshness::Current => spec.fit(&row[(*group).clone()], &mut scratch),
                            Freshness::BlockStart => {
                                let mut seen = row[(*group).clone()].to_vec();
                                let inside = group.end.min(block.end) - at;
                                seen[..inside].copy_from_slice(&before[i..i + inside]);
                                spec.fit(&seen, &mut scratch)
                            }
                        };
                        grids[r] = grid;
                        self.scales[r * groups + g] = grid.scale;
                        self.zeros[r * groups + g] = grid.zero;
                        upcoming = next.next();
                    }
                    let w = row[at];
                    let code = grids[r].code(w, levels);
                    let q = grids[r].value(code);
                    let u = &triangle[i * width..(i + 1) * width];
                    let e = (w - q) / u[i];
                    let slot = r * cols + plan.order[at] as usize;
                    self.codes[slot] = code;
                    self.values[slot] = q;
                    loss += f64::from(e) * f64::from(e);
                    errors[i] = e;
                    for (w, u) in row[at + 1..block.end].iter_mut().zip(&u[i + 1..]) {
                        *w -= e * u;
                    }
                }
            }
            let rest = cols - block.end;
            if rest > 0 {
                let left = View::new(&errors, rows, width, BLOCK);
                let right = View::new(&factor.upper()[block.start * cols + block.end..], width, rest, cols);
                gemm_f32(-1.0, left, right, 1.0, &mut work[block.end..], cols);
            }
        }
        for (r, row) in work.chunks_exact(cols).enumerate() {
            for ((w, column), group) in
                row[plan.quantised..].iter().zip(&plan.order[plan.quantised..]).zip(&plan.weak_groups)
            {
                let slot = r * cols + *column as usize;
                self.values[slot] = *w;
                self.codes[slot] = self.zeros[r * groups + *group as usize];
            }
        }
        loss / 2.0
    }
}
