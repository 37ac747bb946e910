//! Rounding against golden layers: weights, inputs and Hessians of two layers, and what the published implementation of
//! OWQ and GPTQ made of them. Bounds are those of `tests/oracle/README.md`.

use actc_passes::quantize::cholesky::{Damping, Factor, Outcome};
use actc_passes::quantize::grid::{Grid, GridSpec, ScalePrecision, Search};
use actc_passes::quantize::hessian::Hessian;
use actc_passes::quantize::owq::{Compensated, compensate};
use actc_passes::quantize::plan::{Plan, Weights};
use actc_passes::quantize::sensitivity::{STEPS, scores, strongest};
use safetensors::SafeTensors;
use std::collections::HashMap;

struct Golden {
    bytes: Vec<u8>,
    relative: HashMap<String, f64>,
}

impl Golden {
    fn load(name: &str) -> Golden {
        let path = format!("{}/../tests/oracle/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let (_, meta) = SafeTensors::read_metadata(&bytes).unwrap();
        let texts = meta.metadata().as_ref().unwrap();
        let relative =
            texts.iter().map(|(k, v)| (k.trim_end_matches(".rel_err").to_owned(), v.parse().unwrap())).collect();
        Golden { bytes, relative }
    }

    fn tensor(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let t = all.tensor(name).ok()?;
        let data = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
        Some((t.shape().to_vec(), data))
    }

    fn integers(&self, name: &str) -> Vec<u32> {
        let all = SafeTensors::deserialize(&self.bytes).unwrap();
        let t = all.tensor(name).unwrap();
        t.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
    }
}

/// `|X (Q - W)^T|^2 / |X W^T|^2`
fn relative_error(x: &[f32], w: &[f32], q: &[f32], cols: usize) -> f64 {
    let (mut error, mut energy) = (0.0f64, 0.0f64);
    for token in x.chunks_exact(cols) {
        for (w, q) in w.chunks_exact(cols).zip(q.chunks_exact(cols)) {
            let (mut e, mut y) = (0.0f64, 0.0f64);
            for ((x, w), q) in token.iter().zip(w).zip(q) {
                e += f64::from(*x) * (f64::from(*q) - f64::from(*w));
                y += f64::from(*x) * f64::from(*w);
            }
            error += e * e;
            energy += y * y;
        }
    }
    error / energy
}

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    bits: u8,
    search: bool,
    weak: usize,
    group: Option<usize>,
    act_order: bool,
}

const CASES: [Case; 8] = [
    Case { name: "gptq_b4_minmax", bits: 4, search: false, weak: 0, group: None, act_order: false },
    Case { name: "gptq_b3_mse", bits: 3, search: true, weak: 0, group: None, act_order: false },
    Case { name: "gptq_b3_mse_actorder", bits: 3, search: true, weak: 0, group: None, act_order: true },
    Case { name: "owq_b3_mse_n4", bits: 3, search: true, weak: 4, group: None, act_order: false },
    Case { name: "owq_b4_mse_n2", bits: 4, search: true, weak: 2, group: None, act_order: false },
    Case { name: "owq_b3_minmax_n4", bits: 3, search: false, weak: 4, group: None, act_order: false },
    Case { name: "owq_b3_mse_n4_g32", bits: 3, search: true, weak: 4, group: Some(32), act_order: false },
    Case { name: "owq_b2_mse_n8_g64", bits: 2, search: true, weak: 8, group: Some(64), act_order: false },
];

