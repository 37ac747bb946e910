//! `actc relink`: code for another machine, from an artifact alone.

use super::open::ArtifactArgs;
use super::render::{Stop, size};
use super::request::targets;
use actc::artifact::Writer;
use actc::link::{recompile, redescribe};
use std::io::Write;
use std::path::PathBuf;

/// Options of `actc relink`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,
    /// Machine to make code for: host, or a name from `actc targets`; may be repeated
    #[arg(long, value_name = "TARGET", required = true)]
    target: Vec<String>,
    /// The new artifact; default: the old one's name with the first target before .actc
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the output
    #[arg(short, long)]
    force: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let targets = targets(&args.target)?;
    let path = &args.artifact.artifact;
    let output = args.output.clone().unwrap_or_else(|| path.with_extension(format!("{}.actc", targets[0])));
    let artifact = args.artifact.opening.artifact(path)?;
    let writer = Writer::to_file(&output, args.force)?;
    let program = recompile(&artifact, targets, args.artifact.opening.backend()?)?;
    let written = program.write(writer, redescribe(&artifact)?)?;
    writeln!(
        std::io::stdout().lock(),
        "wrote {} ({}, digest {})",
        output.display(),
        size(written.length),
        written.digest
    )?;
    Ok(())
}
