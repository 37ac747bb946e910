//! What an artifact says about itself: the model, its tensors and states, what was done to it, and the plan.

use crate::builtin::Builtin;
use crate::cuda::CudaPlan;
use crate::plan::{Entry, Step};
use actc_types::{DType, Diagnostic, Dim, Encoding, Result, Role, Shape, Target};
use std::collections::{BTreeMap, BTreeSet};

/// Everything an artifact says about itself.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Manifest {
    /// Where the model comes from.
    pub model: ModelInfo,
    /// The pipeline that ran, with defaults shown.
    pub pipeline: String,
    /// The data that the compile looked at, if any.
    pub calibration: Option<Calibration>,
    /// The targets that code was made for. Code sections may be missing, none may be for another target.
    pub targets: Vec<Target>,
    /// All stored tensors.
    pub tensors: Vec<TensorEntry>,
    /// Buffers that live as long as a session.
    pub states: Vec<StateEntry>,
    /// Names of the kernels that launches refer to by index; each code section has all of them as symbols.
    pub kernels: Vec<String>,
    /// What can be run.
    pub entries: Vec<Entry>,
    /// What CUDA devices run, where it was made for any.
    pub cuda: Option<CudaPlan>,
    /// One row per layer that passes looked at.
    pub layers: Vec<LayerRow>,
    /// For language models, what a caller needs to feed and stop them.
    pub text: Option<TextInfo>,
    /// Anything else, by key.
    pub metadata: BTreeMap<String, String>,
}

impl Manifest {
    /// The builtins that the plan calls. Their versions stand in the file and are checked when it is read.
    pub fn builtins(&self) -> BTreeSet<Builtin> {
        let mut all = BTreeSet::new();
        let on_gpus = self.cuda.iter().flat_map(|plan| &plan.entries);
        for entry in self.entries.iter().chain(on_gpus) {
            entry.each_step(&mut |step| {
                if let Step::Builtin(call) = step {
                    all.insert(call.builtin);
                }
            });
        }
        all
    }
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ModelInfo {
    /// The name that the source gives.
    pub name: String,
    /// The architecture family, such as `llama`.
    pub family: String,
    /// `onnx`, `safetensors` or `gguf`.
    pub source_format: String,
    /// Digest of the source's bytes, as text.
    pub source_digest: String,
    /// The licence that the source states, or nothing.
    pub licence: String,
    /// Tokens that the model was trained to look back on; 0 where that has no meaning.
    pub context_length: u64,
}

/// The data that a compile looked at.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Calibration {
    /// Digest of the data, as text.
    pub digest: String,
    /// What the data is, in words.
    pub description: String,
    /// Number of windows.
    pub windows: u64,
    /// Tokens of a window.
    pub window_len: u64,
    /// Tokens of all windows.
    pub tokens: u64,
}

/// A stored tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorEntry {
    /// Its name in the graph.
    pub name: String,
    /// What an element means.
    pub dtype: DType,
    /// Logical extents, outermost first.
    pub dims: Vec<u64>,
    /// How it is stored.
    pub encoding: Encoding,
    /// Exactly the parts of the encoding.
    pub parts: Vec<PartEntry>,
}

/// Where a part of a tensor lies in the weights section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartEntry {
    /// What the part is.
    pub role: Role,
    /// First byte from the start of the weights section, a multiple of 64.
    pub offset: u64,
    /// Bytes; 64 more may be read behind them.
    pub length: u64,
}

impl TensorEntry {
    /// The tensor as a matrix: a row for each index of the first axis, all others folded into columns; a vector is one row.
    pub fn matrix(&self) -> Result<(usize, usize)> {
        let overflow =
            || Diagnostic::new("artifact-tensor", format!("`{}`: extents {:?} exceed 63 bits", self.name, self.dims));
        let matrix = Shape::matrix(&self.dims).filter(|(rows, cols)| rows * cols < 1 << 62);
        let (rows, cols) = matrix.ok_or_else(overflow)?;
        Ok((usize::try_from(rows).map_err(|_| overflow())?, usize::try_from(cols).map_err(|_| overflow())?))
    }

    /// Index of the part `role` in [`Self::parts`].
    pub fn part(&self, role: Role) -> Option<&PartEntry> {
        self.parts.iter().find(|p| p.role == role)
    }
}

/// A buffer that lives as long as a session, such as a key cache.
///
/// Only the first extent may depend on symbols: rows of a state lie behind each other, so a run that uses fewer of them
/// sees a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateEntry {
    /// Its name in the graph.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub dims: Vec<Dim>,
}

/// How a layer was stored, or why it was left.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LayerRow {
    /// The layer's name.
    pub name: String,
    /// Text form of its encoding.
    pub encoding: String,
    /// Bits a weight in the papers' meaning.
    pub bits: f64,
    /// Bits a weight, everything counted.
    pub stored_bits: f64,
    /// Columns kept in 16 bits.
    pub weak_columns: u32,
    /// Stored bytes.
    pub bytes: u64,
    /// Relative error of the layer's output on the calibration data.
    pub error: f64,
    /// Why it is stored so.
    pub reason: String,
}

/// What a caller needs to feed and stop a language model.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TextInfo {
    /// The id that starts a text.
    pub bos: Option<u64>,
    /// Whether the model expects it.
    pub add_bos: bool,
    /// Ids that end an answer.
    pub stop: Vec<u64>,
    /// The chat template (Jinja), if the source has one.
    pub chat_template: Option<String>,
    /// Tokens that the states are laid out for.
    pub context: u64,
}
