//! The standard's own test cases, where they are at hand.

use crate::decoder::agree;
use actc_frontend::onnx::Model;
use std::path::{Path, PathBuf};

fn models(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            models(&path, found);
        } else if path.extension().is_some_and(|e| e == "onnx") {
            found.push(path);
        }
    }
}

/// Reads every `.onnx` file beneath the folder that `ACTC_ONNX_CASES` names, by both decoders.
#[test]
#[ignore = "needs the test cases of the Python package `onnx`, written to files"]
fn all_cases_of_the_standard_are_read() {
    let folder = std::env::var_os("ACTC_ONNX_CASES").expect("ACTC_ONNX_CASES names a folder");
    let mut paths = Vec::new();
    models(Path::new(&folder), &mut paths);
    let mut failed = Vec::new();
    for path in &paths {
        match Model::open(path) {
            Ok(_) => {
                let bytes = std::fs::read(path).expect("the file");
                if std::panic::catch_unwind(|| agree(&bytes)).is_err() {
                    failed.push(format!("{}: the decoders differ", path.display()));
                }
            }
            Err(e) => failed.push(format!("{}: {e}", path.display())),
        }
    }
    assert!(
        !paths.is_empty() && failed.is_empty(),
        "{} of {} failed:\n{}",
        failed.len(),
        paths.len(),
        failed.join("\n")
    );
}
