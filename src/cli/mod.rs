//! The command line: one file a verb, errors and progress rendered in one place.
//!
//! Exit codes: 0 done as asked; 1 could not be done as asked; 2 the request itself is wrong.

mod backend;
mod bench;
mod calibrate;
mod compare;
mod compile;
mod completions;
mod data;
mod device;
mod doctor;
mod entry;
mod eval;
mod export;
mod generate;
mod inspect;
mod interrupt;
mod job;
mod layers;
mod open;
mod opt;
mod passes;
mod pipeline;
mod plan;
mod relink;
mod render;
mod request;
mod require;
mod run;
mod speak;
mod targets;
mod verdict;

use clap::{Parser, Subcommand};
use render::Stop;
use std::process::ExitCode;

/// An activation-aware model compiler.
#[derive(Parser)]
#[command(name = "actc", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Compile a model to an artifact: MODEL is a .gguf or .onnx file, or a folder with config.json and *.safetensors
    Compile(Box<compile::Args>),
    /// What a compile would decide, store and take, without doing it
    Plan(Box<plan::Args>),
    /// Collect statistics of activations in a file, or merge such files
    Calibrate(calibrate::Args),
    /// Run passes over a graph in text form and print the result
    Opt(opt::Args),
    /// Run an artifact on tensors in .npy files
    Run(run::Args),
    /// Continue a text with a language model
    Generate(generate::Args),
    /// Perplexity of a language model on a text, and its distance from a reference
    Eval(eval::Args),
    /// Two artifacts or models on the same inputs
    Compare(compare::Args),
    /// Speed of an artifact
    Bench(bench::Args),
    /// What is inside an artifact or a model
    Inspect(inspect::Args),
    /// List the passes, their options and the presets
    Passes(passes::Args),
    /// List the machines that code can be made for
    Targets(targets::Args),
    /// Make code for another machine from an artifact alone
    Relink(relink::Args),
    /// Write the graph of an artifact for other programs
    Export(export::Args),
    /// Whether this machine and this build have what actc needs
    Doctor(doctor::Args),
    /// A script that teaches a shell the verbs and options
    Completions(completions::Args),
}

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Threads of this machine.
fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).max(1)
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return render::usage(&error),
    };
    let outcome: Result<(), Stop> = match cli.verb {
        Verb::Compile(args) => compile::run(&args),
        Verb::Plan(args) => plan::run(&args),
        Verb::Calibrate(args) => calibrate::run(&args),
        Verb::Opt(args) => opt::run(&args),
        Verb::Run(args) => run::run(&args),
        Verb::Generate(args) => generate::run(&args),
        Verb::Eval(args) => eval::run(&args),
        Verb::Compare(args) => compare::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Inspect(args) => inspect::run(&args),
        Verb::Passes(args) => passes::run(&args),
        Verb::Targets(args) => targets::run(&args),
        Verb::Relink(args) => relink::run(&args),
        Verb::Export(args) => export::run(&args),
        Verb::Doctor(args) => doctor::run(&args),
        Verb::Completions(args) => completions::run(&args),
    };
    render::exit(outcome)
}
