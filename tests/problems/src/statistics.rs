//! `gram` and `channel_stats`: what is added to accumulators that hold something already.

use crate::case::{Case, Near, Problem, Want, floats};
use crate::{EPS, Rng};
use actc_codegen::spec::gpu::{ChannelStats, GpuKernel, Gram, Sizes};

fn gram([m, k]: [usize; 2], sizes: Sizes) -> Case {
    Case::of(format!("gram {m} x {k}, {sizes:?}"), GpuKernel::Gram(Gram { sizes }), move || {
        let mut rng = Rng(71);
        let x: Vec<f32> = (0..m * k).map(|_| rng.float()).collect();
        let mut acc = vec![0f32; k * k];
        for (i, j) in (0..k).flat_map(|i| (i..k).map(move |j| (i, j))) {
            acc[i * k + j] = rng.float();
            acc[j * k + i] = acc[i * k + j];
        }
        let near = |at: usize| {
            let terms = (0..m).map(|row| f64::from(x[row * k + at / k]) * f64::from(x[row * k + at % k]));
            // As many products within 1, one after the other, and what was there.
            Near { want: f64::from(acc[at]) + terms.sum::<f64>(), tolerance: (m + 1) as f64 * (m + 1) as f64 * EPS }
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        problem.grown(floats(&acc), Want::Near((0..k * k).map(near).collect()));
        problem.launched(&[m, k])
    })
}

fn channels([m, k]: [usize; 2], first: bool, sizes: Sizes) -> Case {
    let kernel = GpuKernel::ChannelStats(ChannelStats { first, sizes });
    Case::of(format!("channel_stats {m} x {k}, first apart: {first}, {sizes:?}"), kernel, move || {
        let mut rng = Rng(72);
        let x: Vec<f32> = (0..m * k).map(|_| rng.float()).collect();
        let sets = if first { 2 } else { 1 };
        let acc = |i: usize| match i / k % 4 {
            0 => 3.0,
            1 => rng.float().abs(),
            _ => rng.float(),
        };
        let acc: Vec<f32> = (0..4 * sets * k).map(acc).collect();
        let split = if first { m.min(1) } else { 0 };
        let near = |at: usize| {
            let (rows, col, before) = (if at / k < 4 { split..m } else { 0..split }, at % k, f64::from(acc[at]));
            let seen = || rows.clone().map(|row| f64::from(x[row * k + col]));
            let want = match at / k % 4 {
                0 => before + rows.len() as f64,
                1 => seen().map(f64::abs).fold(before, f64::max),
                2 => before + seen().sum::<f64>(),
                _ => before + seen().map(|x| x * x).sum::<f64>(),
            };
            // Sums are of double precision, rounded once.
            Near { want, tolerance: (m + 1) as f64 * EPS }
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        problem.grown(floats(&acc), Want::Near((0..acc.len()).map(near).collect()));
        problem.launched(&[m, k])
    })
}

/// Tiles with tails, no rows at all, and sizes in memory.
pub fn accumulators() -> Vec<Case> {
    let shapes = [([37, 70], Sizes::Int), ([5, 130], Sizes::Memory), ([0, 3], Sizes::Int), ([1, 33], Sizes::Int)];
    let mut all: Vec<Case> = shapes.into_iter().map(|(shape, sizes)| gram(shape, sizes)).collect();
    for first in [false, true] {
        all.extend(shapes.into_iter().map(|(shape, sizes)| channels(shape, first, sizes)));
    }
    all
}
