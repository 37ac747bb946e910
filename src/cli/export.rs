//! `actc export`: the graph of an artifact in a format of other programs.

use super::open::ArtifactArgs;
use super::render::{Stop, note, size};
use super::request::{free, unwritten};
use actc::codegen::graph_of;
use actc::frontend::onnx;
use actc::output::Pending;
use actc_types::{Diagnostic, Place};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `actc export`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,
    /// What is written
    #[arg(long, value_enum)]
    format: Target,
    /// The file; larger weights lie beside it in FILE.data; default: the artifact's name with .onnx
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the output
    #[arg(short, long)]
    force: bool,
}

/// Formats of other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Target {
    /// The Open Neural Network Exchange.
    Onnx,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let path = &args.artifact.artifact;
    let output = args.output.clone().unwrap_or_else(|| match args.format {
        Target::Onnx => path.with_extension("onnx"),
    });
    let mut beside = output.clone().into_os_string();
    beside.push(".data");
    let beside = PathBuf::from(beside);
    free(&output, args.force)?;
    let artifact = args.artifact.opening.artifact(path)?;
    let graph = graph_of(&artifact)?;
    let name = beside.file_name().and_then(|n| n.to_str()).ok_or_else(|| {
        Diagnostic::request("output-name", "the name of the output is no text")
            .at(Place::File(output.display().to_string()))
    })?;
    let exported = match args.format {
        Target::Onnx => onnx::export(&graph, name)?,
    };
    for text in &exported.notes {
        note(text.clone());
    }
    let bytes = exported.data_bytes();
    let failed = |path: &Path, e: &std::io::Error| unwritten(path, "output-write", "file", e);
    // Neither has its name before both are written.
    let mut data = None;
    if bytes > 0 {
        free(&beside, args.force)?;
        let filled = Pending::filled(&beside, args.force, |file| exported.write_data(file));
        data = Some(filled.map_err(|e| failed(&beside, &e))?);
    }
    let model = Pending::new(&output, &exported.model, args.force).map_err(|e| failed(&output, &e))?;
    data.map_or(Ok(()), Pending::name).map_err(|e| failed(&beside, &e))?;
    model.name().map_err(|e| failed(&output, &e))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "wrote {} ({})", output.display(), size(exported.model.len() as u64))?;
    if bytes > 0 {
        writeln!(out, "wrote {} ({})", beside.display(), size(bytes))?;
    }
    Ok(())
}
