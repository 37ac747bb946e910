//! What a cluster of linears multiplies, on any device.

use super::steps::fixed;
use crate::cluster::{Epilogue, storage};
use crate::spec::linear::{self, Linear, Mat, Tokens};
use actc_ir::ops::linear::Act;
use actc_ir::{ConstId, Graph, Node, NodeData, Op, Value};
use actc_types::{Diagnostic, Encoding, Mixed, Order, Result, Role, WeakPlace};
use bytes::Bytes;

/// The constant that is argument `i` of `data`.
pub(super) fn weight(graph: &Graph, data: &NodeData, i: usize) -> Result<ConstId> {
    graph.as_const(storage(graph, data.args[i])).ok_or_else(|| {
        Diagnostic::new(
            "codegen-weight",
            format!("argument {i} of `{}` is computed, expected a constant", data.op.name()),
        )
    })
}

/// Columns of `id` that are kept apart.
pub(super) fn weak_columns(graph: &Graph, id: ConstId) -> u64 {
    match &graph.const_data(id).encoding {
        Encoding::Mixed(m) => u64::from(m.cols),
        Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) => 0,
    }
}

/// The index of scattered weak columns of `id`, if it has one.
pub(super) fn weak_index(graph: &Graph, id: ConstId) -> Option<Bytes> {
    let parts = &graph.const_data(id).parts;
    parts.iter().find(|(role, _)| *role == Role::WeakIndex).map(|(_, bytes)| bytes.clone())
}

/// The kernel of `nodes`, linears over `x`, for a device that reads weights in `order`.
pub(super) fn linear_spec(
    graph: &Graph,
    nodes: &[Node],
    x: Value,
    epilogue: Epilogue,
    tokens: Tokens,
    order: Order,
) -> Result<Linear> {
    let too_large = |what: &str, n: u64| Diagnostic::new("codegen-dim", format!("{n} {what} exceed 32 bits"));
    let mut mats = Vec::new();
    let mut precision = linear::Act::F32;
    for node in nodes {
        let data = graph.node(*node);
        let constant = graph.const_data(weight(graph, data, 1)?);
        let (rows, _) = constant.matrix()?;
        let rows = u32::try_from(rows).map_err(|_| too_large("rows", rows as u64))?;
        let bias = data.args.len() == 3;
        let encoding = counted(constant.encoding.in_order(order));
        mats.push(Mat { rows, encoding, dtype: constant.ty.dtype, bias });
        if let Op::Linear(l) = &data.op {
            precision = match l.act {
                Act::F32 => linear::Act::F32,
                Act::Int8 => linear::Act::Int8,
            };
        }
    }
    let cols = fixed(graph.ty(x).shape.last(), "the width of a linear's input")?;
    Ok(Linear {
        mats,
        cols: u32::try_from(cols).map_err(|_| too_large("columns", cols))?,
        tokens,
        act: precision,
        epilogue: match epilogue {
            Epilogue::None => linear::Epilogue::None,
            Epilogue::Residual(_) => linear::Epilogue::AddResidual,
            Epilogue::GatedSilu => linear::Epilogue::GatedSilu,
            Epilogue::GatedGeluTanh => linear::Epilogue::GatedGeluTanh,
        },
    })
}

/// The encoding as kernels know it: they are told the number of weak columns at run time, but for those that are the last on CPUs,
/// and are the same for every number.
fn counted(encoding: Encoding) -> Encoding {
    match encoding {
        Encoding::Mixed(m) if m.place == WeakPlace::Scattered || m.body.order == Order::Mma16 => {
            Encoding::Mixed(Mixed { cols: m.cols.min(1), ..m })
        }
        other @ (Encoding::Mixed(_) | Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_)) => other,
    }
}
