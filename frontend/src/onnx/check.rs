//! What every graph must keep to: each value is defined once, before it is used.
//!
//! Graphs in attributes see the values that are defined before their node. Their inputs and initialisers may hide an outer
//! name, as the standard's own checker allows; outputs of nodes may not.

use super::graph::Graph;
use actc_types::{Diagnostic, Place, Result};
use std::collections::{HashMap, HashSet};

/// Most findings that are told.
const SHOWN: usize = 8;

/// Checks `graph` and the graphs in it; all findings of the most important kind are told at once.
pub(super) fn check(graph: &Graph) -> Result<()> {
    let mut checker = Checker { defined: HashMap::new(), twice: Found::default(), undefined: Found::default() };
    checker.graph(graph, 0);
    checker.twice.into_result("onnx-ssa")?;
    checker.undefined.into_result("onnx-undefined")
}

#[derive(Default)]
struct Found {
    count: usize,
    told: Vec<String>,
    first: Option<Place>,
}

impl Found {
    fn add(&mut self, place: impl FnOnce() -> Place, text: impl FnOnce() -> String) {
        self.count += 1;
        if self.told.len() < SHOWN {
            self.told.push(text());
            self.first.get_or_insert_with(place);
        }
    }

    fn into_result(self, code: &'static str) -> Result<()> {
        let Some(place) = self.first else { return Ok(()) };
        let mut headline = self.told.join("\n");
        if self.count > self.told.len() {
            headline.push_str(&format!("\nand {} more", self.count - self.told.len()));
        }
        Err(Diagnostic::new(code, headline).at(place))
    }
}

struct Checker<'g> {
    /// How deep the innermost definition of a name lies.
    defined: HashMap<&'g str, usize>,
    twice: Found,
    undefined: Found,
}

impl<'g> Checker<'g> {
    fn graph(&mut self, graph: &'g Graph, depth: usize) {
        // Names defined here, with what they meant outside.
        let mut undo: Vec<(&'g str, Option<usize>)> = Vec::new();
        let place = || Place::Tensor(graph.name.clone());
        let inputs = graph.inputs.iter().map(|v| v.name.as_str());
        for name in inputs.chain(graph.initialisers.iter().map(|(name, _)| name.as_str())) {
            let before = self.defined.insert(name, depth);
            if before == Some(depth) {
                self.twice
                    .add(place, || format!("`{name}` is an input or initialiser of the graph `{}` twice", graph.name));
            } else {
                undo.push((name, before));
            }
        }
        for (index, node) in graph.nodes.iter().enumerate() {
            let at = || Place::Node(node.label(index));
            for name in node.inputs.iter().flatten() {
                if !self.defined.contains_key(name.as_str()) {
                    let later = || graph.nodes[index..].iter().any(|n| n.outputs.iter().flatten().any(|o| o == name));
                    self.undefined.add(at, || {
                        let when = if later() { "is defined only after it" } else { "is defined nowhere before" };
                        format!("{} uses `{name}`, which {when}", node.label(index))
                    });
                }
            }
            for inner in node.attributes.graphs() {
                self.graph(inner, depth + 1);
            }
            for name in node.outputs.iter().flatten() {
                if self.defined.contains_key(name.as_str()) {
                    self.twice.add(at, || format!("{} defines `{name}`, which is defined already", node.label(index)));
                } else {
                    self.defined.insert(name, depth);
                    undo.push((name, None));
                }
            }
        }
        let mut outputs = HashSet::new();
        for output in &graph.outputs {
            let name = output.name.as_str();
            if !self.defined.contains_key(name) {
                let at = || Place::Tensor(name.to_owned());
                self.undefined
                    .add(at, || format!("the output `{name}` of the graph `{}` is defined nowhere", graph.name));
            }
            // Graphs in attributes give by place, a model by name.
            if depth == 0 && !outputs.insert(name) {
                let at = || Place::Tensor(name.to_owned());
                self.twice.add(at, || format!("`{name}` is an output of the graph `{}` twice", graph.name));
            }
        }
        for (name, before) in undo.into_iter().rev() {
            match before {
                Some(depth) => self.defined.insert(name, depth),
                None => self.defined.remove(name),
            };
        }
    }
}
