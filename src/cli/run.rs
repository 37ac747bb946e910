//! `actc run`: an artifact on tensors in `.npy` files.

use super::open::ArtifactArgs;
use super::opt::bindings;
use super::render::Stop;
use super::threads;
use actc::artifact::Entry;
use actc::runtime::{Session, SessionOptions};
use actc::{link, npy};
use actc_types::{Diagnostic, Place, Shape, Symbol, Tensor};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `actc run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,
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
}

/// `name` as a file name: characters other than letters, digits and `._-` become `_`.
fn file_name(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
    let name: String = name.chars().map(kept).collect();
    // A name of dots alone would leave the folder.
    if name.bytes().all(|b| b == b'.') { format!("_{name}.npy") } else { format!("{name}.npy") }
}

fn tensors(items: &[String], entry: &Entry) -> Result<Vec<Tensor>, Stop> {
    let mut given = Vec::new();
    for item in items {
        let (name, file) = item.split_once('=').ok_or_else(|| {
            Diagnostic::request("input-syntax", format!("`{item}` names no input"))
                .help("write `--input NAME=FILE.npy`")
        })?;
        if !entry.inputs.iter().any(|p| p.name == name) {
            let names: Vec<&str> = entry.inputs.iter().map(|p| p.name.as_str()).collect();
            return Err(Diagnostic::request("unknown-input", format!("`{}` has no input `{name}`", entry.name))
                .help(format!("its inputs: {}", names.join(", ")))
                .into());
        }
        given.push((name, npy::read(Path::new(file))?));
    }
    let mut missing = Vec::new();
    let mut found = Vec::new();
    for port in &entry.inputs {
        match given.iter().find(|(name, _)| *name == port.name) {
            Some((_, tensor)) => found.push(tensor.clone()),
            None => missing.push(
                Diagnostic::request(
                    "missing-input",
                    format!("no tensor is given for `{}`: {}{}", port.name, port.dtype, Shape(port.dims.clone())),
                )
                .help(format!("--input {}=FILE.npy", port.name)),
            ),
        }
    }
    if missing.is_empty() { Ok(found) } else { Err(missing.into()) }
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let opening = args.artifact.opening;
    let model = link::open(opening.artifact(&args.artifact.artifact)?, opening.trust())?;
    let manifest = model.artifact().manifest();
    let names: Vec<&str> = manifest.entries.iter().map(|e| e.name.as_str()).collect();
    let wanted = match (&args.entry, &names[..]) {
        (Some(name), _) => name.as_str(),
        (None, [only]) => only,
        (None, _) => "score",
    };
    let entry = manifest.entries.iter().find(|e| e.name == wanted).ok_or_else(|| {
        Diagnostic::request("unknown-entry", format!("the artifact has no entry `{wanted}`"))
            .help(format!("its entries: {}", names.join(", ")))
    })?;
    let inputs = tensors(&args.input, entry)?;
    let mut symbols = bindings(&args.dim)?;
    // A language model starts with nothing past.
    symbols.entry(actc_ir::eval::past_tokens()).or_insert(0);
    let known: BTreeSet<&Symbol> = entry.symbols.iter().collect();
    symbols.retain(|s, _| known.contains(s));

    let mut capacity = symbols.clone();
    for (port, tensor) in entry.inputs.iter().zip(&inputs) {
        for (dim, extent) in port.dims.iter().zip(tensor.dims()) {
            if let [symbol] = dim.symbols()[..] {
                capacity.entry(symbol.clone()).or_insert(*extent);
            }
        }
    }
    let options =
        SessionOptions { threads: threads(args.threads), state_capacity: capacity, ..SessionOptions::default() };
    let outputs = Session::new(model.clone(), options)?.run(wanted, &inputs, &symbols)?;
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
