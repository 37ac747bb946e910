//! From clusters to steps: each cluster becomes launches of generated kernels or calls of the runtime's library functions.
//!
//! The rule: up to [`FEW_TOKENS`] tokens linears and attention run as generated kernels; with more tokens (or a number known
//! only at run time) packed linears with rounded activations do, other linears and attention are library matrix products.
//! Everything else is generated. The choice and its reason are recorded per step.

use super::buffers::{Buffers, StateTable};
use super::cuda::{self, Waiting};
use super::device::Device;
use super::matrices::weight;
use super::pointwise::{layer_norm, rms_norm};
use super::tensors::TensorTable;
use crate::cluster::{Cluster, Epilogue, cluster, storage};
use actc_artifact::{Builtin, BuiltinCall, Entry, Launch, Step};
use actc_ir::ops::linear::Act;
use actc_ir::{ConstId, Graph, Node, NodeData, Op, Region, TensorType, Value};
use actc_types::{Diagnostic, Dim, Place, Result, RowForm, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// Most tokens that linears are generated for; above, weights are decoded once for all tokens.
pub const FEW_TOKENS: u64 = 8;

/// What entries of one program share while they are built.
#[derive(Debug)]
pub struct Shared {
    /// Whose kernels they run.
    pub device: Device,
    /// Stored constants.
    pub tensors: TensorTable,
    /// Why each step is what it is, by label.
    pub reasons: BTreeMap<String, String>,
}

impl Shared {
    /// Nothing yet but `tensors`, of a program for `device`.
    pub fn new(device: Device, tensors: TensorTable) -> Shared {
        Shared { device, tensors, reasons: BTreeMap::new() }
    }
}

/// Builds the entry `name` that runs `graph`.
pub fn entry(
    name: &str,
    graph: &Graph,
    fixed: &[(Symbol, u64)],
    states: &StateTable,
    shared: &mut Shared,
) -> Result<Entry, Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    let mut buffers = Buffers::new(graph, shared.device.order()).map_err(one)?;
    let copies = buffers.outputs().map_err(one)?;
    let mut steps = Steps {
        graph,
        buffers,
        shared,
        users: graph.users(),
        given: graph.outputs().map(|(_, v)| storage(graph, v)).collect(),
        recorded: !fixed.is_empty(),
        waiting: Vec::new(),
        list: Vec::new(),
        clock: 0,
        rope_tables: BTreeMap::new(),
        findings: Vec::new(),
    };
    steps.region(graph.body());
    for (value, to) in copies {
        if let Err(d) = steps.copy_value(value, to) {
            steps.findings.push(d);
        }
    }
    if !steps.findings.is_empty() {
        return Err(steps.findings);
    }
    let symbols = symbols_of(graph, states);
    let Steps { buffers, list, .. } = steps;
    let (buffers, inputs, outputs, slots) = buffers.finish();
    Ok(Entry { name: name.into(), symbols, fixed: fixed.to_vec(), inputs, outputs, buffers, slots, steps: list })
}

/// Number of rows of `ty` as a matrix over its last axis, where known and small.
pub(super) fn few_tokens(ty: &TensorType) -> Option<u64> {
    let (_, leading) = ty.shape.dims().split_last()?;
    let rows = leading.iter().try_fold(1u64, |n, d| n.checked_mul(d.fixed()?))?;
    (1..=FEW_TOKENS).contains(&rows).then_some(rows)
}

pub(super) fn symbols_of(graph: &Graph, states: &StateTable) -> Vec<Symbol> {
    let mut all: BTreeSet<Symbol> = BTreeSet::new();
    graph.order().iter().for_each(|n| graph.symbols_of(*n, &mut all));
    graph.inputs().for_each(|(_, v)| all.extend(graph.ty(v).shape.symbols()));
    states.states.iter().for_each(|(_, _, shape)| all.extend(shape.symbols()));
    all.into_iter().collect()
}

