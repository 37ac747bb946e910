//! The cache of keys and values in fewer bits, from the request to the text.

use super::{Place, path, whale};
use std::fs;

#[test]
fn the_form_of_the_cache_is_a_pass_of_the_pipeline() {
    let place = Place::new();
    let whale = whale();
    let model = path(&whale);
    let small = ["--calib-windows", "2", "--calib-len", "64"];
    let made = |more: &[&str]| {
        let plan = place.run(&[&["plan", model, "--format", "json"], more, &small[..]].concat()).json();
        (plan["pipeline"].as_str().unwrap().to_owned(), plan["cache_bytes_per_token"].as_u64().unwrap())
    };
    let (plain, full) = made(&["--passes", "clean"]);
    assert_eq!(plain, "clean");
    assert_eq!(made(&["--passes", "clean", "--kv", "f32"]), (plain, full));
    let (pipeline, half) = made(&["--kv", "f16"]);
    assert_eq!((pipeline.as_str(), 2 * half), ("clean,kv{bits=16}", full));
    let (pipeline, least) = made(&["--passes", "kv"]);
    assert!(pipeline == "clean,kv{bits=8}" && 2 * least < full && 4 * least > full, "{pipeline}: {least} of {full}");
    // A recipe says it as the option does, and writes the pass.
    fs::write(place.path("r.toml"), "kv = \"int8\"\npasses = \"clean\"\n").unwrap();
    assert_eq!(made(&["--recipe", "r.toml"]), (pipeline, least));
    let text = place.run(&["plan", model, "--recipe", "r.toml", "--write-recipe", "-"]).ok();
    assert!(text.contains("name = \"kv\"\nbits = 8\n") && !text.contains("kv = "), "{text}");
    place.run(&["plan", model, "--passes", "kv{bits=16}", "--kv", "int8"]).fails(2, "kv-twice");
    place.run(&["plan", model, "--passes", "kv{bits=4}"]).fails(2, "bad-option");
    assert_eq!(place.run(&["plan", model, "--kv", "int4"]).output.status.code(), Some(2));
}

#[test]
fn text_from_a_cache_of_8_bits() {
    let place = Place::new();
    let small = ["--calib-windows", "2", "--calib-len", "64"];
    let said = place.compile("a.actc", &[&["--kv", "int8"], &small[..]].concat()).ok();
    assert!(said.contains("kv{bits=8}") && said.contains("quality"), "{said}");
    place.compile("b.actc", &["--passes", "clean"]).ok();
    let more = |name: &str| place.run(&["generate", name, "-p", "The state of the Union is", "-n", "12"]).ok();
    assert_eq!(more("a.actc"), more("b.actc"));
}
