//! Stored matrices row by row: those that ids name, or all.

use super::unexpected;
use crate::plan::matrices::weight;
use crate::plan::pointwise::small;
use crate::plan::steps::{Steps, overflow};
use crate::spec::gpu::{Decode, Embedding, GpuKernel};
use crate::spec::{Buffer, BufferRole, Mat};
use actc_ir::ops::embedding;
use actc_ir::{ConstId, NodeData};
use actc_types::{Dim, Order, Result, Role};

impl Steps<'_, '_> {
    pub(super) fn rows_of_table(&mut self, label: &str, data: &NodeData, e: &embedding::Embedding) -> Result<()> {
        let id = weight(self.graph, data, 1)?;
        let (table, cols) = self.stored_matrix(id)?;
        let kernel = GpuKernel::Embedding(Embedding { table, cols, scale: e.scale as f32 });
        let (ids, to) =
            (self.buffers.dense(&mut self.shared.tensors, data.args[0])?, self.buffers.value(data.results[0])?);
        let bufs = self.of_matrix(&kernel, id, Some(ids), to)?;
        let tokens = self.graph.ty(data.args[0]).shape.elements()?;
        let reason = format!("a few rows of any encoding: {kernel}");
        self.template(label, kernel, bufs, vec![tokens], reason)
    }

    /// All rows of constant `id`, of any encoding, in single precision: a buffer that a launch before those of `label` fills.
    pub(in crate::plan) fn decoded(&mut self, label: &str, id: ConstId) -> Result<u32> {
        let (matrix, cols) = self.stored_matrix(id)?;
        let bytes = Dim::from(u64::from(matrix.rows)).checked_mul(&Dim::from(4 * u64::from(cols)));
        let to = self.buffers.scratch(bytes.ok_or_else(overflow)?);
        let kernel = GpuKernel::Decode(Decode { matrix, cols });
        let bufs = self.of_matrix(&kernel, id, None, to)?;
        let reason = format!("weights of {label}, read element by element: {kernel}");
        self.template(&format!("{label} (decode)"), kernel, bufs, Vec::new(), reason)?;
        Ok(to)
    }

    /// Constant `id` as kernels that decode its rows know it, and its columns.
    pub(super) fn stored_matrix(&self, id: ConstId) -> Result<(Mat, u32)> {
        let constant = self.graph.const_data(id);
        let (rows, cols) = constant.matrix()?;
        let (rows, cols) = (small(rows as u64, "the number of rows")?, small(cols as u64, "the number of columns")?);
        let encoding = constant.encoding.in_order(Order::Mma16);
        Ok((Mat { rows, encoding, dtype: constant.ty.dtype, bias: false }, cols))
    }

    /// The buffers of `kernel`, which decodes rows of constant `id` into `to`, by `ids` where it takes some.
    fn of_matrix(&mut self, kernel: &GpuKernel, id: ConstId, ids: Option<u32>, to: u32) -> Result<Vec<u32>> {
        let buffer = |asked: Buffer| match asked.role {
            BufferRole::Input(_) => ids.ok_or_else(|| unexpected(asked.role)),
            BufferRole::Weight { part, .. } => self.buffers.part(&mut self.shared.tensors, id, part),
            BufferRole::WeakIndex(_) => self.buffers.part(&mut self.shared.tensors, id, Role::WeakIndex),
            BufferRole::Error => Ok(self.buffers.errors()),
            BufferRole::Output(_) => Ok(to),
            other @ (BufferRole::Bias(_)
            | BufferRole::Scale
            | BufferRole::Prepared(_)
            | BufferRole::Residual
            | BufferRole::Table
            | BufferRole::Factors
            | BufferRole::Keys
            | BufferRole::Values
            | BufferRole::Mask
            | BufferRole::Scratch) => Err(unexpected(other)),
        };
        kernel.buffers().into_iter().map(buffer).collect()
    }
}
