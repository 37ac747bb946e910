//! `actc completions`: a script that teaches a shell the verbs and options.

use super::Cli;
use super::render::Stop;
use clap::CommandFactory;
use std::io::Write;

/// Options of `actc completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "actc", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(())
}