/// The steps of an entry under construction.
pub(super) struct Steps<'g, 's> {
    pub(super) graph: &'g Graph,
    pub(super) buffers: Buffers<'g>,
    /// For each value, the nodes that use it.
    pub(super) users: Vec<Vec<Node>>,
    /// What the graph gives, and the regions so far: it has to be in memory, whoever else reads it.
    given: BTreeSet<Value>,
    /// Whether the entry is one that GPUs record once and launch with other sizes.
    pub(super) recorded: bool,
    /// On GPUs, heads on their way to attention.
    pub(super) waiting: Vec<Waiting>,
    pub(super) shared: &'s mut Shared,
    /// Steps of the region that is being built.
    pub(super) list: Vec<Step>,
    /// Number of steps so far, nested ones included: lifetimes are counted in it.
    pub(super) clock: usize,
    /// Tables of cosines and sines that are made already, by what they hold.
    pub(super) rope_tables: BTreeMap<(String, Option<Value>), u32>,
    findings: Vec<Diagnostic>,
}

/// Rows of a tensor as a matrix over its last axis.
pub(super) fn rows_of(ty: &TensorType) -> Result<Dim> {
    let (_, leading) = ty.shape.dims().split_last().unwrap_or((&Dim::default(), &[]));
    product(leading)
}

pub(super) fn product(dims: &[Dim]) -> Result<Dim> {
    dims.iter()
        .try_fold(Dim::from(1), |n, d| n.checked_mul(d))
        .ok_or_else(|| Diagnostic::new("dim-overflow", "a shape exceeds 63 bits"))
}

pub(super) fn fixed(dim: Option<&Dim>, what: &str) -> Result<u64> {
    dim.and_then(Dim::fixed).ok_or_else(|| {
        let found = dim.map_or("missing".to_owned(), ToString::to_string);
        Diagnostic::new("codegen-dim", format!("{what} is {found}, expected a fixed extent"))
    })
}

impl Steps<'_, '_> {
    /// Counts a step that uses `bufs`.
    pub(super) fn tick(&mut self, bufs: &[u32]) {
        bufs.iter().for_each(|b| self.buffers.touch(*b, self.clock));
        self.clock += 1;
    }

    /// Adds the steps of `region`; what cannot be done is collected.
    pub(super) fn region(&mut self, region: Region) {
        let graph = self.graph;
        // Linears fuse where they become kernels.
        let generated: BTreeSet<Node> = graph.region_nodes(region).iter().copied().filter(|n| self.fuses(*n)).collect();
        // What a branch or a round makes is not there outside of it.
        let tables = self.rope_tables.clone();
        self.given.extend(graph.region_results(region).iter().map(|v| storage(graph, *v)));
        for c in cluster(graph, region, generated) {
            if let Err(d) = self.cluster(&c) {
                self.findings.push(d);
            }
        }
        if let Err(d) = self.append() {
            self.findings.push(d);
        }
        self.rope_tables = tables;
    }

    /// Whether `node`, if it is a linear, is done by a kernel.
    fn fuses(&self, node: Node) -> bool {
        match self.shared.device {
            Device::Cpu { .. } => self.generated(node).is_some(),
            Device::Cuda { .. } => self.multiplies(node),
        }
    }

    /// Launches a kernel that both classes of machines have.
    pub(super) fn launch(&mut self, label: &str, launch: super::launch::Call) -> Result<()> {
        let super::launch::Call { spec, bufs, dims, reason } = launch;
        let Device::Cpu { kernels, .. } = &mut self.shared.device else {
            return self.generated_for_gpu(label, spec, bufs, dims, reason);
        };
        let asked = (spec.buffers().len(), spec.dims().len());
        assert_eq!((bufs.len(), dims.len()), asked, "{label}: buffers and dimensions of {spec}");
        let kernel = kernels.index(spec);
        self.tick(&bufs);
        self.list.push(Step::Launch(Launch { label: label.into(), kernel, bufs, dims }));
        self.shared.reasons.insert(label.into(), reason);
        Ok(())
    }

