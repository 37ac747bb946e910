//! The standard's cases as Debian packs them, `libonnx-testdata` 1.12: models of versions 6 to 17 with inputs and outputs.
//!
//! Each model is compiled as it was shipped, for this machine, and run on the inputs that lie beside it. Outputs agree where
//! integers and truth values are equal, and floats differ by at most `1e-7 + 1e-3 |wanted|`, which is what the standard's own
//! runner allows. What becomes of each case is compared with `tests/data/onnx/testdata.tsv`: `pass`, `out of scope` (an input
//! or output is no tensor of numbers), or the code of the error, or what is wrong. `ACTC_BLESS=1` rewrites that file.
//!
//! The data is looked for where the package puts it, or in the folder that `ACTC_ONNX_TESTDATA` names. Two threads share the
//! cases.

use actc::artifact::Artifact;
use actc::codegen::Backend;
use actc::compile::as_shipped;
use actc::frontend::onnx::schema::{GraphProto, ModelProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use actc::frontend::onnx::{self, ElementType, ValueInfo, ValueType};
use actc::link::{self, Native};
use actc::runtime::{Session, SessionOptions};
use actc::source::Source;
use actc::types::dim::Bindings;
use actc::types::{DType, Diagnostic, Result, Tensor, TensorData};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

const PLACE: &str = "/usr/share/libonnx-testdata/data";
const FAMILIES: [&str; 4] = ["node", "pytorch-converted", "pytorch-operator", "simple"];
const THREADS: usize = 2;
const RELATIVE: f64 = 1e-3;
const ABSOLUTE: f64 = 1e-7;

#[test]
#[expect(clippy::print_stderr, reason = "says that the data was not there")]
fn the_packed_cases_end_as_the_table_says() {
    let place = std::env::var_os("ACTC_ONNX_TESTDATA").map_or_else(|| PathBuf::from(PLACE), PathBuf::from);
    if !place.is_dir() {
        eprintln!("skipped: no folder {}; `./setup.sh --testdata` installs it", place.display());
        return;
    }
    let found = outcomes(&place);
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/testdata.tsv");
    if std::env::var_os("ACTC_BLESS").is_some_and(|v| v == "1") {
        std::fs::write(&table, written(&found)).expect("the table is written");
        return;
    }
    let text = std::fs::read_to_string(&table).expect("the table is there");
    let wanted: BTreeMap<&str, &str> = text.lines().skip(1).filter_map(|line| line.split_once('\t')).collect();
    let mut wrong = String::new();
    for (case, outcome) in &found {
        let stated = wanted.get(case.as_str()).copied().unwrap_or("not in the table");
        if stated != outcome {
            let _ = writeln!(wrong, "{case}: {outcome}, expected {stated}");
        }
    }
    for case in wanted.keys().filter(|case| !found.contains_key(**case)) {
        let _ = writeln!(wrong, "{case}: not there");
    }
    assert!(wrong.is_empty(), "the table is of version 1.12 of the package\n{wrong}");
}

/// What becomes of each case beneath `place`.
fn outcomes(place: &Path) -> BTreeMap<String, String> {
    let mut cases: Vec<(String, PathBuf)> = Vec::new();
    for family in FAMILIES {
        let entries = std::fs::read_dir(place.join(family)).expect("the folder of a family");
        for path in entries.map(|entry| entry.expect("an entry").path()) {
            let name = path.file_name().expect("a name").to_string_lossy();
            cases.push((format!("{family}/{name}"), path));
        }
    }
    let (left, done) = (Mutex::new(cases), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((name, path)) = { left.lock().expect("the list").pop() } {
                    let outcome = catch_unwind(AssertUnwindSafe(|| outcome(&path)))
                        .unwrap_or_else(|_| Ok("panic".into()))
                        .unwrap_or_else(|error| error.code.to_owned());
                    done.lock().expect("the list").insert(name, outcome);
                }
            });
        }
    });
    done.into_inner().expect("the list")
}

/// The table as it lies in the file.
fn written(found: &BTreeMap<String, String>) -> String {
    let passed = found.values().filter(|outcome| *outcome == "pass").count();
    let mut text = format!("# {} cases of libonnx-testdata 1.12 by tests/testdata.rs: {passed} pass\n", found.len());
    for (case, outcome) in found {
        let _ = writeln!(text, "{case}\t{outcome}");
    }
    text
}

