//! `actc run`: an artifact on tensors in `.npy` files.

use super::bench::median;
use super::device::DeviceArgs;
use super::open::ArtifactArgs;
use super::render::Stop;
use super::{entry, threads};
use actc::npy;
use actc::place::{entries, place};
use actc_types::{Diagnostic, Place};
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

/// Most steps that are listed.
const MOST_STEPS: usize = 40;

/// Options of `actc run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// A tensor for an input; once for each
    #[arg(long, value_name = "NAME=FILE.npy")]
    input: Vec<String>,
    /// Value of a symbol that no input's shape gives, such as B=8
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// What to run; default: the only entry, or `score` of a language model
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Folder for the outputs, one NAME.npy each
    #[arg(long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    /// Run so many times more and print the median time of a run
    #[arg(long, value_name = "N", default_value_t = 0)]
    repeat: usize,
    /// Also list where the time of those runs goes
    #[arg(long, requires = "repeat")]
    steps: bool,
}

/// `name` as a file name: characters other than letters, digits and `._-` become `_`.
fn file_name(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(kept).collect();
    // A name of dots alone would leave the folder.
    if name.bytes().all(|b| b == b'.') { format!("_{name}.npy") } else { format!("{name}.npy") }
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let opening = &args.artifact.opening;
    let (device, native) = (args.device.device()?, opening.native()?);
    let model = place(opening.artifact(&args.artifact.artifact)?, native, device)?;
    let entry = entry::choose(entries(&model), args.entry.as_deref())?;
    let inputs = entry::tensors(&args.input, entry)?;
    let symbols = entry::symbols(&args.dim, entry)?;
    let (mut session, symbols) = entry::session(&model, entry, &inputs, &symbols, threads(args.threads), args.steps)?;
    let outputs = session.run(&entry.name, &inputs, &symbols)?;
    std::fs::create_dir_all(&args.output).map_err(|e| {
        Diagnostic::request("output-folder", format!("cannot make the folder: {e}"))
            .at(Place::File(args.output.display().to_string()))
    })?;
    let mut out = std::io::stdout().lock();
    for (port, tensor) in entry.outputs.iter().zip(&outputs) {
        let path = args.output.join(file_name(&port.name));
        npy::write(&path, tensor)?;
        writeln!(out, "{}: {}{:?}", path.display(), tensor.dtype(), tensor.dims())?;
    }
    let inputs: Vec<_> = inputs.iter().collect();
    let mut seconds = Vec::with_capacity(args.repeat);
    for _ in 0..args.repeat {
        let started = Instant::now();
        session.execute(&entry.name, &inputs, &symbols)?;
        seconds.push(started.elapsed().as_secs_f64());
    }
    if args.repeat > 0 {
        writeln!(out, "a run takes {:.3} ms, the median of {}", 1e3 * median(seconds), args.repeat)?;
    }
    let mut steps: Vec<_> = session.profile().iter().collect();
    steps.sort_by_key(|(_, time)| std::cmp::Reverse(time.nanoseconds));
    for (label, time) in steps.iter().take(MOST_STEPS) {
        let each = time.nanoseconds as f64 / time.runs.max(1) as f64;
        writeln!(out, "{:10.3} ms  {label}", each / 1e6)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::file_name;

    #[test]
    fn names_stay_inside_the_folder() {
        assert_eq!(file_name("logits"), "logits.npy");
        assert_eq!(file_name("../a b/c"), ".._a_b_c.npy");
        assert_eq!(file_name(".."), "_...npy");
    }
}