    /// Calls the runtime's library, or launches the kernel that a GPU has instead; that there is none is a finding.
    pub(super) fn builtin(&mut self, call: BuiltinCall, reason: &str) {
        if let Device::Cuda { .. } = self.shared.device {
            if let Err(d) = self.library_on_gpu(&call, reason) {
                let (name, label) = (call.builtin.name(), call.label);
                self.findings.push(cuda::found(d, name, label));
            }
            return;
        }
        self.on_host(call, reason);
    }

    /// Calls the runtime's library, which the host does on any device.
    pub(super) fn on_host(&mut self, call: BuiltinCall, reason: &str) {
        self.tick(&call.bufs);
        self.shared.reasons.insert(call.label.clone(), format!("library `{}`: {reason}", call.builtin.name()));
        self.list.push(Step::Builtin(call));
    }

    fn cluster(&mut self, cluster: &Cluster) -> Result<()> {
        let first = match cluster {
            Cluster::Linear { nodes, .. } | Cluster::Elementwise { nodes, .. } => nodes[0],
            Cluster::Single(node) => *node,
        };
        let (op, origin) = (self.graph.node(first).op.name(), self.graph.node(first).origin.clone());
        let done = match cluster {
            Cluster::Linear { nodes, x, epilogue, outputs } => self.linears(nodes, *x, *epilogue, outputs),
            Cluster::Elementwise { nodes, output } => self.elementwise(nodes, *output),
            Cluster::Single(node) => self.single(*node),
        };
        done.map_err(|d| match (&self.shared.device, &d.place) {
            (Device::Cuda { .. }, _) => cuda::found(d, op, origin),
            (Device::Cpu { .. }, Place::Request) => d.at(Place::Node(origin)),
            (Device::Cpu { .. }, _) => d,
        })
    }

    /// The constant that is argument `i` of `data`.
    pub(super) fn weight(&self, data: &NodeData, i: usize) -> Result<ConstId> {
        weight(self.graph, data, i)
    }

    fn linears(&mut self, nodes: &[Node], x: Value, epilogue: Epilogue, outputs: &[Value]) -> Result<()> {
        if let Device::Cuda { .. } = self.shared.device {
            return self.products_on_gpu(nodes, x, epilogue, outputs);
        }
        if let Some(tokens) = self.generated(nodes[0]) {
            return self.linear_kernels(nodes, x, epilogue, outputs, tokens);
        }
        debug_assert_eq!((nodes.len(), epilogue), (1, Epilogue::None), "library calls are not fused");
        let data = self.graph.node(nodes[0]);
        let Op::Linear(linear) = &data.op else { return Ok(()) };
        let weight = self.weight(data, 1)?;
        let tensor = self.shared.tensors.index(&self.graph.const_data(weight).name);
        let mut bufs = vec![self.buffers.dense(&mut self.shared.tensors, x)?, self.buffers.value(outputs[0])?];
        if let Some(bias) = data.args.get(2) {
            bufs.push(self.buffers.dense(&mut self.shared.tensors, *bias)?);
        }
        let act = match linear.act {
            Act::F32 => 0,
            Act::Int8 => 8,
        };
        let dims = vec![rows_of(self.graph.ty(x))?];
        let call = BuiltinCall {
            bufs,
            tensors: vec![tensor],
            dims,
            ints: vec![act],
            ..BuiltinCall::new(&data.origin, Builtin::Linear)
        };
        self.builtin(call, "many tokens share each decoded weight");
        Ok(())
    }

