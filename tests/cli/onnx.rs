//! ONNX models through the command line: compile, run, and what cannot be compiled.

use crate::{Place, path};
use actc::npy;
use actc::types::{Tensor, TensorData};
use std::path::{Path, PathBuf};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx").join(name)
}

#[test]
fn a_model_with_symbols_runs_on_any_number_of_rows() {
    let place = Place::new();
    place.run(&["compile", path(&fixture("mlp.onnx")), "-o", "mlp.actc"]).ok();
    for rows in [1u64, 5] {
        let x: Vec<f32> = (0..rows * 3).map(|i| i as f32 * 0.5 - 1.0).collect();
        npy::write(&place.path("x.npy"), &Tensor::f32(&[rows, 3], x.clone()).unwrap()).unwrap();
        place.run(&["run", "mlp.actc", "--input", "x=x.npy", "--output", "out"]).ok();
        let y = npy::read(&place.path("out/y.npy")).unwrap();
        let bias = [1.0, -1.0, 0.0, 2.0];
        // Halves and small integers: exact in any order.
        let wanted: Vec<f32> = x
            .chunks(3)
            .flat_map(|x| (0..4).map(|j| (0..3).map(|i| x[i] * (4 * i + j) as f32 - 5.0 * x[i]).sum::<f32>() + bias[j]))
            .map(|y| y.max(0.0))
            .collect();
        assert_eq!((y.dims(), y.as_f32().unwrap()), (&[rows, 2, 2][..], &wanted[..]));
    }
}

#[test]
fn recurrent_layers_of_codes_are_what_onnxruntime_makes_of_them() {
    agrees("codes", &["x", "h0"], &["steps", "h", "c"]);
}

/// The fixture `name` gives the outputs that are stored beside it. Sums of at most 128 products of f32 in another order:
/// within 2e-5 of numbers of a few units.
fn agrees(name: &str, inputs: &[&str], outputs: &[&str]) {
    let place = Place::new();
    place.run(&["compile", path(&fixture(&format!("{name}.onnx"))), "-o", "m.actc"]).ok();
    let given: Vec<String> =
        inputs.iter().map(|i| format!("{i}={}", fixture(&format!("{name}.{i}.npy")).display())).collect();
    let mut arguments = vec!["run", "m.actc", "--output", "out"];
    arguments.extend(given.iter().flat_map(|g| ["--input", g.as_str()]));
    place.run(&arguments).ok();
    for output in outputs {
        let wanted = npy::read(&fixture(&format!("{name}.{output}.npy"))).unwrap();
        let found = npy::read(&place.path(&format!("out/{output}.npy"))).unwrap();
        assert_eq!(wanted.dims(), found.dims(), "{output}");
        for (i, (w, f)) in wanted.as_f32().unwrap().iter().zip(found.as_f32().unwrap()).enumerate() {
            assert!((w - f).abs() <= 2e-5 * w.abs().max(1.0), "{output} at {i}: {f}, expected {w}");
        }
    }
}

#[test]
fn a_step_of_a_quantised_decoder_is_what_onnxruntime_makes_of_it() {
    let inputs = ["x", "skip", "past_key", "past_value", "lengths", "total"];
    agrees("grouped", &inputs, &["y", "sum", "present_key", "present_value"]);
}

#[test]
fn recurrent_layers_are_what_onnxruntime_makes_of_them() {
    agrees("recurrent", &["x", "lengths", "h0"], &["steps", "h", "c", "y"]);
}

#[test]
fn extents_are_fixed_when_a_model_is_compiled() {
    let place = Place::new();
    let model = fixture("mlp.onnx");
    let compile = |more: &[&str]| place.run(&[&["compile", path(&model), "-f", "-o", "m.actc"], more].concat());
    compile(&["--dim", "N=2"]).ok();
    let x = |rows: u64| Tensor::f32(&[rows, 3], vec![0.5; 3 * rows as usize]).unwrap();
    let run = |rows: u64| {
        npy::write(&place.path("x.npy"), &x(rows)).unwrap();
        place.run(&["run", "m.actc", "--input", "x=x.npy", "--output", "out"])
    };
    run(2).ok();
    assert_eq!(npy::read(&place.path("out/y.npy")).unwrap().dims(), [2, 2, 2]);
    run(3).fails(2, "run-input");
    let unknown = compile(&["--dim", "M=2"]).fails(2, "unknown-dim");
    assert!(unknown.contains("those that are not fixed: N"), "{unknown}");
    compile(&["--dim", "N=2", "--dim", "N=3"]).fails(2, "dim-conflict");
    compile(&["--dim", "N"]).fails(2, "dim-syntax");
    place.compile("w.actc", &["--dim", "S=2"]).fails(2, "unknown-dim");
    // A recipe keeps it.
    let recipe = compile(&["--dim", "N=2", "--write-recipe", "-"]).ok();
    assert!(recipe.contains("dim = [\"N=2\"]"), "{recipe}");
}

/// Caches that are longer than the keys in them are not what the compiled program reads.
#[test]
fn lengths_that_are_not_those_of_the_cache_are_an_error() {
    let place = Place::new();
    place.run(&["compile", path(&fixture("grouped.onnx")), "-o", "m.actc"]).ok();
    npy::write(&place.path("lengths.npy"), &Tensor::new(&[2], TensorData::I32(vec![3, 2])).unwrap()).unwrap();
    let of = |i: &str| format!("{i}={}", fixture(&format!("grouped.{i}.npy")).display());
    let given = ["x", "skip", "past_key", "past_value", "total"].map(of);
    let mut arguments = vec!["run", "m.actc", "--output", "out", "--input", "lengths=lengths.npy"];
    arguments.extend(given.iter().flat_map(|g| ["--input", g.as_str()]));
    place.run(&arguments).fails(1, "index-range");
}

#[test]
fn all_unsupported_nodes_are_named_at_once() {
    let place = Place::new();
    let error = place.run(&["compile", path(&fixture("unknown.onnx"))]).fails(1, "onnx-unsupported");
    for part in ["org.example.Frobnicate", "`first`", "org.example.Sgimoid", "`second`", "`Sigmoid`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("`known`"), "{error}");
}
