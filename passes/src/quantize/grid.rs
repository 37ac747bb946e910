//! The grids that weights are rounded to: `w = scale * (code - zero)`, found by range or by a search.
//!
//! The search is OWQ's two-dimensional one: the step runs over `num` fractions of the row's range, the zero point over
//! all codes, and the pair with the least error wins, the first of equals. Sums of weighted squared errors of all pairs
//! follow from prefix sums over the sorted row, in constant time a pair.
//!
//! As published the error is the mean of `|error|^2.4`. Evaluating that norm for every pair costs `num * 2^bits` powers an
//! element; here a pair is evaluated only where it can still win: by Jensen's inequality
//! `mean |e|^2.4 >= (mean e^2)^1.2`. The pruning is exact, so the winner is that of the plain search.
//!
//! The sweep knows better what an error costs: `e^2 / U_ii^2` in column `i`. A search for the least loss weighs squared
//! errors by that.

use super::power::{error_sum, nearest};
use half::f16;

/// A scale and a zero point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Grid {
    /// Distance between neighbouring values, positive.
    pub scale: f32,
    /// The code of 0.
    pub zero: u8,
}

impl Grid {
    /// The code of the grid value nearest to `x`, halves to even.
    #[inline(always)]
    pub fn code(self, x: f32, levels: u32) -> u8 {
        (nearest(x / self.scale) + f32::from(self.zero)).clamp(0.0, (levels - 1) as f32) as u8
    }

    /// The value of `code`.
    #[inline(always)]
    pub fn value(self, code: u8) -> f32 {
        self.scale * (f32::from(code) - f32::from(self.zero))
    }

    /// The grid value nearest to `x`.
    pub fn round(self, x: f32, levels: u32) -> f32 {
        self.value(self.code(x, levels))
    }
}

/// In what precision a scale is stored. It is rounded before codes are chosen, so that unpacking gives what was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalePrecision {
    /// Stored as f16.
    F16,
    /// Stored as f32.
    F32,
}

impl ScalePrecision {
    /// `scale` as stored; at least the smallest positive value and at most the largest finite one.
    pub fn round(self, scale: f32) -> f32 {
        match self {
            ScalePrecision::F16 => {
                let least = f16::from_bits(1).to_f32();
                f16::from_f32(scale.clamp(least, f16::MAX.to_f32())).to_f32()
            }
            ScalePrecision::F32 => scale.clamp(f32::MIN_POSITIVE, f32::MAX),
        }
    }
}

/// How a grid is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// The range of the values, always with 0.
    MinMax,
    /// The best of `steps` fractions of that range and all zero points, in the norm 2.4.
    Norm {
        /// Number of step sizes tried: 100 for whole rows, 40 for groups and for sensitivities upstream.
        steps: u32,
    },
    /// The best of `steps` fractions of that range and all zero points, by weighted squared error.
    Loss {
        /// Number of step sizes tried.
        steps: u32,
    },
}

/// What grids to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GridSpec {
    /// Bits of a code, 1 to 8.
    pub bits: u8,
    /// How a grid is found.
    pub search: Search,
    /// In what precision scales are stored.
    pub scale: ScalePrecision,
}

/// Buffers of one thread that searches grids.
#[derive(Debug, Default)]
pub struct Scratch {
    pairs: Vec<(f32, f32)>,
    sorted: Vec<f32>,
    /// Over the first `k` sorted values: `weight[k]` sums their weights, `sum[k]` the weighted values, `square[k]` the
    /// weighted squares.
    weight: Vec<f64>,
    sum: Vec<f64>,
    square: Vec<f64>,
    edges: Vec<usize>,
    inner: Vec<f64>,
    errors: Vec<f64>,
}

impl GridSpec {
    /// Number of codes.
    pub fn levels(self) -> u32 {
        1 << self.bits
    }

    /// The same grids, found in the norm 2.4 with `steps` steps where they are searched.
    #[must_use]
    pub fn by_norm(self, steps: u32) -> GridSpec {
        match self.search {
            Search::MinMax => self,
            Search::Norm { .. } | Search::Loss { .. } => GridSpec { search: Search::Norm { steps }, ..self },
        }
    }

