//! `actc inspect`: what is inside an artifact or a model file, and why a step runs as it does.

use super::Format;
use super::compile::{pending, report_error};
use super::layers::{calibration_json, layer_table, measured_json};
use super::open::{Opening, is_artifact};
use super::render::{Stop, json, size, table};
use super::request::free;
use actc::artifact::{Artifact, CudaPlan, CudaTarget, Entry, Manifest, Section};
use actc::calibration::shown;
use actc::codegen::plan::tensors::TensorTable;
use actc::codegen::{BACKEND_KEY, Backend, Entries, PRODUCTS_KEY, cuda, graph_of};
use actc::compile::channel_orders;
use actc::evaluator::first;
use actc::frontend::{Import, load};
use actc::link::{self, recompile};
use actc::report::Report;
use actc::storage::{Share, Storage};
use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Place, Shape, Target};
use serde_json::{Value, json as value};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `actc inspect`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An artifact, or a model file; with --report more artifacts of the same model may follow, for comparison
    #[arg(required = true)]
    file: Vec<PathBuf>,
    /// Why the steps whose name contains NODE run as they do; an empty NODE: all steps
    #[arg(long, value_name = "NODE")]
    why: Option<String>,
    /// Write what the compile measured as a page of HTML
    #[arg(long, value_name = "OUT.html", conflicts_with = "why")]
    report: Option<PathBuf>,
    /// Overwrite the report
    #[arg(short, long, requires = "report")]
    force: bool,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    opening: Opening,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let [file, others @ ..] = &args.file[..] else { return Ok(()) };
    if let Some(output) = &args.report {
        return report(args, file, others, output);
    }
    if let Some(other) = others.first() {
        return Err(Diagnostic::request("inspect-many", "several artifacts are shown in a report only")
            .at(Place::File(other.display().to_string()))
            .help("ask for one with --report OUT.html")
            .into());
    }
    if !is_artifact(file)? {
        if args.why.is_some() {
            return Err(Diagnostic::request("why-model", "only an artifact has steps to explain")
                .help("`actc compile` makes one")
                .into());
        }
        return model(&load(file)?, args.format);
    }
    let artifact = args.opening.artifact(file)?;
    match &args.why {
        Some(node) => why(&artifact, node, args.format),
        None => whole(&artifact, args.format),
    }
}

/// Writes the page of the artifact `file`, compared with `others`.
fn report(args: &Args, file: &Path, others: &[PathBuf], output: &Path) -> Result<(), Stop> {
    free(output, args.force)?;
    let artifact = args.opening.artifact(file)?;
    let others = others.iter().map(|path| args.opening.artifact(path)).collect::<Result<Vec<_>, _>>()?;
    pending(&artifact, &others, output, args.force)?.name().map_err(|e| report_error(output, &e))?;
    match args.format {
        Format::Json => {
            json(&value!({ "report": output.display().to_string(), "digest": artifact.digest().to_string() }))
        }
        Format::Text => Ok(writeln!(std::io::stdout().lock(), "report  {}", output.display())?),
    }
}

/// A model file: its tensors as they are stored.
fn model(import: &Import, format: Format) -> Result<(), Stop> {
    let (graph, info) = (&import.graph, &import.source);
    let storage = Storage::of_graph(graph);
    let rows: Vec<(String, String, String, u64)> = graph
        .constants()
        .map(|(_, c)| (c.name.clone(), c.ty.to_string(), c.encoding.to_string(), c.stored_bytes()))
        .collect();
    match format {
        Format::Json => json(&value!({
            "name": info.name,
            "family": info.family,
            "format": info.format.name(),
            "licence": info.licence,
            "digest": info.digest.to_string(),
            "file_bytes": info.bytes,
            "context": import.text.as_ref().map(|t| t.context),
            "bits_per_weight": storage.bits_per_weight(),
            "tensors": rows.iter().map(|(name, ty, encoding, bytes)| value!({
                "name": name, "type": ty, "encoding": encoding, "bytes": bytes,
            })).collect::<Vec<_>>(),
        })),
        Format::Text => {
            let mut out = std::io::stdout().lock();
            writeln!(out, "model      {} ({}, {})", info.name, info.family.unwrap_or("?"), info.format.name())?;
            writeln!(out, "licence    {}", info.licence.as_deref().unwrap_or("not stated"))?;
            writeln!(out, "digest     {}", info.digest)?;
            shares(&mut out, &storage)?;
            let mut lines = vec![["tensor", "type", "encoding", "bytes"].map(String::from).to_vec()];
            lines.extend(
                rows.into_iter().map(|(name, ty, encoding, bytes)| vec![name, ty, encoding, bytes.to_string()]),
            );
            write!(out, "\n{}", table("<<<>", &lines))?;
            Ok(())
        }
    }
}

