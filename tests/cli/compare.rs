//! Two artifacts or models on the same inputs.

use super::{Place, address, path, whale};

#[test]
fn equal_models_do_not_differ_and_coarse_ones_do() {
    let place = Place::new();
    place.compile("own.actc", &[]).ok();
    place.compile("8.actc", &["--passes", "rtn{bits=8,group=64}"]).ok();
    place.compile("2.actc", &["--passes", "rtn{bits=2,group=64}"]).ok();
    let whale = whale();
    let compare = |a: &str, b: &str| place.run(&["compare", a, b, "--windows", "2", "--format", "json"]).json();
    let same = compare(path(&whale), "own.actc");
    assert_eq!(same["outputs"][0]["name"], "logits");
    assert_eq!((&same["outputs"][0]["max_abs"], &same["outputs"][0]["relative"]), (&0.0.into(), &0.0.into()));
    assert!(same["text"]["kl"].as_f64().unwrap() < 1e-12 && same["text"]["top1"] == 1.0, "{same}");

    let (fine, coarse) = (compare("own.actc", "8.actc"), compare("own.actc", "2.actc"));
    let relative = |v: &serde_json::Value| v["outputs"][0]["relative"].as_f64().unwrap();
    assert!(0.0 < relative(&fine) && relative(&fine) < 0.05, "{fine}");
    assert!(relative(&coarse) > 0.1 && coarse["text"]["kl"].as_f64().unwrap() > 0.1, "{coarse}");
    assert_eq!((&fine["text"]["windows"], &fine["text"]["ctx"]), (&2.into(), &256.into()));

    let limited =
        |b: &str, tolerance: &str| place.run(&["compare", "own.actc", b, "--windows", "0", "--tolerance", tolerance]);
    limited("8.actc", "0.05").ok();
    limited("own.actc", "0").ok();
    let said = limited("2.actc", "0.05").fails(1, "compare-tolerance");
    assert!(said.contains("`logits`") && said.contains("5e-2"), "{said}");
    assert!(limited("2.actc", "0.05").stdout().contains("logits"), "the table comes all the same");
    assert_eq!(limited("2.actc", "-1").output.status.code(), Some(2));
}

#[test]
fn inputs_and_texts_may_be_given() {
    let place = Place::new();
    place.compile("a.actc", &[]).ok();
    place.compile("b.actc", &["--passes", "rtn{bits=4}"]).ok();
    let tokens = actc::types::Tensor::i64(&[5], vec![52, 258, 1142, 7, 9]).unwrap();
    actc::npy::write(&place.path("t.npy"), &tokens).unwrap();
    let text = address();
    let more = ["--input", "tokens=t.npy", "--text", path(&text), "--ctx", "64", "--windows", "3", "--format", "json"];
    let got = place.run(&[&["compare", "a.actc", "b.actc"][..], &more].concat()).json();
    assert_eq!(got["outputs"][0]["type"], "f32[5, 2048]");
    assert_eq!((&got["text"]["windows"], &got["text"]["ctx"]), (&3.into(), &64.into()));
    // The same figures as `eval` against the reference.
    let args = ["eval", "b.actc", "--reference", "a.actc", "--text", path(&text), "--ctx", "64", "--windows", "3"];
    let eval = place.run(&[&args[..], &["--format", "json"]].concat()).json();
    assert_eq!((&eval["kl"], &eval["top1"]), (&got["text"]["kl"], &got["text"]["top1"]));
    let table = place.run(&["compare", "a.actc", "b.actc", "--windows", "1"]).ok();
    assert!(table.contains("KL(a || b)") && table.contains("logits"), "{table}");
    place.run(&["compare", "a.actc", "b.actc", "--input", "x=t.npy"]).fails(2, "unknown-input");
    place.run(&["compare", "a.actc", "b.actc", "--entry", "none"]).fails(2, "unknown-entry");
    place.run(&["compare", "a.actc", "missing.actc"]).fails(2, "file-missing");
}
