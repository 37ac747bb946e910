//! Inputs of linears as operands: records of a few tokens, or tiles for groups of warps. Matrices of a cluster share those that are
//! alike.

use super::unexpected;
use crate::plan::matrices::{weak_columns, weak_index};
use crate::plan::steps::{Steps, overflow};
use crate::spec::gpu::{GpuKernel, Prepare, Record, Swizzle, Weak};
use crate::spec::{Buffer, BufferRole};
use actc_ir::ConstId;
use actc_types::{Dim, Result, Role};
use bytes::Bytes;

/// How inputs are laid out as operands.
#[derive(Clone, Copy)]
pub(super) enum Layout {
    Records,
    /// Of so many tokens.
    Tiles(u16),
}

/// Inputs that are laid out already in this cluster.
pub(super) struct Made {
    kernel: GpuKernel,
    index: Option<Bytes>,
    weak: u64,
    buffer: u32,
}

impl Steps<'_, '_> {
    /// `input` laid out as the matrix `id` reads it, which is as `record` says: what is there already, else made.
    pub(super) fn lay_out(
        &mut self,
        label: &str,
        input: u32,
        (layout, record): (Layout, Record),
        id: ConstId,
        tokens: &Dim,
        made: &mut Vec<Made>,
    ) -> Result<u32> {
        let index = weak_index(self.graph, id).filter(|_| record.weak == Weak::Scattered);
        let weak = if record.weak == Weak::None { 0 } else { weak_columns(self.graph, id) };
        let kernel = layout.kernel(record);
        if let Some(there) = made.iter().find(|m| m.kernel == kernel && m.weak == weak && m.index == index) {
            return Ok(there.buffer);
        }
        let bytes = layout.bytes(record, tokens, weak as usize);
        let buffer = self.buffers.scratch(bytes.ok_or_else(overflow)?);
        let bufs = self.of_inputs(&kernel, id, input, buffer)?;
        let dims = std::iter::once(tokens.clone()).chain(counted(&record, weak)).collect();
        let reason = format!("inputs of {label}: {kernel}");
        let label = if made.is_empty() {
            format!("{label} (prepare)")
        } else {
            format!("{label} (prepare {})", made.len() + 1)
        };
        self.template(&label, kernel.clone(), bufs, dims, reason)?;
        made.push(Made { kernel, index, weak, buffer });
        Ok(buffer)
    }

    /// The buffers of `kernel`, which lays `input` out in `prepared` as the matrix `id` reads it.
    pub(super) fn of_inputs(&mut self, kernel: &GpuKernel, id: ConstId, input: u32, prepared: u32) -> Result<Vec<u32>> {
        let buffer = |asked: Buffer| match asked.role {
            BufferRole::Input(_) => Ok(input),
            BufferRole::WeakIndex(_) => self.buffers.part(&mut self.shared.tensors, id, Role::WeakIndex),
            BufferRole::Prepared(_) => Ok(prepared),
            other @ (BufferRole::Weight { .. }
            | BufferRole::Bias(_)
            | BufferRole::Scale
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
    /// What lays out inputs that a matrix reads as `record` says.
    fn kernel(self, record: Record) -> GpuKernel {
        match self {
            Layout::Records => GpuKernel::Prepare(Prepare { record }),
            Layout::Tiles(tile) => GpuKernel::Swizzle(Swizzle { record, tile }),
        }
    }

    /// Bytes of `tokens` tokens, at least: a dimension knows no quotient that is rounded up.
    fn bytes(self, record: Record, tokens: &Dim, weak: usize) -> Option<Dim> {
        let tile = match self {
            Layout::Records => return record_bytes(&record, tokens, weak),
            Layout::Tiles(tile) => tile,
        };
        let (swizzle, tile) = (Swizzle { record, tile }, u64::from(tile));
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