fn shares(out: &mut impl Write, storage: &Storage) -> std::io::Result<()> {
    let line = |s: Share| format!("{:>11} weights, {}", s.weights, size(s.bytes));
    writeln!(out, "layers     {}, {:.4} bits each", line(storage.layers), storage.bits_per_weight())?;
    writeln!(out, "vocabulary {}", line(storage.vocabulary))?;
    writeln!(out, "rest       {}", line(storage.rest))
}

fn whole(artifact: &Artifact, format: Format) -> Result<(), Stop> {
    let manifest = artifact.manifest();
    let storage = Storage::of(artifact)?;
    let report = Report::of(artifact)?;
    match format {
        Format::Json => {
            let layers: Vec<Value> = manifest.layers.iter().map(|l| measured_json(l, &report)).collect();
            let tensors: Vec<Value> = manifest
                .tensors
                .iter()
                .map(|t| {
                    let bytes: u64 = t.parts.iter().map(|p| p.length).sum();
                    value!({ "name": t.name, "encoding": t.encoding.to_string(), "shape": t.dims, "bytes": bytes })
                })
                .collect();
            let orders: BTreeMap<&str, Vec<u32>> = channel_orders(&manifest.metadata).collect();
            json(&value!({
                "name": manifest.model.name,
                "family": manifest.model.family,
                "source_format": manifest.model.source_format,
                "source_digest": manifest.model.source_digest,
                "licence": manifest.model.licence,
                "context": manifest.model.context_length,
                "pipeline": manifest.pipeline,
                "calibration": calibration_json(manifest.calibration.as_ref()),
                "backend": manifest.metadata.get(BACKEND_KEY),
                "sections": artifact.sections().iter().map(|row| value!({
                    "name": row.section.to_string(), "bytes": row.length,
                })).collect::<Vec<_>>(),
                "targets": manifest.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "entries": entries(manifest).iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
                "gpu": manifest.cuda.as_ref().map(|plan| value!({
                    "kernels": plan.kernels.len(),
                    "products": manifest.metadata.get(PRODUCTS_KEY),
                    "targets": plan.targets.iter().map(|t| value!({
                        "name": t.target.to_string(), "driver": t.driver,
                    })).collect::<Vec<_>>(),
                })),
                "bits_per_weight": storage.bits_per_weight(),
                "file_bytes": artifact.length(),
                "digest": artifact.digest().to_string(),
                "quality": report.quality.as_ref().map(|q| value!({
                    "kl": q.kl, "kl_se": q.kl_se, "top1": q.top1, "ppl": q.ppl, "reference_ppl": q.reference_ppl,
                    "windows": q.windows, "window_len": q.window_len,
                })),
                "layers": layers,
                "orders": orders,
                "tensors": tensors,
            }))
        }
        Format::Text => text(artifact, &storage, &report),
    }
}

fn text(artifact: &Artifact, storage: &Storage, report: &Report) -> Result<(), Stop> {
    let manifest = artifact.manifest();
    let model = &manifest.model;
    let mut out = std::io::stdout().lock();
    let or = |text: &str| if text.is_empty() { "not stated".to_owned() } else { text.to_owned() };
    writeln!(out, "model      {} ({}, {})", model.name, or(&model.family), model.source_format)?;
    writeln!(out, "licence    {}", or(&model.licence))?;
    writeln!(out, "source     {}", model.source_digest)?;
    writeln!(out, "context    {} tokens", model.context_length)?;
    writeln!(out, "pipeline   {}", manifest.pipeline)?;
    if let Some(c) = &manifest.calibration {
        writeln!(out, "calibrated on {} ({})", shown(c), c.digest)?;
    }
    if let Some(q) = &report.quality {
        let (windows, top1) = (q.windows, 100.0 * q.top1);
        writeln!(out, "quality    KL {:.4} nats, top-1 {top1:.1} %, on {windows} held-out windows", q.kl)?;
    }
    writeln!(out, "code       {}", code(artifact))?;
    if let Some(plan) = &manifest.cuda {
        writeln!(out, "gpu        {}", gpu(plan, manifest))?;
    }
    for entry in entries(manifest) {
        let ports = |ports: &[actc::artifact::Port]| {
            let shown = ports.iter().map(|p| format!("{}: {}{}", p.name, p.dtype, Shape(p.dims.clone())));
            shown.collect::<Vec<_>>().join(", ")
        };
        writeln!(out, "entry      {}({}) -> {}", entry.name, ports(&entry.inputs), ports(&entry.outputs))?;
    }
    shares(&mut out, storage)?;
    writeln!(out, "file       {}", size(artifact.length()))?;
    writeln!(out, "digest     {}", artifact.digest())?;
    write!(out, "{}", layer_table(&manifest.layers, true))?;
    Ok(())
}

