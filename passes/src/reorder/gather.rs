//! Indices by which channels are looked up where they cannot change places.
//!
//! Channels of heads cannot where they are made, and channels that several layers read can have one order only: an index in
//! front of a layer lets its columns stand in any order. It starts as the natural order, and is then a member of the class of
//! these columns like any other constant. Outputs keep their order: where channels leave the graph they are looked up in it.
//! Columns of a table that is stored in blocks cannot: what it gives is put in order behind it, what it reads back in its order before
//! it. The indices are vectors of the graph, each in one place.

use super::orders::Orders;
use crate::quantize::layers::{Kind, Layer, survey};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::{Const, ConstId, Graph, Node, Op, Patch, Value};
use actc_types::{Encoding, Result, Tensor};
use std::collections::{BTreeMap, BTreeSet};

/// An index that looks channels up in `order`, for what is called `name`.
fn index(graph: &Graph, order: &[u32], name: &str) -> Result<Const> {
    let index = Tensor::i64(&[order.len() as u64], order.iter().map(|c| i64::from(*c)).collect())?;
    let mut name = format!("reorder.{name}");
    while graph.constants().any(|(_, c)| c.name == name) {
        name.push('.');
    }
    Ok(Const::dense(name, &index))
}

/// What is looked up by `order` along the last axis of `x`, for the weight called `weight`.
fn look_up(patch: &mut Patch<'_>, x: Value, order: &[u32], weight: &str) -> Result<Value> {
    let axis = patch.graph().ty(x).shape.rank() - 1;
    let index = index(patch.graph(), order, weight)?;
    let index = patch.constant(index);
    patch.add(Op::Gather(Gather { axis }), &[x, index])
}

/// The order that undoes `order`.
fn inverse(order: &[u32]) -> Vec<u32> {
    let mut back = vec![0; order.len()];
    order.iter().zip(0..).for_each(|(old, new)| back[*old as usize] = new);
    back
}

fn weight(graph: &Graph, node: Node) -> Option<ConstId> {
    graph.node(node).args.get(1).and_then(|w| graph.as_const(*w))
}

/// Puts an index in front of those of `layers` that are linear; how many inputs have one now.
pub(super) fn in_front<'l>(graph: &mut Graph, layers: impl Iterator<Item = &'l Layer>) -> Result<usize> {
    let mut found: Vec<(Node, Value, usize)> = Vec::new();
    for layer in layers {
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
        let name = weight(graph, node).map_or_else(String::new, |id| graph.const_data(id).name.clone());
        let mut patch = Patch::new(graph, "reorder");
        let new = match looked_up.get(&x) {
            Some(known) => *known,
            None => {
                let natural: Vec<u32> = (0..width as u32).collect();
                *looked_up.entry(x).or_insert(look_up(&mut patch, x, &natural, &name)?)
            }
        };
        let mut args = data.args.clone();
        args[0] = new;
        let result = patch.add_for(data.op, &args, &data.origin)?;
        patch.replace(data.results[0], result)?;
        patch.apply()?;
    }
    if !looked_up.is_empty() {
        *graph = graph.compact();
    }
    Ok(looked_up.len())
}

/// The tables of `graph` that are stored in blocks or codes, which columns share: what meets their columns is to be looked up.
pub(super) fn tables(graph: &Graph) -> BTreeSet<ConstId> {
    let in_blocks = |l: &Layer| match graph.const_data(l.weight).encoding {
        Encoding::Dense => false,
        Encoding::Block(_) | Encoding::Packed(_) | Encoding::Mixed(_) => l.kind == Kind::Vocabulary,
    };
    survey(graph).into_iter().filter(in_blocks).map(|l| l.weight).collect()
}

/// Puts indices before the outputs of `graph` that `orders`, which the graph has by now, would change; how many there are.
pub(super) fn before_outputs(graph: &mut Graph, orders: &Orders<'_>) -> Result<usize> {
    let outputs: Vec<(String, Value)> = graph.outputs().map(|(name, value)| (name.to_owned(), value)).collect();
    let states = graph.donated().to_vec();
    let (mut count, mut seen) = (0, Vec::with_capacity(outputs.len()));
    for (name, value) in outputs {
        let mut ordered = value;
        for axis in 0..graph.ty(value).shape.rank() {
            if let Some(order) = orders.of_value(graph, value, axis, 1) {
                let index = graph.constant(index(graph, &inverse(&order), &name)?);
                ordered = graph.add(Op::Gather(Gather { axis }), &[ordered, index], "reorder")?;
                count += 1;
            }
        }
        seen.push((name, ordered));
    }
    if count > 0 {
        graph.clear_outputs();
        seen.into_iter().for_each(|(name, value)| graph.output(name, value));
        states.into_iter().for_each(|(old, new)| graph.donate(old, new));
    }
    Ok(count)
}

/// Puts the indices around `tables` that `orders`, which the rest of `graph` has by now, call for; how many there are.
pub(super) fn around(graph: &mut Graph, orders: &Orders<'_>, tables: &BTreeSet<ConstId>) -> Result<usize> {
    let mut found: Vec<(Node, Value, Vec<u32>)> = Vec::new();
    for node in graph.order() {
        let data = graph.node(*node);
        if weight(graph, *node).is_none_or(|id| !tables.contains(&id)) {
            continue;
        }
        let channels = match &data.op {
            Op::Embedding(_) => data.results[0],
            _linear => data.args[0],
        };
        if let Some(order) = orders.of_value(graph, channels, graph.ty(channels).shape.rank() - 1, 1) {
            found.push((*node, channels, order));
        }
    }
    for (node, channels, order) in &found {
        let data = graph.node(*node).clone();
        let name = weight(graph, *node).map_or_else(String::new, |id| graph.const_data(id).name.clone());
        let mut patch = Patch::new(graph, "reorder");
        match &data.op {
            Op::Embedding(_) => {
                let raw = patch.add_for(data.op.clone(), &data.args, &data.origin)?;
                let ordered = look_up(&mut patch, raw, order, &name)?;
                patch.replace(*channels, ordered)?;
            }
            _linear => {
                let mut args = data.args.clone();
                args[0] = look_up(&mut patch, *channels, &inverse(order), &name)?;
                let result = patch.add_for(data.op, &args, &data.origin)?;
                patch.replace(data.results[0], result)?;
            }
        }
        patch.apply()?;
    }
    if !found.is_empty() {
        *graph = graph.compact();
    }
    Ok(found.len())
}
