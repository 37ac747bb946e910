//! One call of an artifact's entry on tensors: which entry, and a session that has room for its inputs.

use actc_artifact::Entry;
use actc_passes::Sample;
use actc_runtime::{AnySession, Placed, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Symbol, Tensor};
use std::collections::BTreeSet;

/// The one of `entries` called `asked`; without a name the only one, or `score` of a language model.
pub fn choose<'m>(entries: &'m [Entry], asked: Option<&str>) -> Result<&'m Entry> {
    let names: Vec<&str> = entries.iter().map(|e| e.name.as_str()).collect();
    let wanted = match (asked, &names[..]) {
        (Some(name), _) => name,
        (None, [only]) => only,
        (None, _) => "score",
    };
    entries.iter().find(|e| e.name == wanted).ok_or_else(|| {
        Diagnostic::request("unknown-entry", format!("the artifact has no entry `{wanted}`"))
            .help(format!("its entries: {}", names.join(", ")))
    })
}

/// The tensors that `sample` has for the inputs of `entry`, in its order; the name of one that is missing.
pub fn given<'e>(entry: &'e Entry, sample: &Sample) -> std::result::Result<Vec<Tensor>, &'e str> {
    let of = |name: &str| sample.inputs.iter().find(|(n, _)| n == name).map(|(_, tensor)| tensor.clone());
    entry.inputs.iter().map(|port| of(&port.name).ok_or(port.name.as_str())).collect()
}

/// Runs `entry` of `model` once in a session of its own; states start empty.
pub fn call(
    model: &Placed,
    entry: &Entry,
    inputs: &[Tensor],
    symbols: &Bindings,
    threads: usize,
) -> Result<Vec<Tensor>> {
    let (mut session, symbols) = session(model, entry, inputs, symbols, threads, false)?;
    session.run(&entry.name, inputs, &symbols)
}

/// A session for `entry` on inputs such as `inputs`, and those of `symbols` that the entry has.
pub fn session(
    model: &Placed,
    entry: &Entry,
    inputs: &[Tensor],
    symbols: &Bindings,
    threads: usize,
    profile: bool,
) -> Result<(AnySession, Bindings)> {
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
    Ok((model.session(options)?, symbols))
}