fn outcome(case: &Path) -> Result<String> {
    let file = case.join("model.onnx");
    let model = onnx::Model::open(&file)?;
    if !model.graph.inputs.iter().chain(&model.graph.outputs).all(is_of_numbers) {
        return Ok("out of scope".into());
    }
    let artifact = as_shipped(&Source::load(&file)?, 1, Backend::best())?;
    for set in (0..).map(|i| case.join(format!("test_data_set_{i}"))).take_while(|set| set.is_dir()) {
        let found = run(artifact.clone(), &tensors(&set, "input", &model.graph.inputs)?)?;
        let wanted = tensors(&set, "output", &model.graph.outputs)?;
        if found.len() != wanted.len() {
            return Ok(format!("{} outputs", found.len()));
        }
        for (found, wanted) in found.iter().zip(&wanted) {
            if found.dims() != wanted.dims() || found.dtype() != wanted.dtype() {
                return Ok(format!("{}{:?}", found.dtype(), found.dims()));
            }
            if !agree(found, wanted) {
                return Ok("values".into());
            }
        }
    }
    Ok("pass".into())
}

fn is_of_numbers(value: &ValueInfo) -> bool {
    match &value.ty {
        Some(ValueType::Tensor { dtype, .. }) => {
            !matches!(dtype, ElementType::Text | ElementType::Complex64 | ElementType::Complex128)
        }
        Some(
            ValueType::SparseTensor { .. }
            | ValueType::Sequence(_)
            | ValueType::Optional(_)
            | ValueType::Map { .. }
            | ValueType::Opaque { .. },
        )
        | None => false,
    }
}

fn run(artifact: Artifact, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let model = link::open(artifact, Native::Embedded)?;
    let entry = model.artifact().manifest().entries.first().map(|entry| entry.name.clone());
    let entry = entry.ok_or_else(|| Diagnostic::new("test", "an artifact without entries"))?;
    let mut session = Session::new(model, SessionOptions { threads: 1, ..SessionOptions::default() })?;
    session.run(&entry, inputs, &Bindings::new())
}

/// The tensors of the files `kind_0.pb` and so on of `set`, for `ports`.
fn tensors(set: &Path, kind: &str, ports: &[ValueInfo]) -> Result<Vec<Tensor>> {
    let files = (0..).map(|i| set.join(format!("{kind}_{i}.pb"))).take_while(|file| file.is_file());
    files.zip(ports).map(|(file, port)| as_stated(tensor(&file)?, port)).collect()
}

/// The package stores bf16 as integers of 16 bits.
fn as_stated(tensor: Tensor, port: &ValueInfo) -> Result<Tensor> {
    match &port.ty {
        Some(ValueType::Tensor { dtype: ElementType::Bfloat16, .. }) if tensor.dtype() == DType::U16 => {
            let bytes = tensor.data().to_le_bytes();
            Tensor::new(tensor.dims(), TensorData::from_le_bytes(DType::Bf16, &bytes))
        }
        Some(_) | None => Ok(tensor),
    }
}

/// The tensor in `file`, read as the constant of a model that has nothing else.
fn tensor(file: &Path) -> Result<Tensor> {
    let wrong = |e: String| Diagnostic::new("test", format!("{}: {e}", file.display()));
    let bytes = std::fs::read(file).map_err(|e| wrong(e.to_string()))?;
    let mut tensor = TensorProto::decode(&*bytes).map_err(|e| wrong(e.to_string()))?;
    tensor.name = Some("t".into());
    let named = ValueInfoProto { name: Some("t".into()), ..ValueInfoProto::default() };
    let graph = GraphProto { initializer: vec![tensor], output: vec![named], ..GraphProto::default() };
    let version = OperatorSetIdProto { version: Some(17), ..OperatorSetIdProto::default() };
    let proto =
        ModelProto { ir_version: Some(8), opset_import: vec![version], graph: Some(graph), ..ModelProto::default() };
    let model = onnx::Model::from_bytes(proto.encode_to_vec(), None)?;
    let graph = onnx::import(&model).map_err(|findings| findings.together("a tensor"))?;
    let (_, constant) = graph.constants().next().ok_or_else(|| wrong("no tensor".into()))?;
    constant.decode()
}

fn agree(found: &Tensor, wanted: &Tensor) -> bool {
    if !wanted.dtype().is_float() {
        return found.data() == wanted.data();
    }
    let near =
        |(f, w): (&f64, &f64)| f == w || f.is_nan() && w.is_nan() || (f - w).abs() <= ABSOLUTE + RELATIVE * w.abs();
    found.data().to_f64().iter().zip(&wanted.data().to_f64()).all(near)
}
