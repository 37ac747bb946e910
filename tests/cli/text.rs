//! Generation, evaluation, tensors and speed, through the artifact's own kernels.

use super::{Place, address, path, whale};
use std::fs;
use std::io::Read;
use std::process::Stdio;

/// Greedy, from the model's README.
const GOLDEN: &str = " not the same. The report of the Secretary of the Treasury, however, that the report of the \
    Secretary of the Treasury will be made to the Treasury on the 1st day of July, 18\n";

#[test]
fn the_artifact_as_shipped_says_what_the_model_says() {
    let place = Place::new();
    let said = place.compile("a.actc", &[]);
    said.ok();
    assert!(said.stderr().contains("presets: w8, w4, w3"), "{}", said.stderr());
    for threads in ["1", "3"] {
        let args = ["generate", "a.actc", "-p", "The state of the Union is", "-n", "40", "-t", threads];
        assert_eq!(place.run(&args).ok(), GOLDEN);
    }
    fs::write(place.path("prompt.txt"), "The state of the Union is").unwrap();
    assert_eq!(place.run(&["generate", "a.actc", "-f", "prompt.txt", "-n", "40", "--trust-code"]).ok(), GOLDEN);
    assert_eq!(place.run(&["generate", path(&whale()), "-f", "prompt.txt", "-n", "40"]).ok(), GOLDEN);
    let stopped = place.run(&["generate", "a.actc", "-f", "prompt.txt", "-n", "40", "--stop", "Secretary of"]).ok();
    assert_eq!(stopped, " not the same. The report of the \n");
}

#[test]
fn sampling_follows_the_seed() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    let text = |seed: &str| {
        let more = ["--temp", "1", "--top-k", "50", "--top-p", "0.95", "-s", seed];
        place.run(&[&["generate", "a.actc", "-p", "The whale", "-n", "24"], &more[..]].concat()).ok()
    };
    assert_eq!(text("1"), text("1"));
    assert_ne!(text("1"), text("2"));
}

#[test]
fn perplexity_is_the_golden_one() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    let text = address();
    let args = ["eval", "a.actc", "--text", path(&text), "--windows", "8", "--format", "json"];
    let got = place.run(&args).json();
    let ppl = got["ppl"].as_f64().unwrap();
    assert!((ppl / 41.728 - 1.0).abs() < 0.001, "{ppl}");
    assert_eq!((&got["ctx"], &got["tokens"]), (&256.into(), &2040.into()));
    let keys =
        ["ppl", "ppl_se", "tokens", "ctx", "bos", "kl", "top1", "bits_per_weight", "file_bytes", "backend", "digest"];
    for key in keys {
        assert!(got.get(key).is_some(), "no key `{key}`");
    }
    assert_eq!(got["bits_per_weight"], 16.0);
    let one = place.run(&[&args[..], &["-t", "1"]].concat()).json();
    assert_eq!(one["per_window"], got["per_window"], "figures do not depend on the number of threads");
    let source =
        place.run(&["eval", path(&whale()), "--text", path(&text), "--windows", "8", "--format", "json"]).json();
    assert_eq!(source["per_window"], got["per_window"]);
}

#[test]
fn bits_are_paid_for_and_the_distance_is_told() {
    let place = Place::new();
    place.compile("8.actc", &["--passes", "rtn{bits=8,group=64}"]).ok();
    place.compile("2.actc", &["--passes", "rtn{bits=2,group=64}"]).ok();
    let text = address();
    let kl = |name: &str| {
        let whale = whale();
        let args = ["eval", name, "--text", path(&text), "--reference", path(&whale), "--format", "json"];
        let got = place.run(&args).json();
        let top1 = got["top1"].as_f64().unwrap();
        assert!(got["kl_se"].as_f64().unwrap() > 0.0 && (0.0..=1.0).contains(&top1));
        (got["kl"].as_f64().unwrap(), top1)
    };
    let (fine, coarse) = (kl("8.actc"), kl("2.actc"));
    assert!(fine.0 < 1e-3 && fine.1 > 0.97, "{fine:?}");
    assert!(coarse.0 > 0.1 && coarse.1 < 0.8, "{coarse:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    let mut child = place
        .command(&["generate", "a.actc", "-p", "The", "-n", "200"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    child.stdout.take().unwrap().read_exact(&mut byte).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"));
}

#[test]
fn any_entry_runs_on_tensors() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    let tokens = actc::types::Tensor::i64(&[5], vec![52, 258, 1142, 7, 9]).unwrap();
    actc::npy::write(&place.path("t.npy"), &tokens).unwrap();
    place.run(&["run", "a.actc", "--input", "tokens=t.npy", "--output", "out"]).ok();
    let logits = actc::npy::read(&place.path("out/logits.npy")).unwrap();
    assert_eq!(logits.dims(), [5, 2048]);
    place.run(&["run", "a.actc"]).fails(2, "missing-input");
    place.run(&["run", "a.actc", "--input", "tokenz=t.npy"]).fails(2, "unknown-input");
    place.run(&["run", "a.actc", "--input", "tokens=t.npy", "--entry", "x"]).fails(2, "unknown-entry");
    let far = actc::types::Tensor::i64(&[2], vec![1, 2048]).unwrap();
    actc::npy::write(&place.path("far.npy"), &far).unwrap();
    place.run(&["run", "a.actc", "--input", "tokens=far.npy"]).fails(2, "id-range");
}

#[test]
fn bench_names_the_artifact() {
    let place = Place::new();
    place.compile("a.actc", &["--passes", "rtn{bits=4}"]).ok();
    let got = place
        .run(&["bench", "a.actc", "--prompt", "32", "--generate", "8", "--repeat", "1", "--format", "json"])
        .json();
    let number = |key: &str| got[key].as_f64().unwrap_or_else(|| panic!("no number `{key}`"));
    for key in ["seconds", "bytes", "gb_per_s", "bandwidth_share", "prefill_tok_s", "decode_tok_s"] {
        assert!(number(key) > 0.0, "{key}");
    }
    let digest = place.run(&["inspect", "a.actc", "--format", "json"]).json()["digest"].clone();
    assert_eq!(got["digest"], digest);
}
