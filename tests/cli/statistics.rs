//! Statistics as files: exact merging, the same result as observing anew, damage.

use super::{Place, path, whale};
use std::fs;

const SIZE: [&str; 4] = ["--calib-windows", "40", "--calib-len", "32"];

fn texts(place: &Place) {
    let sea = "The whale rose slowly out of the dark water, and every man at the oars held his breath. ";
    let law = "The Congress shall have the power to lay taxes, to borrow money, and to regulate commerce. ";
    let numbered = |s: &str| (0..200).map(|i| format!("{i}. {s}")).collect::<String>();
    fs::write(place.path("sea.txt"), numbered(sea)).unwrap();
    fs::write(place.path("law.txt"), numbered(law)).unwrap();
}

#[test]
fn merging_gives_the_bytes_of_one_run() {
    let place = Place::new();
    texts(&place);
    let whale = whale();
    let collect = |texts: &[&str], output: &str, more: &[&str]| {
        let mut args = vec!["calibrate", path(&whale), "-o", output];
        texts.iter().for_each(|t| args.extend(["--calib", t]));
        place.run(&[&args[..], &SIZE, more].concat()).ok()
    };
    let said = collect(&["sea.txt", "law.txt"], "both.stats", &["-t", "1", "--format", "json"]);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["samples"], &said["chunks"], &said["layers"]), (&80.into(), &4.into(), &43.into()));
    collect(&["sea.txt"], "sea.stats", &["-t", "2"]);
    collect(&["law.txt"], "law.stats", &[]);
    place.run(&["calibrate", "--merge", "sea.stats", "law.stats", "-o", "merged.stats"]).ok();
    let of = |name: &str| fs::read(place.path(name)).unwrap();
    assert!(of("merged.stats") == of("both.stats"));
    place.run(&["calibrate", "--merge", "law.stats", "sea.stats", "-o", "turned.stats"]).ok();
    assert!(of("turned.stats") != of("both.stats"));
    place.run(&["calibrate", "--merge", "sea.stats", "law.stats", "-o", "merged.stats"]).fails(2, "output-exists");
    collect(&["law.txt"], "short.stats", &["--seed", "1"]);
    assert!(of("short.stats") != of("law.stats"), "the seed chooses windows");
}

#[test]
fn a_compile_reads_what_it_would_observe() {
    let place = Place::new();
    texts(&place);
    let whale = whale();
    let data = [&["--calib", "sea.txt"][..], &SIZE].concat();
    place.run(&[&["calibrate", path(&whale), "-o", "s.stats"], &data[..]].concat()).ok();
    let pipeline = ["--passes", "calibrate{windows=all},owq{bits=3,target=3.25,group=64}"];
    place.compile("own.actc", &[&pipeline[..], &data].concat()).ok();
    let told = place.compile("read.actc", &[&pipeline[..], &data, &["--stats", "s.stats"]].concat());
    told.ok();
    assert!(told.stderr().contains("statistics of 40 samples as given"), "{}", told.stderr());
    let shown = |name: &str| place.run(&["inspect", name, "--format", "json"]).json();
    let (own, read) = (shown("own.actc"), shown("read.actc"));
    assert_eq!((&own["layers"], &own["tensors"]), (&read["layers"], &read["tensors"]));
    // Other statistics share the columns out otherwise.
    let other = ["calibrate", path(&whale), "--calib", "law.txt", "-o", "o.stats"];
    place.run(&[&other[..], &SIZE].concat()).ok();
    place.compile("other.actc", &[&pipeline[..], &data, &["--stats", "o.stats"]].concat()).ok();
    assert_ne!(shown("other.actc")["layers"], own["layers"]);
    // A recipe names them too.
    let recipe = [&["--stats", "s.stats", "--write-recipe", "-"][..], &pipeline].concat();
    assert!(place.compile("x.actc", &recipe).ok().contains("stats = \"s.stats\"\n"));
    place.compile("x.actc", &["--passes", "rtn", "--stats", "s.stats"]).fails(2, "statistics-unused");
}

#[test]
fn foreign_and_damaged_statistics_are_refused() {
    let place = Place::new();
    texts(&place);
    let whale = whale();
    let data = ["--calib-windows", "2", "--calib-len", "16"];
    place.run(&[&["calibrate", path(&whale), "--calib", "sea.txt", "-o", "s.stats"], &data[..]].concat()).ok();
    // Another model: the same one under other weights.
    let model = place.path("model");
    fs::create_dir(&model).unwrap();
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs::copy(whale.join(file), model.join(file)).unwrap();
    }
    let mut weights = fs::read(model.join("model.safetensors")).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(model.join("model.safetensors"), weights).unwrap();
    let stats = ["--passes", "calibrate,rtn", "--stats", "s.stats"];
    let foreign = [&["compile", path(&model), "-o", "x.actc"], &stats[..], &data].concat();
    place.run(&foreign).fails(2, "statistics-model");
    let foreign = [&["plan", path(&model), "-o", "x.actc"], &stats[..], &data].concat();
    place.run(&foreign).fails(2, "statistics-model");

    let good = fs::read(place.path("s.stats")).unwrap();
    let compile = [&["compile", path(&whale), "-o", "x.actc"], &stats[..], &data].concat();
    for (what, bytes) in [
        ("empty", Vec::new()),
        ("text", b"hello world, this is no file of statistics".to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("longer", [&good[..], &[0; 8]].concat()),
        ("a huge header", [&u64::MAX.to_le_bytes()[..], &good[8..]].concat()),
        ("one bit", {
            let mut bytes = good.clone();
            let at = good.len() / 2;
            bytes[at] ^= 1;
            bytes
        }),
        ("a model", fs::read(whale.join("model.safetensors")).unwrap()),
    ] {
        fs::write(place.path("s.stats"), bytes).unwrap();
        let run = place.run(&compile);
        let code = run.output.status.code();
        assert!(matches!(code, Some(1 | 2)) && run.stderr().contains("error["), "{what}: {code:?} {}", run.stderr());
        assert!(!run.stderr().contains("panicked"), "{what}: {}", run.stderr());
    }
    fs::remove_file(place.path("s.stats")).unwrap();
    place.run(&compile).fails(2, "statistics-file");
    assert!(!place.path("x.actc").exists());
}