    /// The grid for `xs`, which must be finite; all weigh the same. No value at all gives scale 1 and zero 0.
    pub fn fit(self, xs: &[f32], scratch: &mut Scratch) -> Grid {
        self.fit_weighted(xs, &[], scratch)
    }

    /// The grid for `xs`, which must be finite. A search for the least loss weighs the squared error of `xs[i]` by
    /// `weights[i]`, which must be positive; where there is none, by 1.
    pub fn fit_weighted(self, xs: &[f32], weights: &[f32], scratch: &mut Scratch) -> Grid {
        if xs.is_empty() {
            return Grid { scale: 1.0, zero: 0 };
        }
        let (mut low, mut high) = xs.iter().fold((0.0f32, 0.0f32), |(l, h), x| (l.min(*x), h.max(*x)));
        if low == 0.0 && high == 0.0 {
            (low, high) = (-1.0, 1.0);
        }
        match self.search {
            Search::MinMax => self.min_max(low, high),
            Search::Norm { steps } => self.norm(xs, low, high, steps, scratch),
            Search::Loss { steps } => self.loss(xs, weights, low, high, steps, scratch),
        }
    }

    fn min_max(self, low: f32, high: f32) -> Grid {
        let top = (self.levels() - 1) as f32;
        let scale = self.scale.round((high - low) / top);
        Grid { scale, zero: nearest(-low / scale).clamp(0.0, top) as u8 }
    }

    /// The step size of fraction `step` of `steps`.
    fn step(self, range: f32, step: u32, steps: u32) -> f32 {
        let top = (self.levels() - 1) as f32;
        self.scale.round((range * (step as f32 / steps as f32) / top).max(1e-8))
    }

    /// Candidate `i` of a search: steps outside, zero points inside.
    fn candidate(self, i: usize, range: f32, steps: u32) -> Grid {
        let levels = self.levels();
        Grid { scale: self.step(range, i as u32 / levels + 1, steps), zero: (i as u32 % levels) as u8 }
    }

    /// Leaves the sum of weighted squared errors of each candidate in `scratch.errors`; gives the first of the least, and
    /// the weighted sum of squares. `None` where that is not finite.
    fn search(
        self,
        xs: &[f32],
        weights: &[f32],
        range: f32,
        steps: u32,
        scratch: &mut Scratch,
    ) -> Option<(usize, f64)> {
        let square = scratch.sort(xs, weights)?;
        scratch.errors.clear();
        for step in 1..=steps {
            scratch.squared_errors(self.step(range, step, steps), self.levels());
        }
        let errors = &scratch.errors;
        let first = (0..errors.len()).min_by(|a, b| errors[*a].total_cmp(&errors[*b]))?;
        Some((first, square))
    }

    fn loss(self, xs: &[f32], weights: &[f32], low: f32, high: f32, steps: u32, scratch: &mut Scratch) -> Grid {
        match self.search(xs, weights, high - low, steps, scratch) {
            Some((best, _)) => self.candidate(best, high - low, steps),
            None => self.min_max(low, high),
        }
    }

    fn norm(self, xs: &[f32], low: f32, high: f32, steps: u32, scratch: &mut Scratch) -> Grid {
        let levels = self.levels();
        let n = xs.len() as f64;
        let candidate = |i: usize| self.candidate(i, high - low, steps);
        let Some((mut best, largest_square)) = self.search(xs, &[], high - low, steps, scratch) else {
            return self.min_max(low, high);
        };
        let mut least = error_sum(xs, candidate(best), levels, f64::INFINITY);
        // Sums over the row carry a rounding error of a few ulps of the row's sum of squares; the factor covers that of
        // the f32 powers.
        let slack = largest_square * 1e-12;
        let bound = |least: f64| n * (least / n).powf(1.0 / 1.2) * (1.0 + 1e-4) + slack;
        let mut limit = bound(least);
        for (i, squared) in scratch.errors.iter().enumerate() {
            if *squared > limit || i == best {
                continue;
            }
            let error = error_sum(xs, candidate(i), levels, least);
            if error < least || (error == least && i < best) {
                (best, least) = (i, error);
                limit = bound(least);
            }
        }
        candidate(best)
    }
}

