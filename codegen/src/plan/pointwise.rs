//! Norms, rotary embedding, and elementwise chains.

use super::launch::Call;
use super::steps::{Steps, fixed, overflow, rows_of};
use crate::chain::{self, Chain};
use crate::cluster::storage;
use crate::spec::rope::{self, RopeTable};
use crate::spec::{KernelSpec, norm};
use actc_ir::ops::rope::{Rope, RopeStyle};
use actc_ir::{Graph, Node, NodeData, Op, Value};
use actc_types::{Diagnostic, Dim, Result};

pub(super) fn small(n: u64, what: &str) -> Result<u32> {
    u32::try_from(n).map_err(|_| Diagnostic::new("codegen-dim", format!("{what} {n} exceeds 32 bits")))
}

fn width(graph: &Graph, value: Value) -> Result<u32> {
    small(fixed(graph.ty(value).shape.last(), "the last axis")?, "the last axis")
}

/// The kernel of `data`, a root-mean-square norm.
pub(super) fn rms_norm(graph: &Graph, data: &NodeData, eps: f64) -> Result<KernelSpec> {
    let cols = width(graph, data.args[0])?;
    Ok(KernelSpec::RmsNorm(norm::RmsNorm { cols, eps: eps as f32, add: false }))
}

/// The kernel of `data`, a layer norm.
pub(super) fn layer_norm(graph: &Graph, data: &NodeData, eps: f64) -> Result<KernelSpec> {
    let cols = width(graph, data.args[0])?;
    Ok(KernelSpec::LayerNorm(norm::LayerNorm { cols, eps: eps as f32, bias: data.args.len() == 3, add: false }))
}

/// How heads are turned.
pub(super) struct Turning {
    /// Makes cosines and sines.
    pub(super) table: KernelSpec,
    /// Turns heads by them.
    pub(super) heads: rope::Rope,
    /// Number of positions.
    pub(super) tokens: Dim,
    /// The first position.
    pub(super) start: Dim,
}

impl Turning {
    /// What tells tables apart.
    pub(super) fn key(&self, data: &NodeData) -> (String, Option<Value>) {
        (format!("{} {} {}", self.table, self.start, self.tokens), data.args.get(2).copied())
    }
}

/// How `data`, a `rope`, turns its heads; refuses positions that are computed.
pub(super) fn turning(graph: &Graph, data: &NodeData, rope: &Rope) -> Result<Turning> {
    let start = match graph.def_node(data.args[1]).map(|n| &graph.node(n).op) {
        Some(Op::Range(r)) => r.start.clone(),
        Some(_) | None => {
            return Err(Diagnostic::new("codegen-rope", "positions are computed, expected consecutive ones")
                .help("give positions as `range{start=…, len=…}`"));
        }
    };
    let [tokens, heads, head_dim] = graph.ty(data.args[0]).shape.dims() else { return Err(overflow()) };
    let table = RopeTable {
        rotary: rope.dims,
        theta: rope.theta,
        stretch: rope.factor,
        scale: rope.magnitude as f32,
        factors: data.args.len() == 3,
    };
    let turned = rope::Rope {
        heads: small(fixed(Some(heads), "the number of heads")?, "the number of heads")?,
        head_dim: small(fixed(Some(head_dim), "the head")?, "the head")?,
        rotary: rope.dims,
        style: match rope.style {
            RopeStyle::Half => rope::RopeStyle::Half,
            RopeStyle::Interleaved => rope::RopeStyle::Interleaved,
        },
    };
    Ok(Turning { table: KernelSpec::RopeTable(table), heads: turned, tokens: tokens.clone(), start })
}

impl Steps<'_, '_> {
    /// `x`, scale, bias where there is one, then the result: the order of the arguments.
    pub(super) fn norm(&mut self, label: &str, data: &NodeData, spec: KernelSpec) -> Result<()> {
        let mut bufs = Vec::new();
        for arg in &data.args {
            bufs.push(self.buffers.dense(&mut self.shared.tensors, *arg)?);
        }
        bufs.push(self.buffers.value(data.results[0])?);
        let dims = vec![rows_of(self.graph.ty(data.args[0]))?];
        self.launch(label, Call { reason: format!("generated: {spec}"), spec, bufs, dims })
    }

    pub(super) fn rope(&mut self, label: &str, data: &NodeData, rope: &Rope) -> Result<()> {
        let turning = turning(self.graph, data, rope)?;
        let table = self.rope_table(&turning, data)?;
        let Turning { heads, tokens, .. } = turning;
        let x = self.buffers.dense(&mut self.shared.tensors, data.args[0])?;
        let bufs = vec![x, table, self.buffers.value(data.results[0])?];
        let spec = KernelSpec::Rope(heads);
        self.launch(label, Call { reason: format!("generated: {spec}"), spec, bufs, dims: vec![tokens] })
    }

    /// The cosines and sines of `turning`, which is of `data`: those that are there already, else made.
    pub(super) fn rope_table(&mut self, turning: &Turning, data: &NodeData) -> Result<u32> {
        let key = turning.key(data);
        if let Some(there) = self.rope_tables.get(&key) {
            return Ok(*there);
        }
        let Turning { table, tokens, start, .. } = turning;
        let row = Dim::from(4 * u64::from(turning.heads.rotary));
        let buffer = self.buffers.scratch(tokens.checked_mul(&row).ok_or_else(overflow)?);
        let mut bufs = Vec::new();
        if let Some(factors) = data.args.get(2) {
            bufs.push(self.buffers.dense(&mut self.shared.tensors, *factors)?);
        }
        bufs.push(buffer);
        let (spec, dims) = (table.clone(), vec![tokens.clone(), start.clone()]);
        let reason = format!("cosines and sines once for all layers: {table}");
        self.launch("rope table", Call { spec, bufs, dims, reason })?;
        self.rope_tables.insert(key, buffer);
        Ok(buffer)
    }

    pub(super) fn elementwise(&mut self, nodes: &[Node], output: Value) -> Result<()> {
        let ty = self.graph.ty(output);
        let no_kernel = || Diagnostic::new("codegen-elementwise", format!("no kernel makes {ty} so"));
        let Chain { spec, inputs, extents } = chain::of(self.graph, nodes).ok_or_else(no_kernel)?;
        let mut bufs = Vec::new();
        for value in &inputs {
            bufs.push(self.any(*value)?);
        }
        bufs.push(self.buffers.value(output)?);
        let origin = &self.graph.node(*nodes.last().expect("a chain has a node")).origin;
        let label = if origin.is_empty() { "elementwise".to_owned() } else { origin.clone() };
        let spec = KernelSpec::Elementwise(spec);
        let reason = format!("one pass over {} ops: {spec}", nodes.len());
        self.launch(&label, Call { reason, spec, bufs, dims: extents })?;
        debug_assert_eq!(storage(self.graph, output), output, "chains end in a computed value");
        Ok(())
    }
}
