//! Norms, rotary embedding, and elementwise chains.

use super::launch::Call;
use super::steps::{Steps, fixed, overflow, rows_of};
use crate::chain::{self, Chain};
use crate::cluster::storage;
use crate::spec::rope::{self, RopeTable};
use crate::spec::{KernelSpec, norm};
use actc_ir::ops::rope::{Rope, RopeStyle};
use actc_ir::{Node, NodeData, Op, Value};
use actc_types::{Diagnostic, Dim, Result};

pub(super) fn small(n: u64, what: &str) -> Result<u32> {
    u32::try_from(n).map_err(|_| Diagnostic::new("codegen-dim", format!("{what} {n} exceeds 32 bits")))
}

impl Steps<'_, '_> {
    fn width(&self, value: Value) -> Result<u32> {
        small(fixed(self.graph.ty(value).shape.last(), "the last axis")?, "the last axis")
    }

    pub(super) fn rms_norm(&mut self, label: &str, data: &NodeData, eps: f64) -> Result<()> {
        let spec = norm::RmsNorm { cols: self.width(data.args[0])?, eps: eps as f32, add: false };
        self.norm(label, data, KernelSpec::RmsNorm(spec))
    }

    pub(super) fn layer_norm(&mut self, label: &str, data: &NodeData, eps: f64) -> Result<()> {
        let cols = self.width(data.args[0])?;
        let spec = norm::LayerNorm { cols, eps: eps as f32, bias: data.args.len() == 3, add: false };
        self.norm(label, data, KernelSpec::LayerNorm(spec))
    }

    /// `x`, scale, bias where there is one, then the result: the order of the arguments.
    fn norm(&mut self, label: &str, data: &NodeData, spec: KernelSpec) -> Result<()> {
        let mut bufs = Vec::new();
        for arg in &data.args {
            bufs.push(self.buffers.dense(&mut self.shared.tensors, *arg)?);
        }
        bufs.push(self.buffers.value(data.results[0])?);
        let dims = vec![rows_of(self.graph.ty(data.args[0]))?];
        self.launch(label, Call { reason: format!("generated: {spec}"), spec, bufs, dims });
        Ok(())
    }

    pub(super) fn rope(&mut self, label: &str, data: &NodeData, rope: &Rope) -> Result<()> {
        let start = match self.graph.def_node(data.args[1]).map(|n| &self.graph.node(n).op) {
            Some(Op::Range(r)) => r.start.clone(),
            Some(_) | None => {
                return Err(Diagnostic::new("codegen-rope", "positions are computed, expected consecutive ones")
                    .help("give positions as `range{start=…, len=…}`"));
            }
        };
        let ty = self.graph.ty(data.args[0]).clone();
        let [tokens, heads, head_dim] = ty.shape.dims() else { return Err(overflow()) };
        let table = KernelSpec::RopeTable(RopeTable {
            rotary: rope.dims,
            theta: rope.theta,
            stretch: rope.factor,
            scale: rope.magnitude as f32,
            factors: data.args.len() == 3,
        });
        let key = (format!("{table} {start} {tokens}"), data.args.get(2).copied());
        let table_buffer = match self.rope_tables.get(&key) {
            Some(buffer) => *buffer,
            None => {
                let row = Dim::from(4 * u64::from(rope.dims));
                let buffer = self.buffers.scratch(tokens.checked_mul(&row).ok_or_else(overflow)?);
                let mut bufs = Vec::new();
                if let Some(factors) = data.args.get(2) {
                    bufs.push(self.buffers.dense(&mut self.shared.tensors, *factors)?);
                }
                bufs.push(buffer);
                let dims = vec![tokens.clone(), start];
                let reason = format!("cosines and sines once for all layers: {table}");
                self.launch("rope table", Call { spec: table, bufs, dims, reason });
                self.rope_tables.insert(key, buffer);
                buffer
            }
        };
        let spec = KernelSpec::Rope(rope::Rope {
            heads: small(fixed(Some(heads), "the number of heads")?, "the number of heads")?,
            head_dim: small(fixed(Some(head_dim), "the head")?, "the head")?,
            rotary: rope.dims,
            style: match rope.style {
                RopeStyle::Half => rope::RopeStyle::Half,
                RopeStyle::Interleaved => rope::RopeStyle::Interleaved,
            },
        });
        let x = self.buffers.dense(&mut self.shared.tensors, data.args[0])?;
        let bufs = vec![x, table_buffer, self.buffers.value(data.results[0])?];
        self.launch(label, Call { reason: format!("generated: {spec}"), spec, bufs, dims: vec![tokens.clone()] });
        Ok(())
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
        self.launch(&label, Call { reason, spec, bufs, dims: extents });
        debug_assert_eq!(storage(self.graph, output), output, "chains end in a computed value");
        Ok(())
    }
}
