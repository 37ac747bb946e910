//! Inputs of linears as operands: records of a few tokens, or tiles for groups of warps. Matrices of a cluster share those that are
//! alike. A norm that nothing else reads is done as its rows are laid out.

use super::unexpected;
use crate::plan::matrices::{weak_columns, weak_index};
use crate::plan::steps::{Steps, overflow};
use crate::spec::gpu::{GpuKernel, Prepare, Record, RowNorm, Swizzle, Weak};
use crate::spec::{Buffer, BufferRole};
use actc_ir::{ConstId, Node, NodeData, Op, Value};
use actc_types::{Dim, Result, Role};
use bytes::Bytes;

/// How inputs are laid out as operands.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    Records,
    /// Of so many tokens.
    Tiles(u16),
}

/// What linears read.
pub(super) struct Read {
    /// Rows.
    pub(super) buffer: u32,
    /// What is done to them first.
    pub(super) normed: Option<Normed>,
}

/// A norm, and what it reads beside its rows.
pub(super) struct Normed {
    norm: RowNorm,
    label: String,
    scale: u32,
    bias: Option<u32>,
}

/// Inputs that are laid out already in this cluster.
pub(super) struct Made {
    kernel: GpuKernel,
    index: Option<Bytes>,
    weak: u64,
    buffer: u32,
}

impl Steps<'_, '_> {
    /// The norm that `data` is, where only kernels read it that lay their inputs out: those do it.
    pub(super) fn norm_of_inputs(&self, data: &NodeData) -> Option<RowNorm> {
        let norm = if let Op::RmsNorm(n) = &data.op {
            RowNorm::Rms { eps: n.eps as f32 }
        } else if let Op::LayerNorm(n) = &data.op {
            RowNorm::Layer { eps: n.eps as f32, bias: data.args.len() == 3 }
        } else {
            return None;
        };
        let value = data.results[0];
        let users = &self.users[value.index()];
        let multiplied = |node: &Node| {
            let user = self.graph.node(*node);
            let input = user.args[0] == value && !user.args[1..].contains(&value);
            input && self.multiplies(*node) && !self.is_single_precision(*node)
        };
        (!self.is_given(value) && !users.is_empty() && users.iter().all(multiplied)).then_some(norm)
    }

    /// What linears of `x` read.
    pub(super) fn read(&mut self, x: Value) -> Result<Read> {
        let graph = self.graph;
        let made = graph.def_node(x).map(|node| graph.node(node));
        let Some((data, norm)) = made.and_then(|data| Some((data, self.norm_of_inputs(data)?))) else {
            return Ok(Read { buffer: self.buffers.dense(&mut self.shared.tensors, x)?, normed: None });
        };
        let mut bufs = Vec::new();
        for arg in &data.args {
            bufs.push(self.buffers.dense(&mut self.shared.tensors, *arg)?);
        }
        let normed = Normed { norm, label: data.origin.clone(), scale: bufs[1], bias: bufs.get(2).copied() };
        Ok(Read { buffer: bufs[0], normed: Some(normed) })
    }

    /// `read` laid out as the matrix `id` reads it, which is as `record` says: what is there already, else made.
    pub(super) fn lay_out(
        &mut self,
        label: &str,
        read: &Read,
        (layout, record): (Layout, Record),
        id: ConstId,
        tokens: &Dim,
        made: &mut Vec<Made>,
    ) -> Result<u32> {
        let index = weak_index(self.graph, id).filter(|_| record.weak == Weak::Scattered);
        let weak = if record.weak == Weak::None { 0 } else { weak_columns(self.graph, id) };
        let kernel = layout.kernel(record, read.normed.as_ref().map(|n| n.norm));
        if let Some(there) = made.iter().find(|m| m.kernel == kernel && m.weak == weak && m.index == index) {
            return Ok(there.buffer);
        }
        let bytes = layout.bytes(record, tokens, weak as usize);
        let buffer = self.buffers.scratch(bytes.ok_or_else(overflow)?);
        let bufs = self.of_inputs(&kernel, id, read, buffer)?;
        let dims = std::iter::once(tokens.clone()).chain(counted(&record, weak)).collect();
        let reason = format!("inputs of {label}: {kernel}");
        let label = read.normed.as_ref().map_or_else(|| label.to_owned(), |n| format!("{} + {label}", n.label));
        let label = if made.is_empty() {
            format!("{label} (prepare)")
        } else {
            format!("{label} (prepare {})", made.len() + 1)
        };
        self.template(&label, kernel.clone(), bufs, dims, reason)?;
        made.push(Made { kernel, index, weak, buffer });
        Ok(buffer)
    }

