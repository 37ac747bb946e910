//! What the command line says of a call: tensors of inputs from files, values of symbols.

use super::opt::bindings;
use super::render::Stop;
use actc::artifact::Entry;
pub(super) use actc::entry::{call, choose, given, session};
use actc::npy;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Shape, Tensor};
use std::path::Path;

/// The tensors of `NAME=FILE.npy` items, one for each input of `entry` in its order.
pub(super) fn tensors(items: &[String], entry: &Entry) -> Result<Vec<Tensor>, Stop> {
    let mut given = Vec::new();
    for item in items {
        let (name, file) = item.split_once('=').ok_or_else(|| {
            Diagnostic::request("input-syntax", format!("`{item}` names no input"))
                .help("write `--input NAME=FILE.npy`")
        })?;
        let port = entry.inputs.iter().find(|p| p.name == name).ok_or_else(|| {
            let names: Vec<&str> = entry.inputs.iter().map(|p| p.name.as_str()).collect();
            Diagnostic::request("unknown-input", format!("`{}` has no input `{name}`", entry.name))
                .help(format!("its inputs: {}", names.join(", ")))
        })?;
        given.push((name, npy::read_as(Path::new(file), port.dtype)?));
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

/// The values of `NAME=N` items for `entry`; a language model starts with nothing past.
pub(super) fn symbols(items: &[String], entry: &Entry) -> Result<Bindings> {
    let mut symbols = bindings(items)?;
    let past = actc_ir::eval::past_tokens();
    // The extent of an input may be called the same.
    if !entry.inputs.iter().any(|port| port.dims.iter().any(|d| d.symbols().contains(&&past))) {
        symbols.entry(past).or_insert(0);
    }
    Ok(symbols)
}
