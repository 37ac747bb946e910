//! Rows of a table that is decoded whole to look them up: looked up first, and decoded then.
//!
//! `gather(f(codes), i)` is `f(gather(codes, i))` where `f` changes each element by itself: a cast, or a function of it and a
//! constant that is the same for all rows or is looked up too. So a table stays as it is stored. Left alone are tables that
//! somebody else reads, which are made anyway, and lookups along other axes than the first.

use super::findings::Findings;
use super::look::dense;
use super::rewrite::Rewrite;
use crate::uses::Uses;
use actc_ir::ops::indexing::Gather;
use actc_ir::{Graph, Node, Op, Value};
use actc_types::Result;

/// Ops between a constant and the table that it is used as, at most.
const STEPS: usize = 6;

pub(super) fn lookups(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let uses = Uses::of(graph);
    let mut found = Vec::new();
    for node in graph.order() {
        let data = graph.node(*node);
        let (Op::Gather(Gather { axis: 0 }), [table, indices], [rows]) = (&data.op, &data.args[..], &data.results[..])
        else {
            continue;
        };
        if graph.as_const(*table).is_some() || graph.ty(*table).shape.rank() != 2 {
            continue;
        }
        if let Some(ops) = steps(graph, &uses, *table) {
            found.push((*indices, *rows, ops));
        }
    }
    let mut rewrite = Rewrite::new(graph, "lookup");
    for (indices, rows, ops) in found {
        let look = Op::Gather(Gather { axis: 0 });
        let mut at: Option<Value> = None;
        for node in ops.iter().rev() {
            let data = rewrite.graph().node(*node).clone();
            let mut args = Vec::with_capacity(data.args.len());
            for arg in &data.args {
                let constant = dense(rewrite.graph(), *arg).is_some();
                // The elements of a row are the same for all rows where there is but one.
                let each =
                    rewrite.graph().ty(*arg).shape.rank() == 2 && rewrite.graph().ty(*arg).shape.dims()[0] != 1.into();
                args.push(match at {
                    _ if constant && each => rewrite.add(look.clone(), &[*arg, indices], rows)?,
                    Some(at) if !constant => at,
                    Some(_) | None => *arg,
                });
            }
            at = Some(rewrite.add(data.op, &args, rows)?);
        }
        if let Some(new) = at.filter(|new| rewrite.graph().ty(*new) == rewrite.graph().ty(rows)) {
            rewrite.replace(rows, new);
            findings.made("lookups in tables that stay as they are stored");
        }
    }
    rewrite.apply()
}

/// The nodes that make `table` of a constant, the last first; none where it is not made so.
fn steps(graph: &Graph, uses: &Uses, table: Value) -> Option<Vec<Node>> {
    let shape = &graph.ty(table).shape;
    let (mut at, mut nodes) = (table, Vec::new());
    while nodes.len() < STEPS {
        if dense(graph, at).is_some() {
            return (!nodes.is_empty() && graph.ty(at).shape == *shape).then_some(nodes);
        }
        uses.sole(at)?;
        let node = graph.def_node(at)?;
        let data = graph.node(node);
        let next = match (&data.op, &data.args[..]) {
            (Op::Cast(_), [x]) => *x,
            (Op::Binary(_), [a, b]) => {
                let whole = |v: Value| graph.ty(v).shape == *shape;
                let constant = |v: Value| dense(graph, v).is_some();
                match (constant(*a) && !whole(*a), constant(*b) && !whole(*b)) {
                    (false, true) => *a,
                    (true, false) => *b,
                    _two_of_a_kind => return None,
                }
            }
            _another_op => return None,
        };
        if graph.ty(next).shape != *shape {
            return None;
        }
        nodes.push(node);
        at = next;
    }
    None
}
