//! Runs every `.air` file under `tests/passes` and `tests/ir`: graph text, a header that says what to do, the result.
//!
//! ```text
//! # run: clean,rtn{bits=4}          the pipeline, exactly as `actc opt` runs it
//! # samples: 4 S=8 seed=1           made-up samples to calibrate on, with values of symbols
//! # digests: hidden                 constants print without their digests, where sums depend on the machine's FMA
//! # error: missing-fact             the run fails with this code; then there is no `# expect:`
//! air 1
//! graph @…
//! # expect:
//! # layer: …                        what the passes say of each layer, if they say anything
//! air 1
//! graph @…
//! ```
//!
//! A file without `# run:` is only parsed and verified. `ACTC_BLESS=1` rewrites what stands behind `# expect:`.

use actc::calibration::synthetic;
use actc::ir::{Graph, Interpreter, text, verify};
use actc::passes::{PASSES, PassCx, Pipeline, Sample, manager};
use actc::types::dim::Bindings;
use actc::types::{Diagnostic, Symbol};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const EXPECT: &str = "# expect:\n";

/// What the header of a file asks for.
#[derive(Default)]
struct Header {
    pipeline: Option<String>,
    error: Option<String>,
    samples: usize,
    symbols: Bindings,
    seed: u64,
    hidden: bool,
}

impl Header {
    fn parse(source: &str) -> Header {
        let mut header = Header::default();
        for line in source.lines().take_while(|l| l.starts_with('#')) {
            let Some((key, value)) = line.trim_start_matches('#').split_once(':') else { continue };
            let value = value.trim();
            match key.trim() {
                "run" => header.pipeline = Some(value.to_owned()),
                "digests" => header.hidden = value == "hidden",
                "error" => header.error = Some(value.to_owned()),
                "samples" => {
                    let mut words = value.split_whitespace();
                    header.samples =
                        words.next().and_then(|n| n.parse().ok()).expect("`# samples:` begins with a count");
                    for word in words {
                        let (name, n) = word.split_once('=').expect("words behind the count are NAME=N");
                        let n: u64 = n.parse().expect("N is a number");
                        match Symbol::new(name) {
                            _ if name == "seed" => header.seed = n,
                            Some(symbol) => drop(header.symbols.insert(symbol, n)),
                            None => panic!("`{name}` is no symbol"),
                        }
                    }
                }
                _ => {}
            }
        }
        header
    }
}

/// The graph after the pipeline, and a line for each layer.
fn outcome(header: &Header, source: &str) -> Result<String, Diagnostic> {
    let mut graph: Graph = text::parse(source, &text::unbound)?;
    if let Some(finding) = verify(&graph).into_iter().next() {
        return Err(finding);
    }
    let mut lines = String::new();
    if let Some(pipeline) = &header.pipeline {
        let pipeline = Pipeline::parse(pipeline, PASSES)?;
        pipeline.check(PASSES)?;
        let samples: Vec<Sample> = synthetic::samples(&graph, &header.symbols, header.samples, header.seed)?;
        let mut quiet = |_: actc::passes::Progress<'_>| ();
        let mut cx = PassCx::new(&Interpreter, &mut quiet);
        cx.samples = &samples;
        let config = manager::Config { verify_numeric: !samples.is_empty(), ..manager::Config::default() };
        for timed in manager::run(&pipeline, &mut graph, &mut cx, &config, &mut |_| ())? {
            for layer in &timed.report.layers {
                let error = layer.error.map_or(String::new(), |e| format!(", error {e:.6}"));
                let reason = layer.reason.as_ref().map_or(String::new(), |r| format!(", {r}"));
                let (name, encoding, bits, stored) = (&layer.name, &layer.encoding, layer.bits, layer.stored_bits);
                let _ =
                    writeln!(lines, "# layer: {name} {encoding}, {bits:.4} bits, {stored:.4} stored{error}{reason}");
            }
        }
    }
    let printed = text::print(&graph);
    Ok(lines + &if header.hidden { hide_digests(&printed) } else { printed })
}

fn hide_digests(printed: &str) -> String {
    let mut parts = printed.split("digest{hex=");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("digest{hex=*");
        out.push_str(&part[part.find('}').unwrap_or(0)..]);
    }
    out
}

fn check(path: &Path, bless: bool) -> Result<(), String> {
    let whole = std::fs::read_to_string(path).map_err(|e| e.to_string())?;
    let (source, expected) = match whole.split_once(EXPECT) {
        Some((source, expected)) => (source, Some(expected)),
        None => (whole.as_str(), None),
    };
    let header = Header::parse(source);
    match (outcome(&header, source), &header.error) {
        (Err(found), Some(code)) if found.code == code => Ok(()),
        (Err(found), Some(code)) => Err(format!("expected error {code}, got\n{found}")),
        (Err(found), None) => Err(found.to_string()),
        (Ok(_), Some(code)) => Err(format!("expected error {code}, it succeeded")),
        (Ok(got), None) if Some(got.as_str()) == expected => Ok(()),
        (Ok(got), None) if bless => std::fs::write(path, format!("{source}{EXPECT}{got}")).map_err(|e| e.to_string()),
        (Ok(got), None) => Err(format!(
            "expected\n{}\ngot\n{got}\nACTC_BLESS=1 rewrites the expectation",
            expected.unwrap_or("nothing yet")
        )),
    }
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    for entry in entries {
        let path = entry.expect("a folder entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "air") {
            found.push(path);
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

#[test]
fn every_file_gives_what_it_says() {
    let bless = std::env::var_os("ACTC_BLESS").is_some_and(|v| v == "1");
    let mut all = Vec::new();
    files(&root().join("passes"), &mut all);
    files(&root().join("ir"), &mut all);
    all.sort();
    assert!(all.len() >= 20, "the files are found");
    let failures: Vec<String> =
        all.iter().filter_map(|p| check(p, bless).err().map(|e| format!("{}: {e}", p.display()))).collect();
    assert!(failures.is_empty(), "{} of {} files fail\n{}", failures.len(), all.len(), failures.join("\n\n"));
}

#[test]
fn every_pass_has_a_folder_of_files_and_every_folder_a_pass() {
    let mut folders: Vec<String> = std::fs::read_dir(root().join("passes"))
        .expect("the folder exists")
        .map(|e| e.expect("a folder entry"))
        .filter(|e| e.path().is_dir())
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    folders.sort();
    let mut passes: Vec<&str> = PASSES.iter().map(|p| p.name).collect();
    passes.sort_unstable();
    assert_eq!(folders, passes);
}