    fn single(&mut self, node: Node) -> Result<()> {
        let data = self.graph.node(node).clone();
        let label = if data.origin.is_empty() { data.op.name().to_owned() } else { data.origin.clone() };
        if let Device::Cuda { .. } = self.shared.device
            && let Some(done) = self.single_on_gpu(&label, &data)
        {
            return done;
        }
        let result = data.results[0];
        let ty = self.graph.ty(result).clone();
        match &data.op {
            Op::Const(_) | Op::Reshape(_) | Op::Linear(_) => Ok(()),
            Op::Unary(u) => self.unary(&label, &data, u.function),
            Op::Binary(b) => self.binary(&label, &data, b.function),
            Op::Select(_) => self.select(&label, &data),
            Op::Cast(c) => self.cast(&label, &data, *c),
            Op::Bitcast(_) => self.bitcast(&label, &data),
            Op::Matmul(_) => self.matmul(&label, &data),
            Op::Reduce(r) => self.reduce(&label, &data, Builtin::Reduce, r.function.code()),
            Op::PlaceOf(p) => self.reduce(&label, &data, Builtin::Place, p.extreme.code()),
            Op::Gather(g) => self.gather(&label, &data, g.axis),
            Op::GatherNd(g) => self.gather_nd(&label, &data, g.batch),
            Op::GatherElements(g) => self.gather_elements(&label, &data, g.axis),
            Op::ScatterNd(s) => self.scatter_nd(&label, &data, s.reduce),
            Op::ScatterElements(s) => self.scatter_elements(&label, &data, s),
            Op::Cumulate(c) => self.cumulate(&label, &data, c),
            Op::TopK(t) => self.top_k(&label, &data, t),
            Op::NonZero(_) => self.non_zero(&label, &data),
            Op::Unique(u) => self.unique(&label, &data, u.sorted),
            Op::NonMaxSuppression(s) => self.non_max_suppression(&label, &data, s),
            Op::Expand(_) => self.expand(&label, &data),
            Op::Bind(b) => self.bind(&data, &b.symbols),
            Op::Expect(e) => self.expect(&label, &data, &e.shape),
            Op::Conv(c) => self.conv(&label, &data, &c.0),
            Op::ConvInteger(c) => self.conv_integer(&label, &data, &c.0),
            Op::ConvTranspose(c) => self.conv_transpose(&label, &data, &c.0),
            Op::DeformConv(d) => self.deform_conv(&label, &data, d),
            Op::Pool(p) => self.pool(&label, &data, p),
            Op::Fold(f) => self.fold(&label, &data, f),
            Op::Unpool(_) => self.unpool(&label, &data),
            Op::RegionPool(r) => self.region_pool(&label, &data, r),
            Op::Pad(p) => self.pad(&label, &data, p),
            Op::Resample(r) => self.resample(&label, &data, r.axis),
            Op::GridSample(g) => self.grid_sample(&label, &data, g.sampling),
            Op::Det(_) => self.det(&label, &data),
            Op::Transpose(t) => self.transpose(&label, &data, &t.order),
            Op::Embedding(e) => {
                let table = self.weight(&data, 1)?;
                let tensor = self.shared.tensors.index(&self.graph.const_data(table).name);
                let ids = data.args[0];
                let bufs = vec![self.buffers.dense(&mut self.shared.tensors, ids)?, self.buffers.value(result)?];
                let dims = vec![self.graph.ty(ids).shape.elements()?];
                let call = BuiltinCall {
                    bufs,
                    tensors: vec![tensor],
                    dims,
                    floats: vec![e.scale],
                    ..BuiltinCall::new(&label, Builtin::Embedding)
                };
                self.builtin(call, "a few rows of any encoding");
                Ok(())
            }
            Op::RmsNorm(n) => self.norm(&label, &data, rms_norm(self.graph, &data, n.eps)?),
            Op::LayerNorm(n) => self.norm(&label, &data, layer_norm(self.graph, &data, n.eps)?),
            Op::Rope(rope) => self.rope(&label, &data, rope),
            Op::Attention(a) => self.attention(&label, &data, a),
            Op::RoundRows(r) => {
                if self.rounds_into_state(result) {
                    return Ok(());
                }
                let to = self.buffers.value(result)?;
                self.round_rows(&label, data.args[0], r.to, to, Dim::from(0))
            }
            Op::CacheAppend(_) => {
                let to = self.buffers.value(result)?;
                let new = self.graph.ty(data.args[1]).clone();
                let old = self.graph.ty(data.args[0]).clone();
                let in_place = self.buffers.is_state(result);
                let row = product(&new.shape.dims()[1..])?
                    .checked_mul(&Dim::from(new.dtype.size() as u64))
                    .ok_or_else(overflow)?;
                let offset = old.shape.dims()[0].checked_mul(&row).ok_or_else(overflow)?;
                if !in_place {
                    let past = self.buffers.dense(&mut self.shared.tensors, data.args[0])?;
                    self.copy(
                        &label,
                        [past, to],
                        [&old.shape.dims()[0], &row, &Dim::from(0), &row, &Dim::from(0), &row],
                    );
                }
                if let Some((x, form)) = self.rounded(data.args[1]).filter(|_| self.rounds_into_state(data.args[1])) {
                    return self.round_rows(&label, x, form, to, offset);
                }
                let from = self.buffers.dense(&mut self.shared.tensors, data.args[1])?;
                self.copy(&label, [from, to], [&new.shape.dims()[0], &row, &Dim::from(0), &row, &offset, &row]);
                Ok(())
            }
            Op::Softmax(_) => {
                let bufs =
                    vec![self.buffers.dense(&mut self.shared.tensors, data.args[0])?, self.buffers.value(result)?];
                let dims = vec![rows_of(&ty)?, ty.shape.last().cloned().unwrap_or(Dim::from(1))];
                self.builtin(BuiltinCall { bufs, dims, ..BuiltinCall::new(&label, Builtin::Softmax) }, "rows");
                Ok(())
            }
            Op::Recurrent(r) => self.recurrent(&label, &data, r),
            Op::LinearAttention(a) => self.linear_attention(&label, &data, *a),
            Op::Slice(s) => {
                let from_ty = self.graph.ty(data.args[0]).clone();
                let from = self.buffers.any(&mut self.shared.tensors, data.args[0])?;
                let to = self.buffers.value(result)?;
                let inner = self.inner_bytes(&from_ty, s.axis)?;
                let bytes = s.len.checked_mul(&inner).ok_or_else(overflow)?;
                let stride = from_ty.shape.dims()[s.axis].checked_mul(&inner).ok_or_else(overflow)?;
                let offset = s.start.checked_mul(&inner).ok_or_else(overflow)?;
                let outer = product(&from_ty.shape.dims()[..s.axis])?;
                self.copy(&label, [from, to], [&outer, &bytes, &offset, &stride, &Dim::from(0), &bytes]);
                Ok(())
            }
            Op::Concat(c) => {
                let to = self.buffers.value(result)?;
                let stride =
                    ty.shape.dims()[c.axis].checked_mul(&self.inner_bytes(&ty, c.axis)?).ok_or_else(overflow)?;
                let outer = product(&ty.shape.dims()[..c.axis])?;
                let mut offset = Dim::from(0);
                for arg in &data.args {
                    let arg_ty = self.graph.ty(*arg).clone();
                    let from = self.buffers.any(&mut self.shared.tensors, *arg)?;
                    let bytes = arg_ty.shape.dims()[c.axis]
                        .checked_mul(&self.inner_bytes(&arg_ty, c.axis)?)
                        .ok_or_else(overflow)?;
                    self.copy(&label, [from, to], [&outer, &bytes, &Dim::from(0), &bytes, &offset, &stride]);
                    offset = offset.checked_add(&bytes).ok_or_else(overflow)?;
                }
                Ok(())
            }
            Op::Range(r) => {
                let bufs = vec![self.buffers.value(result)?];
                let dims = vec![r.len.clone(), r.start.clone()];
                self.builtin(BuiltinCall { bufs, dims, ..BuiltinCall::new(&label, Builtin::Range) }, "integers");
                Ok(())
            }
            Op::Gram(_) => {
                let k = ty.shape.dims()[0].clone();
                self.accumulate(&label, &data, Builtin::Gram, k, Vec::new())
            }
            Op::ChannelStats(c) => {
                let k = ty.shape.dims()[1].clone();
                self.accumulate(&label, &data, Builtin::ChannelStats, k, vec![i64::from(c.first_apart)])
            }
            Op::If(_) => self.branch(&data),
            Op::Loop(l) => self.repeat(&label, &data, l),
        }
    }