/// What can be run: on GPUs the same as on CPUs, where there are plans for both.
fn entries(manifest: &Manifest) -> &[Entry] {
    match &manifest.cuda {
        Some(plan) if manifest.entries.is_empty() => &plan.entries,
        Some(_) | None => &manifest.entries,
    }
}

/// What GPUs run, and the drivers that it needs.
fn gpu(plan: &CudaPlan, manifest: &Manifest) -> String {
    let driver = |t: &CudaTarget| format!("{} from CUDA {}.{} on", t.target, t.driver / 1000, t.driver % 1000 / 10);
    let targets: Vec<String> = plan.targets.iter().map(driver).collect();
    let products = manifest.metadata.get(PRODUCTS_KEY).map_or(String::new(), |p| format!(", {p} products"));
    format!("{} kernels{products}: {}", plan.kernels.len(), targets.join(", "))
}

/// The machines that there is code for, which of it would run here, and what made it.
fn code(artifact: &Artifact) -> String {
    let rows = artifact.sections().iter();
    let targets: Vec<(&Target, u64)> = rows
        .filter_map(|row| match &row.section {
            Section::Code(target) => Some((target, row.length)),
            Section::Manifest | Section::Weights | Section::Ir | Section::Tokenizer | Section::Report => None,
        })
        .collect();
    if targets.is_empty() {
        return "none; it is made from the graph".into();
    }
    let best = Target::best(targets.iter().map(|(target, _)| *target));
    let shown = |(target, bytes): &(&Target, u64)| {
        let here = if Some(*target) == best { ", best here" } else { "" };
        format!("{target} ({}{here})", size(*bytes))
    };
    let of = |gpu: bool| targets.iter().filter(move |(t, _)| t.arch.is_gpu() == gpu).map(shown).collect::<Vec<_>>();
    let (cpus, gpus) = (of(false), of(true));
    let by = artifact.manifest().metadata.get(BACKEND_KEY).filter(|_| !cpus.is_empty());
    let cpus = by.map_or(cpus.join(", "), |by| format!("{} by {by}", cpus.join(", ")));
    [cpus, gpus.join(", ")].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ")
}

/// Why a step runs as it does.
struct Reason {
    step: String,
    device: &'static str,
    reason: String,
}

/// The reasons of all steps, on the devices that the artifact has plans for.
fn reasons(artifact: &Artifact) -> Result<Vec<Reason>, Diagnostic> {
    let manifest = artifact.manifest();
    let mut reasons = Vec::new();
    let mut add = |device, all: BTreeMap<String, String>| {
        reasons.extend(all.into_iter().map(|(step, reason)| Reason { step, device, reason }));
    };
    if manifest.cuda.is_none() || !manifest.entries.is_empty() {
        add("cpu", recompile(artifact, Vec::new(), Backend::best())?.reasons);
    }
    if let Some(plan) = &manifest.cuda {
        let graph = graph_of(artifact)?;
        let targets: Vec<Target> = plan.targets.iter().map(|t| t.target.clone()).collect();
        let products = link::products(artifact)?;
        let planned = cuda::plan(&graph, Entries::of(&graph), products, &targets, TensorTable::default());
        add("cuda", planned.map_err(first)?.reasons);
    }
    Ok(reasons)
}

/// Why steps run as they do: the artifact's graph is compiled again, and the reasons are those of this build.
fn why(artifact: &Artifact, node: &str, format: Format) -> Result<(), Stop> {
    let reasons = reasons(artifact)?;
    let found: Vec<&Reason> = reasons.iter().filter(|reason| reason.step.contains(node)).collect();
    if found.is_empty() {
        let d = Diagnostic::request("unknown-node", format!("no step is called `{node}`"));
        let d = match nearest(node, reasons.iter().map(|reason| reason.step.as_str())) {
            Some(word) => d.help(format!("did you mean `{word}`?")),
            None => d.help("`--why ''` lists all steps"),
        };
        return Err(d.into());
    }
    match format {
        Format::Json => {
            let rows = found.iter().map(|r| value!({ "step": r.step, "device": r.device, "reason": r.reason }));
            json(&value!({ "steps": rows.collect::<Vec<_>>() }))
        }
        Format::Text => {
            let rows = found.into_iter().map(|r| vec![r.step.clone(), r.device.to_owned(), r.reason.clone()]);
            write!(std::io::stdout().lock(), "{}", table("<<<", &rows.collect::<Vec<_>>()))?;
            Ok(())
        }
    }
}
