//! What is computed of constants alone, computed once.
//!
//! Results are as the reference computes them. They are of at most 2^20 elements, and of at most as many as the largest argument
//! or 4096; with their arguments they are 2^25 together at most in a walk. Reshapes are free and stay.

use super::findings::Findings;
use super::look::dense;
use super::rewrite::Rewrite;
use actc_ir::eval::of_constants;
use actc_ir::{Const, Graph, Op, TensorType, Value};
use actc_types::{Encoding, Result, Role, Shape};

/// Most elements of a result.
const MOST: u64 = 1 << 20;

/// Elements of results that may be more than their arguments have.
const FEW: u64 = 1 << 12;

/// Most elements of all results of a walk and their arguments together.
const ALL: u64 = 1 << 25;

pub(super) fn fold(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let order = graph.order().to_vec();
    let mut rewrite = Rewrite::new(graph, "fold");
    let mut rest = ALL;
    for node in order {
        let data = rewrite.graph().node(node);
        let [result] = data.results[..] else { continue };
        if !elementwise_or_moved(&data.op) || data.args.is_empty() {
            continue;
        }
        let args: Vec<Value> = data.args.iter().map(|v| rewrite.now(*v)).collect();
        let graph = rewrite.graph();
        let Some(constants) = args.iter().map(|v| dense(graph, *v)).collect::<Option<Vec<&Const>>>() else { continue };
        let count = |ty: &TensorType| ty.shape.elements().ok().and_then(|n| n.fixed());
        let read: Vec<u64> = constants.iter().filter_map(|c| count(&c.ty)).collect();
        let largest = read.iter().copied().max().unwrap_or(0);
        let Some(elements) = count(graph.ty(result)) else { continue };
        let cost = read.iter().fold(elements, |n, read| n.saturating_add(*read));
        if elements > largest.max(FEW) || cost > rest {
            continue;
        }
        let Some(tensor) = of_constants(&data.op, &constants, MOST)? else { continue };
        let name = constants.iter().max_by_key(|c| c.stored_bytes()).map_or("constant", |c| c.name.as_str());
        let (name, bytes) = (findings.fresh(name), tensor.data().to_le_bytes());
        if !findings.take(bytes.len() as u64) {
            findings.left("constants to compute", "no room for more");
            break;
        }
        rest -= cost;
        let ty = TensorType::new(tensor.dtype(), Shape::fixed(tensor.dims()));
        let made = findings.constant(name, ty, Encoding::Dense, vec![(Role::Data, bytes)])?;
        let made = rewrite.constant(made);
        rewrite.replace(result, made);
        findings.made("values of constants");
    }
    rewrite.apply()
}

/// Whether an op costs as much as its arguments and results are large.
fn elementwise_or_moved(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Select(_)
            | Op::Cast(_)
            | Op::Transpose(_)
            | Op::Slice(_)
            | Op::Concat(_)
            | Op::Gather(_)
            | Op::Reduce(_)
    )
}
