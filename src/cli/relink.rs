//! `actc relink`: code for another machine, from an artifact alone.

use super::open::ArtifactArgs;
use super::render::{Stop, size};
use actc::artifact::Writer;
use actc::link::{recompile, redescribe};
use actc_types::{Diagnostic, Target};
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
    let mut targets = Vec::new();
    for name in &args.target {
        let target = Target::parse(name)?;
        if target.arch.is_gpu() {
            return Err(Diagnostic::request("target-unavailable", format!("this build makes no code for {target}"))
                .help("`actc targets` lists the machines that it makes code for")
                .into());
        }
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let path = &args.artifact.artifact;
    let output = args.output.clone().unwrap_or_else(|| path.with_extension(format!("{}.actc", targets[0])));
    let artifact = args.artifact.opening.artifact(path)?;
    let writer = Writer::to_file(&output, args.force)?;
    let program = recompile(&artifact, targets)?;
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
