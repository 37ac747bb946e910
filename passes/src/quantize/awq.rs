//! AWQ for the linear layers behind one input: scales of its channels, then clipped grids (Lin et al. 2024,
//! arXiv 2306.00978).
//!
//! A channel that carries much is scaled up before its weights are rounded and down in its activations, so that the step
//! of its group is finer to it. The scale is a power of the channel's mean magnitude, `s_j = a_j^ratio`, made such that
//! the largest times the smallest is 1, and the ratio is the one of [`RATIOS`] in `[0, 1)` with the least error of the
//! layers' outputs, `tr(D H D^T)` with `D = W - Q(W s) / s` and the inputs' second moments `H`.
//!
//! Then each group's range shrinks by up to 45 % where that lowers the error of the group's share of the output,
//! `d H_gg d^T`. As published, but for three things: the inputs' second moments stand for a sample of them; the search
//! looks at no more than [`SEARCH_ROWS`] rows of a weight, evenly spread, as scales belong to columns; and beside the
//! shrunk ranges the grid with the least error weighted by the diagonal of `H` is tried, on which the search for scales
//! rounds too. Without clipping all of it rounds on whole ranges.

use super::gemm::{View, gemm_f32};
use super::grid::{Grid, GridSpec, Scratch, Search};
use super::hessian::Hessian;
use super::plan::{Plan, Rounded, Weights};
use super::rtn::round_weighted;
use actc_types::{Group, Result};
use rayon::prelude::*;

/// Exponents tried: 0, 1 / `RATIOS`, …
pub const RATIOS: u32 = 20;
/// Rows of a weight that the search for scales looks at, at most.
pub const SEARCH_ROWS: usize = 512;
/// Shares tried by which a range shrinks: 0, 1 / 20, … 9 / 20.
pub const CLIPS: u32 = 10;
const CLIP_STEPS: u32 = 20;
/// Step sizes tried for a grid of least weighted error: once for each ratio, and in the end.
const SEARCH_STEPS: u32 = 20;
const LAST_STEPS: u32 = 100;
/// Least weight of a channel's error, as a share of the mean.
const SILENT: f32 = 1e-6;
/// Least scale before all are centred.
const LEAST: f64 = 1e-4;
/// Rows rounded together.
const ROWS: usize = 64;

/// How weights are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Bits and precision of scales; how grids are found is this method's own.
    pub spec: GridSpec,
    /// Columns that share a grid.
    pub group: Group,
    /// Whether ranges are clipped.
    pub clip: bool,
}

impl Method {
    fn by(self, search: Search) -> GridSpec {
        GridSpec { search, ..self.spec }
    }

    /// Rounds to nearest on grids of least error weighted by `moments`, of `steps` step sizes, or on whole ranges.
    fn nearest(self, weights: Weights<'_>, moments: &[f32], steps: u32) -> Rounded {
        let search = if self.clip { Search::Loss { steps } } else { Search::MinMax };
        round_weighted(weights, &audible(moments), self.by(search), &Plan::natural(weights.cols(), &[], self.group))
    }
}

/// Weights of errors: `moments`, none of them zero.
fn audible(moments: &[f32]) -> Vec<f32> {
    let mean = moments.iter().sum::<f32>() / moments.len().max(1) as f32;
    moments.iter().map(|m| m.max(mean * SILENT).max(f32::MIN_POSITIVE)).collect()
}

/// The best scales of some channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Scales {
    /// For each class of channels, positive.
    pub factors: Vec<f32>,
    /// The exponent they came from; 0 where all are 1.
    pub ratio: f64,
    /// Error of the outputs of the rows looked at, in the Hessian's scale.
    pub error: f64,
    /// The same with all scales 1.
    pub plain: f64,
}

