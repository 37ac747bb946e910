//! The one way from a lowered graph to a program.

use crate::emit::Backend;
use crate::plan::buffers::StateTable;
use crate::plan::steps::{self, Shared};
use crate::program::Program;
use crate::specialise::{Rows, specialise};
use actc_artifact::StateEntry;
use actc_ir::eval::new_tokens;
use actc_ir::{Graph, Lowered};
use actc_types::{Diagnostic, Symbol, Target};

/// Which entries a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// `forward`: the graph as it is.
    Forward,
    /// `prefill` (any number of new tokens, outputs of the last), `decode` (one new token) and `score` (any number of new
    /// tokens, outputs of all).
    Language,
}

impl Entries {
    fn list(self) -> Vec<(&'static str, Vec<(Symbol, u64)>, Rows)> {
        match self {
            Entries::Forward => vec![("forward", Vec::new(), Rows::All)],
            Entries::Language => vec![
                ("prefill", Vec::new(), Rows::Last),
                ("decode", vec![(new_tokens(), 1)], Rows::All),
                ("score", Vec::new(), Rows::All),
            ],
        }
    }

    /// The entries that suit `graph`: those of a language model where it has state and a symbol for new tokens.
    pub fn of(graph: &Graph) -> Entries {
        let tokens = new_tokens();
        let has_tokens =
            graph.inputs().any(|(_, v)| graph.ty(v).shape.dims().iter().any(|d| d.symbols().contains(&&tokens)));
        if has_tokens && !graph.donated().is_empty() { Entries::Language } else { Entries::Forward }
    }
}

/// What to compile for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Machines that code is made for; none makes a program without generated code, to be relinked.
    pub targets: Vec<Target>,
    /// What makes it.
    pub backend: Backend,
    /// Which entries to make.
    pub entries: Entries,
}

/// Compiles `lowered`. All nodes without code are reported at once.
pub fn compile(lowered: &Lowered, options: &Options) -> Result<Program, Vec<Diagnostic>> {
    let graph = lowered.graph();
    let states = StateTable::of(graph);
    let mut shared = Shared::default();
    let mut entries = Vec::new();
    let mut findings = Vec::new();
    for (name, fixed, rows) in options.entries.list() {
        let special = specialise(graph, &fixed, rows).map_err(|d| vec![d])?;
        match steps::entry(name, &special, &fixed, &states, &mut shared) {
            Ok(entry) => entries.push(entry),
            Err(more) => findings.extend(more.into_iter().filter(|d| !findings.contains(d)).collect::<Vec<_>>()),
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut images = Vec::new();
    for target in &options.targets {
        images.push((target.clone(), shared.kernels.compile(options.backend, target).map_err(|d| vec![d])?));
    }
    let states =
        states.states.into_iter().map(|(name, dtype, shape)| StateEntry { name, dtype, dims: shape.0 }).collect();
    Ok(Program {
        graph: graph.clone(),
        tensors: shared.tensors.order,
        states,
        kernels: shared.kernels.symbols(),
        entries,
        images,
        backend: options.backend,
        reasons: shared.reasons,
        specs: shared.kernels.specs().to_vec(),
    })
}
