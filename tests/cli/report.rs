//! The report of a compile: in the artifact, and as a page of HTML.

use super::{Place, path, whale};
use std::fs;

const DATA: [&str; 4] = ["--calib-windows", "8", "--calib-len", "64"];
const OWQ: [&str; 2] = ["--passes", "owq{bits=3,target=3.25,group=64},head{bits=8}"];

#[test]
fn the_page_of_a_compile_is_that_of_its_artifact() {
    let place = Place::new();
    let said = place.compile("a.actc", &[&OWQ[..], &DATA, &["--report", "a.html"]].concat()).ok();
    assert!(said.contains("report       a.html"), "{said}");
    let page = fs::read_to_string(place.path("a.html")).unwrap();
    place.run(&["inspect", "a.actc", "--report", "b.html"]).ok();
    assert_eq!(fs::read_to_string(place.path("b.html")).unwrap(), page);
    // Another run on another number of threads, without a page: the same artifact.
    place.compile("c.actc", &[&OWQ[..], &DATA, &["-t", "1"]].concat()).ok();
    assert!(fs::read(place.path("a.actc")).unwrap() == fs::read(place.path("c.actc")).unwrap());

    let made = place.run(&["inspect", "a.actc", "--format", "json"]).json();
    for text in [made["digest"].as_str().unwrap(), made["source_digest"].as_str().unwrap(), "held-out windows"] {
        assert!(page.contains(text), "no {text} in the page");
    }
    assert!(made["quality"]["kl"].as_f64().unwrap() > 0.0 && made["quality"]["windows"].as_u64() == Some(8));
    let layers = made["layers"].as_array().unwrap();
    for layer in layers {
        let name = layer["name"].as_str().unwrap();
        assert!(page.contains(&format!("<code>{name}</code></th>")), "no row of {name}");
        let error = |key: &str| layer[key].as_f64();
        let quantised = name.contains("_proj");
        assert_eq!(error("cumulative_error").is_some() && error("block_error").is_some(), quantised, "{name}");
        assert!(error("weight_error").unwrap() > 0.0, "{name}");
        // What the manifest calls the error is the output's, where a pass saw outputs.
        let same = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-3;
        assert!(!quantised || same(error("output_error").unwrap(), error("error").unwrap()), "{name}");
    }
    // Nothing is rounded before the first layers: only the windows differ.
    let first = &layers.iter().find(|l| l["name"] == "model.layers.0.self_attn.q_proj.weight").unwrap();
    let ratio = first["cumulative_error"].as_f64().unwrap() / first["output_error"].as_f64().unwrap();
    assert!((0.5..2.0).contains(&ratio), "{first}");
    // Four inputs in each of six blocks, and the head's; the weak columns are marked.
    assert_eq!(page.matches("<details>").count(), 25);
    assert!(page.contains("Weak columns:") && page.contains("Where more bytes would buy most"));
    assert_eq!(
        page.matches("http-equiv=\"Content-Security-Policy\" content=\"default-src &#x27;none&#x27;").count(),
        1
    );
    assert!(!page.contains("http:") && !page.contains("https:"), "the page refers to nothing");
    assert!(page.len() < 500_000, "{} bytes", page.len());

    // Code for another machine leaves the report alone.
    place.run(&["relink", "a.actc", "--target", "x86-64-v2", "-o", "d.actc"]).ok();
    let moved = place.run(&["inspect", "d.actc", "--format", "json"]).json();
    assert_eq!((&moved["layers"], &moved["quality"]), (&made["layers"], &made["quality"]));
}

#[test]
fn names_of_a_model_are_text() {
    let place = Place::new();
    let folder = place.path("<img src=x onerror=alert(1)>\"'&");
    fs::create_dir(&folder).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(whale().join(file), folder.join(file)).unwrap();
    }
    let args = ["compile", path(&folder), "-o", "a.actc", "--passes", "rtn{bits=4}", "--report", "a.html"];
    place.run(&[&args[..], &DATA].concat()).ok();
    let page = fs::read_to_string(place.path("a.html")).unwrap();
    assert!(!page.contains("<img") && page.contains("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;&amp;"));
    assert!(page.contains("Cumulative errors were not measured") && !page.contains("<details>"));
}

#[test]
fn artifacts_of_one_model_are_compared() {
    let place = Place::new();
    for (name, passes, more) in [
        ("a.actc", "rtn{bits=4}", &[][..]),
        ("b.actc", "rtn{bits=3}", &["--target", "x86-64-v2"]),
        ("c.actc", "rtn{bits=3}", &["--seed", "1"]),
        ("d.actc", "clean", &[]),
    ] {
        place.compile(name, &[&["--passes", passes][..], &DATA, more].concat()).ok();
    }
    place.run(&["inspect", "a.actc", "b.actc", "--report", "ab.html"]).ok();
    let page = fs::read_to_string(place.path("ab.html")).unwrap();
    let kl = |name: &str| {
        let quality = place.run(&["inspect", name, "--format", "json"]).json()["quality"]["kl"].as_f64().unwrap();
        format!("<td>{quality:.4}</td>")
    };
    assert!(page.contains(&kl("a.actc")) && page.contains(&kl("b.actc")) && kl("a.actc") != kl("b.actc"));
    // One run of other windows, one that was not judged.
    for other in ["c.actc", "d.actc"] {
        place.run(&["inspect", "a.actc", other, "--report", "x.html"]).fails(2, "report-frontier");
        place.run(&["inspect", other, "a.actc", "--report", "x.html"]).fails(2, "report-frontier");
    }
    place.run(&["inspect", "a.actc", "b.actc"]).fails(2, "inspect-many");
    place.run(&["inspect", "a.actc", "--report", "ab.html"]).fails(2, "output-exists");
    assert_eq!(fs::read_to_string(place.path("ab.html")).unwrap(), page);
    place.run(&["inspect", "a.actc", "--report", "ab.html", "-f"]).ok();
    place.run(&["inspect", path(&whale()), "--report", "x.html"]).fails(2, "not-an-artifact");
    // An artifact without a report still has a page.
    place.run(&["inspect", "d.actc", "--report", "d.html"]).ok();
    let page = fs::read_to_string(place.path("d.html")).unwrap();
    assert!(page.contains("not judged") && page.contains("No pass looked at the layers"));
    assert!(!place.path("x.html").exists());
}

#[test]
fn a_page_is_written_only_with_its_artifact() {
    let place = Place::new();
    let unmet = ["--passes", "rtn{bits=2,group=channel}", "--require", "kl<0.01", "--report", "a.html"];
    place.compile("a.actc", &unmet).fails(1, "require-unmet");
    assert_eq!(fs::read_dir(place.path("")).unwrap().count(), 0, "nothing is left behind");
    fs::write(place.path("taken.html"), "something").unwrap();
    place.compile("a.actc", &["--report", "taken.html"]).fails(2, "output-exists");
    place.compile("a.actc", &["--report", "no/such/a.html"]).fails(2, "report-file");
    assert_eq!(fs::read_to_string(place.path("taken.html")).unwrap(), "something");
    assert!(!place.path("a.actc").exists());
}