/// Searches scales for the classes of an input's channels, `class_of` below `classes`, with mean magnitudes `means` and
/// second moments `hessian`; `weights` read it and are rounded with `method`.
pub fn scales(
    means: &[f64],
    class_of: &[u32],
    classes: usize,
    hessian: &Hessian,
    weights: &[Weights<'_>],
    method: Method,
) -> Result<Scales> {
    let strength = strength(means, class_of, classes);
    let moments: Vec<f32> = hessian.diagonal().collect();
    let seen: Vec<Vec<f32>> = weights.iter().map(|w| spread(*w)).collect();
    let cols = hessian.cols();
    let mut best: Option<Scales> = None;
    let mut plain = 0.0;
    for step in 0..RATIOS {
        let ratio = f64::from(step) / f64::from(RATIOS);
        let factors = powers(&strength, ratio);
        let columns: Vec<f32> = class_of.iter().map(|c| factors[*c as usize]).collect();
        let mut error = 0.0;
        let scaled: Vec<f32> = moments.iter().zip(&columns).map(|(m, s)| m / s / s).collect();
        for rows in &seen {
            let mut change: Vec<f32> =
                rows.chunks_exact(cols).flat_map(|r| r.iter().zip(&columns).map(|(w, s)| w * s)).collect();
            change = method.nearest(Weights::new(&change, cols)?, &scaled, SEARCH_STEPS).values;
            change.par_chunks_exact_mut(cols).zip(rows.par_chunks_exact(cols)).for_each(|(change, rows)| {
                change.iter_mut().zip(rows).zip(&columns).for_each(|((q, w), s)| *q = w - *q / s);
            });
            error += hessian.energy(&change);
        }
        if step == 0 {
            plain = error;
        }
        // The first of equals; an error that is no number never wins.
        if best.as_ref().is_none_or(|b| error < b.error) {
            best = Some(Scales { factors, ratio, error, plain });
        }
    }
    Ok(best.expect("at least one ratio is tried"))
}

/// The mean magnitude of each class. Channels that were never excited say nothing: theirs is the least of the others'.
fn strength(means: &[f64], class_of: &[u32], classes: usize) -> Vec<f64> {
    let (mut sum, mut count) = (vec![0.0; classes], vec![0.0; classes]);
    for (mean, class) in means.iter().zip(class_of) {
        sum[*class as usize] += mean;
        count[*class as usize] += 1.0;
    }
    let means: Vec<f64> = sum.iter().zip(&count).map(|(s, n)| s / f64::max(*n, 1.0)).collect();
    let least = means.iter().copied().filter(|m| *m > 0.0).fold(f64::INFINITY, f64::min);
    let least = if least.is_finite() { least } else { 1.0 };
    means.into_iter().map(|m| if m > 0.0 { m } else { least }).collect()
}

/// `strength^ratio`, the largest times the smallest being 1.
fn powers(strength: &[f64], ratio: f64) -> Vec<f32> {
    let powers: Vec<f64> = strength.iter().map(|s| s.powf(ratio).max(LEAST)).collect();
    let (low, high) = powers.iter().fold((f64::INFINITY, 0.0f64), |(l, h), p| (l.min(*p), h.max(*p)));
    let centre = (low * high).sqrt();
    powers.iter().map(|p| (p / centre) as f32).collect()
}

/// At most [`SEARCH_ROWS`] rows of `weights`.
fn spread(weights: Weights<'_>) -> Vec<f32> {
    let step = weights.rows().div_ceil(SEARCH_ROWS).max(1);
    weights.data().chunks_exact(weights.cols()).step_by(step).flatten().copied().collect()
}

/// Rounds `weights` to nearest, each group on the grid that harms its share of the output least: the range of its values
/// cut at a share of their largest magnitude, or the grid of least weighted error. Without clipping, on whole ranges.
pub fn round(weights: Weights<'_>, hessian: &Hessian, method: Method) -> Rounded {
    let (rows, cols) = (weights.rows(), weights.cols());
    let moments: Vec<f32> = hessian.diagonal().collect();
    if !method.clip {
        return method.nearest(weights, &moments, LAST_STEPS);
    }
    let moments = audible(&moments);
    let plan = Plan::natural(cols, &[], method.group);
    let levels = method.spec.levels();
    assert_eq!(hessian.cols(), cols, "the Hessian is that of the layer's input");
    let groups = plan.groups.len();
    let mut out = Rounded::zeros(rows, cols, groups);
    out.codes
        .par_chunks_mut(ROWS * cols)
        .zip(out.scales.par_chunks_mut(ROWS * groups))
        .zip(out.zeros.par_chunks_mut(ROWS * groups))
        .zip(out.values.par_chunks_mut(ROWS * cols))
        .zip(weights.data().par_chunks(ROWS * cols))
        .for_each(|((((codes, scales), zeros), values), data)| {
            for (g, range) in plan.groups.iter().enumerate() {
                let grids = clipped(data, cols, range.clone(), hessian, &moments, method);
                for (r, grid) in grids.into_iter().enumerate() {
                    (scales[r * groups + g], zeros[r * groups + g]) = (grid.scale, grid.zero);
                    for slot in r * cols + range.start..r * cols + range.end {
                        codes[slot] = grid.code(data[slot], levels);
                        values[slot] = grid.value(codes[slot]);
                    }
                }
            }
        });
    out
}

/// The best grid of the columns `range` in each row of `data`.
fn clipped(
    data: &[f32],
    cols: usize,
    range: std::ops::Range<usize>,
    hessian: &Hessian,
    moments: &[f32],
    method: Method,
) -> Vec<Grid> {
    let (rows, width) = (data.len() / cols, range.len());
    let levels = method.spec.levels();
    let (cut, least) = (method.by(Search::MinMax), method.by(Search::Loss { steps: LAST_STEPS }));
    let weights = &moments[range.clone()];
    let moments = View::new(&hessian.values()[range.start * cols + range.start..], width, width, cols);
    let (mut change, mut pulled) = (vec![0.0f32; rows * width], vec![0.0f32; rows * width]);
    let (mut seen, mut scratch) = (Vec::with_capacity(width), Scratch::default());
    let mut best: Vec<(Grid, f64)> = vec![(Grid { scale: 1.0, zero: 0 }, f64::INFINITY); rows];
    let mut grids = Vec::with_capacity(rows);
    for step in 0..=CLIPS {
        let share = 1.0 - step as f32 / CLIP_STEPS as f32;
        grids.clear();
        for (row, change) in data.chunks_exact(cols).zip(change.chunks_exact_mut(width)) {
            let row = &row[range.clone()];
            let grid = if step < CLIPS {
                let most = share * row.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                seen.clear();
                seen.extend(row.iter().map(|w| w.clamp(-most, most)));
                cut.fit(&seen, &mut scratch)
            } else {
                least.fit_weighted(row, weights, &mut scratch)
            };
            change.iter_mut().zip(row).for_each(|(c, w)| *c = w - grid.round(*w, levels));
            grids.push(grid);
        }
        gemm_f32(1.0, View::new(&change, rows, width, width), moments, 0.0, &mut pulled, width);
        let pairs = change.chunks_exact(width).zip(pulled.chunks_exact(width));
        for ((best, grid), (change, pulled)) in best.iter_mut().zip(&grids).zip(pairs) {
            let error = change.iter().zip(pulled).map(|(c, p)| f64::from(*c) * f64::from(*p)).sum::<f64>();
            // The first, whole range stays where no error is a number.
            if step == 0 || error < best.1 {
                *best = (*grid, error);
            }
        }
    }
    best.into_iter().map(|(grid, _)| grid).collect()
}

#[cfg(test)]
mod tests {
    use super::super::grid::ScalePrecision;
    use super::*;

    const COLS: usize = 96;
    const METHOD: Method = Method {
        spec: GridSpec { bits: 3, search: Search::MinMax, scale: ScalePrecision::F16 },
        group: Group::Columns(32),
        clip: false,
    };

    fn noise(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// Inputs of 300 tokens where channels 7 and 60 are thirty times as loud as others, and channel 11 is silent.
    fn inputs() -> (Vec<f64>, Hessian) {
        let loud = |c: usize| match c {
            7 | 60 => 30.0,
            11 => 0.0,
            _ => 1.0,
        };
        let x: Vec<f32> = noise(300 * COLS, 3).iter().enumerate().map(|(i, v)| v * loud(i % COLS)).collect();
        let mut gram = vec![0.0f32; COLS * COLS];
        let mut means = vec![0.0f64; COLS];
        for token in x.chunks_exact(COLS) {
            for (i, a) in token.iter().enumerate() {
                gram[i * COLS..][..COLS].iter_mut().zip(token).for_each(|(g, b)| *g += a * b);
                means[i] += f64::from(a.abs()) / 300.0;
            }
        }
        (means, Hessian::from_gram(gram, COLS, 1).unwrap())
    }

    fn identity() -> Vec<u32> {
        (0..COLS as u32).collect()
    }

    #[test]
    fn scales_lower_the_error_that_they_state() {
        let (means, hessian) = inputs();
        let data = noise(700 * COLS, 8);
        let weights = Weights::new(&data, COLS).unwrap();
        let found = scales(&means, &identity(), COLS, &hessian, &[weights], METHOD).unwrap();
        assert!(found.ratio > 0.0 && found.error < 0.5 * found.plain, "{found:?}");
        assert!(found.factors[7] > 2.0 * found.factors[8] && found.factors[11] <= found.factors[8]);
        let (low, high) = found.factors.iter().fold((f32::MAX, 0f32), |(l, h), f| (l.min(*f), h.max(*f)));
        assert!((low * high - 1.0).abs() < 1e-5);
        // The stated error is that of every second row.
        let half: Vec<f32> = data.chunks_exact(COLS).step_by(2).flatten().copied().collect();
        let scaled: Vec<f32> = half.iter().enumerate().map(|(i, w)| w * found.factors[i % COLS]).collect();
        let rounded = round(Weights::new(&scaled, COLS).unwrap(), &hessian, METHOD);
        let back = rounded.values.iter().enumerate().map(|(i, q)| half[i] - q / found.factors[i % COLS]);
        let error = hessian.energy(&back.collect::<Vec<_>>());
        assert!((found.error / error - 1.0).abs() < 1e-6, "{} is {error}", found.error);
        // Grids of least error have less to gain from scales, and lose less.
        let clip = Method { clip: true, ..METHOD };
        let searched = scales(&means, &identity(), COLS, &hessian, &[weights], clip).unwrap();
        assert!(searched.plain < found.plain && searched.error < found.error, "{searched:?}");
    }

    #[test]
    fn channels_of_one_class_share_their_scale_and_equal_channels_stay() {
        let (means, hessian) = inputs();
        let data = noise(20 * COLS, 5);
        let weights = Weights::new(&data, COLS).unwrap();
        let pairs: Vec<u32> = (0..COLS as u32).map(|c| c / 2).collect();
        let found = scales(&means, &pairs, COLS / 2, &hessian, &[weights], METHOD).unwrap();
        assert_eq!(found.factors.len(), COLS / 2);
        assert!(found.factors[3] > found.factors[2]);
        let even = scales(&[2.0; COLS], &identity(), COLS, &hessian, &[weights], METHOD).unwrap();
        assert_eq!((even.ratio, even.error, even.factors), (0.0, even.plain, vec![1.0; COLS]));
        let silent = scales(&[0.0; COLS], &identity(), COLS, &hessian, &[weights], METHOD).unwrap();
        assert_eq!(silent.factors, vec![1.0; COLS]);
    }

    #[test]
    fn clipping_never_harms_a_group_and_helps_where_one_weight_stands_out() {
        let (_, hessian) = inputs();
        let mut data = noise(100 * COLS, 21);
        data.iter_mut().step_by(41).for_each(|w| *w *= 2.0);
        let weights = Weights::new(&data, COLS).unwrap();
        let [plain, clipped] = [false, true].map(|clip| round(weights, &hessian, Method { clip, ..METHOD }));
        let mut better = 0;
        for r in 0..100 {
            for g in 0..3 {
                let error = |q: &Rounded| {
                    let mut change = vec![0.0f32; COLS];
                    for c in g * 32..g * 32 + 32 {
                        change[c] = data[r * COLS + c] - q.values[r * COLS + c];
                    }
                    hessian.energy(&change)
                };
                let (a, b) = (error(&plain), error(&clipped));
                assert!(b <= a * (1.0 + 1e-4), "row {r}, group {g}: {a} became {b}");
                better += usize::from(b < 0.9 * a);
            }
        }
        assert!(better > 100, "{better} of 300 groups");
        for (i, (code, value)) in clipped.codes.iter().zip(&clipped.values).enumerate() {
            let at = i / COLS * 3 + i % COLS / 32;
            assert_eq!(Grid { scale: clipped.scales[at], zero: clipped.zeros[at] }.value(*code), *value);
        }
    }
}
