//! Artifacts: the same bytes whatever the threads, the run and the folder; what is inside; other machines.

use super::{Place, path, whale};
use std::fs;

const QUICK: [&str; 6] =
    ["--passes", "owq{bits=3,target=3.25,group=64},head{bits=8}", "--calib-windows", "8", "--calib-len", "64"];

#[test]
fn bytes_do_not_depend_on_threads_runs_and_folders() {
    let (here, there) = (Place::new(), Place::new());
    here.compile("one.actc", &[&QUICK[..], &["-t", "1"]].concat()).ok();
    here.compile("eight.actc", &[&QUICK[..], &["-t", "8"]].concat()).ok();
    there.compile("elsewhere.actc", &QUICK).ok();
    let one = fs::read(here.path("one.actc")).unwrap();
    for other in [here.path("eight.actc"), there.path("elsewhere.actc")] {
        assert!(one == fs::read(&other).unwrap(), "{} differs", other.display());
    }
    here.compile("seed.actc", &[&QUICK[..], &["--seed", "1"]].concat()).ok();
    assert!(one != fs::read(here.path("seed.actc")).unwrap(), "other calibration windows give another artifact");
    assert!(fs::read_dir(here.path("")).unwrap().all(|e| !e.unwrap().file_name().to_string_lossy().starts_with('.')));
}

#[test]
fn the_order_of_passes_does_not_matter_to_compile() {
    let place = Place::new();
    let data = ["--calib-windows", "4", "--calib-len", "32"];
    place.compile("a.actc", &[&["--passes", "head{bits=8},calibrate,rtn{bits=4}"], &data[..]].concat()).ok();
    place.compile("b.actc", &[&["--passes", "rtn{bits=4},head{bits=8},calibrate"], &data[..]].concat()).ok();
    let of = |name: &str| fs::read(place.path(name)).unwrap();
    let (a, b) = (of("a.actc"), of("b.actc"));
    let weights = |name: &str| {
        let shown = place.run(&["inspect", name, "--format", "json"]).json();
        (shown["tensors"].clone(), shown["layers"].clone())
    };
    assert_eq!(weights("a.actc"), weights("b.actc"));
    assert_eq!(a.len(), b.len());
    let shell = place.run(&["compile", path(&whale()), "--passes", "rtn:bits=4", "--print-pipeline-passes"]).ok();
    assert_eq!(shell, "clean,rtn{bits=4, group=128}\n");
}

#[test]
fn inspect_shows_every_layer() {
    let place = Place::new();
    let mut equal = QUICK;
    equal[1] = "owq{bits=3,target=3.25,group=64,budget=equal},head{bits=8}";
    place.compile("a.actc", &equal).ok();
    let shown = place.run(&["inspect", "a.actc", "--format", "json"]).json();
    let layers = shown["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 43);
    for layer in layers {
        for key in ["name", "encoding", "bits", "stored_bits", "weak_columns", "bytes", "error", "reason"] {
            assert!(!layer[key].is_null(), "{layer} has no {key}");
        }
    }
    let weak = layers.iter().filter(|l| l["weak_columns"].as_u64().unwrap() > 0).count();
    assert_eq!(weak, 42, "every layer but the table has weak columns");
    let bits = shown["bits_per_weight"].as_f64().unwrap();
    assert!((3.4..3.8).contains(&bits), "{bits}");
    assert!(shown["pipeline"].as_str().unwrap().contains("target=3.25"));
    assert_eq!(shown["calibration"]["windows"], 8);
    assert_eq!(shown["file_bytes"].as_u64().unwrap(), fs::metadata(place.path("a.actc")).unwrap().len());

    place.run(&["inspect", "a.actc"]).ok();
    let why = place.run(&["inspect", "a.actc", "--why", "layers.0"]).ok();
    assert!(why.lines().count() > 3, "{why}");
    place.run(&["inspect", "a.actc", "--why", "no such step"]).fails(2, "unknown-node");
    let source = place.run(&["inspect", path(&whale()), "--format", "json"]).json();
    assert_eq!(source["family"], "llama");
}

#[test]
fn code_for_another_machine_is_made_from_the_artifact_alone() {
    let place = Place::new();
    place.compile("a.actc", &["--passes", "rtn{bits=4}", "--target", "x86-64-v2"]).ok();
    place.run(&["relink", "a.actc", "--target", "aarch64", "-o", "b.actc"]).ok();
    let targets = |name: &str| place.run(&["inspect", name, "--format", "json"]).json()["targets"].clone();
    assert_eq!(targets("a.actc"), serde_json::json!(["x86-64-v2"]));
    assert_eq!(targets("b.actc"), serde_json::json!(["aarch64"]));
    let back = place.run(&["relink", "b.actc", "--target", "x86-64-v2", "-o", "c.actc"]);
    back.ok();
    assert!(fs::read(place.path("a.actc")).unwrap() == fs::read(place.path("c.actc")).unwrap());
    // Its code is for another machine, its graph is for all.
    let text = place.run(&["generate", "b.actc", "-p", "The state of the Union is", "-n", "8"]).ok();
    assert_eq!(text, place.run(&["generate", "a.actc", "-p", "The state of the Union is", "-n", "8"]).ok());
    if let Err(d) = actc::codegen::cuda::ready() {
        place.run(&["relink", "a.actc", "--target", "sm_90"]).fails(2, d.code);
    }
    place.run(&["relink", "a.actc", "--target", "aarch64", "-o", "b.actc"]).fails(1, "artifact-exists");
}

#[test]
fn kernels_and_graphs_are_written_where_asked() {
    let place = Place::new();
    place.compile("a.actc", &["--emit", "ir=out", "--emit", "kernels=out/k"]).ok();
    let graph = fs::read_to_string(place.path("out/compiled.air")).unwrap();
    assert!(graph.starts_with("air 1\n"));
    let kernels: Vec<_> = fs::read_dir(place.path("out/k")).unwrap().map(|e| e.unwrap().path()).collect();
    assert!(kernels.len() > 5);
    assert!(kernels.iter().all(|k| fs::metadata(k).unwrap().len() > 100));
    let printed = place.run(&["opt", "out/compiled.air", "--weights", path(&whale()), "--passes", "clean"]).ok();
    assert_eq!(printed, graph, "a clean graph stays as it is");
    place.run(&["opt", "out/compiled.air", "--passes", "clean"]).fails(2, "air-unbound");
}