    /// What `value` is the rounding of, and to what, if it is one.
    pub(super) fn rounded(&self, value: Value) -> Option<(Value, RowForm)> {
        let data = self.graph.node(self.graph.def_node(value)?);
        match &data.op {
            Op::RoundRows(r) => Some((data.args[0], r.to)),
            _ => None,
        }
    }

    /// Whether the rounding `value` is only ever appended to a state, where it is made in its place.
    pub(super) fn rounds_into_state(&self, value: Value) -> bool {
        let appended = |node: &Node| {
            let data = self.graph.node(*node);
            let in_place = matches!(data.op, Op::CacheAppend(_)) && self.buffers.is_state(data.results[0]);
            in_place && data.args[0] != value
        };
        self.sole_reader(value).is_some_and(|reader| appended(&reader))
    }

    /// Whether `value` is given to somebody outside.
    pub(super) fn is_given(&self, value: Value) -> bool {
        self.given.contains(&storage(self.graph, value))
    }

    /// The only node that reads `value`, if there is one and nobody outside is given it.
    pub(super) fn sole_reader(&self, value: Value) -> Option<Node> {
        match self.users.get(value.index())?[..] {
            [reader] if !self.is_given(value) => Some(reader),
            _ => None,
        }
    }

    /// Rounds the rows of `x` to `form` into buffer `to` from byte `offset` on.
    fn round_rows(&mut self, label: &str, x: Value, form: RowForm, to: u32, offset: Dim) -> Result<()> {
        let ty = self.graph.ty(x).clone();
        let bufs = vec![self.buffers.dense(&mut self.shared.tensors, x)?, to];
        let dims = vec![rows_of(&ty)?, ty.shape.last().cloned().unwrap_or(Dim::from(1)), offset];
        let ints = vec![form.bits().into()];
        let call = BuiltinCall { bufs, dims, ints, ..BuiltinCall::new(label, Builtin::RoundRows) };
        self.builtin(call, "a few rows");
        Ok(())
    }

