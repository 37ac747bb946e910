//! `actc compile`: a model file becomes an artifact.

use super::data::Set;
use super::interrupt;
use super::job::{Done, Job, refused};
use super::render::{Progress, Stop, size, warn};
use super::request::{self, Emit, folder_of, free, unwritten};
use super::verdict::Judgement;
use actc::artifact::{Artifact, LayerRow, ReadOptions, Section, Writer, append};
use actc::codegen::{Description, Image, Program};
use actc::compile::{final_reports, in_order, layer_rows, order_entries, program};
use actc::evaluator::Compiled;
use actc::link;
use actc::output::Pending;
use actc::quality::{judge, judge_outputs};
use actc::report::page::page;
use actc::report::{Quality, Report};
use actc::speed::{Timing, time_layers};
use actc_ir::{Graph, text};
use actc_passes::checkpoint::Checkpoint;
use actc_passes::manager::Timed;
use actc_passes::report::Status;
use actc_types::{Diagnostic, Place, Target};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `actc compile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    request: request::Args,
    /// Also write what was measured as a page of HTML; `actc inspect ARTIFACT --report` makes the same later
    #[arg(long, value_name = "OUT.html")]
    report: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let mut out = std::io::stdout();
    if let Some(path) = &args.report {
        free(path, args.request.force)?;
        if !folder_of(path).is_dir() {
            return Err(Diagnostic::request("report-file", "the folder for the report does not exist")
                .at(Place::File(path.display().to_string()))
                .into());
        }
    }
    let Some(job) = Job::asked(&args.request, &mut out)? else { return Ok(()) };
    job.announce(&mut out)?;
    // What can be told to fail fails before anything is computed.
    let (_, foreseen, forecast) = job.foresee(&args.request)?;
    job.possible(refused(&foreseen), &forecast)?;
    let checkpoint = job.checkpoint(&args.request)?;
    let Done { graph, timed, statistics, samples } = job.run(&args.request, checkpoint.as_ref())?;
    let layers = account(&timed)?;

    let Job { request, source, .. } = &job;
    let graph = in_order(&graph, &request.targets, &request.work)?;
    let program = program(&graph, request.targets.clone(), request.backend, request.products)?;
    emit(&request.emit, &source.import.graph, &graph, &program)?;
    let mut description = job.description()?;
    description.layers = layers;
    description.metadata.extend(order_entries(timed.iter().flat_map(|t| &t.report.orders)));
    let code = code(&program);
    let scrap = scrap(&request.output)?;
    let path = scrap.path().join("artifact.actc");
    let mut artifact = write(&program, description, &path)?;
    let losers = losers(&program, &graph, job.threads)?;
    drop((program, graph));

    let mut judged = None;
    if let Some(data) = job.data.as_ref().filter(|_| job.judged) {
        let mut progress = Progress::new();
        let mut told = |done: usize, all: usize| progress.at("quality", "", done, all);
        let layers = artifact.manifest().layers.clone();
        let (made, threads, backend) = (artifact.clone(), job.threads, request.backend);
        let judgement = match &data.set {
            Set::Text(windows) => {
                let windows = &windows.held_out;
                let summary = judge(made, source, windows, threads, backend, &mut |n| told(n, windows.len()))?;
                judged = Quality::new(&summary, windows);
                Judgement::of_text(&summary, windows.len())
            }
            Set::Tensors(split) => {
                let samples = &split.held_out;
                let all = judge_outputs(made, source, samples, threads, backend, &mut |n| told(n, samples.len()))?;
                Judgement::of_outputs(&all, samples.len())
            }
        }
        .with(&layers);
        progress.finish();
        writeln!(out, "quality      {}", judgement.line)?;
        judgement.check(&request.conditions)?;
    }
    losers.iter().for_each(warn);
    let layers = final_reports(timed.iter().flat_map(|t| &t.report.layers));
    let report = Report::new(&layers, statistics.as_ref(), samples, judged);
    if !report.is_empty() {
        drop(artifact);
        append(&path, Section::Report, &report.encode())?;
        artifact = open(&path)?;
    }
    let report = args.report.as_deref().map(|path| pending(&artifact, &[], path, request.force)).transpose()?;
    writeln!(out, "code         {code}")?;
    place(&path, &request.output, request.force)?;
    link::remember(&artifact)?;
    checkpoint.map_or(Ok(()), Checkpoint::remove)?;
    writeln!(
        out,
        "wrote        {} ({}, digest {})",
        request.output.display(),
        size(artifact.length()),
        artifact.digest()
    )?;
    if let (Some(report), Some(path)) = (report, &args.report) {
        report.name().map_err(|e| report_error(path, &e))?;
        writeln!(out, "report       {}", path.display())?;
    }
    Ok(())
}

/// The page of `artifact` with `others`, on its way to `path`.
pub(super) fn pending(
    artifact: &Artifact,
    others: &[Artifact],
    path: &Path,
    force: bool,
) -> Result<Pending, Diagnostic> {
    Pending::new(path, page(artifact, others)?.as_bytes(), force).map_err(|e| report_error(path, &e))
}

/// The error of writing a report to `path`.
pub(super) fn report_error(path: &Path, error: &std::io::Error) -> Diagnostic {
    unwritten(path, "report-file", "report", error)
}

/// Every layer with what was done to it; a layer that a pass was asked to quantise and could not is an error.
fn account(timed: &[Timed]) -> Result<Vec<LayerRow>, Stop> {
    let refused = refused(timed);
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

/// What is slower than in 16 bits on this machine, where the artifact has code for it.
fn losers(program: &Program, graph: &Graph, threads: usize) -> Result<Vec<String>, Diagnostic> {
    if !program.images.iter().any(|(target, _)| target.runs_here()) {
        return Ok(Vec::new());
    }
    let timings = time_layers(graph, &Compiled::new(threads).by(program.backend), threads)?;
    let line = |t: &Timing| {
        let others = if t.layers > 1 { format!(" and {} like it", t.layers - 1) } else { String::new() };
        format!("{}{others}: x{:.2} of the time of 16 bits at {} token(s)", t.layer, t.ratio, t.tokens)
    };
    Ok(timings.iter().filter(|t| t.lost()).map(line).collect())
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
    open(path)
}

/// Opens an artifact that was written a moment ago: all is checked but the digests.
fn open(path: &Path) -> Result<Artifact, Diagnostic> {
    Artifact::open(path, &ReadOptions { verify: false, ..ReadOptions::default() })
}

/// Gives the finished artifact its name, in one step.
fn place(made: &Path, output: &Path, force: bool) -> Result<(), Diagnostic> {
    let failed = |e: std::io::Error| unwritten(output, "output", "artifact", &e);
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
        for (name, text) in program.kernel_texts()? {
            write(folder, &name, &text)?;
        }
    }
    Ok(())
}

/// The machines that there is code for, in words.
fn code(program: &Program) -> String {
    let shown = |(target, _): &(Target, Image)| {
        let also = program.covered.iter().filter(|(_, by)| by == target).map(|(t, _)| t.to_string());
        let also: Vec<String> = also.collect();
        if also.is_empty() { target.to_string() } else { format!("{target} (also for {})", also.join(", ")) }
    };
    let mut lines = Vec::new();
    if !program.images.is_empty() {
        let targets: Vec<String> = program.images.iter().map(shown).collect();
        let bytes: usize = program.images.iter().map(|(_, image)| image.code.len()).sum();
        lines.push(format!("{}: {}, by {}", targets.join(", "), size(bytes as u64), program.backend.full_name()));
    }
    if let Some(cuda) = &program.cuda {
        let targets: Vec<String> = cuda.images.iter().map(|(target, _)| target.to_string()).collect();
        let bytes: usize = cuda.images.iter().map(|(_, image)| image.code.len()).sum();
        let (kernels, products) = (cuda.kernels.len(), program.products);
        let driver = cuda.plan.targets.iter().map(|t| t.driver).max().unwrap_or(0);
        let driver = format!("{}.{}", driver / 1000, driver % 1000 / 10);
        lines.push(format!(
            "{}: {kernels} kernels, {} of PTX, {products} products, for drivers from CUDA {driver} on",
            targets.join(", "),
            size(bytes as u64)
        ));
    }
    lines.join("\n             ")
}
