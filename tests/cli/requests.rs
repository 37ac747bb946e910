//! Wrong requests: exit 2, a code, and a way out; work that cannot be done as asked: exit 1 and no file.

use super::{Place, path, whale};

#[test]
fn mistakes_in_a_pipeline_are_pointed_at() {
    let place = Place::new();
    let said = place.compile("a.actc", &["--passes", "calibrate,owk{bits=3}"]).fails(2, "unknown-pass");
    let lines: Vec<&str> = said.lines().collect();
    let shown = lines.iter().position(|l| l.contains("calibrate,owk{bits=3}")).expect("the pipeline is shown");
    let column = lines[shown].find("owk").unwrap();
    assert_eq!(lines[shown + 1], format!("{}^^^", " ".repeat(column)));
    assert!(said.contains("did you mean `owq`?"), "{said}");

    for (pipeline, code) in [
        ("owq{bitz=3}", "bad-option"),
        ("owq{bits=9}", "bad-option"),
        ("owq{bits=3", "syntax"),
        ("owq bits=3", "syntax"),
        ("owq{bits=3,target=3,stored=4}", "option-conflict"),
        ("act{bits=8}", "missing-fact"),
    ] {
        let run = place.compile("a.actc", &["--passes", pipeline]);
        assert_eq!(run.output.status.code(), Some(2), "{pipeline}: {}", run.stderr());
        assert!(run.stderr().contains(&format!("error[{code}]")), "{pipeline}: no {code} in\n{}", run.stderr());
    }
    assert!(!place.path("a.actc").exists());
}

#[test]
fn wrong_requests_exit_with_two() {
    let place = Place::new();
    let whale = whale();
    let model = path(&whale);
    std::fs::write(place.path("taken.actc"), "something").unwrap();
    std::fs::write(place.path("empty.txt"), "").unwrap();
    std::fs::write(place.path("bad.txt"), b"ab\xffcd").unwrap();
    std::fs::write(place.path("x.onnx"), "").unwrap();
    std::fs::write(place.path("x.pth"), "").unwrap();
    std::fs::write(place.path("x.safetensors"), "").unwrap();
    place.run(&[]).output.status.code().map(|c| assert_eq!(c, 2)).unwrap();
    for (args, code) in [
        (&["compile", model, "-o", "taken.actc"][..], "output-exists"),
        (&["compile", model, "--preset", "w5"], "unknown-preset"),
        (&["compile", model, "--target", "x86-64-v5"], "unknown-target"),
        (&["compile", model, "--products", "hal"], "unknown-products"),
        (&["compile", model, "--emit", "asm=x"], "emit"),
        (&["compile", model, "--passes", "rtn", "--require", "kk<1"], "require-syntax"),
        (&["compile", model, "--passes", "calibrate", "--calib", "missing.txt"], "calib-file"),
        (&["compile", model, "--passes", "calibrate", "--calib", "x.onnx"], "calib-format"),
        (&["compile", model, "--passes", "calibrate", "--calib", "bad.txt"], "calib-utf8"),
        (&["compile", model, "--passes", "calibrate", "--calib", "empty.txt"], "calib-short"),
        (&["compile", model, "--stop-after", "owq"], "watch-pass"),
        (&["compile", "missing.gguf"], "file-missing"),
        (&["compile", "org/model"], "model-format"),
        (&["compile", "x.pth"], "model-format"),
        (&["compile", "x.safetensors"], "model-format"),
        (&["generate", "missing.actc", "-p", "a"], "file-missing"),
        (&["inspect", "missing.actc"], "file-missing"),
        (&["bench", "taken.actc"], "not-an-artifact"),
        (&["eval", model, "--text", "missing.txt"], "file"),
        (&["eval", model, "--text", "bad.txt"], "eval-utf8"),
        (&["eval", model, "--text", "empty.txt"], "eval-short"),
        (&["eval", model, "--text", "taken.actc", "--ctx", "1"], "eval-ctx"),
        (&["opt", "missing.air"], "file"),
    ] {
        place.run(args).fails(2, code);
    }
    assert_eq!(std::fs::read_to_string(place.path("taken.actc")).unwrap(), "something");
    for args in [&["generate", "taken.actc"][..], &["frobnicate"], &["compile"], &["eval", "x"]] {
        assert_eq!(place.run(args).output.status.code(), Some(2), "{args:?}");
    }
    assert_eq!(place.run(&["--help"]).output.status.code(), Some(0));
}

