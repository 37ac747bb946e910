//! Norms, rotary embedding, and elementwise chains: the kernels that CPUs have too.

use super::{Steps, no_kernel};
use crate::chain::{self, Chain};
use crate::plan::pointwise::{layer_norm, rms_norm, turning};
use crate::plan::steps::{overflow, rows_of};
use crate::spec::KernelSpec;
use actc_ir::ops::rope::Rope;
use actc_ir::{Node, NodeData, Op, Value};
use actc_types::{Dim, Result};

impl Steps<'_, '_> {
    pub(super) fn rms_norm(&mut self, label: &str, data: &NodeData, eps: f64) -> Result<()> {
        self.norm(label, data, rms_norm(self.graph, data, eps)?)
    }

    pub(super) fn layer_norm(&mut self, label: &str, data: &NodeData, eps: f64) -> Result<()> {
        self.norm(label, data, layer_norm(self.graph, data, eps)?)
    }

    /// `x`, scale, bias where there is one, then the result: the order of the arguments.
    fn norm(&mut self, label: &str, data: &NodeData, spec: KernelSpec) -> Result<()> {
        let mut bufs = Vec::new();
        for arg in &data.args {
            bufs.push(self.buffers.dense(&mut self.shared.tensors, *arg)?);
        }
        bufs.push(self.buffers.value(data.results[0])?);
        let dims = vec![rows_of(self.graph.ty(data.args[0]))?];
        let reason = format!("generated: {spec}");
        self.generated(label, spec, bufs, dims, reason)
    }

    pub(super) fn rope(&mut self, label: &str, data: &NodeData, rope: &Rope) -> Result<()> {
        let turning = turning(self.graph, data, rope)?;
        let key = turning.key(data);
        let table = match self.rope_tables.get(&key) {
            Some(buffer) => *buffer,
            None => {
                let row = Dim::from(4 * u64::from(rope.dims));
                let buffer = self.buffers.scratch(turning.tokens.checked_mul(&row).ok_or_else(overflow)?);
                let mut bufs = Vec::new();
                if let Some(factors) = data.args.get(2) {
                    bufs.push(self.buffers.dense(&mut self.shared.tensors, *factors)?);
                }
                bufs.push(buffer);
                let dims = vec![turning.tokens.clone(), turning.start.clone()];
                let reason = format!("cosines and sines once for all layers: {}", turning.table);
                self.generated("rope table", turning.table.clone(), bufs, dims, reason)?;
                self.rope_tables.insert(key, buffer);
                buffer
            }
        };
        let x = self.buffers.dense(&mut self.shared.tensors, data.args[0])?;
        let bufs = vec![x, table, self.buffers.value(data.results[0])?];
        let reason = format!("generated: {}", turning.heads);
        self.generated(label, turning.heads, bufs, vec![turning.tokens], reason)
    }

    pub(super) fn elementwise(&mut self, nodes: &[Node], output: Value) -> Result<()> {
        let ty = self.graph.ty(output);
        let Chain { spec, inputs, extents } =
            chain::of(self.graph, nodes).ok_or_else(|| no_kernel(format!("no GPU kernel makes {ty} so")))?;
        let mut bufs = Vec::new();
        for value in &inputs {
            bufs.push(self.buffers.any(&mut self.shared.tensors, *value)?);
        }
        bufs.push(self.buffers.value(output)?);
        let origin = &self.graph.node(*nodes.last().expect("a chain has a node")).origin;
        let label = if origin.is_empty() { "elementwise".to_owned() } else { origin.clone() };
        let spec = KernelSpec::Elementwise(spec);
        let reason = format!("one pass over {} ops: {spec}", nodes.len());
        self.generated(&label, spec, bufs, extents, reason)
    }

    /// Whether `data`, positions, are only those of heads that are turned, whose table has them.
    pub(super) fn only_turns(&self, data: &NodeData) -> bool {
        let turns = |node: &Node| matches!(self.graph.node(*node).op, Op::Rope(_));
        let given = self.graph.outputs().any(|(_, v)| data.results.contains(&v));
        !given && data.results.iter().all(|v| self.users[v.index()].iter().all(turns))
    }
}
