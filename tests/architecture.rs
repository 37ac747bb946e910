//! The rules of the house that a machine can see: who depends on whom, file sizes, headers, folders of tests.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest source file in lines.
const MAX_LINES: usize = 600;

/// For each crate, the crates of this workspace that it may depend on, tests included.
const ALLOWED: &[(&str, &[&str])] = &[
    ("actc-types", &[]),
    ("actc-ir", &["actc-types"]),
    ("actc-frontend", &["actc-types", "actc-ir"]),
    ("actc-passes", &["actc-types", "actc-ir"]),
    ("actc-templates", &[]),
    ("actc-artifact", &["actc-types"]),
    ("actc-codegen", &["actc-types", "actc-ir", "actc-artifact", "actc-templates", "actc-ptx", "actc-problems"]),
    ("actc-runtime", &["actc-types", "actc-artifact", "actc-ptx-driver"]),
    ("actc-capi", &["actc-types", "actc-artifact", "actc-runtime"]),
    // For tests alone: problems with their answers, an emulator of PTX and a stand-in for the driver over it, checks on a GPU.
    ("actc-problems", &["actc-types", "actc-ir", "actc-artifact", "actc-codegen"]),
    ("actc-gpu", &["actc-types", "actc-artifact", "actc-codegen", "actc-problems", "actc-ptx-driver"]),
    ("actc-ptx", &[]),
    ("actc-ptx-driver", &["actc-ptx"]),
    (
        "actc",
        &[
            "actc-types",
            "actc-ir",
            "actc-frontend",
            "actc-passes",
            "actc-templates",
            "actc-artifact",
            "actc-codegen",
            "actc-runtime",
            "actc-capi",
            "actc-ptx-driver",
        ],
    ),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn crates_depend_only_on_whom_they_may() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo metadata is JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    assert_eq!(names, allowed.keys().copied().collect(), "the table above names every crate of the workspace");

    let mut forbidden = Vec::new();
    for package in packages {
        let name = package["name"].as_str().expect("a name");
        for dependency in package["dependencies"].as_array().expect("a list of dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            if names.contains(to) && !allowed[name].contains(&to) {
                forbidden.push(format!("{name} -> {to}"));
            }
        }
    }
    assert!(forbidden.is_empty(), "forbidden edges: {}", forbidden.join(", "));
}

/// The whole of `libactc_rt`, crates from elsewhere included, knows no compiler, tokenizer or command line.
#[test]
fn the_thin_runtime_is_thin() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--package", "actc-capi", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--locked", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are UTF-8");
    let names: BTreeSet<&str> = text.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let ours: Vec<&str> = names.iter().filter(|n| n.starts_with("actc")).copied().collect();
    assert_eq!(ours, ["actc-artifact", "actc-capi", "actc-runtime", "actc-types"]);
    let foreign = ["cranelift", "tokenizers", "minijinja", "tera", "clap", "rayon", "serde", "safetensors", "petgraph"];
    let found: Vec<&&str> = names.iter().filter(|n| foreign.iter().any(|f| n.starts_with(f))).collect();
    assert!(found.is_empty(), "the thin runtime pulls in {found:?}");
}

fn sources() -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        for entry in entries {
            let path = entry.expect("a folder entry").path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "models" {
                    walk(&path, found);
                }
            } else if name.ends_with(".rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found.sort();
    assert!(found.len() > 50, "the walk finds the sources");
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[test]
fn every_source_file_is_short_and_says_what_it_is() {
    let mut findings = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        let lines = text.lines().count();
        if lines > MAX_LINES {
            findings.push(format!("{} has {lines} lines, the cap is {MAX_LINES}", shown(&path)));
        }
        if !text.starts_with("//!") {
            findings.push(format!("{} does not open with `//!`", shown(&path)));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn unsafe_code_stays_in_its_rooms() {
    // Mapping files, running generated code and the C ABI; libraries' matrix product and compiler; SIMD; a driver's interface.
    const ROOMS: &[&str] = &[
        "frontend/src/mapping.rs",
        "runtime/",
        "passes/src/spill.rs",
        "passes/src/quantize/gemm.rs",
        "passes/src/quantize/power.rs",
        "codegen/src/toolchain/nvrtc.rs",
        "codegen/tests/room/",
        "tests/ptx/driver/",
        "tests/cuda/",
        "tests/gpu/",
    ];
    let mut findings = Vec::new();
    for path in sources() {
        let name = shown(&path);
        let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
        let opens = text.lines().any(|l| {
            let code = l.trim_start();
            !code.starts_with("//")
                && (code.contains("unsafe {") || code.contains("unsafe fn") || code.contains("unsafe impl"))
        });
        if opens && name != "tests/architecture.rs" && !ROOMS.iter().any(|room| name.starts_with(room)) {
            findings.push(name);
        }
    }
    assert!(findings.is_empty(), "unsafe code outside its rooms: {}", findings.join(", "));
}
