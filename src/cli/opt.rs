//! `actc opt`: runs a pipeline exactly as typed over a graph in text form, and prints the result.

use super::open::is_artifact;
use super::pipeline::Watch;
use super::render::{Progress, Stop, unreadable};
use super::threads;
use actc::artifact::{Artifact, ReadOptions};
use actc::calibration::synthetic;
use actc::evaluator::Compiled;
use actc_ir::{Const, Evaluator, Graph, Interpreter, text, verify};
use actc_passes::{PASSES, PassCx, Pipeline};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Place, Symbol};
use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `actc opt`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A graph in text form (.air)
    file: PathBuf,
    /// Passes to run, in this order
    #[arg(long, value_name = "PIPELINE", default_value = "")]
    passes: String,
    /// The model or artifact that holds constants which the text names by digest
    #[arg(long, value_name = "MODEL")]
    weights: Option<PathBuf>,
    /// Made-up samples to calibrate on
    #[arg(long, value_name = "N", default_value_t = 8)]
    samples: usize,
    /// Value of a symbol in the samples, such as S=16; may be repeated
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Seed of the samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Run graphs with the reference interpreter instead of compiled code
    #[arg(long)]
    reference: bool,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    /// Where to write the result; default: standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    watch: Watch,
}

/// Reads `NAME=N` items; two values of one name are an error.
pub(super) fn bindings(items: &[String]) -> Result<Bindings, Diagnostic> {
    let mut bindings = Bindings::new();
    for item in items {
        let pair = item.split_once('=').and_then(|(name, n)| Some((Symbol::new(name)?, n.parse().ok()?)));
        let (symbol, n) = pair.ok_or_else(|| {
            Diagnostic::request("dim-syntax", format!("`{item}` gives no symbol a value")).help("write `--dim B=8`")
        })?;
        if let Some(other) = bindings.insert(symbol.clone(), n).filter(|other| *other != n) {
            let headline = format!("`{symbol}` is asked to be {other} and {n}");
            return Err(Diagnostic::request("dim-conflict", headline).help("keep one of them"));
        }
    }
    Ok(bindings)
}

/// Constants of a model or artifact, by name and digest.
fn constants(path: &Path) -> Result<Graph, Diagnostic> {
    if is_artifact(path)? {
        return actc::codegen::graph_of(&Artifact::open(path, &ReadOptions::default())?);
    }
    Ok(actc::frontend::load(path)?.graph)
}

fn load(args: &Args) -> Result<Graph, Diagnostic> {
    let source = std::fs::read_to_string(&args.file).map_err(|e| unreadable(&args.file, &e))?;
    let Some(weights) = &args.weights else { return text::parse(&source, &text::unbound) };
    let graph = constants(weights)?;
    let bind = |name: &str, digest: &str| -> Result<Const, Diagnostic> {
        let found = graph.constants().map(|(_, c)| c).find(|c| c.name == name);
        let place = || Place::Tensor(name.to_owned());
        let found = found.ok_or_else(|| {
            Diagnostic::request("air-unbound", "the weights have no constant of this name").at(place())
        })?;
        if found.digest().to_hex().as_str() != digest {
            return Err(Diagnostic::request("air-digest", "the weights have another constant of this name").at(place()));
        }
        Ok(found.clone())
    };
    text::parse(&source, &bind)
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let pipeline = Pipeline::parse(&args.passes, PASSES)?;
    pipeline.check(PASSES)?;
    let config = args.watch.config(&pipeline);
    config?;
    if args.watch.print_pipeline_passes {
        writeln!(std::io::stdout().lock(), "{pipeline}")?;
        return Ok(());
    }
    let mut graph = load(args)?;
    let findings = verify(&graph);
    if !findings.is_empty() {
        return Err(findings.into());
    }
    let mut symbols = bindings(&args.dim)?;
    for symbol in [actc_ir::eval::new_tokens(), actc_ir::eval::past_tokens()] {
        let default = if symbol == actc_ir::eval::new_tokens() { 16 } else { 0 };
        symbols.entry(symbol).or_insert(default);
    }
    let needs_samples = pipeline.steps().iter().any(|s| s.info.needs.and(s.info.gives) != actc_passes::Facts::NONE);
    let samples =
        if needs_samples { synthetic::samples(&graph, &symbols, args.samples, args.seed)? } else { Vec::new() };
    let compiled = Compiled::new(threads(args.threads));
    let evaluator: &dyn Evaluator = if args.reference { &Interpreter } else { &compiled };
    let progress = RefCell::new(Progress::new());
    let mut told = |p: actc_passes::Progress<'_>| progress.borrow_mut().at(p.stage, p.item, p.done, p.total);
    let mut cx = PassCx::new(evaluator, &mut told);
    cx.samples = &samples;
    args.watch.run(&pipeline, &mut graph, &progress, &mut cx)?;
    let printed = text::print(&graph);
    match &args.output {
        Some(path) => std::fs::write(path, printed).map_err(|e| unreadable(path, &e))?,
        None => write!(std::io::stdout().lock(), "{printed}")?,
    }
    Ok(())
}
