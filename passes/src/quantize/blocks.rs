//! Cuts a graph into blocks that meet in a single tensor, by dominance: no front end names them.
//!
//! What depends on no embedding, linear layer and convolution (masks, positions, caches) is cheap and is computed again in every
//! block. Among the rest, a value that lies on every path to the outputs is a cut. The blocks between cuts that hold no
//! layer join the block behind them.

use super::layers::{Layer, weighs};
use actc_ir::{Graph, Node, Value};
use actc_types::DType;
use petgraph::algo::dominators::simple_fast;
use petgraph::graph::{DiGraph, NodeIndex};
use std::collections::BTreeMap;

/// A part of the graph between two cuts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The tensor it reads besides graph inputs; `None` where it reads these alone.
    pub input: Option<Value>,
    /// The tensor it gives; `None` for the last block where the outputs do not meet in one.
    pub output: Option<Value>,
    /// Positions of its layers in the list given, by how many layers lead to them: those of a stage do not depend on each
    /// other, and depend on earlier stages.
    pub stages: Vec<Vec<usize>>,
}

/// The blocks of `graph` with those of `layers` that have nodes, in order. A layer used in several blocks belongs to
/// the first.
pub fn blocks(graph: &Graph, layers: &[Layer]) -> Vec<Block> {
    let mut flow: DiGraph<Option<Node>, ()> = DiGraph::new();
    let entry = flow.add_node(None);
    let exit = flow.add_node(None);
    let mut place: BTreeMap<Node, NodeIndex> = BTreeMap::new();
    for node in graph.order() {
        let data = graph.node(*node);
        let before: Vec<NodeIndex> =
            data.args.iter().filter_map(|v| graph.def_node(*v)).filter_map(|n| place.get(&n).copied()).collect();
        let source = weighs(&data.op);
        if before.is_empty() && !source {
            continue;
        }
        let index = flow.add_node(Some(*node));
        place.insert(*node, index);
        if before.is_empty() {
            flow.add_edge(entry, index, ());
        }
        for from in before {
            flow.update_edge(from, index, ());
        }
    }
    for (_, value) in graph.outputs() {
        if let Some(index) = graph.def_node(value).and_then(|n| place.get(&n)) {
            flow.update_edge(*index, exit, ());
        }
    }
    let dominators = simple_fast(&flow, entry);
    let cut_value = |index: NodeIndex| -> Option<Value> {
        let data = graph.node(flow[index]?);
        match data.results[..] {
            [value] if graph.ty(value).dtype == DType::F32 => Some(value),
            _ => None,
        }
    };
    // From the entry towards the exit.
    let mut cuts: Vec<(NodeIndex, Value)> =
        dominators.strict_dominators(exit).into_iter().flatten().filter_map(|i| cut_value(i).map(|v| (i, v))).collect();
    cuts.reverse();
    let rank: BTreeMap<NodeIndex, usize> = cuts.iter().enumerate().map(|(r, (i, _))| (*i, r)).collect();
    // A node lies in segment r where cut r - 1 is the last cut that strictly dominates it.
    let segment = |node: Node| -> Option<usize> {
        let index = *place.get(&node)?;
        Some(dominators.strict_dominators(index)?.find_map(|d| rank.get(&d)).map_or(0, |r| r + 1))
    };
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); cuts.len() + 1];
    for (i, layer) in layers.iter().enumerate() {
        if let Some(s) = layer.nodes.iter().filter_map(|n| segment(*n)).min() {
            members[s].push(i);
        }
    }
    let depths = depths(graph, layers);
    let mut out = Vec::new();
    let mut input = None;
    for (s, layers) in members.into_iter().enumerate().filter(|(_, layers)| !layers.is_empty()) {
        let output = cuts.get(s).map(|(_, v)| *v);
        let mut stages: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for l in layers {
            stages.entry(depths[l]).or_default().push(l);
        }
        out.push(Block { input, output, stages: stages.into_values().collect() });
        input = output;
    }
    out
}

