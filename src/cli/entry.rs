//! One call of an artifact's entry on tensors: which entry, its inputs from files, its symbols, its outputs.

use super::opt::bindings;
use super::render::Stop;
use actc::artifact::{Entry, Manifest};
use actc::npy;
use actc::runtime::{Model, Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Shape, Symbol, Tensor};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

/// The entry called `asked`; without a name the only one, or `score` of a language model.
pub(super) fn choose<'m>(manifest: &'m Manifest, asked: Option<&str>) -> Result<&'m Entry> {
    let names: Vec<&str> = manifest.entries.iter().map(|e| e.name.as_str()).collect();
    let wanted = match (asked, &names[..]) {
        (Some(name), _) => name,
        (None, [only]) => only,
        (None, _) => "score",
    };
    manifest.entries.iter().find(|e| e.name == wanted).ok_or_else(|| {
        Diagnostic::request("unknown-entry", format!("the artifact has no entry `{wanted}`"))
            .help(format!("its entries: {}", names.join(", ")))
    })
}

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

/// Runs `entry` of `model` once in a session of its own; states start empty.
pub(super) fn call(
    model: &Arc<Model>,
    entry: &Entry,
    inputs: &[Tensor],
    symbols: &Bindings,
    threads: usize,
) -> Result<Vec<Tensor>> {
    let (mut session, symbols) = session(model, entry, inputs, symbols, threads, false)?;
    session.run(&entry.name, inputs, &symbols)
}

/// A session for `entry` on inputs such as `inputs`, and those of `symbols` that the entry has.
pub(super) fn session(
    model: &Arc<Model>,
    entry: &Entry,
    inputs: &[Tensor],
    symbols: &Bindings,
    threads: usize,
    profile: bool,
) -> Result<(Session, Bindings)> {
    let known: BTreeSet<&Symbol> = entry.symbols.iter().collect();
    let mut symbols = symbols.clone();
    symbols.retain(|s, _| known.contains(s));
    let mut capacity = symbols.clone();
    for (port, tensor) in entry.inputs.iter().zip(inputs) {
        for (dim, extent) in port.dims.iter().zip(tensor.dims()) {
            if let [symbol] = dim.symbols()[..] {
                capacity.entry(symbol.clone()).or_insert(*extent);
            }
        }
    }
    let options = SessionOptions { threads, state_capacity: capacity, profile, ..SessionOptions::default() };
    Ok((Session::new(model.clone(), options)?, symbols))
}
