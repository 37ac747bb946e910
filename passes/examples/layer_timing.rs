//! Times the grid search, the factorisation and the column sweep of one layer apart.
//!
//! `layer_timing [ROWS COLS [THREADS]]`, by default 4096 x 11008 on two threads, 3 bits, groups of 64 and whole rows.
#![allow(clippy::print_stdout, reason = "an example prints its figures")]

use actc_passes::quantize::cholesky::{Damping, Factor};
use actc_passes::quantize::gptq::sweep;
use actc_passes::quantize::grid::{GridSpec, ScalePrecision, Search};
use actc_passes::quantize::hessian::Hessian;
use actc_passes::quantize::plan::{Plan, Weights};
use actc_passes::quantize::rtn::round_nearest;
use actc_passes::quantize::sensitivity::{scores, strongest};
use actc_types::Group;
use std::time::Instant;

/// A cheap deterministic stand-in for normal numbers.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        let mut sum = 0.0;
        for _ in 0..4 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            sum += (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0;
        }
        sum
    }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let out = work();
    println!("{what:<44} {:>8.2} s", start.elapsed().as_secs_f64());
    out
}

fn main() {
    let args: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().expect("a number")).collect();
    let rows = args.first().copied().unwrap_or(4096);
    let cols = args.get(1).copied().unwrap_or(11008);
    let threads = args.get(2).copied().unwrap_or(2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("a thread pool");
    println!("{rows} x {cols}, 3 bits, {threads} threads");

    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    let data: Vec<f32> = (0..rows * cols).map(|_| 0.02 * noise.next().powi(3)).collect();
    // A band matrix with a few loud channels: positive definite without a product of that size.
    let mut h = vec![0.0f32; cols * cols];
    for i in 0..cols {
        let loud = |j: usize| if j % 997 == 5 { 30.0 } else { 1.0 };
        for j in i.saturating_sub(40)..(i + 41).min(cols) {
            h[i * cols + j] = loud(i) * loud(j) * 0.9f32.powi(i.abs_diff(j) as i32);
        }
    }
    let hessian = Hessian::new(h, cols).expect("finite");
    let weights = Weights::new(&data, cols).expect("finite");
    let spec = |steps| GridSpec { bits: 3, search: Search::Norm { steps }, scale: ScalePrecision::F16 };
    let diagonal: Vec<f32> = hessian.diagonal().collect();

    let score = timed("sensitivity scores (40 steps, whole rows)", || scores(weights, &diagonal, spec(40)));
    let weak = strongest(&score, 64);
    let channel = Plan::natural(cols, &weak, Group::Channel);
    let energies: Vec<f64> = diagonal.iter().map(|d| f64::from(*d)).collect();
    let grouped = Plan::natural(cols, &weak, Group::Columns(64)).descending(&energies);
    timed("search alone, whole rows (100 steps)", || round_nearest(weights, spec(100), &channel));
    timed("search alone, groups of 64 (40 steps)", || round_nearest(weights, spec(40), &grouped));
    let factor = timed("permute, factor and invert the Hessian", || {
        Factor::new(&hessian, &grouped.order, Damping::default()).expect("positive definite")
    });
    let plain = GridSpec { search: Search::MinMax, ..spec(40) };
    timed("sweep alone (grids by range), groups of 64", || sweep(weights, &factor, plain, &grouped).expect("finite"));
    let loss = GridSpec { search: Search::Loss { steps: 100 }, ..plain };
    timed("sweep, grids of least loss, groups of 64", || sweep(weights, &factor, loss, &grouped).expect("finite"));
    timed("sweep, grids by norm 2.4, groups of 64", || sweep(weights, &factor, spec(40), &grouped).expect("finite"));
    timed("output energy", || hessian.energy(&data));
}