/// For each of `layers`, how many of them lie on the longest path to it.
fn depths(graph: &Graph, layers: &[Layer]) -> Vec<usize> {
    let mut owner: BTreeMap<Node, usize> = BTreeMap::new();
    for (i, layer) in layers.iter().enumerate() {
        owner.extend(layer.nodes.iter().map(|n| (*n, i)));
    }
    let mut behind: BTreeMap<Value, usize> = BTreeMap::new();
    let mut depths = vec![0; layers.len()];
    for node in graph.order() {
        let data = graph.node(*node);
        let mut depth = data.args.iter().filter_map(|v| behind.get(v)).copied().max().unwrap_or(0);
        if let Some(i) = owner.get(node) {
            depths[*i] = depths[*i].max(depth);
            depth += 1;
        }
        behind.extend(data.results.iter().map(|v| (*v, depth)));
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::super::layers::{Kind, survey};
    use super::*;
    use actc_ir::text;

    fn shape(source: &str) -> Vec<Vec<Vec<String>>> {
        let graph = text::parse(source, &text::unbound).unwrap();
        let layers: Vec<Layer> = survey(&graph).into_iter().filter(|l| l.kind == Kind::Linear).collect();
        let name = |i: &usize| graph.const_data(layers[*i].weight).name.clone();
        let blocks = blocks(&graph, &layers);
        for pair in blocks.windows(2) {
            assert_eq!(pair[0].output, pair[1].input);
        }
        blocks.iter().map(|b| b.stages.iter().map(|s| s.iter().map(name).collect()).collect()).collect()
    }

    #[test]
    fn residual_streams_are_cut_behind_each_add() {
        let got = shape(
            "air 1
graph @g(%tokens: i64[S], %k0: f32[P, 1, 4]) {
  %e = const @emb = rng{seed=1, scale=1} : f32[16, 4]
  %q = const @q = rng{seed=2, scale=1} : f32[4, 4]
  %k = const @k = rng{seed=3, scale=1} : f32[4, 4]
  %o = const @o = rng{seed=4, scale=1} : f32[4, 4]
  %u = const @up = rng{seed=5, scale=1} : f32[8, 4]
  %d = const @down = rng{seed=6, scale=1} : f32[4, 8]
  %0 = embedding %tokens, %e : f32[S, 4]
  %1 = linear %0, %q : f32[S, 4]
  %2 = linear %0, %k : f32[S, 4]
  %3 = reshape{shape=\"S, 1, 4\"} %1 : f32[S, 1, 4]
  %4 = reshape{shape=\"S, 1, 4\"} %2 : f32[S, 1, 4]
  %5 = cache_append %k0, %4 : f32[P + S, 1, 4]
  %6 = attention{scale=1, causal} %3, %5, %5 : f32[S, 1, 4]
  %7 = reshape{shape=\"S, 4\"} %6 : f32[S, 4]
  %8 = linear %7, %o : f32[S, 4]
  %9 = add %0, %8 : f32[S, 4]
  %10 = linear %9, %u : f32[S, 8]
  %11 = silu %10 : f32[S, 8]
  %12 = linear %11, %d : f32[S, 4]
  %13 = add %9, %12 : f32[S, 4]
  %14 = linear %13, %e : f32[S, 16]
  return logits=%14, donate %k0 -> %5
}
",
        );
        assert_eq!(got, [vec![vec!["q", "k"], vec!["o"]], vec![vec!["up"], vec!["down"]]]);
    }

    #[test]
    fn outputs_that_do_not_meet_end_in_an_open_block() {
        let got = shape(
            "air 1
graph @g(%x: f32[S, 4]) {
  %a = const @a = rng{seed=1, scale=1} : f32[4, 4]
  %b = const @b = rng{seed=2, scale=1} : f32[4, 4]
  %c = const @c = rng{seed=3, scale=1} : f32[4, 4]
  %0 = linear %x, %a : f32[S, 4]
  %1 = relu %0 : f32[S, 4]
  %2 = linear %1, %b : f32[S, 4]
  %3 = linear %1, %c : f32[S, 4]
  return y=%2, z=%3
}
",
        );
        assert_eq!(got, [vec![vec!["a"]], vec![vec!["b", "c"]]]);
    }
}
