//! Rounding to nearest: every group's grid is fitted to the weights as they are, no error is passed on.

use super::grid::{GridSpec, Scratch};
use super::plan::{Plan, Rounded, Weights};
use rayon::prelude::*;

/// Rounds `weights` by `plan`; weak columns keep their values.
pub fn round_nearest(weights: Weights<'_>, spec: GridSpec, plan: &Plan) -> Rounded {
    round_weighted(weights, &[], spec, plan)
}

/// As [`round_nearest`]; a search for the least loss weighs the squared errors of column `c` by `moments[c]`, positive, or
/// all alike where there are none.
pub fn round_weighted(weights: Weights<'_>, moments: &[f32], spec: GridSpec, plan: &Plan) -> Rounded {
    let (rows, cols) = (weights.rows(), weights.cols());
    let groups = plan.groups.len();
    let levels = spec.levels();
    let mut out = Rounded::zeros(rows, cols, groups);
    out.values.copy_from_slice(weights.data());
    out.codes
        .par_chunks_mut(cols)
        .zip(out.scales.par_chunks_mut(groups))
        .zip(out.zeros.par_chunks_mut(groups))
        .zip(out.values.par_chunks_mut(cols))
        .for_each_init(
            || (Scratch::default(), Vec::new(), Vec::new()),
            |(scratch, seen, weight), (((codes, scales), zeros), values)| {
                for (g, group) in plan.groups.iter().enumerate() {
                    let columns = &plan.order[group.clone()];
                    seen.clear();
                    seen.extend(columns.iter().map(|c| values[*c as usize]));
                    weight.clear();
                    weight.extend(columns.iter().filter_map(|c| moments.get(*c as usize)));
                    let grid = spec.fit_weighted(seen, weight, scratch);
                    scales[g] = grid.scale;
                    zeros[g] = grid.zero;
                    for (c, x) in columns.iter().zip(seen.iter()) {
                        codes[*c as usize] = grid.code(*x, levels);
                        values[*c as usize] = grid.value(codes[*c as usize]);
                    }
                }
                for (column, group) in plan.weak().iter().zip(&plan.weak_groups) {
                    codes[*column as usize] = zeros[*group as usize];
                }
            },
        );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantize::grid::{ScalePrecision, Search};
    use actc_types::Group;

    #[test]
    fn errors_stay_within_half_a_step_and_weak_columns_stay() {
        let data: Vec<f32> = (0..80).map(|i| ((i * 37) % 41) as f32 / 40.0 - 0.4).collect();
        let weights = Weights::new(&data, 40).unwrap();
        let plan = Plan::natural(40, &[3, 17], Group::Columns(16));
        let spec = GridSpec { bits: 4, search: Search::MinMax, scale: ScalePrecision::F32 };
        let out = round_nearest(weights, spec, &plan);
        for (i, (w, q)) in data.iter().zip(&out.values).enumerate() {
            let (row, col) = (i / 40, i % 40);
            let scale = out.scales[row * 3 + col / 16];
            assert!((w - q).abs() <= scale * 0.5001, "{i}");
            if col == 3 || col == 17 {
                assert_eq!(w, q);
                assert_eq!(out.codes[i], out.zeros[row * 3 + col / 16]);
            }
        }
    }
}