impl Scratch {
    /// Sorts `xs` and forms the prefix sums; the weighted sum of squares, or `None` where it is not finite.
    fn sort(&mut self, xs: &[f32], weights: &[f32]) -> Option<f64> {
        self.pairs.clear();
        self.pairs.extend(xs.iter().enumerate().map(|(i, x)| (*x, weights.get(i).copied().unwrap_or(1.0))));
        self.pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        self.sorted.clear();
        for sums in [&mut self.weight, &mut self.sum, &mut self.square] {
            sums.clear();
            sums.push(0.0);
        }
        let (mut weight, mut sum, mut square) = (0.0f64, 0.0f64, 0.0f64);
        for (x, w) in &self.pairs {
            self.sorted.push(*x);
            let (x, w) = (f64::from(*x), f64::from(*w));
            weight += w;
            sum += w * x;
            square += w * x * x;
            self.weight.push(weight);
            self.sum.push(sum);
            self.square.push(square);
        }
        square.is_finite().then_some(square)
    }

    /// Weighted sum of `(x - c)^2` over the sorted values `from..to`.
    #[inline(always)]
    fn spread(&self, from: usize, to: usize, c: f64) -> f64 {
        let squares = self.square[to] - self.square[from];
        let sums = self.sum[to] - self.sum[from];
        squares - 2.0 * c * sums + c * c * (self.weight[to] - self.weight[from])
    }

