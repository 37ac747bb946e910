//! Which weights of a graph can be quantised, and why the others cannot.

use crate::columns::Input;
use crate::uses::Uses;
use actc_ir::{Const, ConstId, Graph, Node, Op, Value};
use actc_types::{DType, Encoding};
use std::collections::{BTreeMap, BTreeSet};

/// The role of a weight in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The weight of a linear layer.
    Linear,
    /// The weight of a convolution, a matrix with a row for each output channel and a column for each tap of each channel
    /// that it sees.
    Convolution,
    /// The weight of a convolution whose output channels see one channel each: few weights, each of which counts.
    Depthwise,
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
    /// What its columns meet in its nodes, each once.
    pub inputs: Vec<Input>,
    /// The bias that its one node adds and nothing else reads, if it is one of floats.
    pub bias: Option<ConstId>,
    /// Parts that its rows are divided into; each meets channels of its own.
    pub groups: usize,
    /// Why it cannot be quantised.
    pub refusal: Option<&'static str>,
}

impl Layer {
    fn new(weight: ConstId, op: &Op, constant: &Const) -> Layer {
        let (kind, groups) = match op {
            Op::Conv(conv) => {
                let seen = constant.ty.shape.dims().get(1).and_then(|d| d.fixed());
                let kind = if conv.0.groups > 1 && seen == Some(1) { Kind::Depthwise } else { Kind::Convolution };
                (kind, conv.0.groups as usize)
            }
            _a_linear_or_an_embedding => (Kind::Linear, 1),
        };
        let refusal = match constant.encoding {
            Encoding::Packed(_) | Encoding::Mixed(_) => Some("quantised already"),
            Encoding::Dense if !constant.ty.dtype.is_float() => Some("its elements are integers"),
            Encoding::Dense if matches!(op, Op::Conv(_)) && constant.ty.dtype != DType::F32 => {
                Some("its convolution is not one of f32")
            }
            Encoding::Dense | Encoding::Block(_) => None,
        };
        Layer { weight, kind, nodes: Vec::new(), inputs: Vec::new(), bias: None, groups, refusal }
    }
}

/// Whether argument 1 of `op` is a weight.
pub(super) fn weighs(op: &Op) -> bool {
    matches!(op, Op::Linear(_) | Op::Embedding(_) | Op::Conv(_))
}

/// All weights of linear, convolution and embedding nodes, in the order of their first use; those inside regions included.
pub fn survey(graph: &Graph) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut places: BTreeMap<ConstId, usize> = BTreeMap::new();
    let vocabulary = vocabularies(graph);
    for node in graph.order() {
        let data = graph.node(*node);
        for (slot, arg) in data.args.iter().enumerate() {
            let Some(id) = graph.as_const(*arg) else { continue };
            if slot != 1 || !weighs(&data.op) {
                if let Some(i) = places.get(&id) {
                    let layer: &mut Layer = &mut layers[*i];
                    layer.refusal = Some("another kind of op reads it too");
                }
                continue;
            }
            let i = *places.entry(id).or_insert_with(|| {
                layers.push(Layer::new(id, &data.op, graph.const_data(id)));
                layers.len() - 1
            });
            let layer = &mut layers[i];
            if vocabulary.contains(&id) {
                layer.kind = Kind::Vocabulary;
            }
            layer.nodes.push(*node);
            if let Some(input) = Input::of(data) {
                if input.groups() != layer.groups {
                    layer.refusal = Some("its convolutions divide channels into different numbers of groups");
                }
                if !layer.inputs.contains(&input) {
                    layer.inputs.push(input);
                }
            }
        }
    }
    for (id, node) in in_regions(graph) {
        let refusal = Some("it is used inside a region");
        match places.get(&id) {
            Some(i) => layers[*i].refusal = refusal,
            None => {
                let layer = Layer::new(id, &graph.node(node).op, graph.const_data(id));
                layers.push(Layer { refusal, ..layer });
            }
        }
    }
    let uses = Uses::of(graph);
    for layer in &mut layers {
        let [node] = layer.nodes[..] else { continue };
        let own = graph.node(node).args.get(2).filter(|v| uses.owned(graph, **v)).and_then(|v| graph.as_const(*v));
        let fits = |id: &ConstId| {
            let constant = graph.const_data(*id);
            constant.encoding == Encoding::Dense && constant.ty.dtype.is_float()
        };
        layer.bias = own.filter(fits);
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

/// Weights that nodes inside regions use, each once, with the first of these.
fn in_regions(graph: &Graph) -> Vec<(ConstId, Node)> {
    let mut out: Vec<(ConstId, Node)> = Vec::new();
    let mut pending: Vec<_> =
        graph.order().iter().rev().flat_map(|n| graph.node(*n).regions.iter().rev().copied()).collect();
    while let Some(region) = pending.pop() {
        for node in graph.region_nodes(region) {
            let data = graph.node(*node);
            let weight = data.args.get(1).filter(|_| weighs(&data.op)).and_then(|v| graph.as_const(*v));
            if let Some(id) = weight.filter(|id| out.iter().all(|(known, _)| known != id)) {
                out.push((id, *node));
            }
            pending.extend(&data.regions);
        }
    }
    out
}
