//! Equal constants and equal computations once, and ops that do nothing left out.
//!
//! Constants above 64 KiB are equal here only where they are the same bytes of the same mapping (tied weights), so that
//! cleaning reads no model.

use super::findings::Findings;
use super::look::reshaped;
use super::rewrite::Rewrite;
use actc_ir::ops::shaping::Reshape;
use actc_ir::{Const, Graph, Op, Value};
use actc_types::{DType, Result};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Constants up to this size are compared by content.
const SMALL: usize = 64 << 10;

pub(super) fn merge(graph: &mut Graph, _findings: &mut Findings<'_>) -> Result<usize> {
    let order = graph.order().to_vec();
    let mut rewrite = Rewrite::new(graph, "clean");
    let mut known: BTreeMap<(Vec<Value>, String), Value> = BTreeMap::new();
    for node in order {
        let data = rewrite.graph().node(node);
        let [result] = data.results[..] else { continue };
        let args: Vec<Value> = data.args.iter().map(|v| rewrite.now(*v)).collect();
        let graph = rewrite.graph();
        if let Some(same) = no_effect(graph, &data.op, &args, result) {
            rewrite.replace(result, same);
            continue;
        }
        if let Op::Reshape(_) = data.op
            && let Some(inner) = reshaped(graph, args[0])
        {
            let shape = graph.ty(result).shape.clone();
            let same = graph.ty(inner) == graph.ty(result);
            let new = if same { inner } else { rewrite.add(Op::Reshape(Reshape { shape }), &[inner], result)? };
            rewrite.replace(result, new);
            continue;
        }
        if !data.regions.is_empty() {
            continue;
        }
        let key = (args, key(graph, &data.op));
        match known.get(&key) {
            Some(twin) if equal(graph, *twin, &data.op) => {
                let twin = *twin;
                rewrite.replace(result, twin);
            }
            Some(_) => {}
            None => drop(known.insert(key, result)),
        }
    }
    rewrite.apply()
}

/// The argument that `result` equals, where the op does nothing.
fn no_effect(graph: &Graph, op: &Op, args: &[Value], result: Value) -> Option<Value> {
    let first = *args.first()?;
    let idle = if let Op::Transpose(t) = op {
        t.order.iter().enumerate().all(|(i, o)| i == *o)
    } else {
        matches!(op, Op::Cast(_) | Op::Reshape(_) | Op::Slice(_) | Op::Expand(_))
            || matches!(op, Op::Concat(_)) && args.len() == 1
    };
    (idle && graph.ty(first) == graph.ty(result)).then_some(first)
}

/// What is equal for ops that compute the same of the same arguments, and hardly ever for others.
fn key(graph: &Graph, op: &Op) -> String {
    let Op::Const(id) = op else { return format!("{op:?}") };
    let constant = graph.const_data(*id);
    let mut hasher = DefaultHasher::new();
    for (_, bytes) in &constant.parts {
        if bytes.len() <= SMALL { bytes.hash(&mut hasher) } else { bytes.as_ptr().hash(&mut hasher) }
    }
    format!("const {} {} {}", constant.ty, constant.encoding, hasher.finish())
}

/// Whether the node that gives `twin`, which has the same arguments, computes `op`.
fn equal(graph: &Graph, twin: Value, op: &Op) -> bool {
    let Some(node) = graph.def_node(twin) else { return false };
    match (&graph.node(node).op, op) {
        (Op::Const(a), Op::Const(b)) => a == b || same(graph.const_data(*a), graph.const_data(*b)),
        (a, b) => a == b,
    }
}

fn same(a: &Const, b: &Const) -> bool {
    a.ty == b.ty
        && a.encoding == b.encoding
        && a.ty.dtype != DType::Bool
        && a.parts.len() == b.parts.len()
        && a.parts
            .iter()
            .zip(&b.parts)
            .all(|((_, a), (_, b))| a.len() == b.len() && (a.as_ptr() == b.as_ptr() || (a.len() <= SMALL && a == b)))
}
