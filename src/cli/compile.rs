//! `actc compile`: a model file becomes an artifact.

use super::open;
use super::pipeline::Watch;
use super::render::{Progress, Stop, note, size, warn};
use super::require::{self, Condition, Measure};
use super::{interrupt, threads};
use actc::artifact::{Artifact, Calibration, LayerRow, ReadOptions, Writer};
use actc::calibration::{CalibrationText, WindowPlan, Windows};
use actc::codegen::{Description, Program};
use actc::compile::{layer_rows, program};
use actc::evaluator::Compiled;
use actc::link;
use actc::quality::{Summary, judge};
use actc::source::Source;
use actc_ir::{Graph, text};
use actc_passes::manager::Timed;
use actc_passes::report::Status;
use actc_passes::{Contract, Facts, PASSES, PRESETS, PassCx, Pipeline, Sample};
use actc_types::diagnostic::nearest;
use actc_types::{DType, Diagnostic, Place, Target};
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Windows that judge the result.
const HELD_OUT: usize = 8;

/// Options of `actc compile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A .gguf file, or a folder with config.json and *.safetensors
    model: PathBuf,
    /// Passes to run, such as 'owq{bits=3,target=3.25,group=64}'; put in order, missing ones added
    #[arg(long, value_name = "PIPELINE", conflicts_with = "preset")]
    passes: Option<String>,
    /// A named pipeline: w8, w4 or w3
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Calibration text: .txt, .jsonl with `text` or `messages`, or - for standard input
    #[arg(long, value_name = "FILE")]
    calib: Vec<PathBuf>,
    /// Calibration windows
    #[arg(long, value_name = "N", default_value_t = 128)]
    calib_windows: usize,
    /// Tokens of a calibration window; at most the model's context
    #[arg(long, value_name = "N", default_value_t = 512)]
    calib_len: usize,
    /// Chooses the calibration windows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Machine to make code for: host, or a name from `actc targets`; may be repeated
    #[arg(long, value_name = "TARGET", default_value = "host")]
    target: Vec<String>,
    /// The artifact; default: the model's name with .actc, in the current folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the output
    #[arg(short, long)]
    force: bool,
    /// Also write ir=DIR (the graph before and after the passes) or kernels=DIR (every kernel's text)
    #[arg(long, value_name = "WHAT=DIR")]
    emit: Vec<String>,
    /// Conditions on the held-out quality, such as 'kl<0.1,top1>=0.8'; unmet: exit 1 and no file
    #[arg(long, value_name = "CONDITIONS")]
    require: Option<String>,
    /// Use a weaker method where the one asked for fails, and report it, instead of failing
    #[arg(long)]
    allow_fallback: bool,
    /// Folder for temporary files; default: the output's
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    watch: Watch,
}

/// What `--emit` asks for.
#[derive(Default)]
struct Emit {
    ir: Option<PathBuf>,
    kernels: Option<PathBuf>,
}

/// The request, checked before any file is read.
struct Request {
    pipeline: Pipeline,
    targets: Vec<Target>,
    conditions: Vec<Condition>,
    emit: Emit,
    output: PathBuf,
    work: PathBuf,
}

impl Args {
    fn request(&self) -> Result<Request, Diagnostic> {
        let pipeline = Pipeline::parse(self.pipeline()?, PASSES)?.normalise(PASSES)?;
        self.watch.config(&pipeline)?;
        let mut targets = Vec::new();
        for name in &self.target {
            let target = Target::parse(name)?;
            if target.arch.is_gpu() {
                return Err(Diagnostic::request(
                    "target-unavailable",
                    format!("this build makes no code for {target}"),
                )
                .help("`actc targets` lists the machines that it makes code for"));
            }
            if !targets.contains(&target) {
                targets.push(target);
            }
        }
        let conditions = self.require.as_deref().map(require::parse).transpose()?.unwrap_or_default();
        let mut emit = Emit::default();
        for item in &self.emit {
            let slot = match item.split_once('=') {
                Some(("ir", folder)) if !folder.is_empty() => (&mut emit.ir, folder),
                Some(("kernels", folder)) if !folder.is_empty() => (&mut emit.kernels, folder),
                _ => {
                    return Err(Diagnostic::request("emit", format!("cannot emit `{item}`"))
                        .help("`--emit ir=DIR` or `--emit kernels=DIR`"));
                }
            };
            *slot.0 = Some(slot.1.into());
        }
        let output = self.output.clone().unwrap_or_else(|| default_output(&self.model));
        if !self.force && output.symlink_metadata().is_ok() {
            return Err(exists(&output));
        }
        let work = self.work.clone().unwrap_or_else(|| folder_of(&output).to_owned());
        if !work.is_dir() {
            return Err(Diagnostic::request("work-folder", "the folder for temporary files does not exist")
                .at(Place::File(work.display().to_string())));
        }
        Ok(Request { pipeline, targets, conditions, emit, output, work })
    }

