//! `actc export`: what it writes, that it can be compiled again, and what it refuses.

use crate::{Place, path};
use actc::npy;
use actc::types::Tensor;
use std::path::Path;

fn mlp() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/mlp.onnx")
}

#[test]
fn what_is_exported_compiles_to_the_same_results() {
    let place = Place::new();
    place.run(&["compile", path(&mlp()), "-o", "mlp.actc"]).ok();
    place.run(&["export", "mlp.actc", "--format", "onnx"]).ok();
    place.run(&["compile", "mlp.onnx", "-o", "again.actc"]).ok();
    let x = Tensor::f32(&[5, 3], (0..15).map(|i| i as f32 * 0.5 - 1.0).collect()).unwrap();
    npy::write(&place.path("x.npy"), &x).unwrap();
    let run = |artifact: &str| {
        place.run(&["run", artifact, "--input", "x=x.npy", "--output", "out"]).ok();
        npy::read(&place.path("out/y.npy")).unwrap()
    };
    // Halves and small integers: exact in any order.
    assert_eq!(run("mlp.actc"), run("again.actc"));
}

#[test]
fn weights_lie_beside_the_model_and_nothing_is_overwritten_unasked() {
    let place = Place::new();
    place.compile("w.actc", &["--passes", "owq:bits=4:group=64", "--target", "host"]).ok();
    let export = |more: &[&str]| place.run(&[&["export", "w.actc", "--format", "onnx", "-o", "w.onnx"], more].concat());
    export(&[]).ok();
    let read = |name: &str| std::fs::read(place.path(name)).unwrap();
    let (model, data) = (read("w.onnx"), read("w.onnx.data"));
    assert!(data.len() > model.len());
    export(&[]).fails(2, "output-exists");
    std::fs::remove_file(place.path("w.onnx")).unwrap();
    export(&[]).fails(2, "output-exists");
    assert!(!place.path("w.onnx").exists());
    export(&["-f"]).ok();
    assert_eq!((read("w.onnx"), read("w.onnx.data")), (model, data));
}

#[test]
fn ops_without_a_form_leave_no_file() {
    let place = Place::new();
    place.compile("w.actc", &["--passes", "rtn:bits=4:group=64,act:bits=8", "--target", "host"]).ok();
    place.run(&["export", "w.actc", "--format", "onnx", "-o", "w.onnx"]).fails(1, "onnx-export");
    assert!(!place.path("w.onnx").exists() && !place.path("w.onnx.data").exists());
    let other = place.run(&["export", "w.actc", "--format", "gguf"]);
    assert_eq!(other.output.status.code(), Some(2), "{}", other.stderr());
}