    /// The buffers of `kernel`, which lays `read` out in `prepared` as the matrix `id` reads it.
    pub(super) fn of_inputs(
        &mut self,
        kernel: &GpuKernel,
        id: ConstId,
        read: &Read,
        prepared: u32,
    ) -> Result<Vec<u32>> {
        let normed = read.normed.as_ref();
        let buffer = |asked: Buffer| match asked.role {
            BufferRole::Input(_) => Ok(read.buffer),
            BufferRole::Scale => normed.map(|n| n.scale).ok_or_else(|| unexpected(asked.role)),
            BufferRole::Bias(_) => normed.and_then(|n| n.bias).ok_or_else(|| unexpected(asked.role)),
            BufferRole::WeakIndex(_) => self.buffers.part(&mut self.shared.tensors, id, Role::WeakIndex),
            BufferRole::Prepared(_) => Ok(prepared),
            other @ (BufferRole::Weight { .. }
            | BufferRole::Residual
            | BufferRole::Table
            | BufferRole::Factors
            | BufferRole::Keys
            | BufferRole::Values
            | BufferRole::Mask
            | BufferRole::Error
            | BufferRole::Scratch
            | BufferRole::Output(_)) => Err(unexpected(other)),
        };
        kernel.buffers().into_iter().map(buffer).collect()
    }
}

/// The number of weak columns, where a kernel that lays inputs out as `record` is told it.
pub(super) fn counted(record: &Record, weak: u64) -> Option<Dim> {
    (record.weak != Weak::None).then(|| Dim::from(weak))
}

impl Layout {
    /// What lays out inputs, after a norm where there is one, that a matrix reads as `record` says.
    fn kernel(self, record: Record, norm: Option<RowNorm>) -> GpuKernel {
        match self {
            Layout::Records => GpuKernel::Prepare(Prepare { record, norm }),
            Layout::Tiles(tile) => GpuKernel::Swizzle(Swizzle { record, tile, norm }),
        }
    }

    /// Bytes of `tokens` tokens, at least: a dimension knows no quotient that is rounded up.
    fn bytes(self, record: Record, tokens: &Dim, weak: usize) -> Option<Dim> {
        let tile = match self {
            Layout::Records => return record_bytes(&record, tokens, weak),
            Layout::Tiles(tile) => tile,
        };
        let (swizzle, tile) = (Swizzle { record, tile, norm: None }, u64::from(tile));
        // Whole tiles have no bytes of their own beside their tokens'.
        let share = swizzle.bytes(tile as usize, weak) as u64 / tile;
        let tokens = match tokens.fixed() {
            Some(n) => Dim::from(n.checked_next_multiple_of(tile)?),
            None => tokens.checked_add(&Dim::from(tile - 1))?,
        };
        tokens.checked_mul(&Dim::from(share))
    }
}

/// Bytes of the records of `tokens` tokens, at least: a dimension knows no quotient that is rounded up.
pub(super) fn record_bytes(record: &Record, tokens: &Dim, weak: usize) -> Option<Dim> {
    if let Some(n) = tokens.fixed() {
        return Some(Dim::from(record.bytes(usize::try_from(n).ok()?, weak) as u64));
    }
    let each = u64::from(record.tokens);
    // A record's parts are lines of 128 bytes but for the weak inputs, 32 bytes for each slot of a step.
    let share = (record.bytes(1, weak) as u64).div_ceil(each);
    tokens.checked_add(&Dim::from(each - 1))?.checked_mul(&Dim::from(share))
}
