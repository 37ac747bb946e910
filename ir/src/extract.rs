//! Copying parts of a graph: dead-code removal and cutting a block out.

use crate::graph::Graph;
use crate::handle::{ConstId, Node, Region, Value};
use crate::op::Op;
use actc_types::{Result, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// Copies nodes of `from` into `to`, mapping values and constants as it goes.
struct Copier<'a> {
    from: &'a Graph,
    to: Graph,
    values: BTreeMap<Value, Value>,
    consts: BTreeMap<ConstId, ConstId>,
}

impl Copier<'_> {
    fn value(&self, value: Value) -> Value {
        self.values[&value]
    }

    fn node(&mut self, node: Node, into: Region) {
        let data = self.from.node(node);
        let op = match &data.op {
            Op::Const(id) => {
                let id =
                    *self.consts.entry(*id).or_insert_with(|| self.to.add_const(self.from.const_data(*id).clone()));
                Op::Const(id)
            }
            other => other.clone(),
        };
        let regions = data.regions.iter().map(|r| self.region(*r)).collect();
        let args: Vec<Value> = data.args.iter().map(|v| self.value(*v)).collect();
        let types = data.results.iter().map(|v| self.from.ty(*v).clone()).collect();
        let results = self.to.push_node(into, op, &args, types, regions, data.origin.clone());
        self.values.extend(data.results.iter().copied().zip(results));
    }

    fn region(&mut self, region: Region) -> Region {
        let params = self.from.region_params(region);
        let types: Vec<_> = params.iter().map(|v| self.from.ty(*v).clone()).collect();
        let (copy, new) = self.to.add_region(&types);
        self.values.extend(params.iter().copied().zip(new));
        let live = live_nodes(self.from, region, self.from.region_results(region));
        for node in self.from.region_nodes(region).iter().filter(|n| live.contains(n)) {
            self.node(*node, copy);
        }
        let results = self.from.region_results(region).iter().map(|v| self.value(*v)).collect();
        self.to.set_region_results(copy, results);
        copy
    }
}

/// The nodes of a region, looked at from the last to the first, that others need: for a value, or for a symbol that they bind.
struct Live<'a> {
    graph: &'a Graph,
    values: BTreeSet<Value>,
    symbols: BTreeSet<Symbol>,
    nodes: BTreeSet<Node>,
}

impl<'a> Live<'a> {
    fn new(graph: &'a Graph, wanted: &[Value]) -> Live<'a> {
        let types = wanted.iter().map(|v| graph.ty(*v));
        let mut live = Live { graph, values: wanted.iter().copied().collect(), ..Live::empty(graph) };
        types.for_each(|ty| live.symbols.extend(ty.shape.symbols()));
        live
    }

    fn empty(graph: &Graph) -> Live<'_> {
        Live { graph, values: BTreeSet::new(), symbols: BTreeSet::new(), nodes: BTreeSet::new() }
    }

    /// Takes `node` if something behind it needs it; what is in `given` is there without it.
    fn look(&mut self, node: Node, given: &[Value]) {
        let data = self.graph.node(node);
        let binds = matches!(&data.op, Op::Bind(b) if b.symbols.iter().any(|s| self.symbols.contains(s)));
        if binds || data.results.iter().any(|r| self.values.contains(r) && !given.contains(r)) {
            self.nodes.insert(node);
            self.values.extend(&data.args);
            self.graph.symbols_of(node, &mut self.symbols);
        }
    }
}

/// Nodes of `region` that `wanted` depends on, within the region.
fn live_nodes(graph: &Graph, region: Region, wanted: &[Value]) -> BTreeSet<Node> {
    let mut live = Live::new(graph, wanted);
    for node in graph.region_nodes(region).iter().rev() {
        live.look(*node, &[]);
    }
    live.nodes
}

pub(crate) fn compact(graph: &Graph) -> Graph {
    let mut copier =
        Copier { from: graph, to: Graph::new(graph.name()), values: BTreeMap::new(), consts: BTreeMap::new() };
    for (name, value) in graph.inputs() {
        let new = copier.to.input(name, graph.ty(value).clone());
        copier.values.insert(value, new);
    }
    let wanted: Vec<Value> = graph.outputs().map(|(_, v)| v).chain(graph.donated().iter().map(|(_, v)| *v)).collect();
    let live = live_nodes(graph, graph.body(), &wanted);
    let body = copier.to.body();
    for node in graph.order().iter().filter(|n| live.contains(n)) {
        copier.node(*node, body);
    }
    for (name, value) in graph.outputs() {
        let new = copier.value(value);
        copier.to.output(name, new);
    }
    for (old, new) in graph.donated() {
        let (old, new) = (copier.value(*old), copier.value(*new));
        copier.to.donate(old, new);
    }
    copier.to
}

/// A part of a graph as a graph of its own, with the way back.
#[derive(Debug)]
pub struct Extract {
    /// The part. Its inputs are called `in0`, `in1`, …, then the states' own names; it has no outputs yet.
    pub graph: Graph,
    /// Values of the whole graph to values of the part.
    pub values: BTreeMap<Value, Value>,
    /// Constants of the part to constants of the whole graph.
    pub consts: BTreeMap<ConstId, ConstId>,
}

/// Cuts out what computes `outputs` from `inputs`. Nodes without tensor inputs (constants, ranges) are copied; inputs of
/// the whole graph that the part needs beyond `inputs` (such as its caches) become inputs under their own names.
///
/// The caller names outputs of `graph` through `values`.
pub fn extract(graph: &Graph, inputs: &[Value], outputs: &[Value]) -> Result<Extract> {
    let mut copier =
        Copier { from: graph, to: Graph::new(graph.name()), values: BTreeMap::new(), consts: BTreeMap::new() };
    for (i, value) in inputs.iter().enumerate() {
        let new = copier.to.input(format!("in{i}"), graph.ty(*value).clone());
        copier.values.insert(*value, new);
    }
    let mut live = Live::new(graph, outputs);
    for node in graph.order().iter().rev() {
        live.look(*node, inputs);
    }
    for (name, value) in graph.inputs() {
        if live.values.contains(&value) && !inputs.contains(&value) {
            let new = copier.to.input(name, graph.ty(value).clone());
            copier.values.insert(value, new);
        }
    }
    let body = copier.to.body();
    for node in graph.order().iter().filter(|n| live.nodes.contains(n)) {
        copier.node(*node, body);
    }
    let consts = copier.consts.iter().map(|(whole, part)| (*part, *whole)).collect();
    Ok(Extract { graph: copier.to, values: copier.values, consts })
}
