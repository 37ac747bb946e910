//! What the machine has, and what shells are taught.

use super::Place;
use std::fs;

#[test]
fn this_machine_has_what_is_needed() {
    let place = Place::new();
    let got = place.run(&["doctor", "--format", "json"]).json();
    assert_eq!(got["ok"], true);
    let checks = got["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().map(|c| c["name"].as_str().unwrap()).collect();
    let known = [
        "build",
        "cranelift",
        "llvm",
        "gpu code",
        "gpu",
        "processor",
        "threads",
        "memory",
        "cache",
        "temporary",
        "code",
    ];
    assert_eq!(names, known);
    for check in checks.iter().filter(|c| c["state"] != "ok") {
        assert!(!check["fix"].as_str().unwrap().is_empty(), "{check} has no fix");
    }
    let text = place.run(&["doctor"]).ok();
    assert_eq!(text.lines().count(), names.len(), "one line each:\n{text}");
}

#[test]
fn what_is_missing_is_named_with_a_fix() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    let run = |key: &str| {
        let output = place.command(&["doctor"]).env(key, place.path("file/folder")).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, text, _) = run("ACTC_CACHE_DIR");
    let cache = text.lines().find(|l| l.starts_with("cache")).unwrap();
    assert!(code == Some(0) && cache.contains("absent") && cache.contains("set ACTC_CACHE_DIR"), "{cache}");
    let (code, text, said) = run("TMPDIR");
    let temporary = text.lines().find(|l| l.starts_with("temporary")).unwrap();
    assert!(temporary.contains("missing") && temporary.contains("set TMPDIR"), "{temporary}");
    assert!(code == Some(1) && said.contains("error[doctor]"), "{said}");
}

#[test]
fn shells_learn_every_verb() {
    let place = Place::new();
    let help = place.run(&["--help"]).ok();
    let verbs = help.lines().filter(|l| !l.starts_with("   "));
    let verbs = verbs.filter_map(|l| l.strip_prefix("  ")?.split_whitespace().next());
    let verbs: Vec<&str> = verbs.filter(|w| w.chars().all(|c| c.is_ascii_lowercase()) && *w != "help").collect();
    assert!(verbs.len() > 10, "{verbs:?}");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run(&["completions", shell]).ok();
        for verb in &verbs {
            assert!(script.contains(verb), "{shell} does not learn {verb}");
        }
    }
    assert_eq!(place.run(&["completions", "tcsh"]).output.status.code(), Some(2));
}
