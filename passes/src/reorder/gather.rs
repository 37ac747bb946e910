//! Inputs of layers whose channels belong to heads are looked up channel by channel, in an order of the layer's own.
//!
//! Such channels cannot change places where they are made; an index vector in front of the layer lets its columns stand in
//! any order. It starts as the natural order, and is then a member of the class of these columns like any other constant.

use super::classes::Classes;
use crate::quantize::layers::Layer;
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::{Const, Graph, Node, Op, Patch, Value};
use actc_types::{Result, Tensor};
use std::collections::BTreeMap;

/// Puts an index in front of those of `layers` that are linear and cannot have another order of columns; how many inputs have one now.
pub(super) fn gather(graph: &mut Graph, classes: &Classes, layers: &[Layer]) -> Result<usize> {
    let mut found: Vec<(Node, Value, usize)> = Vec::new();
    for layer in layers.iter().filter(|l| super::columns(classes, l.weight).is_err()) {
        for node in &layer.nodes {
            let data = graph.node(*node);
            let Op::Linear(Linear { act: Act::F32 }) = data.op else { continue };
            let shape = &graph.ty(data.args[0]).shape;
            let width = shape.last().and_then(actc_types::Dim::fixed).unwrap_or(0);
            if width > 1 {
                found.push((*node, data.args[0], width as usize));
            }
        }
    }
    let mut looked_up: BTreeMap<Value, Value> = BTreeMap::new();
    for (node, x, width) in found {
        let data = graph.node(node).clone();
        let weight = graph.as_const(data.args[1]).map_or_else(String::new, |id| graph.const_data(id).name.clone());
        let axis = graph.ty(x).shape.rank() - 1;
        let mut patch = Patch::new(graph, "reorder");
        let new = match looked_up.get(&x) {
            Some(known) => *known,
            None => {
                let natural = Tensor::i64(&[width as u64], (0..width as i64).collect())?;
                let mut name = format!("reorder.{weight}");
                while patch.graph().constants().any(|(_, c)| c.name == name) {
                    name.push('.');
                }
                let order = patch.constant(Const::dense(name, &natural));
                *looked_up.entry(x).or_insert(patch.add(Op::Gather(Gather { axis }), &[x, order])?)
            }
        };
        let mut args = data.args.clone();
        args[0] = new;
        let result = patch.add(data.op, &args)?;
        patch.replace(data.results[0], result)?;
        patch.apply()?;
    }
    if !looked_up.is_empty() {
        *graph = graph.compact();
    }
    Ok(looked_up.len())
}
