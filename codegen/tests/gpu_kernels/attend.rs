//! `attend` and `combine`: a few tokens against a cache.

use super::room::Rng;
use super::room::cuda::Gpu;
use actc_codegen::spec::Attention;
use actc_codegen::spec::gpu::{Attend, GpuKernel};
use actc_problems::attention::{Problem, attention, single};
use actc_types::RowForm;

fn run(gpu: &mut Gpu, attend: &Attend, problem: &Problem) -> Vec<f32> {
    let [q, keys, values] = [&super::room::cuda::bytes(&problem.q), &problem.keys, &problem.values].map(|x| gpu.put(x));
    let count = problem.q.len();
    let out = gpu.room(4 * count);
    let past = [(problem.total - problem.tokens) as u64];
    let kernel = GpuKernel::Attend(attend.clone());
    match attend.combine() {
        None => gpu.run(&kernel, &[q, keys, values, out], &past),
        Some(combine) => {
            let scratch = gpu.room(attend.scratch_bytes());
            gpu.run(&kernel, &[q, keys, values, scratch], &past);
            gpu.run(&GpuKernel::Combine(combine), &[scratch, out], &[]);
        }
    }
    gpu.floats(out, count)
}

fn check(gpu: &mut Gpu, attention: Attention, tokens: u8, splits: u16, past: usize, rng: &mut Rng) {
    let total = past + usize::from(tokens);
    let problem = Problem::random(attention.clone(), [1, usize::from(tokens), total], rng);
    let (scores, weights) = single(attention.head_dim as usize, total);
    let attend = Attend { attention, tokens, splits };
    let got = run(gpu, &attend, &problem);
    let error = problem.error(&got, scores, weights);
    assert!(error <= 1.0, "{attend:?} with {past} past tokens is off by {error} of what it may");
}

#[test]
fn every_form_and_width() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(1);
    for form in RowForm::ALL {
        for (heads, kv, dim, tokens, splits) in [
            (4, 4, 64, 1, 2),
            (8, 2, 128, 1, 3),
            (6, 2, 80, 3, 1),
            (2, 1, 256, 8, 2),
            (3, 3, 4, 1, 1),
            (10, 1, 36, 2, 4),
        ] {
            let past = 3 + rng.below(90);
            check(&mut gpu, attention(heads, kv, dim, form), tokens, splits, past, &mut rng);
        }
    }
}

#[test]
fn windows_caps_and_all_that_is_there() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(2);
    let base = attention(4, 2, 32, RowForm::F16);
    let windowed = Attention { window: Some(20), ..base.clone() };
    let capped = Attention { cap: Some(3.0), ..base.clone() };
    let whole = Attention { causal: false, ..base };
    for (attention, tokens) in [(windowed, 1), (capped, 3), (whole, 4)] {
        for (splits, past) in [(1, 0), (5, 0), (5, 101), (3, 19)] {
            check(&mut gpu, attention.clone(), tokens, splits, past, &mut rng);
        }
    }
}

#[test]
fn heads_that_no_load_fits_are_refused() {
    for dim in [2, 30, 260] {
        let attend = Attend { attention: attention(2, 2, dim, RowForm::F16), tokens: 1, splits: 1 };
        assert_eq!(GpuKernel::Attend(attend).check().unwrap_err().code, "kernel-shape", "{dim}");
    }
}
