//! `clean`: dead code, equal constants and equal computations once, ops that do nothing, and activations that exporters write
//! out as what they are.
//!
//! Constants above 64 KiB are equal here only where they are the same bytes of the same mapping (tied weights), so that
//! cleaning reads no model.

mod activation;

use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{Pass, PassInfo};
use crate::report::PassReport;
use actc_ir::ops::shaping::Reshape;
use actc_ir::{Const, Graph, Op, Patch, Value};
use actc_types::{DType, Result};
use std::collections::BTreeMap;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "clean",
    summary: "remove dead code, merge equal constants and computations, recognise activations, drop ops that do nothing",
    phase: Phase::Clean,
    options: &[],
    needs: Facts::NONE,
    gives: Facts::CLEAN,
    precedes: Facts::NONE,
    // Constants of activations that are written out are rounded.
    contract: Contract::Tolerance(1e-4),
    build: |_| Ok(Box::new(Clean)),
};

/// Constants up to this size are compared by content.
const SMALL: usize = 64 << 10;

struct Clean;

impl Pass for Clean {
    fn options(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, _cx: &mut PassCx<'_>) -> Result<PassReport> {
        let (nodes, constants) = (graph.order().len(), graph.constants().len());
        while simplify(graph)? > 0 {}
        while activation::activations(graph)? > 0 {
            *graph = graph.compact();
        }
        *graph = graph.compact();
        Ok(PassReport::line(format!(
            "{nodes} nodes and {constants} constants became {} and {}",
            graph.order().len(),
            graph.constants().len()
        )))
    }
}

/// One round; the number of uses that changed.
fn simplify(graph: &mut Graph) -> Result<usize> {
    let mut known: BTreeMap<(&'static str, Vec<Value>), Vec<Value>> = BTreeMap::new();
    let mut replaced = Vec::new();
    let mut merged = Vec::new();
    for node in graph.order() {
        let data = graph.node(*node);
        let [result] = data.results[..] else { continue };
        if let Some(same) = no_effect(graph, &data.op, &data.args, result) {
            replaced.push((result, same));
            continue;
        }
        if let Op::Reshape(_) = data.op
            && let Some(inner) = reshaped(graph, data.args[0])
        {
            merged.push((result, inner));
            continue;
        }
        if !data.regions.is_empty() {
            continue;
        }
        let twins = known.entry((data.op.name(), data.args.clone())).or_default();
        match twins.iter().find(|twin| equal(graph, **twin, &data.op)) {
            Some(twin) => replaced.push((result, *twin)),
            None => twins.push(result),
        }
    }
    let mut patch = Patch::new(graph, "clean");
    for (result, inner) in merged {
        let shape = patch.graph().ty(result).shape.clone();
        let new = patch.add(Op::Reshape(Reshape { shape }), &[inner])?;
        patch.replace(result, new)?;
    }
    for (old, new) in replaced {
        patch.replace(old, new)?;
    }
    let changed = patch.apply()?;
    if changed > 0 {
        *graph = graph.compact();
    }
    Ok(changed)
}

/// The argument that `result` equals, where the op does nothing.
fn no_effect(graph: &Graph, op: &Op, args: &[Value], result: Value) -> Option<Value> {
    let first = *args.first()?;
    let idle = if let Op::Transpose(t) = op {
        t.order.iter().enumerate().all(|(i, o)| i == *o)
    } else {
        matches!(op, Op::Cast(_) | Op::Reshape(_) | Op::Slice(_)) || matches!(op, Op::Concat(_)) && args.len() == 1
    };
    (idle && graph.ty(first) == graph.ty(result)).then_some(first)
}

/// What `value` is a reshape of, if it is one.
fn reshaped(graph: &Graph, value: Value) -> Option<Value> {
    let data = graph.node(graph.def_node(value)?);
    matches!(data.op, Op::Reshape(_)).then(|| data.args[0])
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

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::{Interpreter, text};

    fn clean(source: &str) -> (Graph, Graph) {
        let before = text::parse(source, &text::unbound).unwrap();
        let mut after = before.clone();
        let mut quiet = |_: crate::Progress<'_>| {};
        Clean.run(&mut after, &mut PassCx::new(&Interpreter, &mut quiet)).unwrap();
        assert_eq!(actc_ir::verify(&after), []);
        (before, after)
    }

    #[test]
    fn what_does_nothing_goes_and_twins_merge() {
        let (_, after) = clean(
            "air 1
graph @g(%x: f32[S, 4]) {
  %w = const @a = rng{seed=1, scale=0.5} : f32[4, 4]
  %v = const @b = rng{seed=1, scale=0.5} : f32[4, 4]
  %dead = relu %x : f32[S, 4]
  %0 = linear %x, %w : f32[S, 4]
  %1 = linear %x, %v : f32[S, 4]
  %2 = cast{to=f32} %1 : f32[S, 4]
  %3 = add %0, %2 : f32[S, 4]
  return y=%3
}
",
        );
        let names: Vec<&str> = after.order().iter().map(|n| after.node(*n).op.name()).collect();
        assert_eq!(names, ["const", "linear", "add"]);
        assert_eq!(after.constants().len(), 1);
    }
}
