//! Norms of rows and rotary positions, in double precision.

use crate::case::{Case, Near, Problem, Want, floats};
use crate::{EPS, Rng};
use actc_codegen::emit::SizesIn;
use actc_codegen::spec::{KernelSpec, LayerNorm, RmsNorm, Rope, RopeStyle, RopeTable};

/// Added to means.
pub(crate) const SMALL: f32 = 1e-5;

/// The relative error of a sum of `cols` terms, in units of 2^-24: at least sixteen sums run side by side, and come together
/// in a tree.
pub(crate) fn sum_units(cols: usize) -> f64 {
    cols as f64 / 16.0 + 6.0
}

/// The rows that a norm is of: `x`, and what is added to it where something is.
fn rows_of(x: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
    match residual {
        Some(residual) => x.iter().zip(residual).map(|(a, b)| a + b).collect(),
        None => x.to_vec(),
    }
}

/// The norm by the root of the mean square of `rows` rows, which have something added first where `add`.
pub fn rms_norm([rows, cols]: [usize; 2], add: bool, sizes: SizesIn, seed: u64) -> Case {
    let spec = KernelSpec::RmsNorm(RmsNorm { cols: cols as u32, eps: SMALL, add });
    Case::generated(format!("rms_norm {rows} x {cols}, add: {add}"), spec, sizes, move || {
        let mut rng = Rng(seed);
        let (x, r, w) = (rng.floats(rows * cols), rng.floats(rows * cols), rng.floats(cols));
        let h = rows_of(&x, add.then_some(&r));
        let near = |h: &[f32]| {
            let mean = h.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / cols as f64;
            let near = |(h, w): (&f32, &f32)| {
                let want = f64::from(*h) / (mean + f64::from(SMALL)).sqrt() * f64::from(*w);
                // The sum's relative error, halved by the root, and six roundings.
                Near { want, tolerance: (sum_units(cols) / 2.0 + 6.0) * EPS * want.abs() }
            };
            h.iter().zip(&w).map(near).collect::<Vec<_>>()
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        if add {
            problem.put(floats(&r));
        }
        problem.put(floats(&w));
        problem.want(Want::Near(h.chunks(cols).flat_map(near).collect()));
        if add {
            problem.want(Want::Floats(h));
        }
        problem.launched(&[rows])
    })
}

/// The norm by mean and variance of `rows` rows, with a bias where `bias`, which have something added first where `add`.
pub fn layer_norm([rows, cols]: [usize; 2], bias: bool, add: bool, sizes: SizesIn, seed: u64) -> Case {
    let spec = KernelSpec::LayerNorm(LayerNorm { cols: cols as u32, eps: SMALL, bias, add });
    Case::generated(format!("layer_norm {rows} x {cols}, bias: {bias}, add: {add}"), spec, sizes, move || {
        let mut rng = Rng(seed);
        let (x, r) = (rng.floats(rows * cols), rng.floats(rows * cols));
        let (w, b) = (rng.floats(cols), rng.floats(cols));
        let h = rows_of(&x, add.then_some(&r));
        let near = |h: &[f32]| {
            let h: Vec<f64> = h.iter().map(|v| f64::from(*v)).collect();
            let mean = h.iter().sum::<f64>() / cols as f64;
            let size = h.iter().map(|v| v.abs()).sum::<f64>() / cols as f64;
            let variance = h.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / cols as f64;
            let inverse = 1.0 / (variance + f64::from(SMALL)).sqrt();
            let mean_error = (sum_units(cols) + 2.0) * EPS * size;
            let near = |c: usize| {
                let (w, shift) = (f64::from(w[c]), if bias { f64::from(b[c]) } else { 0.0 });
                let scaled = (h[c] - mean) * inverse * w;
                // The mean's error reaches the numerator once and the root at most once more.
                let of_mean = 2.0 * mean_error * inverse * w.abs() * (1.0 + ((h[c] - mean) * inverse).abs());
                let rounding = (sum_units(cols) / 2.0 + 8.0) * EPS * (scaled.abs() + shift.abs());
                Near { want: scaled + shift, tolerance: of_mean + rounding }
            };
            (0..cols).map(near).collect::<Vec<_>>()
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        if add {
            problem.put(floats(&r));
        }
        problem.put(floats(&w));
        if bias {
            problem.put(floats(&b));
        }
        problem.want(Want::Near(h.chunks(cols).flat_map(near).collect()));
        if add {
            problem.want(Want::Floats(h));
        }
        problem.launched(&[rows])
    })
}

/// Cosines and sines of `tokens` positions behind `past` ones, `pairs` of each.
pub fn rope_table(pairs: usize, factors: bool, [tokens, past]: [usize; 2], sizes: SizesIn, seed: u64) -> Case {
    let (theta, stretch) = ([1e4, 1e6, 5e5][seed as usize % 3], [1.0, 4.0][seed as usize % 2]);
    let spec = KernelSpec::RopeTable(RopeTable { rotary: 2 * pairs as u32, theta, stretch, scale: 1.0, factors });
    let name = format!("rope_table {pairs} pairs, {tokens} behind {past}, factors: {factors}");
    Case::generated(name, spec, sizes, move || {
        let mut rng = Rng(seed);
        let f: Vec<f32> = (0..pairs).map(|_| 1.0 + 31.0 * rng.float().abs()).collect();
        let angle = |t: usize, i: usize| {
            let angle = (past + t) as f64 / stretch * theta.powf(-(i as f64) / pairs as f64);
            if factors { angle / f64::from(f[i]) } else { angle }
        };
        let near = |want| Near { want, tolerance: 1e-7 };
        let row = |t: usize| {
            let cosines = (0..pairs).map(|i| near(angle(t, i).cos()));
            cosines.chain((0..pairs).map(|i| near(angle(t, i).sin()))).collect::<Vec<_>>()
        };
        let mut problem = Problem::default();
        if factors {
            problem.put(floats(&f));
        }
        problem.want(Want::Near((0..tokens).flat_map(row).collect()));
        problem.launched(&[tokens, past])
    })
}

/// A rope over `tokens` tokens of heads with `pairs` pairs and `rest` elements that are not turned.
#[derive(Clone, Copy, Debug)]
pub struct Turned {
    /// Heads of a token.
    pub heads: usize,
    /// Pairs of a head.
    pub pairs: usize,
    /// Its elements beyond them.
    pub rest: usize,
    /// Which elements are pairs.
    pub style: RopeStyle,
    /// Tokens.
    pub tokens: usize,
    /// Whether results take the place of inputs.
    pub in_place: bool,
}

/// Heads turned by a table.
pub fn rope(turned: Turned, sizes: SizesIn, seed: u64) -> Case {
    let Turned { heads, pairs, rest, style, tokens, in_place } = turned;
    let dim = 2 * pairs + rest;
    let spec = KernelSpec::Rope(Rope { heads: heads as u32, head_dim: dim as u32, rotary: 2 * pairs as u32, style });
    let name = format!("rope {style:?} {tokens} x {heads} x ({pairs} pairs + {rest}), in place: {in_place}");
    Case::generated(name, spec, sizes, move || {
        let mut rng = Rng(seed);
        let (x, table) = (rng.floats(tokens * heads * dim), rng.floats(tokens * 2 * pairs));
        let near = |at: usize| {
            let (t, i) = (at / dim / heads, at % dim);
            let x = &x[at / dim * dim..][..dim];
            let (a, b, pair) = match style {
                RopeStyle::Half => (i % pairs, i % pairs + pairs, i % pairs),
                RopeStyle::Interleaved => (i / 2 * 2, i / 2 * 2 + 1, i / 2),
            };
            if i >= 2 * pairs {
                return Near { want: f64::from(x[i]), tolerance: 0.0 };
            }
            let (x0, x1) = (f64::from(x[a]), f64::from(x[b]));
            let (c, s) = (f64::from(table[t * 2 * pairs + pair]), f64::from(table[t * 2 * pairs + pairs + pair]));
            let want = if i == a { x0 * c - x1 * s } else { x1 * c + x0 * s };
            // Three roundings of terms that are at most eight times an input.
            Near { want, tolerance: 3.0 * EPS * (x0.abs() + x1.abs()) * 8.0 }
        };
        let want = Want::Near((0..x.len()).map(near).collect());
        let mut problem = Problem::default();
        let from = if in_place {
            problem.grown(floats(&x), want)
        } else {
            let from = problem.put(floats(&x));
            problem.want(want);
            from
        };
        let by = problem.put(floats(&table));
        let to = problem.results()[0];
        problem.launch(0, &[from, by, to], &[tokens]);
        problem
    })
}
