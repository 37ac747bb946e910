//! What is planned is what a compile then does.

use super::{Place, path, whale};
use std::fs;

const DATA: [&str; 4] = ["--calib-windows", "8", "--calib-len", "64"];

#[test]
fn layers_and_bytes_are_those_of_the_artifact() {
    let place = Place::new();
    let whale = whale();
    for pipeline in [
        "clean",
        "rtn{bits=4,group=64},head{bits=8}",
        "gptq{bits=3,group=64},act",
        "owq{bits=3,target=3.25,group=64,budget=equal},head{bits=8}",
    ] {
        let more = [&["--passes", pipeline, "--target", "host"][..], &DATA].concat();
        let plan = place.run(&[&["plan", path(&whale), "-o", "a.actc", "--format", "json"], &more[..]].concat()).json();
        assert_eq!(fs::read_dir(place.path("")).unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count(), 0);
        place.compile("a.actc", &more).ok();
        let made = place.run(&["inspect", "a.actc", "--format", "json"]).json();
        assert_eq!(plan["pipeline"], made["pipeline"]);
        assert_eq!(plan["bits_per_weight"], made["bits_per_weight"], "{pipeline}");
        assert_eq!(plan["calibration"], made["calibration"], "{pipeline}");
        let (planned, done) = (plan["layers"].as_array().unwrap(), made["layers"].as_array().unwrap());
        assert_eq!(planned.len(), done.len());
        for (a, b) in planned.iter().zip(done) {
            for key in ["name", "encoding", "bits", "stored_bits", "weak_columns", "bytes", "reason"] {
                assert_eq!(a[key], b[key], "{pipeline}: {key} of {}", a["name"]);
            }
        }
        let (planned, bytes) = (plan["artifact_bytes"].as_f64().unwrap(), made["file_bytes"].as_f64().unwrap());
        assert!((planned / bytes - 1.0).abs() < 0.01, "{pipeline}: {planned} planned, {bytes} written");
        let work = pipeline != "clean";
        assert_eq!(plan["peak_bytes"].as_u64().unwrap() > 300_000_000, work, "{pipeline}");
        assert!(plan["seconds"].as_f64().unwrap() > 0.0);
        fs::remove_file(place.path("a.actc")).unwrap();
    }
    // Activations share the weak columns out, at the same number of bits.
    let gain = [&["--passes", "owq{bits=3,target=3.25,group=64}"][..], &DATA].concat();
    let plan = place.run(&[&["plan", path(&whale), "--format", "json"], &gain[..]].concat()).json();
    place.compile("a.actc", &gain).ok();
    let made = place.run(&["inspect", "a.actc", "--format", "json"]).json();
    let bits = |v: &serde_json::Value| v["bits_per_weight"].as_f64().unwrap();
    assert!((bits(&plan) - bits(&made)).abs() < 0.01, "{} {}", bits(&plan), bits(&made));
}

#[test]
fn the_exit_code_is_that_of_the_compile() {
    let place = Place::new();
    let whale = whale();
    let model = path(&whale);
    fs::write(place.path("taken.actc"), "something").unwrap();
    fs::write(place.path("empty.txt"), "").unwrap();
    fs::write(place.path("bad.txt"), b"ab\xffcd").unwrap();
    let small = ["--calib-windows", "2", "--calib-len", "16"];
    let gpus = actc::codegen::cuda::ready();
    for (args, code) in [
        (&["--passes", "owk"][..], Some("unknown-pass")),
        (&["--preset", "w5"], Some("unknown-preset")),
        (&["--passes", "owq{bits=3,target=2.9}"], Some("budget-below-floor")),
        (&["--passes", "owq{bits=3,stored=3.1,group=64}"], Some("budget-below-floor")),
        (&["--passes", "act"], Some("missing-fact")),
        (&["--passes", "rtn,rtn"], Some("nothing-to-quantise")),
        (&["--passes", "calibrate", "--calib", "missing.txt"], Some("calib-file")),
        (&["--passes", "calibrate", "--calib", "empty.txt"], Some("calib-short")),
        (&["--passes", "calibrate", "--calib", "bad.txt"], Some("calib-utf8")),
        (&["--passes", "rtn", "--require", "kk<1"], Some("require-syntax")),
        (&["--require", "kl<1"], Some("require-nothing")),
        (&["--target", "sm_80"], gpus.as_ref().err().map(|d| d.code)),
        (&["-o", "taken.actc"], Some("output-exists")),
        (&["--work", "nowhere"], Some("work-folder")),
        (&["--stop-after", "owq"], Some("watch-pass")),
        (&["--passes", "rtn{bits=8}", "--target", "aarch64"], None),
    ] {
        let plan = place.run(&[&["plan", model], args, &small].concat());
        let compile = place.run(&[&["compile", model], args, &small].concat());
        assert_eq!(plan.output.status.code(), compile.output.status.code(), "{args:?}\n{}", plan.stderr());
        match code {
            Some(code) => {
                let exit = compile.output.status.code().unwrap();
                // `compile` reports progress as well, but looks ahead as `plan` does before it computes anything.
                let error = |said: String| said[said.find("error[").expect("an error")..].to_owned();
                assert_eq!(error(plan.fails(exit, code)), error(compile.fails(exit, code)), "{args:?}");
                assert!(!compile.stderr().contains("samples through"), "{args:?}: {}", compile.stderr());
            }
            None => assert_eq!(plan.output.status.code(), Some(0), "{args:?}"),
        }
    }
    place.run(&["plan", "missing.gguf"]).fails(2, "file-missing");
    fs::write(place.path("x.pth"), "").unwrap();
    place.run(&["plan", "x.pth"]).fails(2, "model-format");
    let text = place.run(&["plan", model, "--preset", "w3", "-f"]).ok();
    for word in ["pipeline", "calibration", "artifact", "memory", "time", "layers.0.self_attn.q_proj.weight"] {
        assert!(text.contains(word), "no {word} in\n{text}");
    }
    assert!(text.contains("the activations decide"), "{text}");
}
