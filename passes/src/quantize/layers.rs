//! Which weights of a graph can be quantised, and why the others cannot.

use actc_ir::{ConstId, Graph, Node, Op, Value};
use actc_types::Encoding;
use std::collections::{BTreeMap, BTreeSet};

/// The role of a weight in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The weight of a linear layer.
    Linear,
    /// An embedding table or the head that turns features into logits; tied ones are one weight.
    Vocabulary,
}

/// A weight that some pass has to account for.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// The weight.
    pub weight: ConstId,
    /// Its role.
    pub kind: Kind,
    /// The nodes of the graph's body that use it, in order.
    pub nodes: Vec<Node>,
    /// The inputs of its linear nodes, each once.
    pub inputs: Vec<Value>,
    /// Why it cannot be quantised.
    pub refusal: Option<&'static str>,
}

/// All weights of linear and embedding nodes, in the order of their first use; those inside regions included.
pub fn survey(graph: &Graph) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut places: BTreeMap<ConstId, usize> = BTreeMap::new();
    let vocabulary = vocabularies(graph);
    for node in graph.order() {
        let data = graph.node(*node);
        for (slot, arg) in data.args.iter().enumerate() {
            let Some(id) = graph.as_const(*arg) else { continue };
            let weight = slot == 1 && matches!(data.op, Op::Linear(_) | Op::Embedding(_));
            if !weight {
                if let Some(i) = places.get(&id) {
                    let layer: &mut Layer = &mut layers[*i];
                    layer.refusal = Some("another kind of op reads it too");
                }
                continue;
            }
            let i = *places.entry(id).or_insert_with(|| {
                let constant = graph.const_data(id);
                let refusal = match constant.encoding {
                    Encoding::Packed(_) | Encoding::Mixed(_) => Some("quantised already"),
                    Encoding::Dense if !constant.ty.dtype.is_float() => Some("its elements are integers"),
                    Encoding::Dense | Encoding::Block(_) => None,
                };
                layers.push(Layer { weight: id, kind: Kind::Linear, nodes: Vec::new(), inputs: Vec::new(), refusal });
                layers.len() - 1
            });
            let layer = &mut layers[i];
            if vocabulary.contains(&id) {
                layer.kind = Kind::Vocabulary;
            }
            layer.nodes.push(*node);
            if matches!(data.op, Op::Linear(_)) && !layer.inputs.contains(&data.args[0]) {
                layer.inputs.push(data.args[0]);
            }
        }
    }
    for id in in_regions(graph) {
        match places.get(&id) {
            Some(i) => layers[*i].refusal = Some("it is used inside a region"),
            None => layers.push(Layer {
                weight: id,
                kind: Kind::Linear,
                nodes: Vec::new(),
                inputs: Vec::new(),
                refusal: Some("it is used inside a region"),
            }),
        }
    }
    layers
}

/// Embedding tables, and heads: weights with a row for each row of some table, behind which no linear layer comes.
fn vocabularies(graph: &Graph) -> BTreeSet<ConstId> {
    let mut tables = BTreeSet::new();
    let mut rows = BTreeSet::new();
    for node in graph.order() {
        let data = graph.node(*node);
        if matches!(data.op, Op::Embedding(_))
            && let Some(id) = graph.as_const(data.args[1])
        {
            rows.extend(graph.const_data(id).ty.shape.dims().first().and_then(|d| d.fixed()));
            tables.insert(id);
        }
    }
    // Values that some linear layer depends on.
    let mut feeds_linear: BTreeSet<Value> = BTreeSet::new();
    for node in graph.order().iter().rev() {
        let data = graph.node(*node);
        let on_the_way = data.results.iter().any(|r| feeds_linear.contains(r));
        if let Op::Linear(_) = data.op {
            let id = graph.as_const(data.args[1]);
            let size = id.and_then(|id| graph.const_data(id).ty.shape.dims().first().and_then(|d| d.fixed()));
            if let (Some(id), Some(size), false) = (id, size, on_the_way)
                && rows.contains(&size)
            {
                tables.insert(id);
            }
            feeds_linear.extend(&data.args);
        } else if on_the_way {
            feeds_linear.extend(&data.args);
        }
    }
    tables
}

/// Weights of linear and embedding nodes inside regions.
fn in_regions(graph: &Graph) -> Vec<ConstId> {
    let mut out = Vec::new();
    let mut pending: Vec<_> =
        graph.order().iter().rev().flat_map(|n| graph.node(*n).regions.iter().rev().copied()).collect();
    while let Some(region) = pending.pop() {
        for node in graph.region_nodes(region) {
            let data = graph.node(*node);
            if matches!(data.op, Op::Linear(_) | Op::Embedding(_)) {
                out.extend(
                    data.args
                        .get(1)
                        .and_then(|v| graph.as_const(*v))
                        .filter(|id| !out.contains(id))
                        .into_iter()
                        .collect::<Vec<_>>(),
                );
            }
            pending.extend(&data.regions);
        }
    }
    out
}
