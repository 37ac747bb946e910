//! Machine code in artifacts: for which machines, by which back end, and what a wrong machine is told.

use super::{Place, address, path, whale};
use actc::codegen::Backend;
use actc_types::Target;
use serde_json::Value;
use std::fs;

const PROMPT: [&str; 4] = ["-p", "The state of the Union is", "-n", "8"];

fn inspect(place: &Place, name: &str) -> Value {
    place.run(&["inspect", name, "--format", "json"]).json()
}

/// The targets of the code sections.
fn sections(shown: &Value) -> Vec<String> {
    let names = shown["sections"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap());
    names.filter_map(|name| name.strip_prefix("code.").map(str::to_owned)).collect()
}

/// A CPU target that this machine cannot run, and what it lacks.
fn foreign() -> Vec<(&'static str, &'static str)> {
    let lacks = |name: &'static str| Some((name, Target::parse(name).unwrap().lacks()?));
    let all: Vec<_> = ["x86-64-v4", "aarch64", "x86-64-v2"].into_iter().filter_map(lacks).collect();
    assert!(!all.is_empty(), "no machine runs both families");
    all
}

#[test]
fn code_for_all_levels_is_the_default_and_the_best_runs() {
    let place = Place::new();
    let said = place.compile_for(&[], "a.actc", &["-t", "1"]).ok();
    place.compile_for(&[], "b.actc", &["-t", "2"]).ok();
    assert!(fs::read(place.path("a.actc")).unwrap() == fs::read(place.path("b.actc")).unwrap());
    let portable: Vec<String> = Target::portable().iter().map(ToString::to_string).collect();
    let shown = inspect(&place, "a.actc");
    let stored = sections(&shown);
    assert_eq!(shown["targets"], serde_json::json!(stored));
    // Code that equals another's is stored once, and told of.
    for target in &portable {
        assert!(said.contains(target), "{target} is not spoken of:\n{said}");
    }
    assert!(stored.len() > 1 || Backend::best() == Backend::Cranelift, "{stored:?}");
    assert!(stored.contains(&portable[0]) && stored.iter().all(|t| portable.contains(t)), "{stored:?}");
    let wanted = stored.iter().map(|t| Target::parse(t).unwrap()).collect::<Vec<_>>();
    let best = Target::best(&wanted).unwrap().to_string();
    let text = address();
    let eval = ["eval", "a.actc", "--text", path(&text), "--windows", "1", "--format", "json"];
    let trusted = place.run(&[&eval[..], &["--trust-code"]].concat()).json();
    let by = shown["backend"].as_str().unwrap();
    let threads = std::thread::available_parallelism().unwrap();
    assert_eq!(trusted["backend"], format!("{by} {best} x{threads}"));
    let made = place.run(&eval).json();
    assert_eq!(made["backend"], format!("{by} {} x{threads}", Target::host()));

    place.compile("host.actc", &["--target", "host"]).ok();
    assert_eq!(sections(&inspect(&place, "host.actc")), [Target::host().to_string()]);
    let listed = place.run(&["targets", "--format", "json"]).json();
    assert_eq!(listed["default"], serde_json::json!(portable));
}

#[test]
fn the_wrong_machine_is_told_what_it_lacks() {
    let place = Place::new();
    place.compile("own.actc", &["--target", "host"]).ok();
    let text = place.run(&[&["generate", "own.actc"], &PROMPT[..]].concat()).ok();
    for (target, lacks) in foreign() {
        place.run(&["relink", "own.actc", "--target", target, "-o", "other.actc", "-f"]).ok();
        assert_eq!(sections(&inspect(&place, "other.actc")), [target]);
        let args = [&["generate", "other.actc"], &PROMPT[..]].concat();
        let said = place.run(&[&args[..], &["--trust-code"]].concat()).fails(1, "code-target");
        for word in [target, lacks, &Target::host().to_string(), "actc relink FILE --target host"] {
            assert!(said.contains(word), "no `{word}` in\n{said}");
        }
        // Code that is made here runs here.
        assert_eq!(place.run(&args).ok(), text);
        place.run(&["relink", "other.actc", "--target", "host", "-o", "back.actc", "-f"]).ok();
        let args = [&["generate", "back.actc", "--trust-code"], &PROMPT[..]].concat();
        assert_eq!(place.run(&args).ok(), text);
    }
}

#[test]
fn one_option_names_what_makes_the_code() {
    let place = Place::new();
    let whale = whale();
    let model = path(&whale);
    let text = address();
    place.compile("a.actc", &["--backend", "cranelift", "--target", "host"]).ok();
    assert!(inspect(&place, "a.actc")["backend"].as_str().unwrap().starts_with("cranelift "));
    let verbs: [&[&str]; 8] = [
        &["compile", model, "-o", "b.actc"],
        &["plan", model],
        &["relink", "a.actc", "--target", "host", "-o", "b.actc"],
        &["bench", "a.actc"],
        &["generate", "a.actc", "-p", "x"],
        &["eval", "a.actc", "--text", path(&text)],
        &["compare", "a.actc", "a.actc"],
        &["run", "a.actc"],
    ];
    for verb in verbs {
        let with = |name: &'static str| place.run(&[verb, &["--backend", name]].concat());
        with("gcc").fails(2, "unknown-backend");
        if !Backend::Llvm.is_built() {
            let said = with("llvm").fails(2, "backend-not-built");
            assert!(said.contains("cargo build --release --features llvm"), "{said}");
        }
    }
    assert!(!place.path("b.actc").exists());
    let both = place.run(&["generate", "a.actc", "-p", "x", "--trust-code", "--backend", "cranelift"]);
    assert_eq!(both.output.status.code(), Some(2), "{}", both.stderr());

    // Each back end's code has a place of its own in the cache, and is what runs.
    fs::create_dir_all(place.path("cache")).unwrap();
    for backend in Backend::ALL.into_iter().filter(|b| b.is_built()) {
        let args = ["bench", "a.actc", "--prompt", "4", "--generate", "2", "--repeat", "1", "--format", "json"];
        let ran = place.run(&[&args[..], &["--backend", backend.name()]].concat()).json();
        let wanted = format!("{} {} x", backend.full_name(), Target::host());
        assert!(ran["backend"].as_str().unwrap().starts_with(&wanted), "{ran}");
        let kept = fs::read_dir(place.path("cache")).unwrap().map(|e| e.unwrap().file_name());
        let maker = format!("-{}-", backend.full_name().replace(' ', "-"));
        assert!(kept.filter_map(|name| name.into_string().ok()).any(|name| name.contains(&maker)), "no {maker}");
    }
}