    /// Appends the weighted sum of squared errors of `scale` with every zero point.
    fn squared_errors(&mut self, scale: f32, levels: u32) {
        let scale = f64::from(scale);
        let top = levels as usize - 1;
        // edges[k]: how many values lie below (k - top + 1/2) * scale, the border of the integers k - top and k - top + 1.
        let edge = |k: usize| ((k as f64 - top as f64 + 0.5) * scale) as f32;
        self.edges.clear();
        let n = self.sorted.len();
        if 2 * top * (n.ilog2() as usize + 1) > n + 2 * top {
            let mut at = 0;
            for k in 0..2 * top {
                let border = edge(k);
                while at < n && self.sorted[at] < border {
                    at += 1;
                }
                self.edges.push(at);
            }
        } else {
            for k in 0..2 * top {
                let border = edge(k);
                self.edges.push(self.sorted.partition_point(|x| *x < border));
            }
        }
        // inner[k]: the error of all values between edges 0 and k, each rounded to its nearest integer.
        self.inner.clear();
        self.inner.push(0.0);
        let mut inner = 0.0;
        for k in 1..2 * top {
            inner += self.spread(self.edges[k - 1], self.edges[k], (k as f64 - top as f64) * scale);
            self.inner.push(inner);
        }
        for zero in 0..=top {
            // Integers -zero ..= top - zero; the lowest takes all below its upper border, the highest all above.
            let (first, last) = (top - zero, 2 * top - zero - 1);
            let below = self.spread(0, self.edges[first], -(zero as f64) * scale);
            let above = self.spread(self.edges[last], n, (top - zero) as f64 * scale);
            let error = below + (self.inner[last] - self.inner[first]) + above;
            self.errors.push(error.max(0.0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The search as published, pair by pair.
    fn plain(spec: GridSpec, xs: &[f32], steps: u32) -> (Grid, f64) {
        let levels = spec.levels();
        let (mut low, mut high) = (0.0f32, 0.0f32);
        for x in xs {
            low = low.min(*x);
            high = high.max(*x);
        }
        if low == 0.0 && high == 0.0 {
            (low, high) = (-1.0, 1.0);
        }
        let mut best = (Grid { scale: 1.0, zero: 0 }, f64::INFINITY);
        for i in 1..=steps {
            let scale = spec.step(high - low, i, steps);
            for zero in 0..levels {
                let grid = Grid { scale, zero: zero as u8 };
                let error: f64 = xs.iter().map(|x| f64::from((grid.round(*x, levels) - x).abs()).powf(2.4)).sum();
                if error < best.1 {
                    best = (grid, error);
                }
            }
        }
        best
    }

    fn check(spec: GridSpec, xs: &[f32], steps: u32) {
        let (want, least) = plain(spec, xs, steps);
        let spec = spec.by_norm(steps);
        let got = spec.fit(xs, &mut Scratch::default());
        let levels = spec.levels();
        let error: f64 = xs.iter().map(|x| f64::from((got.round(*x, levels) - x).abs()).powf(2.4)).sum();
        // Either the same pair, or one whose error differs by less than the f32 powers can tell.
        assert!(got == want || error <= least * (1.0 + 2e-6), "{got:?} ({error}) against {want:?} ({least})");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_fast_search_finds_what_the_plain_one_finds(
            bits in 1u8..=5, n in 1usize..150, seed: u64, tail in 0u32..3, offset in -2.0f32..2.0, half: bool,
        ) {
            let mut state = seed | 1;
            let mut next = || {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                (state >> 40) as f32 / (1 << 23) as f32 - 1.0
            };
            let xs: Vec<f32> = (0..n).map(|_| {
                let x = next() + next() + next();
                (x * (x.abs().powi(tail as i32)) + offset) * 0.03
            }).collect();
            let scale = if half { ScalePrecision::F16 } else { ScalePrecision::F32 };
            check(GridSpec { bits, search: Search::Norm { steps: 0 }, scale }, &xs, 40);
        }
    }

    #[test]
    fn the_least_loss_is_the_least_of_all_pairs() {
        let spec = GridSpec { bits: 3, search: Search::Loss { steps: 50 }, scale: ScalePrecision::F16 };
        let levels = spec.levels();
        let mut state = 9u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        for n in [1, 2, 17, 130] {
            let xs: Vec<f32> = (0..n).map(|_| next() - 0.4).collect();
            let weights: Vec<f32> = (0..n).map(|_| next().powi(4) + 1e-3).collect();
            let loss = |grid: Grid| -> f64 {
                let error = |x: f32| f64::from(grid.round(x, levels) - x);
                xs.iter().zip(&weights).map(|(x, w)| f64::from(*w) * error(*x).powi(2)).sum()
            };
            let (low, high) = xs.iter().fold((0.0f32, 0.0f32), |(l, h), x| (l.min(*x), h.max(*x)));
            let pairs = (0..50 * levels as usize).map(|i| spec.candidate(i, high - low, 50));
            let least = pairs.map(loss).fold(f64::INFINITY, f64::min);
            let scratch = &mut Scratch::default();
            let got = loss(spec.fit_weighted(&xs, &weights, scratch));
            assert!(got <= least * (1.0 + 1e-6) + 1e-12, "{n}: {got} against {least}");
            assert!(n < 130 || got < loss(spec.fit(&xs, scratch)), "{n}: weights change the grid");
        }
    }

    #[test]
    fn rows_without_spread() {
        let norm = GridSpec { bits: 3, search: Search::Norm { steps: 100 }, scale: ScalePrecision::F32 };
        let loss = GridSpec { search: Search::Loss { steps: 100 }, ..norm };
        for xs in [vec![0.0; 5], vec![0.25; 3], vec![-1e-30; 4], vec![3e38, -3e38]] {
            for spec in [norm, loss] {
                let grid = spec.fit(&xs, &mut Scratch::default());
                assert!(grid.scale > 0.0 && grid.scale.is_finite(), "{xs:?} {grid:?}");
            }
        }
        let spec = norm;
        let zeros = spec.fit(&[0.0; 4], &mut Scratch::default());
        assert_eq!(zeros.round(0.0, 8), 0.0);
        assert_eq!(spec.fit(&[], &mut Scratch::default()), Grid { scale: 1.0, zero: 0 });
    }

    #[test]
    fn min_max_covers_the_range() {
        let spec = GridSpec { bits: 4, search: Search::MinMax, scale: ScalePrecision::F32 };
        let xs = [-0.5f32, 0.1, 1.0];
        let grid = spec.fit(&xs, &mut Scratch::default());
        assert_eq!((grid.scale, grid.zero), (0.1, 5));
        for x in xs {
            assert!((grid.round(x, 16) - x).abs() <= 0.05 + 1e-6);
        }
    }
}
