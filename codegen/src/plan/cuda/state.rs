//! Rows of tables by ids, and new rows of states.
//!
//! Rows are appended when the first step reads a state that they belong to, those of several states in one launch: keys and values
//! of a layer wait for each other.

use super::unexpected;
use crate::cluster::storage;
use crate::plan::matrices::weight;
use crate::plan::pointwise::small;
use crate::plan::steps::{Steps, fixed, overflow};
use crate::spec::gpu::{Append, Decode, Embedding, GpuKernel, Rows};
use crate::spec::{Buffer, BufferRole, Mat};
use actc_ir::ops::embedding;
use actc_ir::{ConstId, NodeData, Op};
use actc_types::{Diagnostic, Dim, Order, Result, Role, RowForm};

/// Most states of a launch.
const TOGETHER: usize = 8;

/// New rows that wait to be appended.
pub(in crate::plan) struct Waiting {
    label: String,
    rows: Rows,
    form: RowForm,
    from: u32,
    /// The state.
    to: u32,
    new: Dim,
    past: Dim,
}

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

    /// New rows of a state wait until somebody reads it.
    pub(super) fn append_rows(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let (x, form) = self.rounded(data.args[1]).unwrap_or((data.args[1], RowForm::F32));
        let shape = &self.graph.ty(x).shape;
        let [new, heads @ .., n] = shape.dims() else {
            return Err(Diagnostic::new("codegen-dim", format!("rows of the shape {shape}")));
        };
        let heads = heads
            .iter()
            .try_fold(1u64, |all, d| fixed(Some(d), "the heads of a state")?.checked_mul(all).ok_or_else(overflow))?;
        let rows =
            Rows { heads: small(heads, "the number of heads")?, n: small(fixed(Some(n), "the head")?, "the head")? };
        let waiting = Waiting {
            label: label.into(),
            rows,
            form,
            from: self.buffers.dense(&mut self.shared.tensors, x)?,
            to: self.buffers.value(data.results[0])?,
            new: new.clone(),
            past: self.graph.ty(data.args[0]).shape.dims()[0].clone(),
        };
        let like = |w: &Waiting| (w.form, &w.new, &w.past) == (waiting.form, &waiting.new, &waiting.past);
        if self.waiting.len() >= TOGETHER || !self.waiting.iter().all(like) {
            self.append()?;
        }
        // What is to be appended stays until then.
        self.buffers.touch(waiting.from, self.clock);
        self.waiting.push(waiting);
        Ok(())
    }

    /// Whether `data`, a rounding, is made where its rows are appended, and nowhere else.
    pub(super) fn only_appended(&self, data: &NodeData) -> bool {
        let appended = |node: &actc_ir::Node| {
            let user = self.graph.node(*node);
            matches!(user.op, Op::CacheAppend(_))
                && user.args[0] != data.results[0]
                && self.buffers.is_state(user.results[0])
        };
        let given = self.graph.outputs().any(|(_, v)| storage(self.graph, v) == data.results[0]);
        !given && self.users[data.results[0].index()].iter().all(appended)
    }

    /// Appends what waits.
    pub(in crate::plan) fn append(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(first) = waiting.first() else { return Ok(()) };
        let kernel = GpuKernel::Append(Append { states: waiting.iter().map(|w| w.rows).collect(), form: first.form });
        let bufs = waiting.iter().map(|w| w.from).chain(waiting.iter().map(|w| w.to)).collect();
        let label = waiting.iter().map(|w| w.label.as_str()).collect::<Vec<_>>().join(" + ");
        let reason = format!("new rows of {} states: {kernel}", waiting.len());
        self.template(&label, kernel, bufs, vec![first.new.clone(), first.past.clone()], reason)
    }

    /// Appends what waits before a step with buffers `bufs`, if that reads any of it.
    pub(super) fn append_before(&mut self, bufs: &[u32]) -> Result<()> {
        if self.waiting.iter().any(|w| bufs.contains(&w.to)) { self.append() } else { Ok(()) }
    }
}
