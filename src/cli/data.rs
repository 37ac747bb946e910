//! Calibration data of a compile: windows of the text that was given, or of the built-in one.

use super::render::warn;
use super::request::Request;
use actc::artifact::Calibration;
use actc::calibration::{CalibrationText, WindowPlan, Windows};
use actc::source::Source;
use actc_ir::Graph;
use actc_passes::Sample;
use actc_types::{DType, Diagnostic};

/// Windows that judge the result.
const HELD_OUT: usize = 8;

/// Calibration data of a language model.
pub(super) struct Data {
    pub(super) windows: Windows,
    pub(super) calibration: Calibration,
}

impl Data {
    /// Cuts the windows that `request` asks for.
    pub(super) fn of(request: &Request, source: &Source) -> Result<Data, Diagnostic> {
        let Some(tokenizer) = &source.tokenizer else { return Err(no_text(&source.import.graph)) };
        let given = if request.calib.is_empty() {
            CalibrationText::builtin()
        } else {
            CalibrationText::read(&request.calib, source.chat()?.as_ref())?
        };
        let plan = plan(source, request.calib_len, request.calib_windows, request.seed)?;
        let windows = plan.cut(&given.encode(tokenizer)?)?;
        let (found, length) = (windows.calibration.len(), plan.length);
        if found < request.calib_windows {
            warn(format!("the calibration text has only {found} windows of {length} tokens beside the held-out ones"));
        }
        let calibration = Calibration {
            digest: given.digest().to_string(),
            description: given.description,
            windows: found as u64,
            window_len: length as u64,
            tokens: (found * length) as u64,
        };
        Ok(Data { windows, calibration })
    }

    /// The windows to calibrate on, as samples of `graph`.
    pub(super) fn samples(&self, graph: &Graph) -> Result<Vec<Sample>, Diagnostic> {
        samples(graph, &self.windows.calibration)
    }
}

/// How texts are cut for the model of `source`: `windows` of `length` tokens, at most its context.
pub(super) fn plan(source: &Source, length: usize, windows: usize, seed: u64) -> Result<WindowPlan, Diagnostic> {
    let text = source.import.text.as_ref().ok_or_else(|| no_text(&source.import.graph))?;
    let context = usize::try_from(text.context).unwrap_or(usize::MAX);
    Ok(WindowPlan {
        length: length.min(context),
        calibration: windows,
        held_out: HELD_OUT,
        seed,
        bos: source.leading(),
    })
}

/// `windows` as samples of `graph`, a language model.
pub(super) fn samples(graph: &Graph, windows: &[Vec<u32>]) -> Result<Vec<Sample>, Diagnostic> {
    let states: Vec<_> = graph.donated().iter().map(|(old, _)| *old).collect();
    let mut tokens = graph.inputs().filter(|(_, v)| !states.contains(v) && graph.ty(*v).dtype == DType::I64);
    match (tokens.next(), tokens.next()) {
        (Some((name, _)), None) => Ok(windows.iter().map(|w| Sample::tokens(name, w)).collect()),
        _ => Err(no_text(graph)),
    }
}

/// The error for a model without a tokenizer: lists the inputs that data is needed for.
fn no_text(graph: &Graph) -> Diagnostic {
    let states: Vec<_> = graph.donated().iter().map(|(old, _)| *old).collect();
    let inputs: Vec<String> = graph
        .inputs()
        .filter(|(_, v)| !states.contains(v))
        .map(|(name, v)| format!("`{name}`: {}", graph.ty(v)))
        .collect();
    Diagnostic::request(
        "calibration-missing",
        format!("the model has no tokenizer; its inputs are {}", inputs.join(", ")),
    )
    .help("only language models with a tokenizer can be calibrated yet; passes such as `rtn` need no data")
}