    fn pipeline(&self) -> Result<&str, Diagnostic> {
        match (&self.passes, &self.preset) {
            (Some(passes), _) => Ok(passes),
            (None, None) => {
                let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
                note(format!("no passes asked for: weights stay as they are (presets: {})", names.join(", ")));
                Ok("clean")
            }
            (None, Some(name)) => {
                let found = PRESETS.iter().find(|(known, ..)| known == name);
                found.map(|(_, pipeline, _)| *pipeline).ok_or_else(|| {
                    let d = Diagnostic::request("unknown-preset", format!("unknown preset `{name}`"));
                    match nearest(name, PRESETS.iter().map(|(n, ..)| *n)) {
                        Some(word) => d.help(format!("did you mean `{word}`? `actc passes` lists them")),
                        None => d.help("`actc passes` lists them"),
                    }
                })
            }
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The model's name with `.actc`, in the current folder.
fn default_output(model: &Path) -> PathBuf {
    let full = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    let name = if full.is_dir() { full.file_name() } else { full.file_stem() };
    let mut name = name.map_or_else(|| "model".into(), ToOwned::to_owned);
    name.push(".actc");
    name.into()
}

fn exists(path: &Path) -> Diagnostic {
    Diagnostic::request("output-exists", "the output exists already")
        .at(Place::File(path.display().to_string()))
        .help("choose another name with -o, or overwrite it with -f")
}

/// Calibration data of a language model.
struct Data {
    windows: Windows,
    calibration: Calibration,
}

impl Args {
    fn data(&self, source: &Source) -> Result<Data, Diagnostic> {
        let (Some(text), Some(tokenizer)) = (&source.import.text, &source.tokenizer) else {
            return Err(no_text(&source.import.graph));
        };
        let given = if self.calib.is_empty() {
            CalibrationText::builtin()
        } else {
            CalibrationText::read(&self.calib, source.chat()?.as_ref())?
        };
        let context = usize::try_from(text.context).unwrap_or(usize::MAX);
        let length = self.calib_len.min(context);
        let plan = WindowPlan {
            length,
            calibration: self.calib_windows,
            held_out: HELD_OUT,
            seed: self.seed,
            bos: source.leading(),
        };
        let windows = plan.cut(&given.encode(tokenizer)?)?;
        let found = windows.calibration.len();
        if found < self.calib_windows {
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

/// The one input of a language model that takes tokens.
fn token_input(graph: &Graph) -> Result<&str, Diagnostic> {
    let states: Vec<_> = graph.donated().iter().map(|(old, _)| *old).collect();
    let mut tokens = graph.inputs().filter(|(_, v)| !states.contains(v) && graph.ty(*v).dtype == DType::I64);
    match (tokens.next(), tokens.next()) {
        (Some((name, _)), None) => Ok(name),
        _ => Err(no_text(graph)),
    }
}

pub(super) fn run(args: Args) -> Result<(), Stop> {
    let threads = threads(args.threads);
    let request = args.request()?;
    let mut out = std::io::stdout();
    if args.watch.print_pipeline_passes {
        writeln!(out, "{}", request.pipeline)?;
        return Ok(());
    }
    if open::is_artifact(&args.model).unwrap_or(false) {
        return Err(Diagnostic::request("model-is-artifact", "the file is an artifact already")
            .at(Place::File(args.model.display().to_string()))
            .help("`actc relink` makes code for another machine from it")
            .into());
    }
    let source = Source::load(&args.model)?;
    let info = &source.import.source;
    let family = info.family.unwrap_or("no known family");
    writeln!(out, "model        {} ({family}, {}, {})", info.name, info.format.name(), size(info.bytes))?;
    writeln!(out, "pipeline     {}", request.pipeline)?;

    let steps = request.pipeline.steps();
    let calibrates = steps.iter().any(|s| s.info.needs.and(s.info.gives).meets(Facts::STATISTICS));
    let judged = steps.iter().any(|s| s.info.contract == Contract::ChangesNumerics);
    let data = if calibrates || (judged && source.tokenizer.is_some()) { Some(args.data(&source)?) } else { None };
    if data.is_none() && !request.conditions.is_empty() {
        let headline =
            "--require judges what passes changed, and this pipeline changes nothing or has no text to judge on";
        return Err(Diagnostic::request("require-nothing", headline).into());
    }
    if let Some(data) = data.as_ref().filter(|_| calibrates) {
        let c = &data.calibration;
        writeln!(out, "calibration  {} windows of {} tokens, {}", c.windows, c.window_len, c.description)?;
        writeln!(out, "             digest {}", &c.digest[..16])?;
    }
    let (graph, timed) = optimise(&args, &request, &source, data.as_ref(), threads)?;
    let layers = account(&timed)?;

    let program = program(&graph, request.targets.clone())?;
    emit(&request.emit, &source.import.graph, &graph, &program)?;
    let mut description = source.description();
    description.pipeline = request.pipeline.to_string();
    description.calibration = data.as_ref().filter(|_| calibrates).map(|d| d.calibration.clone());
    description.layers = layers;
    let scrap = scrap(&request.output)?;
    let path = scrap.path().join("artifact.actc");
    let artifact = write(&program, description, &path)?;
    drop((program, graph));

    if let Some(data) = data.as_ref().filter(|_| judged) {
        let layers = artifact.manifest().layers.clone();
        let windows = &data.windows.held_out;
        let mut progress = Progress::new();
        let summary = judge(artifact.clone(), &source, windows, threads, &mut |done| {
            progress.at("quality", "", done, windows.len());
        })?;
        progress.finish();
        writeln!(out, "quality      {}", quality(&summary, &layers, windows.len()))?;
        check(&request.conditions, &summary, &layers)?;
    }
    place(&path, &request.output, args.force)?;
    link::remember(&artifact)?;
    writeln!(
        out,
        "wrote        {} ({}, digest {})",
        request.output.display(),
        size(artifact.length()),
        artifact.digest()
    )?;
    Ok(())
}

/// Runs the passes over the source's graph.
fn optimise(
    args: &Args,
    request: &Request,
    source: &Source,
    data: Option<&Data>,
    threads: usize,
) -> Result<(Graph, Vec<Timed>), Stop> {
    let mut graph = source.import.graph.clone();
    let samples: Vec<Sample> = match data {
        Some(data) => {
            let input = token_input(&graph)?;
            data.windows.calibration.iter().map(|w| Sample::tokens(input, w)).collect()
        }
        None => Vec::new(),
    };
    let evaluator = Compiled::new(threads);
    let progress = RefCell::new(Progress::new());
    let mut told = |p: actc_passes::Progress<'_>| progress.borrow_mut().at(p.stage, p.item, p.done, p.total);
    let mut cx = PassCx::new(&evaluator, &mut told);
    cx.samples = &samples;
    cx.work = request.work.clone();
    cx.allow_fallback = args.allow_fallback;
    let timed = args.watch.run(&request.pipeline, &mut graph, &progress, &mut cx)?;
    Ok((graph, timed))
}

/// Every layer with what was done to it; a layer that a pass was asked to quantise and could not is an error.
fn account(timed: &[Timed]) -> Result<Vec<LayerRow>, Stop> {
    let refused = timed.iter().flat_map(|t| {
        t.report.layers.iter().filter(|l| l.status == Status::Refused).map(|l| {
            let why = l.reason.as_deref().unwrap_or("no reason given");
            Diagnostic::new("layer-skipped", format!("`{}` was not quantised: {why}", l.name))
                .at(Place::Tensor(l.name.clone()))
        })
    });
    let refused: Vec<Diagnostic> = refused.collect();
    if !refused.is_empty() {
        return Err(refused.into());
    }
    for layer in timed.iter().flat_map(|t| &t.report.layers).filter(|l| l.status == Status::Quantised) {
        if let Some(reason) = &layer.reason {
            warn(format!("{}: {reason}", layer.name));
        }
    }
    Ok(layer_rows(timed.iter().flat_map(|t| &t.report.layers)))
}

/// A folder beside the output that Ctrl-C and errors remove.
fn scrap(output: &Path) -> Result<tempfile::TempDir, Diagnostic> {
    let folder = folder_of(output);
    let made = tempfile::Builder::new().prefix(".actc-").tempdir_in(folder).map_err(|e| {
        Diagnostic::request("output-folder", format!("cannot write into the output's folder: {e}"))
            .at(Place::File(folder.display().to_string()))
    })?;
    interrupt::clean_up(made.path());
    Ok(made)
}

fn write(program: &Program, description: Description, path: &Path) -> Result<Artifact, Diagnostic> {
    program.write(Writer::to_file(path, false)?, description)?;
    // Written a moment ago: what is left to check is checked, but the digests.
    Artifact::open(path, &ReadOptions { verify: false, ..ReadOptions::default() })
}

/// Gives the finished artifact its name, in one step.
fn place(made: &Path, output: &Path, force: bool) -> Result<(), Diagnostic> {
    let failed = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(output),
        _ => Diagnostic::new("output", format!("cannot write the artifact: {e}"))
            .at(Place::File(output.display().to_string())),
    };
    if force {
        return std::fs::rename(made, output).map_err(failed);
    }
    // A link refuses to replace a file that appeared meanwhile; some file systems have none.
    match std::fs::hard_link(made, output) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists && output.symlink_metadata().is_err() => {
            std::fs::rename(made, output).map_err(failed)
        }
        linked => linked.map_err(failed),
    }
}

fn emit(emit: &Emit, before: &Graph, after: &Graph, program: &Program) -> Result<(), Diagnostic> {
    let write = |folder: &Path, name: &str, text: &str| {
        let path = folder.join(name);
        let made = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        made.map_err(|e| {
            Diagnostic::request("emit", format!("cannot write the file: {e}"))
                .at(Place::File(path.display().to_string()))
        })
    };
    if let Some(folder) = &emit.ir {
        write(folder, "imported.air", &text::print(before))?;
        write(folder, "compiled.air", &text::print(after))?;
    }
    if let Some(folder) = &emit.kernels {
        for (target, _) in &program.images {
            for (name, text) in program.kernel_texts(target)? {
                write(folder, &format!("{name}.{target}.{}", program.backend.extension()), &text)?;
            }
        }
    }
    Ok(())
}

fn worst(layers: &[LayerRow]) -> Option<&LayerRow> {
    layers.iter().filter(|l| l.error > 0.0).max_by(|a, b| a.error.total_cmp(&b.error))
}

fn ratio(summary: &Summary) -> f64 {
    summary.distance.map_or(f64::NAN, |d| d.nll_difference.value.exp())
}

fn quality(summary: &Summary, layers: &[LayerRow], windows: usize) -> String {
    let Some(distance) = summary.distance else { return "not judged".into() };
    let error = distance.kl.error.map_or(String::new(), |e| format!(" ±{e:.4}"));
    let mut line = format!(
        "KL {:.4}{error} nats, top-1 {:.1} %, perplexity x{:.3} on {windows} held-out windows",
        distance.kl.value,
        100.0 * distance.top1.value,
        ratio(summary)
    );
    if let Some(layer) = worst(layers) {
        line.push_str(&format!("; worst layer {} ({:.2} % error)", layer.name, 100.0 * layer.error));
    }
    line
}

fn check(conditions: &[Condition], summary: &Summary, layers: &[LayerRow]) -> Result<(), Stop> {
    let failed: Vec<Diagnostic> = conditions
        .iter()
        .filter_map(|condition| {
            let value = match condition.measure {
                Measure::Kl => summary.distance.map_or(f64::NAN, |d| d.kl.value),
                Measure::Top1 => summary.distance.map_or(f64::NAN, |d| d.top1.value),
                Measure::PplRatio => ratio(summary),
                Measure::Worst => worst(layers).map_or(0.0, |l| l.error),
            };
            (!condition.holds(value)).then(|| {
                Diagnostic::new("require-unmet", format!("`{condition}` is required, the value is {value:.5}"))
                    .help("no file was written; give more bits, or ask for less")
            })
        })
        .collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.into()) }
}
