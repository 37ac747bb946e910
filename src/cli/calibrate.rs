//! `actc calibrate`: statistics of a model's activations as a file, and files merged.

use super::data::{PixelArgs, divided, plan, samples, tensors};
use super::render::{Progress, Stop, json, size, warn};
use super::request::{CALIB_LEN, CALIB_WINDOWS};
use super::{Format, threads};
use actc::calibration::{CalibrationText, Pixels};
use actc::evaluator::Compiled;
use actc::source::Source;
use actc::statistics::{StatisticsFile, Text};
use actc_ir::Graph;
use actc_passes::calibrate::observe_chunks;
use actc_passes::manager::{self, Config};
use actc_passes::{PASSES, PassCx, Pipeline, Sample};
use actc_types::Diagnostic;
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;

/// Options of `actc calibrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .gguf or .onnx file, or a folder with config.json and *.safetensors
    #[arg(required_unless_present = "merge", conflicts_with = "merge")]
    model: Option<PathBuf>,
    /// Calibration data, may be repeated: text (.txt, .jsonl with `text` or `messages`, or - for standard input; default: the
    /// built-in text); for any model .npz with an array for each input, or a folder of .png and .jpg images
    #[arg(long, value_name = "FILE", conflicts_with = "merge")]
    calib: Vec<PathBuf>,
    #[command(flatten)]
    pixels: PixelArgs,
    /// Statistics to put one behind the other
    #[arg(long, value_name = "STATS", num_args = 2..)]
    merge: Vec<PathBuf>,
    /// The statistics
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Overwrite the output
    #[arg(short, long)]
    force: bool,
    /// Windows of each text, or samples of tensors
    #[arg(long, value_name = "N", default_value_t = CALIB_WINDOWS)]
    calib_windows: usize,
    /// Tokens of a window; at most the model's context
    #[arg(long, value_name = "N", default_value_t = CALIB_LEN)]
    calib_len: usize,
    /// Chooses the windows or samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    if !args.force && args.output.symlink_metadata().is_ok() {
        return Err(super::request::exists(&args.output).into());
    }
    let file = match &args.model {
        Some(model) => collect(args, &Source::load(model)?)?,
        None => merged(&args.merge)?,
    };
    let bytes = file.write(&args.output, args.force)?;
    let all = file.statistics()?;
    match args.format {
        Format::Json => json(&serde_json::json!({
            "model": file.model,
            "texts": file.texts.iter().map(|t| serde_json::json!({ "digest": t.digest, "windows": t.windows })).collect::<Vec<_>>(),
            "window_len": file.window_len,
            "samples": all.samples,
            "chunks": file.chunks.len(),
            "layers": all.layers.len(),
            "file_bytes": bytes,
        })),
        Format::Text => {
            let (texts, output) = (file.texts.len(), args.output.display());
            let mut out = std::io::stdout().lock();
            let (samples, layers, length) = (all.samples, all.layers.len(), file.window_len);
            match length {
                0 => writeln!(out, "statistics  {samples} samples, {layers} layers")?,
                _ => writeln!(
                    out,
                    "statistics  {samples} windows of {length} tokens from {texts} texts, {layers} layers"
                )?,
            }
            writeln!(out, "wrote       {output} ({})", size(bytes))?;
            Ok(())
        }
    }
}

fn merged(paths: &[PathBuf]) -> Result<StatisticsFile, Diagnostic> {
    let mut files = paths.iter().map(|p| StatisticsFile::read(p));
    let mut all = files.next().ok_or_else(|| Diagnostic::request("statistics-empty", "nothing to merge"))??;
    for file in files {
        all.append(file?)?;
    }
    Ok(all)
}

/// Runs the windows of each text, or the samples of all files of them; a text starts a chunk of its own.
fn collect(args: &Args, source: &Source) -> Result<StatisticsFile, Stop> {
    // The graph that `compile` calibrates is a clean one too.
    let mut graph = source.import.graph.clone();
    let evaluator = Compiled::new(threads(args.threads));
    let progress = RefCell::new(Progress::new());
    let mut told = |p: actc_passes::Progress<'_>| progress.borrow_mut().at(p.stage, p.item, p.done, p.total);
    let mut cx = PassCx::new(&evaluator, &mut told);
    let clean = Pipeline::parse("clean", PASSES)?;
    manager::run(&clean, &mut graph, &mut cx, &Config::default(), &mut |_| ())?;
    let given = match tensors(&args.calib) {
        true => on_tensors(args, &graph)?,
        false => on_texts(args, source, &graph)?,
    };
    let mut file = StatisticsFile {
        model: source.import.source.digest.to_string(),
        window_len: given.window_len,
        texts: Vec::new(),
        chunks: Vec::new(),
    };
    for (digest, samples) in given.texts {
        file.texts.push(Text { digest, windows: samples.len() as u64 });
        file.chunks.extend(observe_chunks(&graph, &mut cx, &samples)?);
    }
    Ok(file)
}

/// Samples of each text, or of all files of tensors, with their digest.
struct Given {
    /// Tokens of a window; 0 where samples are tensors.
    window_len: u64,
    texts: Vec<(String, Vec<Sample>)>,
}

fn on_texts(args: &Args, source: &Source, graph: &Graph) -> Result<Given, Diagnostic> {
    let plan = plan(source, args.calib_len, args.calib_windows, args.seed)?;
    let template = source.chat()?;
    let texts = match &args.calib[..] {
        [] => vec![CalibrationText::builtin()],
        paths => paths.iter().map(|p| CalibrationText::read(&[p], template.as_ref())).collect::<Result<_, _>>()?,
    };
    let mut given = Given { window_len: plan.length as u64, texts: Vec::new() };
    for text in texts {
        let ids = source.tokenizer.as_ref().map_or(Ok(Vec::new()), |t| text.encode(t))?;
        let windows = plan.cut(&ids)?.calibration;
        if windows.len() < args.calib_windows {
            warn(format!("a text has only {} windows of {} tokens", windows.len(), plan.length));
        }
        given.texts.push((text.digest().to_string(), samples(graph, &windows)?));
    }
    Ok(given)
}

/// The samples that `compile` calibrates on, given the same files: those that it holds out are not observed.
fn on_tensors(args: &Args, graph: &Graph) -> Result<Given, Diagnostic> {
    let pixels = Pixels::parse(args.pixels.size.as_deref(), args.pixels.mean.as_deref(), args.pixels.std.as_deref())?;
    let (given, split) = divided(&args.calib, graph, &pixels, args.calib_windows, args.seed)?;
    Ok(Given { window_len: 0, texts: vec![(given.digest.to_string(), split.calibration)] })
}
