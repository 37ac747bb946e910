//! Text through exported decoders: `generate`, `eval`, calibration.

use crate::whale::{Form, export, source};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// What actc prints when it is run in `folder`, which must succeed.
fn actc(folder: &Path, args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_actc"));
    let output = command.args(args).current_dir(folder).env("ACTC_CACHE_DIR", folder.join("cache")).output().unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "actc {}\n{shown}", args.join(" "));
    String::from_utf8(output.stdout).unwrap()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

const PROMPT: [&str; 4] = ["-p", "The state of the Union is", "-n", "40"];

#[test]
fn greedy_text_and_perplexity_are_those_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sotu-2016-excerpt.json");
    let measure = |model: &str| {
        let evaluated = ["eval", model, "--text", path(&text), "--windows", "3", "--ctx", "128", "--format", "json"];
        let found: Value = serde_json::from_str(&actc(folder.path(), &evaluated)).unwrap();
        found["ppl"].as_f64().unwrap()
    };
    let whale = source();
    let said = actc(folder.path(), &[&["generate", path(&whale)], &PROMPT[..]].concat());
    let ppl = measure(path(&whale));
    for form in Form::ALL {
        let name = format!("{form:?}.actc");
        let beside = tempfile::tempdir().unwrap();
        let model = export(form, beside.path());
        actc(folder.path(), &["compile", path(&model), "-o", &name]);
        assert_eq!(actc(folder.path(), &[&["generate", &name], &PROMPT[..]].concat()), said, "{form:?}");
        let found = measure(&name);
        assert!((found - ppl).abs() <= 1e-4 * ppl, "{form:?}: perplexity {found}, expected {ppl}");
    }
}

#[test]
fn layers_are_quantised_on_text() {
    let folder = tempfile::tempdir().unwrap();
    for (form, passes) in [
        (Form::Plain, "rtn{bits=4,group=64}"),
        (Form::Grouped, "rtn{bits=4,group=64}"),
        (Form::Grouped, "owq{bits=4,group=64,target=4.25}"),
    ] {
        let beside = tempfile::tempdir().unwrap();
        let model = export(form, beside.path());
        let printed = actc(
            folder.path(),
            &[
                "compile",
                path(&model),
                "--passes",
                passes,
                "-o",
                "q.actc",
                "-f",
                "--calib-windows",
                "8",
                "--calib-len",
                "64",
            ],
        );
        assert!(printed.contains("quality"), "{printed}");
        let found: Value =
            serde_json::from_str(&actc(folder.path(), &["inspect", "q.actc", "--format", "json"])).unwrap();
        let layers = found["layers"].as_array().unwrap();
        let quantised = layers.iter().filter(|l| l["encoding"] != "dense").count();
        // Seven matrices in each of six layers; the head is left to another pass.
        assert_eq!(quantised, 42, "{form:?} {passes}: {layers:?}");
        actc(folder.path(), &[&["generate", "q.actc"], &PROMPT[..]].concat());
    }
}
