//! Requests in files.

use super::{Place, path, whale};
use std::fs;

#[test]
fn a_recipe_repeats_a_request() {
    let place = Place::new();
    let whale = whale();
    let model = path(&whale);
    fs::write(place.path("text.txt"), "It was a dark and stormy night, and the sea was high. ".repeat(200)).unwrap();
    let asked = [
        "--passes",
        "owq:bits=3:target=3.5:group=64:budget=equal",
        "--calib",
        "text.txt",
        "--calib-windows",
        "6",
        "--calib-len",
        "32",
        "--seed",
        "7",
        "--require",
        "top1>0.01",
    ];
    let write = [&["compile", model, "--write-recipe", "r.toml"][..], &asked].concat();
    assert_eq!(place.run(&write).ok(), "");
    assert!(!place.path("whale-2m.actc").exists(), "writing a recipe compiles nothing");
    place.run(&write).fails(2, "output-exists");
    let text = fs::read_to_string(place.path("r.toml")).unwrap();
    let portable: Vec<String> = actc_types::Target::portable().iter().map(|t| format!("{:?}", t.to_string())).collect();
    let portable = &*format!("target = [{}]", portable.join(", "));
    for line in ["calib = [\"text.txt\"]", "seed = 7", portable, "name = \"owq\"", "target = 3.5"] {
        assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
    }
    // Written again, it is the same.
    assert_eq!(place.run(&["compile", model, "--recipe", "r.toml", "--write-recipe", "-"]).ok(), text);
    assert_eq!(place.run(&["plan", model, "--recipe", "r.toml", "--write-recipe", "-"]).ok(), text);

    place.compile_for(&[], "a.actc", &asked).ok();
    place.compile_for(&[], "b.actc", &["--recipe", "r.toml"]).ok();
    assert!(fs::read(place.path("a.actc")).unwrap() == fs::read(place.path("b.actc")).unwrap());
    // The command line counts more.
    let seeded = place.run(&["compile", model, "--recipe", "r.toml", "--seed", "8", "--write-recipe", "-"]).ok();
    assert_eq!(seeded, text.replace("seed = 7", "seed = 8"));
}

#[test]
fn mistakes_in_a_recipe_are_pointed_at() {
    let place = Place::new();
    for (recipe, code, line) in [
        ("sed = 1\n", "recipe-key", "did you mean `seed`?"),
        ("[[pass]]\nname = \"owq\"\nbitts = 3\n", "recipe-key", "did you mean `bits`?"),
        ("[[pass]]\nname = \"owq\"\nbits = 19\n", "bad-option", "line 3:"),
        ("preset = \"w5\"\n", "unknown-preset", "did you mean"),
        ("target = \"x86-64-v5\"\n", "unknown-target", "did you mean"),
        ("require = \"kk<1\"\n", "require-syntax", "kk<1"),
        ("seed = 1 2\n", "recipe-syntax", "seed = 1 2"),
    ] {
        fs::write(place.path("r.toml"), recipe).unwrap();
        let said = place.compile_for(&[], "a.actc", &["--recipe", "r.toml"]).fails(2, code);
        assert!(said.contains(line), "no `{line}` in\n{said}");
    }
    place.compile("a.actc", &["--recipe", "none.toml"]).fails(2, "file");
    fs::write(place.path("r.toml"), b"\xff").unwrap();
    place.compile("a.actc", &["--recipe", "r.toml"]).fails(2, "file");
    let both = place.compile("a.actc", &["--recipe", "r.toml", "--passes", "rtn"]);
    assert_eq!(both.output.status.code(), Some(2));
    assert!(!place.path("a.actc").exists());
}
