//! ONNX models through the command line: compile, run, and what cannot be compiled.

use crate::{Place, path};
use actc::npy;
use actc::types::Tensor;
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
fn all_unsupported_nodes_are_named_at_once() {
    let place = Place::new();
    let error = place.run(&["compile", path(&fixture("unknown.onnx"))]).fails(1, "onnx-unsupported");
    for part in ["org.example.Frobnicate", "`first`", "org.example.Sgimoid", "`second`", "`Sigmoid`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("`known`"), "{error}");
}
