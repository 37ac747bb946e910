//! What passes work with besides the graph: something that runs graphs, calibration data, a place to spill.

use crate::calibrate::Statistics;
use crate::checkpoint::Checkpoint;
use crate::forecast::Forecast;
use crate::report::Progress;
use actc_ir::{Evaluator, Graph, Value};
use actc_types::{Diagnostic, Result, Tensor, TensorData};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One calibration sample: values for the graph's inputs by name. States that are not named start empty, or at
/// zero where their size is fixed.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Input names with their tensors.
    pub inputs: Vec<(String, Tensor)>,
}

impl Sample {
    /// A window of tokens for the input `name`.
    pub fn tokens(name: impl Into<String>, window: &[u32]) -> Sample {
        let ids = window.iter().map(|t| i64::from(*t)).collect::<Vec<_>>();
        let tensor = Tensor::i64(&[ids.len() as u64], ids).expect("one extent, as many elements");
        Sample { inputs: vec![(name.into(), tensor)] }
    }

    /// The tensor for input `name` of `graph`, which is `value`: the sample's, or an initial state.
    pub fn input(&self, graph: &Graph, name: &str, value: Value) -> Result<Tensor> {
        if let Some((_, tensor)) = self.inputs.iter().find(|(n, _)| n == name) {
            return Ok(tensor.clone());
        }
        let states: BTreeSet<Value> = graph.donated().iter().map(|(old, _)| *old).collect();
        let ty = graph.ty(value);
        // A state's symbolic extents count what is past: nothing, when a sample starts.
        let dims: Vec<u64> = ty.shape.dims().iter().map(|d| d.fixed().unwrap_or(0)).collect();
        if !states.contains(&value) {
            return Err(Diagnostic::request(
                "calibration-input",
                format!("the calibration data has no input `{name}`: {ty}"),
            )
            .help("give a value for every input of the model"));
        }
        let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= 1 << 40);
        let count = count.ok_or_else(|| {
            Diagnostic::new("calibration-input", format!("the state `{name}`: {ty} is too large to start at zero"))
        })?;
        Tensor::new(&dims, TensorData::zeros(ty.dtype, count as usize))
    }
}

/// What a run of passes works with.
pub struct PassCx<'a> {
    /// Runs graphs for calibration and checks.
    pub evaluator: &'a dyn Evaluator,
    /// Calibration data; empty where there is none.
    pub samples: &'a [Sample],
    /// Statistics of activations, from `calibrate` or from a file.
    pub statistics: Option<Statistics>,
    /// How many columns at the end of a weight stand by rising sensitivity, by its name, where channels were ordered.
    pub ordered: BTreeMap<String, u32>,
    /// Whether a later pass rounds layers anew, so that they need not be stored as in the source until then.
    pub rounds_later: bool,
    /// Folder for temporary files: activations between blocks, rewritten weights. They are gone when the graph is.
    pub work: PathBuf,
    /// Use a weaker method where the one asked for fails, and report it, instead of failing.
    pub allow_fallback: bool,
    /// Where finished blocks are kept, if they are.
    pub checkpoint: Option<Checkpoint>,
    /// Where it is there, passes decide and count their work in it, and compute nothing: weights become stand-ins.
    pub forecast: Option<Forecast>,
    /// Told how far long work has come.
    pub progress: &'a mut dyn FnMut(Progress<'_>),
}

impl<'a> PassCx<'a> {
    /// A context without calibration data that spills to the system's temporary folder and tells nobody.
    pub fn new(evaluator: &'a dyn Evaluator, progress: &'a mut dyn FnMut(Progress<'_>)) -> PassCx<'a> {
        PassCx {
            evaluator,
            samples: &[],
            statistics: None,
            ordered: BTreeMap::new(),
            rounds_later: false,
            work: std::env::temp_dir(),
            allow_fallback: false,
            checkpoint: None,
            forecast: None,
            progress,
        }
    }

    /// The samples, or an error that says what is missing.
    pub fn samples(&self) -> Result<&'a [Sample]> {
        if self.samples.is_empty() {
            return Err(Diagnostic::request("calibration-missing", "this pass needs calibration data, none is given")
                .help("give some with --calib"));
        }
        Ok(self.samples)
    }
}
