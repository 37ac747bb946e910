//! Linears as generated kernels: prepared inputs, then one launch for all matrices of the cluster.

use super::device::Device;
use super::launch::Call;
use super::matrices::{linear_spec, weak_columns, weak_index};
use super::steps::{Steps, few_tokens, overflow, rows_of};
use crate::cluster::Epilogue;
use crate::spec::linear::{Input, Mat, Tokens};
use crate::spec::prepare::{Prepare, Prepared, WeakSet};
use crate::spec::{BufferRole, KernelSpec};
use actc_ir::ops::linear::Act;
use actc_ir::{ConstId, Node, Op, Value};
use actc_types::{Diagnostic, Dim, Order, Result, Role};

/// A prepared input and the constant whose weak index it needs.
struct Set {
    prepared: Prepared,
    index_of: Option<ConstId>,
    buffer: u32,
}

impl Steps<'_, '_> {
    pub(super) fn linear_kernels(
        &mut self,
        nodes: &[Node],
        x: Value,
        epilogue: Epilogue,
        outputs: &[Value],
        tokens: Tokens,
    ) -> Result<()> {
        let label = nodes.iter().map(|n| self.graph.node(*n).origin.as_str()).collect::<Vec<_>>().join(" + ");
        let spec = linear_spec(self.graph, nodes, x, epilogue, tokens, Order::Panels8)?;
        let weights = nodes.iter().map(|n| self.weight(self.graph.node(*n), 1)).collect::<Result<Vec<_>>>()?;
        let input = self.buffers.dense(&mut self.shared.tensors, x)?;
        let count = rows_of(self.graph.ty(x))?;
        let mut sets: Vec<Set> = Vec::new();
        let mut prepared_of = Vec::new();
        for (mat, weight) in spec.mats.iter().zip(&weights) {
            prepared_of.push(match mat.input(spec.cols, spec.act) {
                Input::Raw => None,
                Input::Prepared(prepared) => Some(self.set(&mut sets, prepared, *weight, &count)?),
            });
        }
        self.prepare(&label, input, spec.cols, &sets, &count)?;
        let scattered: Vec<ConstId> =
            spec.mats.iter().zip(&weights).filter(|(m, _)| m.scattered()).map(|(_, id)| *id).collect();
        let kernel = KernelSpec::Linear(spec);
        let mut bufs = Vec::new();
        for buffer in kernel.buffers() {
            bufs.push(match buffer.role {
                BufferRole::Weight { mat, part } => {
                    self.buffers.part(&mut self.shared.tensors, weights[usize::from(mat)], part)?
                }
                BufferRole::Bias(mat) => {
                    let bias = self.graph.node(nodes[usize::from(mat)]).args[2];
                    self.buffers.dense(&mut self.shared.tensors, bias)?
                }
                BufferRole::Input(_) => input,
                BufferRole::Prepared(mat) => match prepared_of[usize::from(mat)] {
                    Some(set) => sets[set].buffer,
                    None => return Err(unexpected(buffer.role)),
                },
                BufferRole::Residual => match epilogue {
                    Epilogue::Residual(value) => self.buffers.dense(&mut self.shared.tensors, value)?,
                    Epilogue::None | Epilogue::GatedSilu | Epilogue::GatedGeluTanh => {
                        return Err(unexpected(buffer.role));
                    }
                },
                BufferRole::Output(i) => self.buffers.value(outputs[usize::from(i)])?,
                other @ (BufferRole::Scale
                | BufferRole::WeakIndex(_)
                | BufferRole::Table
                | BufferRole::Factors
                | BufferRole::Keys
                | BufferRole::Values
                | BufferRole::Mask
                | BufferRole::Error
                | BufferRole::Scratch) => return Err(unexpected(other)),
            });
        }
        let reason = format!("generated for {tokens} token(s): {kernel}");
        let counts = scattered.iter().map(|id| Dim::from(weak_columns(self.graph, *id)));
        let dims = (tokens == Tokens::Many).then_some(count).into_iter().chain(counts).collect();
        self.launch(&label, Call { spec: kernel, bufs, dims, reason })
    }

    /// For how many tokens a kernel is made for `node`, a linear; `None` where a library's product is faster.
    pub(super) fn generated(&self, node: Node) -> Option<Tokens> {
        let data = self.graph.node(node);
        let Op::Linear(linear) = data.op else { return None };
        if let Some(few) = few_tokens(self.graph.ty(data.args[0])) {
            return Some(Tokens::Few(few as u8));
        }
        let constant = self.graph.const_data(self.weight(data, 1).ok()?);
        let encoding = constant.encoding.in_order(Order::Panels8);
        let mat = Mat { rows: 1, encoding, dtype: constant.ty.dtype, bias: false };
        let fast = linear.act == Act::Int8
            || match self.shared.device {
                Device::Cpu { backend, .. } => backend.outdoes_library(),
                Device::Cuda { .. } => false,
            };
        (fast && mat.in_panels()).then_some(Tokens::Many)
    }

    /// The set that serves `weight`: one that is there already where the weak columns are the same.
    fn set(&mut self, sets: &mut Vec<Set>, prepared: Prepared, weight: ConstId, tokens: &Dim) -> Result<usize> {
        let index_of = (prepared.weak == WeakSet::Scattered).then_some(weight);
        let index = |id: ConstId| weak_index(self.graph, id);
        let same = |s: &Set| s.prepared == prepared && s.index_of.map(index) == index_of.map(index);
        if let Some(i) = sets.iter().position(same) {
            return Ok(i);
        }
        let bytes = tokens
            .checked_mul(&Dim::from(prepared.record_bytes(weak_columns(self.graph, weight) as usize) as u64))
            .ok_or_else(overflow)?;
        let buffer = self.buffers.scratch(bytes);
        sets.push(Set { prepared, index_of, buffer });
        Ok(sets.len() - 1)
    }

    fn prepare(&mut self, label: &str, input: u32, cols: u32, sets: &[Set], tokens: &Dim) -> Result<()> {
        if sets.is_empty() {
            return Ok(());
        }
        let spec = KernelSpec::Prepare(Prepare { cols, sets: sets.iter().map(|s| s.prepared).collect() });
        let mut bufs = Vec::new();
        for buffer in spec.buffers() {
            bufs.push(match buffer.role {
                BufferRole::Input(_) => input,
                BufferRole::WeakIndex(i) => {
                    let id = sets[usize::from(i)].index_of.ok_or_else(|| unexpected(buffer.role))?;
                    self.buffers.part(&mut self.shared.tensors, id, Role::WeakIndex)?
                }
                BufferRole::Prepared(i) => sets[usize::from(i)].buffer,
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
                | BufferRole::Output(_)) => return Err(unexpected(other)),
            });
        }
        let counts = sets.iter().filter_map(|s| s.index_of).map(|id| Dim::from(weak_columns(self.graph, id)));
        let dims = std::iter::once(tokens.clone()).chain(counts).collect();
        let call = Call { reason: format!("inputs of {label}: {spec}"), spec, bufs, dims };
        self.launch(&format!("{label} (prepare)"), call)
    }
}

pub(super) fn unexpected(role: BufferRole) -> Diagnostic {
    Diagnostic::new("codegen-buffer", format!("a kernel asks for a buffer {role:?} that its cluster has not"))
}