fn check(golden: &Golden, case: Case) {
    let name = case.name;
    let (shape, w) = golden.tensor("W").unwrap();
    let (_, x) = golden.tensor("X").unwrap();
    let (_, h) = golden.tensor("H").unwrap();
    let (rows, cols) = (shape[0], shape[1]);
    let hessian = Hessian::new(h, cols).unwrap();
    let weights = Weights::new(&w, cols).unwrap();
    let steps = if case.group.is_some() { STEPS } else { 100 };
    let search = if case.search { Search::Norm { steps } } else { Search::MinMax };
    let spec = GridSpec { bits: case.bits, search, scale: ScalePrecision::F32 };

    let diagonal: Vec<f32> = hessian.diagonal().collect();
    let score = scores(weights, &diagonal, spec);
    if let Some((_, want)) = golden.tensor(&format!("{name}.score")) {
        for (j, (got, want)) in score.iter().zip(&want).enumerate() {
            assert!((got - f64::from(*want)).abs() <= 1e-3 * f64::from(*want), "{name}: score {j}: {got}, {want}");
        }
    }
    let weak = strongest(&score, case.weak);
    if case.weak > 0 {
        let mut ascending = weak.clone();
        ascending.sort_unstable();
        assert_eq!(ascending, golden.integers(&format!("{name}.weak")), "{name}: weak columns");
    }

    let plan = match case.group {
        Some(width) => Plan::published(cols, &weak, width),
        None => {
            let key: Vec<f64> = diagonal.iter().map(|d| f64::from(*d)).collect();
            Plan::channel(cols, &weak, case.act_order.then_some(&key))
        }
    };
    let factor = Factor::new(&hessian, &plan.order, Damping::default()).unwrap();
    assert_eq!(factor.outcome, Outcome::Damped(0.01));
    let Compensated { rounded, output_error } = compensate(weights, &hessian, &factor, spec, &plan).unwrap();

    if let Some((_, want)) = golden.tensor(&format!("{name}.scale")) {
        let (_, zeros) = golden.tensor(&format!("{name}.zero")).unwrap();
        let levels = spec.levels();
        for row in 0..rows {
            let (scale, zero) = (rounded.scales[row], rounded.zeros[row]);
            if (scale - want[row]).abs() <= 1e-5 * want[row] && f32::from(zero) == zeros[row] {
                continue;
            }
            // Another pair is right only where the search has a tie: both errors agree to what f32 powers can tell.
            assert!(case.search, "{name}: row {row}: scale {scale} zero {zero}, expected {} {}", want[row], zeros[row]);
            let error = |scale: f32, zero: f32| -> f64 {
                let grid = Grid { scale, zero: zero as u8 };
                let columns = plan.order[..plan.quantised].iter().map(|c| w[row * cols + *c as usize]);
                columns.map(|w| f64::from((grid.round(w, levels) - w).abs()).powf(2.4)).sum()
            };
            let (got, theirs) = (error(scale, f32::from(zero)), error(want[row], zeros[row]));
            assert!((got / theirs - 1.0).abs() < 1e-5, "{name}: row {row}: {scale}, {zero} is no tie: {got} {theirs}");
        }
    }

    let (_, q) = golden.tensor(&format!("{name}.Q")).unwrap();
    let near = rounded.values.iter().zip(&q).filter(|(a, b)| (*a - *b).abs() <= 1e-5).count();
    let share = near as f64 / q.len() as f64;
    let relative = relative_error(&x, &w, &rounded.values, cols);
    let want = golden.relative[name];
    assert!(share >= 0.99, "{name}: only {share:.4} of Q agree, relative error {relative:.6e} against {want:.6e}");
    assert!((relative / want - 1.0).abs() <= 0.01, "{name}: relative error {relative:.6e}, expected {want:.6e}");
    let reported = output_error / hessian.energy(&w);
    assert!((reported / relative - 1.0).abs() <= 0.01, "{name}: reported {reported:.6e}, measured {relative:.6e}");
}

#[test]
fn layer_a_agrees_with_the_published_code() {
    let golden = Golden::load("layer_a");
    CASES.iter().for_each(|case| check(&golden, *case));
}

#[test]
fn layer_b_agrees_with_the_published_code() {
    let golden = Golden::load("layer_b");
    CASES.iter().for_each(|case| check(&golden, *case));
}

#[test]
fn the_hessian_is_the_published_one() {
    for name in ["layer_a", "layer_b"] {
        let golden = Golden::load(name);
        let (shape, x) = golden.tensor("X").unwrap();
        let (_, want) = golden.tensor("H").unwrap();
        let (tokens, cols) = (shape[1], shape[2]);
        let mut gram = vec![0.0f32; cols * cols];
        for token in x.chunks_exact(cols) {
            for (i, a) in token.iter().enumerate() {
                for (g, b) in gram[i * cols..].iter_mut().zip(token) {
                    *g += a * b;
                }
            }
        }
        let sequences = (x.len() / (tokens * cols)) as u64;
        let hessian = Hessian::from_gram(gram, cols, sequences).unwrap();
        let scale: Vec<f32> = hessian.diagonal().collect();
        for (i, (got, want)) in hessian.values().iter().zip(&want).enumerate() {
            let size = (scale[i / cols] * scale[i % cols]).sqrt();
            assert!((got - want).abs() <= 1e-4 * size, "{name} at {i}: {got} {want}");
        }
    }
}
