//! Replaced values, and new nodes that read what values have become by then: one walk over a graph in order rewrites chains of any
//! length.

use actc_ir::{Const, Graph, Op, Patch, Value};
use actc_types::Result;
use std::collections::BTreeMap;

/// New nodes, and the values that they replace.
pub(super) struct Rewrite<'g> {
    graph: &'g mut Graph,
    label: &'static str,
    became: BTreeMap<Value, Value>,
}

impl<'g> Rewrite<'g> {
    pub(super) fn new(graph: &'g mut Graph, label: &'static str) -> Rewrite<'g> {
        Rewrite { graph, label, became: BTreeMap::new() }
    }

    /// The graph as it came, and new nodes.
    pub(super) fn graph(&self) -> &Graph {
        self.graph
    }

    /// What stands for `value` by now.
    pub(super) fn now(&self, value: Value) -> Value {
        self.became.get(&value).copied().unwrap_or(value)
    }

    /// A new node, of which messages say that it is the one that gives `origin`.
    pub(super) fn add(&mut self, op: Op, args: &[Value], origin: Value) -> Result<Value> {
        let args: Vec<Value> = args.iter().map(|v| self.now(*v)).collect();
        let origin = self.graph.def_node(origin).map_or(String::new(), |n| self.graph.node(n).origin.clone());
        self.graph.add(op, &args, origin)
    }

    pub(super) fn constant(&mut self, constant: Const) -> Value {
        self.graph.constant(constant)
    }

    /// Other bytes for the constant that `value` is, which nobody else reads.
    pub(super) fn set_constant(&mut self, value: Value, constant: Const) -> Result<()> {
        self.graph.as_const(value).map_or(Ok(()), |id| self.graph.set_const(id, constant))
    }

    /// Every use of `old` becomes one of what stands for `new`.
    pub(super) fn replace(&mut self, old: Value, new: Value) {
        self.became.insert(old, self.now(new));
    }

    /// The number of uses that changed.
    pub(super) fn apply(self) -> Result<usize> {
        let mut patch = Patch::new(self.graph, self.label);
        self.became.into_iter().try_for_each(|(old, new)| patch.replace(old, new))?;
        patch.apply()
    }
}
