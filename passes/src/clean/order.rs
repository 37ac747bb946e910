//! Transposes of transposes as one, those of axes that reshapes join and part again as transposes of the parts, and transposes
//! that move only axes of one element as reshapes, which are free.

use super::findings::Findings;
use super::look::{reshaped, transposed};
use super::rewrite::Rewrite;
use actc_ir::ops::shaping::{Reshape, Transpose};
use actc_ir::{Graph, Node, Op, Value};
use actc_types::{Dim, Result, Shape};
use std::ops::Range;

pub(super) fn orders(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let nodes = graph.order().to_vec();
    let mut rewrite = Rewrite::new(graph, "order");
    for node in nodes {
        if let Some((x, order, result)) = parted(&rewrite, node) {
            let new = rewrite.add(Op::Transpose(Transpose { order }), &[x], result)?;
            rewrite.replace(result, new);
            findings.made("transposes of joined axes");
            continue;
        }
        let data = rewrite.graph().node(node);
        let (Op::Transpose(Transpose { order }), [result]) = (&data.op, &data.results[..]) else { continue };
        let (result, mut order, mut x) = (*result, order.clone(), rewrite.now(data.args[0]));
        let inner = transposed(rewrite.graph(), x).map(|(of, first)| (of, first.to_vec()));
        let composed = inner.is_some();
        if let Some((of, first)) = inner {
            order.iter_mut().for_each(|axis| *axis = first[*axis]);
            x = of;
        }
        let shape = rewrite.graph().ty(x).shape.clone();
        if keeps(&shape, &order) {
            let shape = rewrite.graph().ty(result).shape.clone();
            let new = rewrite.add(Op::Reshape(Reshape { shape }), &[x], result)?;
            rewrite.replace(result, new);
            findings.made("transposes that move nothing");
        } else if composed {
            let new = rewrite.add(Op::Transpose(Transpose { order }), &[x], result)?;
            rewrite.replace(result, new);
            findings.made("transposes of transposes");
        }
    }
    rewrite.apply()
}

/// What `node` gives of which tensor by which order, where it is a reshape that parts what a reshape before a transpose joined.
fn parted(rewrite: &Rewrite<'_>, node: Node) -> Option<(Value, Vec<usize>, Value)> {
    let graph = rewrite.graph();
    let data = graph.node(node);
    let (Op::Reshape(Reshape { shape }), &[result]) = (&data.op, &data.results[..]) else { return None };
    let (joined, order) = transposed(graph, rewrite.now(data.args[0]))?;
    let x = reshaped(graph, joined)?;
    let (own, runs) = (graph.ty(x).shape.dims(), runs(graph.ty(x).shape.dims(), graph.ty(joined).shape.dims())?);
    let order: Vec<usize> = order.iter().flat_map(|axis| runs[*axis].clone()).collect();
    // Reshapes that only leave out axes of one element are free already.
    let joins = own.len() > runs.len() && order.iter().map(|axis| &own[*axis]).eq(shape.dims());
    joins.then_some((x, order, result))
}

/// The runs of axes `parts` whose extents multiply to each of `joined`.
fn runs(parts: &[Dim], joined: &[Dim]) -> Option<Vec<Range<usize>>> {
    let mut at = 0;
    let mut all = Vec::with_capacity(joined.len());
    for (i, whole) in joined.iter().enumerate() {
        let start = at;
        let mut product = Dim::from(1);
        while product != *whole || i + 1 == joined.len() && at < parts.len() {
            product = product.checked_mul(parts.get(at)?)?;
            at += 1;
        }
        all.push(start..at);
    }
    (at == parts.len()).then_some(all)
}

/// Whether elements of a tensor of `shape` lie the same in the order of axes `order`.
fn keeps(shape: &Shape, order: &[usize]) -> bool {
    let one = Dim::from(1);
    order.iter().filter(|axis| shape.dims()[**axis] != one).is_sorted()
}