    fn accumulate(&mut self, label: &str, data: &NodeData, builtin: Builtin, k: Dim, ints: Vec<i64>) -> Result<()> {
        if !self.buffers.is_state(data.results[0]) {
            return Err(Diagnostic::new(
                "codegen-accumulator",
                "the accumulator is not donated, so it cannot be updated in place",
            ));
        }
        let x = self.graph.ty(data.args[1]).clone();
        let bufs =
            vec![self.buffers.dense(&mut self.shared.tensors, data.args[1])?, self.buffers.value(data.results[0])?];
        let dims = vec![rows_of(&x)?, k];
        self.builtin(BuiltinCall { bufs, dims, ints, ..BuiltinCall::new(label, builtin) }, "a matrix product");
        Ok(())
    }

    /// Bytes of what lies behind `axis`.
    fn inner_bytes(&self, ty: &TensorType, axis: usize) -> Result<Dim> {
        product(&ty.shape.dims()[axis + 1..])?.checked_mul(&Dim::from(ty.dtype.size() as u64)).ok_or_else(overflow)
    }

    pub(super) fn copy(&mut self, label: &str, bufs: [u32; 2], dims: [&Dim; 6]) {
        let call = BuiltinCall {
            bufs: bufs.to_vec(),
            dims: dims.into_iter().cloned().collect(),
            ..BuiltinCall::new(label, Builtin::Copy)
        };
        self.builtin(call, "moves rows");
    }

    pub(super) fn copy_value(&mut self, value: Value, to: u32) -> Result<()> {
        let ty = self.graph.ty(value).clone();
        let from = self.buffers.any(&mut self.shared.tensors, value)?;
        let bytes = ty.shape.elements()?.checked_mul(&Dim::from(ty.dtype.size() as u64)).ok_or_else(overflow)?;
        self.copy("output", [from, to], [&Dim::from(1), &bytes, &Dim::from(0), &bytes, &Dim::from(0), &bytes]);
        Ok(())
    }
}

pub(super) fn overflow() -> Diagnostic {
    Diagnostic::new("dim-overflow", "a dimension exceeds 63 bits")
}
