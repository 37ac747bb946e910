//! Checks every kernel for GPUs against a reference in double precision on a GPU, then times it.
//!
//! `actc-gpu pack` compiles all kernels and writes a program that holds their PTX and needs a driver only; that program,
//! started without a command, checks and times. A check that fails is exit 1. Kernels that LLVM prints are packed by a build
//! with the feature `llvm` onto one without it, so that what is packed holds no LLVM.
#![allow(unsafe_code, reason = "launches kernels")]
#![allow(clippy::print_stdout, reason = "prints what it finds")]

mod attention;
mod device;
mod general;
mod pack;
mod products;
mod rival;
mod speed;
mod stream;
mod sweep;
mod tally;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// Any error, as people read it.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Checks kernels for GPUs on a GPU, then times them.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Which of the machine's GPUs
    #[arg(long, default_value_t = 0)]
    device: usize,
    /// Leave out what has not this in its name
    #[arg(long, default_value = "", global = true)]
    only: String,
    /// Check, and time nothing
    #[arg(long)]
    no_timing: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Compile all kernels into a program of their own; with `--only`, those of checks that have it in their names
    Pack {
        /// Where it goes
        #[arg(short, long)]
        output: PathBuf,
        /// The program that the kernels are put into, instead of this one: one built without the feature `llvm`
        #[arg(long)]
        onto: Option<PathBuf>,
        /// Code for one kind of GPU alone, `sm_80` (PTX, which later ones run too) or `sm_90a`
        #[arg(long)]
        target: Option<String>,
    },
    /// Time other ways to share work, from which the defaults are chosen
    Sweep,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Some(Command::Pack { output, onto, target }) => {
            pack::write(output, onto.as_deref(), target.as_deref(), &args.only).map(|()| true)
        }
        Some(Command::Sweep) => open(&args).and_then(|device| sweep::measure(&device, &args.only)).map(|()| true),
        None => run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn open(args: &Args) -> Result<device::Device> {
    let device = device::Device::open(args.device, pack::Pack::read()?)?;
    println!("{device}");
    Ok(device)
}

/// Whether all checks passed.
fn run(args: &Args) -> Result<bool> {
    let device = open(args)?;
    let only = &args.only;
    let right = products::check(&device, only)? & attention::check(&device, only)? & general::check(&device, only)?;
    if right && !args.no_timing {
        speed::measure(&device, only)?;
        attention::measure(&device, only)?;
        general::measure(&device, only)?;
    }
    Ok(right)
}