#[test]
fn a_context_is_asked_for() {
    let place = Place::new();
    let context = |name: &str| place.run(&["inspect", name, "--format", "json"]).json()["context"].as_u64().unwrap();
    place.compile("a.actc", &["--context", "100"]).ok();
    assert_eq!(context("a.actc"), 100);
    let asked = ["generate", "a.actc", "-p", "The state of the Union is", "-n", "200", "-c"];
    place.run(&[&asked[..], &["100"]].concat()).ok();
    for wrong in ["0", "257"] {
        let said = place.compile("b.actc", &["--context", wrong]).fails(2, "arch-context");
        assert!(said.contains(&format!("{wrong} tokens")) && said.contains("1 to 256"), "{said}");
    }
    // Rotary positions that depend on the length of the text: without a word the short factors, for more the long ones.
    let folder = place.path("long");
    std::fs::create_dir(&folder).unwrap();
    for file in ["model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        std::fs::copy(whale().join(file), folder.join(file)).unwrap();
    }
    let mut config: serde_json::Value =
        serde_json::from_slice(&std::fs::read(whale().join("config.json")).unwrap()).unwrap();
    let factors = |f: f64| vec![f; 16];
    config["original_max_position_embeddings"] = 64.into();
    config["rope_scaling"] =
        serde_json::json!({ "rope_type": "longrope", "short_factor": factors(1.0), "long_factor": factors(4.0) });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    for (name, more, wanted) in [
        ("c.actc", &[][..], 64),
        ("d.actc", &["--context", "64"], 64),
        ("e.actc", &["--context", "65"], 65),
        ("f.actc", &["--context", "256"], 256),
    ] {
        place.run(&[&["compile", path(&folder), "-o", name], more].concat()).ok();
        assert_eq!(context(name), wanted, "{name}");
    }
    let same = |a: &str, b: &str| place.run(&["compare", a, b, "--windows", "0", "--tolerance", "0"]);
    same("c.actc", "d.actc").ok();
    same("e.actc", "f.actc").ok();
    same("c.actc", "e.actc").fails(1, "compare-tolerance");
}

#[test]
fn unmet_requirements_leave_no_file() {
    let place = Place::new();
    let said = place.compile("a.actc", &["--passes", "rtn{bits=2,group=channel}", "--require", "kl<0.01,top1>0.999"]);
    let said = said.fails(1, "require-unmet");
    assert_eq!(said.matches("error[require-unmet]").count(), 2, "every condition is reported: {said}");
    assert_eq!(std::fs::read_dir(place.path("")).unwrap().count(), 0, "nothing is left behind");
    place.compile("a.actc", &["--passes", "rtn{bits=8}", "--require", "kl<0.01,worst<0.01"]).ok();
    place.compile("b.actc", &["--require", "kl<0.01"]).fails(2, "require-nothing");
}

#[test]
fn passes_are_watched_as_in_llvm() {
    let place = Place::new();
    std::fs::write(
        place.path("g.air"),
        "air 1\ngraph @g(%x: f32[S, 4]) {\n  %w = const @w = rng{seed=1, scale=1} : f32[16, 4]\n  \
         %0 = linear %x, %w : f32[S, 16]\n  %1 = silu %0 : f32[S, 16]\n  return y=%0\n}\n",
    )
    .unwrap();
    let all = place.run(&["opt", "g.air", "--passes", "clean,rtn{bits=4}", "--print-changed", "--time-passes"]);
    assert!(all.ok().contains("packed{bits=4"), "{}", all.stdout());
    assert!(all.stderr().contains("# after clean") && all.stderr().contains("# after rtn"), "{}", all.stderr());
    assert!(all.stderr().contains(" s "), "{}", all.stderr());
    let first = place.run(&["opt", "g.air", "--passes", "clean,rtn{bits=4}", "--stop-after", "clean"]).ok();
    assert!(!first.contains("packed") && !first.contains("silu"), "{first}");
    let none = place.run(&["opt", "g.air", "--passes", "clean,rtn{bits=4}", "--opt-bisect-limit", "0"]);
    assert!(none.ok().contains("silu") && none.stderr().contains("clean: skipped"));
    place.run(&["opt", "g.air", "--passes", "gptq{bits=4},calibrate"]).fails(2, "missing-fact");
}

#[test]
fn lists_are_complete() {
    let place = Place::new();
    let passes = place.run(&["passes", "--format", "json"]).json();
    let names: Vec<&str> = passes["passes"].as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    assert_eq!(names, actc::passes::PASSES.iter().map(|p| p.name).collect::<Vec<_>>());
    let targets = place.run(&["targets", "--format", "json"]).json();
    assert!(targets["targets"].as_array().unwrap().iter().any(|t| t["host"] == true));
    for verb in ["passes", "targets"] {
        place.run(&[verb]).ok();
    }
}
