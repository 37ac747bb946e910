//! Saved references: the figures of a reference that runs, without running it.

use super::{Place, address, path, whale};
use std::fs;

#[test]
fn a_saved_reference_gives_the_figures_of_one_that_runs() {
    let place = Place::new();
    place.compile("3.actc", &["--passes", "rtn{bits=3,group=64}"]).ok();
    let (whale, text) = (whale(), address());
    let size = ["--text", path(&text), "--ctx", "64", "--windows", "5", "--format", "json"];
    let saving = [&["eval", path(&whale), "--save-ref", "r.ref"][..], &size].concat();
    let plain = place.run(&[&["eval", path(&whale)][..], &size].concat()).json();
    let saved = place.run(&saving).json();
    assert_eq!((&saved["ppl"], &saved["kl"]), (&plain["ppl"], &serde_json::Value::Null));
    place.run(&saving).fails(2, "output-exists");

    let run = place.run(&[&["eval", "3.actc", "--reference", path(&whale)][..], &size].concat()).json();
    // Context and windows are those of the reference.
    let args = ["eval", "3.actc", "--ref", "r.ref", "--text", path(&text), "--format", "json"];
    let read = place.run(&args).json();
    for key in ["ppl", "top1", "reference_ppl", "tokens", "ctx"] {
        assert_eq!(run[key], read[key], "{key}");
    }
    let kl = |v: &serde_json::Value| v["kl"].as_f64().unwrap();
    assert!(kl(&read) <= kl(&run) + 1e-6 && kl(&read) > 0.95 * kl(&run), "{} {}", kl(&read), kl(&run));
    assert_eq!((&read["kl_tokens"], &run["kl_tokens"]), (&512.into(), &serde_json::Value::Null));
    let one = place.run(&[&args[..], &["-t", "1"]].concat()).json();
    assert_eq!(one["per_window"], read["per_window"]);
    let fewer = place.run(&[&args[..], &["--windows", "2"]].concat()).json();
    assert_eq!(fewer["per_window"].as_array().unwrap()[..], read["per_window"].as_array().unwrap()[..2]);
    let shown = place.run(&args[..6]).ok();
    assert!(shown.contains("over the 512 best tokens"), "{shown}");
    let own = place.run(&["eval", path(&whale), "--ref", "r.ref", "--text", path(&text), "--format", "json"]).json();
    assert!(kl(&own) < 1e-5 && own["top1"] == 1.0, "{own}");
}

#[test]
fn references_of_something_else_and_damaged_ones_are_refused() {
    let place = Place::new();
    let (whale, text) = (whale(), address());
    let eval = |more: &[&str]| place.run(&[&["eval", path(&whale), "--text", path(&text)], more].concat());
    eval(&["--ctx", "32", "--windows", "3", "--save-ref", "r.ref"]).ok();
    eval(&["--ref", "r.ref", "--ctx", "33"]).fails(2, "reference-text");
    eval(&["--ref", "r.ref", "--windows", "4"]).fails(2, "reference-text");
    fs::write(place.path("other.txt"), "Call me whatever you like. ".repeat(100)).unwrap();
    place.run(&["eval", path(&whale), "--text", "other.txt", "--ref", "r.ref"]).fails(2, "reference-text");
    eval(&["--ref", "none.ref"]).fails(2, "reference-file");
    assert_eq!(eval(&["--ref", "r.ref", "--reference", path(&whale)]).output.status.code(), Some(2));
    let good = fs::read(place.path("r.ref")).unwrap();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("half", good[..good.len() / 2].to_vec()),
        ("longer", [&good[..], b"x"].concat()),
        ("one bit", {
            let mut bytes = good.clone();
            bytes[good.len() / 2] ^= 1;
            bytes
        }),
        ("a model", fs::read(whale.join("model.safetensors")).unwrap()),
    ] {
        fs::write(place.path("r.ref"), bytes).unwrap();
        let run = eval(&["--ref", "r.ref"]);
        run.fails(1, "reference-damaged");
        assert!(!run.stderr().contains("panicked"), "{what}");
    }
}
