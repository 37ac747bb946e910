//! Linears: inputs as operands, then one launch for all matrices of the cluster, and where blocks share columns one that adds
//! what they gave.

use super::{MANY, no_kernel, unexpected};
use crate::cluster::Epilogue;
use crate::plan::matrices::{linear_spec, weak_columns, weak_index, weight};
use crate::plan::steps::{Steps, few_tokens, overflow, rows_of};
use crate::spec::BufferRole;
use crate::spec::gpu::{Gemm, Gemv, GpuKernel, Prepare, Record, Reduce, Tile, Weak};
use crate::spec::linear::{self, Linear, Mat, Tokens};
use actc_ir::ops::linear::Act;
use actc_ir::{ConstId, Node, Op, Value};
use actc_types::{DType, Dim, Encoding, Order, Result, Role};
use bytes::Bytes;

/// A record that is made already in this cluster.
struct Made {
    record: Record,
    index: Option<Bytes>,
    weak: u64,
    buffer: u32,
}

/// What the kernels of one cluster read and write.
pub(super) struct Operands {
    pub(super) weights: Vec<ConstId>,
    /// The bias of each matrix that has one.
    pub(super) biases: Vec<Option<Value>>,
    /// The prepared input of each matrix.
    pub(super) prepared: Vec<u32>,
    pub(super) residual: Option<Value>,
    /// Where the sums go.
    pub(super) outputs: Vec<u32>,
}

impl Steps<'_, '_> {
    /// Whether a kernel multiplies the matrix of `node`, a linear.
    pub(in crate::plan) fn multiplies(&self, node: Node) -> bool {
        let data = self.graph.node(node);
        let Op::Linear(_) = data.op else { return false };
        let tokens = self.tokens(data.args[0]);
        let spec = linear_spec(self.graph, &[node], data.args[0], Epilogue::None, tokens, Order::Mma16);
        spec.is_ok_and(|s| Record::of(&s.mats[0], s.cols, s.act, self.products(), tokens).is_ok())
    }

    /// Whether the weight of `node` is dense, of f32, and multiplied by inputs as they are.
    fn is_single_precision(&self, node: Node) -> bool {
        let data = self.graph.node(node);
        let Ok(id) = weight(self.graph, data, 1) else { return false };
        let constant = self.graph.const_data(id);
        let plain = matches!(&data.op, Op::Linear(l) if l.act == Act::F32);
        plain && constant.encoding == Encoding::Dense && constant.ty.dtype == DType::F32
    }

    fn single_precision(&mut self, label: &str, node: Node, output: Value) -> Result<()> {
        let data = self.graph.node(node);
        let id = weight(self.graph, data, 1)?;
        let (rows, cols) = self.graph.const_data(id).matrix()?;
        let bufs = [
            self.buffers.dense(&mut self.shared.tensors, data.args[0])?,
            self.buffers.part(&mut self.shared.tensors, id, Role::Data)?,
            self.buffers.value(output)?,
        ];
        let bias = match data.args.get(2) {
            Some(bias) => Some(self.buffers.dense(&mut self.shared.tensors, *bias)?),
            None => None,
        };
        let tokens = rows_of(self.graph.ty(data.args[0]))?;
        self.dense_product(label, bufs, bias, [&tokens, &Dim::from(cols as u64), &Dim::from(rows as u64)])
    }

    /// For how many rows of `x` a kernel is made.
    fn tokens(&self, x: Value) -> Tokens {
        few_tokens(self.graph.ty(x)).map_or(Tokens::Many, |few| Tokens::Few(few as u8))
    }

    pub(in crate::plan) fn products_on_gpu(
        &mut self,
        nodes: &[Node],
        x: Value,
        epilogue: Epilogue,
        outputs: &[Value],
    ) -> Result<()> {
        let label = nodes.iter().map(|n| self.graph.node(*n).origin.as_str()).collect::<Vec<_>>().join(" + ");
        if let ([node], [output]) = (nodes, outputs)
            && self.is_single_precision(*node)
        {
            return self.single_precision(&label, *node, *output);
        }
        let tokens = self.tokens(x);
        let spec = linear_spec(self.graph, nodes, x, epilogue, tokens, Order::Mma16)?;
        let weights = nodes.iter().map(|n| weight(self.graph, self.graph.node(*n), 1)).collect::<Result<Vec<_>>>()?;
        let products = self.products();
        let record = |mat: &Mat| Record::of(mat, spec.cols, spec.act, products, tokens);
        let records = spec.mats.iter().map(record).collect::<Result<Vec<_>>>().map_err(|d| no_kernel(d.headline))?;
        let count = rows_of(self.graph.ty(x))?;
        let input = self.buffers.dense(&mut self.shared.tensors, x)?;
        let mut made: Vec<Made> = Vec::new();
        let mut prepared = Vec::new();
        for (record, id) in records.iter().zip(&weights) {
            prepared.push(self.make_record(&label, input, *record, *id, &count, &mut made)?);
        }
        let residual = match epilogue {
            Epilogue::Residual(value) => Some(value),
            Epilogue::None | Epilogue::GatedSilu | Epilogue::GatedGeluTanh => None,
        };
        let outputs = outputs.iter().map(|v| self.buffers.value(*v)).collect::<Result<Vec<_>>>()?;
        let biases = nodes.iter().map(|n| self.graph.node(*n).args.get(2).copied()).collect();
        let operands = Operands { weights, biases, prepared, residual, outputs };
        match tokens {
            Tokens::Few(_) => {
                let kernel = GpuKernel::Gemv(Gemv::of(spec, products)?);
                self.multiply(&label, kernel, &operands, &count, format!("{tokens} token(s)"))
            }
            Tokens::Many => self.many(&label, spec, &records, operands, &count),
        }
    }

