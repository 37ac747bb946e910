//! Patches: how passes rewrite a graph. A patch is a value: new nodes, then uses redirected, under a label that reports name.

use crate::constant::Const;
use crate::graph::Graph;
use crate::handle::{Node, Value};
use crate::op::Op;
use actc_types::{Diagnostic, Place, Result, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// New nodes and redirected uses in the graph's body, applied at once.
#[derive(Debug)]
pub struct Patch<'g> {
    graph: &'g mut Graph,
    label: &'static str,
    redirected: BTreeMap<Value, Value>,
    own: BTreeSet<Node>,
}

impl<'g> Patch<'g> {
    /// A patch of `graph` called `label`.
    pub fn new(graph: &'g mut Graph, label: &'static str) -> Patch<'g> {
        Patch { graph, label, redirected: BTreeMap::new(), own: BTreeSet::new() }
    }

    /// The graph as it stands, new nodes included.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// A new node.
    pub fn add(&mut self, op: Op, args: &[Value]) -> Result<Value> {
        self.add_for(op, args, self.label)
    }

    /// A new node that stands for one of `origin`, by whose name people know it.
    pub fn add_for(&mut self, op: Op, args: &[Value], origin: &str) -> Result<Value> {
        let value = self.graph.add(op, args, origin)?;
        self.own.extend(self.graph.def_node(value));
        Ok(value)
    }

    /// A new constant.
    pub fn constant(&mut self, constant: Const) -> Value {
        self.graph.constant(constant)
    }

    /// Every use of `old`, outputs included, becomes a use of `new`, which must have the same type.
    pub fn replace(&mut self, old: Value, new: Value) -> Result<()> {
        if self.graph.ty(old) != self.graph.ty(new) {
            let headline = format!("patch `{}` replaces {} by {}", self.label, self.graph.ty(old), self.graph.ty(new));
            return Err(Diagnostic::new("ir-patch", headline));
        }
        self.redirected.insert(old, new);
        Ok(())
    }

    /// Redirects the uses, puts the body in order again and says how many uses changed.
    pub fn apply(self) -> Result<usize> {
        let Patch { graph, label, redirected, own } = self;
        let target = |mut v: Value| {
            // Chains end: a value that is replaced twice is an error of the map's construction, and keys are distinct.
            let mut steps = 0;
            while let Some(next) = redirected.get(&v) {
                v = *next;
                steps += 1;
                if steps > redirected.len() {
                    break;
                }
            }
            v
        };
        // A node that computes the replacement may itself use the old value.
        let mut builders = BTreeSet::new();
        for new in redirected.values() {
            collect_builders(graph, *new, &own, &mut builders);
        }
        let mut changed = 0;
        for node in graph.regions[0].nodes.clone() {
            if builders.contains(&node) {
                continue;
            }
            for arg in &mut graph.nodes[node.index()].args {
                let new = target(*arg);
                changed += usize::from(new != *arg);
                *arg = new;
            }
        }
        for result in &mut graph.regions[0].results {
            let new = target(*result);
            changed += usize::from(new != *result);
            *result = new;
        }
        for (_, new) in &mut graph.donated {
            *new = target(*new);
        }
        sort_body(graph).map_err(|d| d.at(Place::Node(label.into())))?;
        Ok(changed)
    }
}

/// Those of a patch's `own` nodes that `value` is made by.
fn collect_builders(graph: &Graph, value: Value, own: &BTreeSet<Node>, into: &mut BTreeSet<Node>) {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        if let Some(node) = graph.def_node(value).filter(|n| own.contains(n))
            && into.insert(node)
        {
            pending.extend(&graph.node(node).args);
        }
    }
}

/// Stable topological order of the body: of the nodes that are ready, the earliest placed goes first. A node waits for those
/// that give its arguments, and for those that bind its symbols.
fn sort_body(graph: &mut Graph) -> Result<()> {
    let nodes = graph.regions[0].nodes.clone();
    let place: BTreeMap<Node, usize> = nodes.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    let mut binds: BTreeMap<&Symbol, usize> = BTreeMap::new();
    for (i, node) in nodes.iter().enumerate() {
        if let Op::Bind(b) = &graph.node(*node).op {
            binds.extend(b.symbols.iter().map(|s| (s, i)));
        }
    }
    let mut waits = vec![0usize; nodes.len()];
    let mut wakes: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        let mut before: BTreeSet<usize> =
            graph.node(*node).args.iter().filter_map(|v| graph.def_node(*v)).map(|n| place[&n]).collect();
        if !binds.is_empty() {
            let mut used = BTreeSet::new();
            graph.symbols_of(*node, &mut used);
            before.extend(used.iter().filter_map(|s| binds.get(s)).filter(|b| **b != i));
        }
        waits[i] = before.len();
        before.into_iter().for_each(|b| wakes[b].push(i));
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|i| waits[*i] == 0).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(i) = ready.pop_first() {
        order.push(nodes[i]);
        for j in &wakes[i] {
            waits[*j] -= 1;
            if waits[*j] == 0 {
                ready.insert(*j);
            }
        }
    }
    if order.len() != nodes.len() {
        return Err(Diagnostic::new("ir-cycle", "the patch makes a cycle"));
    }
    graph.regions[0].nodes = order;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::pointwise::Unary;
    use crate::types::TensorType;
    use actc_types::function::UnaryFunction;
    use actc_types::{DType, Shape};

    /// A node of the graph reads what replaces its argument, whatever it is called, also where it stands behind a new node.
    #[test]
    fn only_new_nodes_keep_what_they_replace() {
        let mut graph = Graph::new("g");
        let x = graph.input("x", TensorType::new(DType::F32, Shape::fixed(&[2])));
        let op = |function| Op::Unary(Unary { function });
        let a = graph.add(op(UnaryFunction::Relu), &[x], "a").unwrap();
        let b = graph.add(op(UnaryFunction::Neg), &[a], "mine").unwrap();
        let c = graph.add(op(UnaryFunction::Abs), &[b], "c").unwrap();
        graph.output("y", c);
        let mut patch = Patch::new(&mut graph, "mine");
        // Made of what it replaces.
        let twice = patch.add(op(UnaryFunction::Exp), &[a]).unwrap();
        let other = patch.add(op(UnaryFunction::Floor), &[b]).unwrap();
        patch.replace(a, twice).unwrap();
        patch.replace(c, other).unwrap();
        assert_eq!(patch.apply().unwrap(), 2);
        let args = |v: Value| graph.node(graph.def_node(v).unwrap()).args.clone();
        assert_eq!((args(twice), args(other), args(b)), (vec![a], vec![b], vec![twice]));
        assert_eq!(graph.outputs().map(|(_, v)| v).collect::<Vec<_>>(), [other]);
    }
}
