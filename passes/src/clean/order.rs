//! Transposes of transposes as one, and transposes that move only axes of one element as reshapes, which are free.

use super::findings::Findings;
use super::look::transposed;
use super::rewrite::Rewrite;
use actc_ir::ops::shaping::{Reshape, Transpose};
use actc_ir::{Graph, Op};
use actc_types::{Dim, Result, Shape};

pub(super) fn orders(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let nodes = graph.order().to_vec();
    let mut rewrite = Rewrite::new(graph, "order");
    for node in nodes {
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

/// Whether elements of a tensor of `shape` lie the same in the order of axes `order`.
fn keeps(shape: &Shape, order: &[usize]) -> bool {
    let one = Dim::from(1);
    order.iter().filter(|axis| shape.dims()[**axis] != one).is_sorted()
}
