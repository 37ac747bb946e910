//! Calibration data of a compile: windows of the text that was given, or of the built-in one; or samples of tensors.

use super::render::warn;
use super::request::Request;
use actc::artifact::Calibration;
use actc::calibration::samples::{Split, holds_samples, inputs};
use actc::calibration::{CalibrationSamples, CalibrationText, Pixels, WindowPlan, Windows};
use actc::source::Source;
use actc_ir::Graph;
use actc_passes::Sample;
use actc_types::{DType, Diagnostic};
use std::path::PathBuf;

/// Windows or samples that judge the result.
const HELD_OUT: usize = 8;

/// Calibration data of a model.
pub(super) struct Data {
    pub(super) set: Set,
    pub(super) calibration: Calibration,
}

/// What passes see, and what is held out to judge the result.
pub(super) enum Set {
    /// Of a language model.
    Text(Windows),
    /// Of any model.
    Tensors(Split),
}

/// How images become samples, as the command line says it.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub(super) struct PixelArgs {
    /// Height and width of calibration images, where the model leaves them open
    #[arg(long, value_name = "HxW")]
    pub(super) size: Option<String>,
    /// Taken off the elements of pixels, 0 to 1: one number, or one for each channel [default: 0]
    #[arg(long, value_name = "A,B,C", allow_hyphen_values = true)]
    pub(super) mean: Option<String>,
    /// What they are divided by then [default: 1]
    #[arg(long, value_name = "A,B,C")]
    pub(super) std: Option<String>,
}

impl Data {
    /// The windows or samples that `request` asks for.
    pub(super) fn of(request: &Request, source: &Source) -> Result<Data, Diagnostic> {
        let graph = &source.import.graph;
        if tensors(&request.calib) {
            let (given, split) = divided(&request.calib, graph, &request.pixels, request.calib_windows, request.seed)?;
            let calibration = Calibration {
                digest: given.digest.to_string(),
                description: given.description,
                windows: split.calibration.len() as u64,
                ..Calibration::default()
            };
            return Ok(Data { set: Set::Tensors(split), calibration });
        }
        let Some(tokenizer) = &source.tokenizer else { return Err(missing(graph)) };
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
        Ok(Data { set: Set::Text(windows), calibration })
    }

    /// The data to calibrate on, as samples of `graph`.
    pub(super) fn samples(&self, graph: &Graph) -> Result<Vec<Sample>, Diagnostic> {
        match &self.set {
            Set::Text(windows) => samples(graph, &windows.calibration),
            Set::Tensors(split) => Ok(split.calibration.clone()),
        }
    }

    /// Rows that judge the result: tokens, or samples.
    pub(super) fn judged(&self) -> usize {
        match &self.set {
            Set::Text(windows) => windows.held_out.iter().map(Vec::len).sum(),
            Set::Tensors(split) => split.held_out.len(),
        }
    }
}

/// Whether calibration files hold tensors, not text.
pub(super) fn tensors(files: &[PathBuf]) -> bool {
    files.iter().any(|f| holds_samples(f))
}

/// Samples of tensors in `files` for `graph`: all of them, and which `count` of them calibrate and which are held out by the `seed`.
pub(super) fn divided(
    files: &[PathBuf],
    graph: &Graph,
    pixels: &Pixels,
    count: usize,
    seed: u64,
) -> Result<(CalibrationSamples, Split), Diagnostic> {
    let given = CalibrationSamples::read(files, &inputs(graph), pixels)?;
    let split = given.split(count, HELD_OUT, seed)?;
    Ok((given, split))
}

/// How texts are cut for the model of `source`: `windows` of `length` tokens, at most its context.
pub(super) fn plan(source: &Source, length: usize, windows: usize, seed: u64) -> Result<WindowPlan, Diagnostic> {
    let text = source.import.text.as_ref().ok_or_else(|| missing(&source.import.graph))?;
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
    let given = inputs(graph);
    let mut tokens = given.iter().filter(|(_, ty)| ty.dtype == DType::I64);
    match (tokens.next(), tokens.next()) {
        (Some((name, _)), None) => Ok(windows.iter().map(|w| Sample::tokens(name, w)).collect()),
        _ => Err(missing(graph)),
    }
}

/// The error for a model without a tokenizer and without samples: lists the inputs that data is needed for, and what to type.
fn missing(graph: &Graph) -> Diagnostic {
    let inputs = inputs(graph);
    let listed: Vec<String> = inputs.iter().map(|(name, ty)| format!("`{name}`: {ty}")).collect();
    let arrays: Vec<String> = inputs.iter().map(|(name, _)| format!("'{name}': ...")).collect();
    let headline = format!("the model has no tokenizer, so it needs samples of its inputs: {}", listed.join(", "));
    let mut help = format!(
        "`numpy.savez('calib.npz', **{{{}}})` makes a file of samples, --calib calib.npz gives it",
        arrays.join(", ")
    );
    if let [(_, ty)] = &inputs[..]
        && ty.dtype == DType::F32
        && ty.shape.rank() == 4
    {
        help.push_str("; for images --calib FOLDER --size HxW --mean A,B,C --std A,B,C");
    }
    Diagnostic::request("calibration-missing", headline).help(help)
}