    /// The record `record` of `input`, for the matrix `id`: one that is there already, else made.
    fn make_record(
        &mut self,
        label: &str,
        input: u32,
        record: Record,
        id: ConstId,
        tokens: &Dim,
        made: &mut Vec<Made>,
    ) -> Result<u32> {
        let index = weak_index(self.graph, id).filter(|_| record.weak == Weak::Scattered);
        let weak = if record.weak == Weak::None { 0 } else { weak_columns(self.graph, id) };
        if let Some(there) = made.iter().find(|m| m.record == record && m.weak == weak && m.index == index) {
            return Ok(there.buffer);
        }
        let buffer = self.buffers.scratch(record_bytes(&record, tokens, weak as usize).ok_or_else(overflow)?);
        let kernel = GpuKernel::Prepare(Prepare { record });
        let mut bufs = Vec::new();
        for asked in kernel.buffers() {
            bufs.push(match asked.role {
                BufferRole::Input(_) => input,
                BufferRole::WeakIndex(_) => self.buffers.part(&mut self.shared.tensors, id, Role::WeakIndex)?,
                BufferRole::Prepared(_) => buffer,
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
        let dims =
            std::iter::once(tokens.clone()).chain((record.weak != Weak::None).then(|| Dim::from(weak))).collect();
        let reason = format!("inputs of {label}: {kernel}");
        let label = if made.is_empty() {
            format!("{label} (prepare)")
        } else {
            format!("{label} (prepare {})", made.len() + 1)
        };
        self.template(&label, kernel, bufs, dims, reason)?;
        made.push(Made { record, index, weak, buffer });
        Ok(buffer)
    }

    /// More tokens than `gemv` takes: in one piece, or in parts whose sums are added up.
    pub(super) fn many(
        &mut self,
        label: &str,
        linear: Linear,
        records: &[Record],
        operands: Operands,
        count: &Dim,
    ) -> Result<()> {
        let products = self.products();
        let tokens = count.fixed().map_or(MANY, |n| n as usize);
        let rows = linear.mats.iter().map(|m| m.rows as usize).sum();
        let chunks = records.iter().map(Record::chunks).min().unwrap_or(1);
        let slots = records.iter().map(|r| r.tiles(tokens) * r.slots()).max().unwrap_or(1);
        let (tile, splits) = Tile::of(rows, chunks, slots);
        if splits == 1 {
            let kernel = GpuKernel::Gemm(Gemm { linear, products, tile, splits });
            return self.multiply(label, kernel, &operands, count, format!("about {tokens} tokens"));
        }
        let mats: Vec<Mat> = linear.mats.iter().map(|m| Mat { bias: false, ..m.clone() }).collect();
        let mut parts = Vec::new();
        for mat in &mats {
            let bytes = count.checked_mul(&Dim::from(u64::from(splits) * u64::from(mat.rows) * 4));
            parts.push(self.buffers.scratch(bytes.ok_or_else(overflow)?));
        }
        let part = Linear { mats, epilogue: linear::Epilogue::None, ..linear.clone() };
        let kernel = GpuKernel::Gemm(Gemm { linear: part, products, tile, splits });
        let Operands { weights, biases, prepared, residual, outputs } = operands;
        let sums = Operands {
            weights: weights.clone(),
            biases: Vec::new(),
            prepared: prepared.clone(),
            residual: None,
            outputs: parts.clone(),
        };
        self.multiply(label, kernel, &sums, count, format!("about {tokens} tokens, in {splits} parts"))?;
        // What is added up takes the parts where a product takes its inputs.
        let whole = Operands { weights, biases, prepared: parts, residual, outputs };
        let kernel = GpuKernel::Reduce(Reduce { linear, splits });
        self.multiply(&format!("{label} (sum)"), kernel, &whole, count, format!("{splits} parts"))
    }

    /// Launches `kernel` on `operands`.
    pub(super) fn multiply(
        &mut self,
        label: &str,
        kernel: GpuKernel,
        operands: &Operands,
        count: &Dim,
        why: String,
    ) -> Result<()> {
        let mut bufs = Vec::new();
        for asked in kernel.buffers() {
            bufs.push(match asked.role {
                BufferRole::Weight { mat, part } => {
                    self.buffers.part(&mut self.shared.tensors, operands.weights[usize::from(mat)], part)?
                }
                BufferRole::Bias(mat) => {
                    let bias = operands.biases[usize::from(mat)].ok_or_else(|| unexpected(asked.role))?;
                    self.buffers.dense(&mut self.shared.tensors, bias)?
                }
                BufferRole::Prepared(mat) | BufferRole::Input(mat) => operands.prepared[usize::from(mat)],
                BufferRole::Residual => {
                    let value = operands.residual.ok_or_else(|| unexpected(asked.role))?;
                    self.buffers.dense(&mut self.shared.tensors, value)?
                }
                BufferRole::Output(i) => operands.outputs[usize::from(i)],
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
        let mut dims = Vec::new();
        for name in kernel.dims() {
            dims.push(match name.strip_prefix("weak").map(str::parse::<usize>) {
                Some(Ok(mat)) => Dim::from(weak_columns(self.graph, operands.weights[mat])),
                Some(Err(_)) | None => count.clone(),
            });
        }
        let reason = format!("for {why}: {kernel}");
        self.template(label, kernel, bufs, dims, reason)
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
