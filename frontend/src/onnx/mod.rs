//! ONNX models: the file and the files beside it, as typed and checked structures.
//!
//! A model is mapped, looked over (`scan`), decoded by the standard's own schema and turned into a [`Graph`] in which
//! functions are inlined and every name is defined before it is used. Weights stay slices of the mapped files.
//!
//! * Nothing is trusted: not lengths, counts, depths, paths or references. What decoding may allocate is bounded before it
//!   begins, and every refusal is a [`Diagnostic`] with a code that starts with `onnx-`.
//! * Files beside the model are opened in one place, `external`, and only beneath the model's folder.
//! * Documentation, training information, devices, quantization annotations and notes on anything but the model are
//!   skipped: they do not change what a model computes.
//!
//! [`import`] makes the compiler's graph of it, operator by operator; [`decode`] one that is a language model where the file
//! holds a decoder. [`export()`] makes a model of a graph, op by op.

mod attributes;
mod beside;
mod check;
mod decoder;
mod element;
mod export;
mod external;
mod findings;
mod fixed;
mod functions;
mod graph;
mod import;
#[rustfmt::skip]
mod layout;
mod ops;
mod opsets;
mod read;
mod rename;
mod scan;
#[rustfmt::skip]
pub mod schema;
mod sparse;
mod tensor;
mod value;

pub(crate) use beside::Beside;

pub use attributes::{Attribute, AttributeKind, Attributes};
pub use decoder::Names;
pub use element::ElementType;
pub use export::{Exported, export};
pub use findings::Findings;
pub use graph::{Graph, Node};
pub use import::{Decoded, decode, import};
pub use opsets::NEWEST_OPSET;
pub use tensor::{Tensor, TensorBytes};
pub use value::{Dimension, ValueInfo, ValueType};

use crate::mapping;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;

/// Versions of the format that are read. Before the first, attributes and operators had no versions.
const IR_VERSIONS: std::ops::RangeInclusive<i64> = 3..=14;

/// An ONNX model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Version of the format.
    pub ir_version: u64,
    /// The program that wrote the file; empty where it does not say.
    pub producer: String,
    /// The version of that program.
    pub producer_version: String,
    /// Versions of operators by domain; the standard's own domain is the empty name.
    pub opsets: BTreeMap<String, u64>,
    /// What the writer noted, in the order of the file.
    pub metadata: Vec<(String, String)>,
    /// The graph, without functions.
    pub graph: Graph,
    /// The files that were read: the model's under the empty name, others under their paths in its folder.
    pub files: BTreeMap<String, Bytes>,
}

impl Model {
    /// Reads the model at `path` and maps the files beside it that its tensors name.
    pub fn open(path: &Path) -> Result<Model> {
        let bytes = mapping::map(path)?;
        let shown = path.display().to_string();
        read_model(bytes, Some(path.parent().unwrap_or(Path::new(""))), &shown).map_err(|e| at_file(e, &shown))
    }

    /// Reads the model in `bytes`; its external data lies beneath `folder`, and is refused without one.
    pub fn from_bytes(bytes: impl Into<Bytes>, folder: Option<&Path>) -> Result<Model> {
        read_model(bytes.into(), folder, "the model").map_err(|e| at_file(e, "the model"))
    }
}

/// An error without a better place is one of the file.
fn at_file(error: Diagnostic, file: &str) -> Diagnostic {
    if error.place == Place::Request { error.at(Place::File(file.to_owned())) } else { error }
}

fn read_model(bytes: Bytes, folder: Option<&Path>, file: &str) -> Result<Model> {
    scan::check(&bytes, file)?;
    let length = bytes.len();
    let proto = schema::ModelProto::decode(bytes.clone())
        .map_err(|e| Diagnostic::new("onnx-wire", format!("the file does not follow the schema: {e}")))?;
    let stated = proto.ir_version.unwrap_or(0);
    let ir_version =
        u64::try_from(stated).ok().filter(|_| IR_VERSIONS.contains(&stated)).ok_or_else(|| version(stated))?;
    let opsets = opsets::read(proto.opset_import)?;
    let graph = proto.graph.ok_or_else(|| {
        Diagnostic::new("onnx-graph", "the file has no graph")
            .help("is it an ONNX model, and was it downloaded completely?")
    })?;
    let mut reader = read::Reader {
        external: external::External::new(folder),
        budget: scan::limit(length),
        functions: proto.functions.iter().map(functions::key).collect(),
    };
    let functions = functions::Functions::read(proto.functions, &mut reader)?;
    let mut graph = reader.graph(graph, read::Scope { opsets: &opsets, in_function: false })?;
    functions.inline(&mut graph, length)?;
    check::check(&graph)?;
    let mut files = reader.external.into_files();
    files.insert(String::new(), bytes);
    let pair = |p: schema::StringStringEntryProto| (p.key.unwrap_or_default(), p.value.unwrap_or_default());
    let metadata = proto.metadata_props.into_iter().map(pair).collect();
    Ok(Model {
        ir_version,
        producer: proto.producer_name.unwrap_or_default(),
        producer_version: proto.producer_version.unwrap_or_default(),
        opsets,
        metadata,
        graph,
        files,
    })
}

fn version(stated: i64) -> Diagnostic {
    let (first, last) = (IR_VERSIONS.start(), IR_VERSIONS.end());
    let found = Diagnostic::new(
        "onnx-version",
        format!("the file has version {stated} of the format, known are {first} to {last}"),
    );
    if stated == 0 {
        found.help("is it an ONNX model, and was it downloaded completely?")
    } else if stated > *last {
        found.help(format!(
            "save it with an older `onnx`, or set `model.ir_version = {last}` where it needs nothing newer"
        ))
    } else {
        found.help(
            "load the model with the Python package `onnx`, convert it with `onnx.version_converter` and save it again",
        )
    }
}
