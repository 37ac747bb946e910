//! The contract between passes and code generation: [`lower`] is the only way to a [`Lowered`] graph.
//!
//! A lowered graph is valid and compact, every weight of a `linear` or `embedding` is a constant, and the ops that kernels
//! are made for give f32, but for rows that are rounded for a cache.

use crate::graph::Graph;
use crate::op::Op;
use crate::verify::verify;
use actc_types::{DType, Diagnostic, Place, RowForm};

/// Proof that a graph passed the contract check.
#[derive(Clone, Debug)]
pub struct Lowered {
    graph: Graph,
}

impl Lowered {
    /// The graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}

/// Checks `graph` against the contract; all violations are reported at once.
pub fn lower(graph: &Graph) -> Result<Lowered, Vec<Diagnostic>> {
    let mut findings = verify(graph);
    if findings.is_empty() {
        let graph = graph.compact();
        for node in graph.order() {
            let data = graph.node(*node);
            let at = |d: Diagnostic| d.at(Place::Node(data.origin.clone()));
            if let (Op::Linear(_) | Op::Embedding(_), Some(weight)) = (&data.op, data.args.get(1))
                && graph.as_const(*weight).is_none()
            {
                findings.push(at(Diagnostic::new(
                    "lower-weight",
                    format!("the weight of {} is computed, not constant", data.op.name()),
                )));
            }
            for result in &data.results {
                let dtype = graph.ty(*result).dtype;
                let constant = matches!(data.op, Op::Const(_));
                let rounded = matches!(data.op, Op::RoundRows(_) | Op::CacheAppend(_)) && RowForm::of(dtype).is_some();
                if !constant
                    && !rounded
                    && !of_any_type(&data.op)
                    && !matches!(dtype, DType::F32 | DType::I64 | DType::Bool)
                {
                    findings.push(at(Diagnostic::new("lower-dtype", format!("activations are {dtype}, expected f32"))));
                }
            }
        }
        if findings.is_empty() {
            return Ok(Lowered { graph });
        }
    }
    Err(findings)
}

/// Whether an op is made for every element type.
fn of_any_type(op: &Op) -> bool {
    match op {
        Op::Const(_)
        | Op::Unary(_)
        | Op::Binary(_)
        | Op::Select(_)
        | Op::Cast(_)
        | Op::Bitcast(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Concat(_)
        | Op::Reduce(_)
        | Op::PlaceOf(_)
        | Op::Gather(_)
        | Op::GatherNd(_)
        | Op::GatherElements(_)
        | Op::ScatterNd(_)
        | Op::ScatterElements(_)
        | Op::Cumulate(_)
        | Op::TopK(_)
        | Op::NonZero(_)
        | Op::Unique(_)
        | Op::NonMaxSuppression(_)
        | Op::Expand(_)
        | Op::Bind(_)
        | Op::Expect(_)
        | Op::Conv(_)
        | Op::ConvInteger(_)
        | Op::ConvTranspose(_)
        | Op::DeformConv(_)
        | Op::Pool(_)
        | Op::Fold(_)
        | Op::Unpool(_)
        | Op::RegionPool(_)
        | Op::Pad(_)
        | Op::Resample(_)
        | Op::GridSample(_)
        | Op::Det(_)
        | Op::Matmul(_)
        | Op::If(_)
        | Op::Loop(_) => true,
        Op::Linear(_)
        | Op::Embedding(_)
        | Op::RmsNorm(_)
        | Op::LayerNorm(_)
        | Op::Rope(_)
        | Op::Attention(_)
        | Op::CacheAppend(_)
        | Op::RoundRows(_)
        | Op::Softmax(_)
        | Op::Recurrent(_)
        | Op::LinearAttention(_)
        | Op::Range(_)
        | Op::Gram(_)
        | Op::ChannelStats(_) => false,
    }
}
