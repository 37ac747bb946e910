//! Copying parts of a graph: dead-code removal and cutting a block out.

use crate::graph::Graph;
use crate::handle::{ConstId, Node, Region, Value};
use crate::op::Op;
use crate::solve::{Said, solve};
use actc_types::{Dim, Result, Symbol};
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
    /// Symbols that extents of given values say: what binds them otherwise is not needed.
    said: BTreeSet<Symbol>,
}

impl<'a> Live<'a> {
    fn new(graph: &'a Graph, wanted: &[Value]) -> Live<'a> {
        let types = wanted.iter().map(|v| graph.ty(*v));
        let mut live = Live { graph, values: wanted.iter().copied().collect(), ..Live::empty(graph) };
        types.for_each(|ty| live.symbols.extend(ty.shape.symbols()));
        live
    }

    fn empty(graph: &Graph) -> Live<'_> {
        let (values, symbols, nodes, said) = Default::default();
        Live { graph, values, symbols, nodes, said }
    }

    /// Symbols that are needed and that neither given values say nor needed nodes bind: extents of inputs have to say what they are.
    fn unbound(&self) -> BTreeSet<Symbol> {
        let bound = self.nodes.iter().filter_map(|n| match &self.graph.node(*n).op {
            Op::Bind(b) => Some(&b.symbols),
            _ => None,
        });
        let bound: BTreeSet<&Symbol> = bound.flatten().chain(&self.said).collect();
        self.symbols.iter().filter(|s| !bound.contains(s)).cloned().collect()
    }

    /// Takes `node` if something behind it needs it; what is in `given` is there without it.
    fn look(&mut self, node: Node, given: &[Value]) {
        let data = self.graph.node(node);
        let needed = |s: &Symbol| self.symbols.contains(s) && !self.said.contains(s);
        let binds = matches!(&data.op, Op::Bind(b) if b.symbols.iter().any(needed));
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
/// the whole graph that the part needs beyond `inputs` become inputs under their own names: those that it reads (such as its
/// caches), and those whose extents alone say what a symbol of the part is. Symbols of `inputs` have the values that the extents
/// of these say, and may stand for other numbers in the part than in the whole.
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
    live.said = inputs.iter().flat_map(|v| graph.ty(*v).shape.symbols()).collect();
    for node in graph.order().iter().rev() {
        live.look(*node, inputs);
    }
    let mut unsaid = live.unbound();
    unsaid.extend(live.said.difference(&Said::by(graph, inputs.iter().copied()).symbols).cloned());
    let mut says = |value: &Value| {
        let before = unsaid.len();
        graph.ty(*value).shape.dims().iter().for_each(|d| unsaid.retain(|s| *d != Dim::sym(s.as_str())));
        unsaid.len() < before
    };
    let others = || graph.inputs().map(|(_, v)| v).filter(|v| !inputs.contains(v));
    let mut needed: BTreeSet<Value> = others().filter(|v| live.values.contains(v)).collect();
    for value in &needed {
        says(value);
    }
    needed.extend(others().filter(|v| says(v)).collect::<Vec<_>>());
    for (name, value) in graph.inputs().filter(|(_, v)| needed.contains(v)) {
        let new = copier.to.input(name, graph.ty(value).clone());
        copier.values.insert(value, new);
    }
    let body = copier.to.body();
    for node in graph.order().iter().filter(|n| live.nodes.contains(n)) {
        copier.node(*node, body);
    }
    solve(&mut copier.to, &mut copier.values)?;
    let consts = copier.consts.iter().map(|(whole, part)| (*part, *whole)).collect();
    Ok(Extract { graph: copier.to, values: copier.values, consts })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::evaluate;
    use crate::text::{parse, unbound};
    use crate::verify;
    use actc_types::Tensor;

    fn graph(nodes: &str) -> Graph {
        parse(&format!("air 1\ngraph @g(%m: f32[M], %x: f32[N]) {{\n{nodes}}}\n"), &unbound).unwrap()
    }

    /// What computes the result of node `out` from that of node `cut`.
    fn part(graph: &Graph, cut: usize, out: usize) -> Graph {
        let value = |i: usize| graph.node(graph.order()[i]).results[0];
        let mut part = extract(graph, &[value(cut)], &[value(out)]).unwrap();
        part.graph.output("out", part.values[&value(out)]);
        assert!(verify(&part.graph).is_empty(), "{:?}", verify(&part.graph));
        part.graph
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.inputs().map(|(name, _)| name).collect()
    }

    /// The extents of `%cut` do not say what `N` is; those of `%x` do, which the part does not read.
    #[test]
    fn a_symbol_that_only_an_input_says_brings_the_input() {
        let graph = graph(
            "  %cut = reduce{function=sum} %x : f32[]
  %places = range{start=0, len=N} : i64[N]
  %wide = expand{shape=N} %cut : f32[N]
  %y = gather{axis=0} %wide, %places : f32[N]
  return y=%y
",
        );
        assert_eq!(names(&part(&graph, 0, 3)), ["in0", "x"]);
        assert_eq!(names(&part(&graph, 2, 3)), ["in0"], "the cut says it");
    }

    /// `u` is computed in the whole; in a part that begins behind it the extent `u + 1` of the cut says it.
    #[test]
    fn extents_of_a_cut_say_what_was_computed() {
        let graph = graph(
            "  %n = range{start=N, len=1} : i64[1]
  %u = bind{symbols=u} %n : i64[1]
  %all = range{start=0, len=\"u + 1\"} : i64[u + 1]
  %cut = cast{to=f32} %all : f32[u + 1]
  %sum = reduce{function=sum} %cut : f32[]
  %last = slice{axis=0, start=u, len=1} %cut : f32[1]
  %y = add %sum, %last : f32[1]
  return y=%y
",
        );
        for (out, wanted) in [(4, 6.0), (6, 9.0)] {
            let part = part(&graph, 3, out);
            assert_eq!(names(&part), ["in0"]);
            let cut = Tensor::f32(&[4], vec![0.0, 1.0, 2.0, 3.0]).unwrap();
            assert_eq!(evaluate(&part, vec![cut]).unwrap()[0].as_f32().unwrap(), [wanted]);
        }
    }
}
