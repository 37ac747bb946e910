//! Linears: inputs as operands, then one launch for all matrices of the cluster, and where blocks share columns one that adds
//! what they gave.

use super::groups::Groups;
use super::inputs::{Layout, Made};
use super::{MANY, no_kernel, unexpected};
use crate::cluster::Epilogue;
use crate::plan::matrices::{linear_spec, weak_columns, weight};
use crate::plan::steps::{FEW_TOKENS, Steps, overflow, rows_of};
use crate::spec::BufferRole;
use crate::spec::gpu::{Gemm, Gemv, GpuKernel, Products, Record, Reduce, Tile};
use crate::spec::linear::{Linear, Mat, Tokens};
use actc_ir::ops::linear::Act;
use actc_ir::{ConstId, Node, Op, Value};
use actc_types::{DType, Dim, Encoding, Order, Result, Role};

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
        let spec = linear_spec(self.graph, &[node], data.args[0], Epilogue::None, Tokens::Many, Order::Mma16);
        spec.is_ok_and(|s| Record::of(&s.mats[0], s.cols, s.act, self.products(), s.tokens).is_ok())
    }

    /// Whether the weight of `node` is dense, of f32, and multiplied by inputs as they are.
    pub(super) fn is_single_precision(&self, node: Node) -> bool {
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

    /// The kernel for a few tokens, where there are so few of `spec` and it has room for them: with products that may be rounded
    /// twice as many cost little more.
    pub(super) fn few(&self, spec: &Linear, count: &Dim) -> Result<Option<Gemv>> {
        let most = match self.products() {
            Products::Half => Gemv::MOST_TOKENS.into(),
            Products::Single => FEW_TOKENS,
        };
        let Some(n) = count.fixed().filter(|n| (1..=most).contains(n)) else { return Ok(None) };
        let few = Linear { tokens: Tokens::Few(n as u8), ..spec.clone() };
        let gemv = Gemv::of(few, self.products())?;
        // Up to `FEW_TOKENS` it has room for any matrix: what it does not take then no kernel does.
        let takes = n <= FEW_TOKENS || GpuKernel::Gemv(gemv.clone()).check().is_ok();
        Ok(takes.then_some(gemv))
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
        let spec = linear_spec(self.graph, nodes, x, epilogue, Tokens::Many, Order::Mma16)?;
        let weights = nodes.iter().map(|n| weight(self.graph, self.graph.node(*n), 1)).collect::<Result<Vec<_>>>()?;
        let count = rows_of(self.graph.ty(x))?;
        let few = self.few(&spec, &count).map_err(|d| no_kernel(d.headline))?;
        let tokens = few.as_ref().map_or(Tokens::Many, |gemv| gemv.linear.tokens);
        let products = self.products();
        let record = |mat: &Mat| Record::of(mat, spec.cols, spec.act, products, tokens);
        let records = spec.mats.iter().map(record).collect::<Result<Vec<_>>>().map_err(|d| no_kernel(d.headline))?;
        let about = count.fixed().map_or(MANY, |n| n as usize);
        let groups = self.groups(&spec, about);
        let layout = match (&few, &groups) {
            (None, Groups::Multiply(wgmma)) => Layout::Tiles(wgmma.tile),
            (Some(_), _) | (None, Groups::Refuse(_)) => Layout::Records,
        };
        let read = self.read(x)?;
        let mut made: Vec<Made> = Vec::new();
        let mut prepared = Vec::new();
        for (record, id) in records.iter().zip(&weights) {
            prepared.push(self.lay_out(&label, &read, (layout, *record), *id, &count, &mut made)?);
        }
        let residual = match epilogue {
            Epilogue::Residual(value) => Some(value),
            Epilogue::None | Epilogue::GatedSilu | Epilogue::GatedGeluTanh => None,
        };
        let outputs = outputs.iter().map(|v| self.buffers.value(*v)).collect::<Result<Vec<_>>>()?;
        let biases = nodes.iter().map(|n| self.graph.node(*n).args.get(2).copied()).collect();
        let operands = Operands { weights, biases, prepared, residual, outputs };
        match (few, groups) {
            (Some(gemv), _) => {
                self.multiply(&label, GpuKernel::Gemv(gemv), &operands, &count, format!("{tokens} token(s)"))
            }
            (None, Groups::Multiply(wgmma)) => self.by_groups(&label, spec, wgmma, operands, (&count, about)),
            (None, Groups::Refuse(why)) => {
                let why = format!("about {about} tokens, {why}");
                self.many(&label, spec, &records, operands, (&count, about), why)
            }
        }
    }

    /// More tokens than `gemv` takes: in one piece, or in parts whose sums are added up.
    pub(super) fn many(
        &mut self,
        label: &str,
        linear: Linear,
        records: &[Record],
        operands: Operands,
        (count, tokens): (&Dim, usize),
        why: String,
    ) -> Result<()> {
        let products = self.products();
        let rows = linear.mats.iter().map(|m| m.rows as usize).sum();
        let chunks = records.iter().map(Record::chunks).min().unwrap_or(1);
        let slots = records.iter().map(|r| r.tiles(tokens) * r.slots()).max().unwrap_or(1);
        let (tile, splits) = Tile::of(rows, chunks, slots);
        if splits == 1 {
            let kernel = GpuKernel::Gemm(Gemm { linear, products, tile, splits });
            return self.multiply(label, kernel, &operands, count, why);
        }
        let why = format!("{why}, in {splits} parts");
        let gemm = |linear| GpuKernel::Gemm(Gemm { linear, products, tile, splits });
        self.in_parts(label, linear, splits, gemm, operands, (count, why))
    }

    /// `splits` parts of the sums by the kernel `product`, then what is left to do with them.
    pub(super) fn in_parts(
        &mut self,
        label: &str,
        linear: Linear,
        splits: u8,
        product: impl FnOnce(Linear) -> GpuKernel,
        operands: Operands,
        (count, why): (&Dim, String),
    ) -> Result<()> {
        let part = linear.sums();
        let mut parts = Vec::new();
        for mat in &part.mats {
            let bytes = count.checked_mul(&Dim::from(u64::from(splits) * u64::from(mat.rows) * 4));
            parts.push(self.buffers.scratch(bytes.ok_or_else(overflow)?));
        }
        let kernel = product(part);
        let Operands { weights, biases, prepared, residual, outputs } = operands;
        let sums = Operands {
            weights: weights.clone(),
            biases: Vec::new(),
            prepared: prepared.clone(),
            residual: None,
            outputs: parts.clone(),
        };
        self.multiply(label, kernel, &sums, count, why)?;
        // What is added up takes the parts where a product takes its inputs.
        let whole = Operands { weights, biases, prepared: parts, residual, outputs };
        let kernel = GpuKernel::Reduce(Reduce { linear, splits });
        let of = if splits == 1 { "sums that are whole".to_owned() } else { format!("{splits} parts") };
        self.multiply(&format!("{label} (sum)"), kernel, &whole, count, of)
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
