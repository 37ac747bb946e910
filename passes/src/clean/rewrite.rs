//! A patch whose new nodes read what values have become by then: one walk over a graph in order rewrites chains of any length.

use actc_ir::{Const, Graph, Op, Patch, Value};
use actc_types::Result;
use std::collections::BTreeMap;

/// New nodes, and the values that they replace.
pub(super) struct Rewrite<'g> {
    patch: Patch<'g>,
    became: BTreeMap<Value, Value>,
}

impl<'g> Rewrite<'g> {
    pub(super) fn new(graph: &'g mut Graph, label: &'static str) -> Rewrite<'g> {
        Rewrite { patch: Patch::new(graph, label), became: BTreeMap::new() }
    }

    pub(super) fn graph(&self) -> &Graph {
        self.patch.graph()
    }

    /// What stands for `value` by now.
    pub(super) fn now(&self, value: Value) -> Value {
        self.became.get(&value).copied().unwrap_or(value)
    }

    pub(super) fn add(&mut self, op: Op, args: &[Value]) -> Result<Value> {
        let args: Vec<Value> = args.iter().map(|v| self.now(*v)).collect();
        self.patch.add(op, &args)
    }

    pub(super) fn constant(&mut self, constant: Const) -> Value {
        self.patch.constant(constant)
    }

    /// Every use of `old` becomes one of what stands for `new`.
    pub(super) fn replace(&mut self, old: Value, new: Value) -> Result<()> {
        let new = self.now(new);
        self.patch.replace(old, new)?;
        self.became.insert(old, new);
        Ok(())
    }

    /// The number of uses that changed.
    pub(super) fn apply(self) -> Result<usize> {
        self.patch.apply()
    }
}
