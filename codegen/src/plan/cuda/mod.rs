//! Plans for NVIDIA GPUs: the clusters and buffers of CPUs, other kernels, and nothing that the host computes between launches.
//!
//! Up to [`FEW_TOKENS`](super::steps::FEW_TOKENS) tokens linears are `gemv`, with more (or a number known only at run time)
//! `gemm`; both read inputs that `prepare` made operands of. A kernel is right for any number of tokens; where the number is a
//! symbol it is made for [`MANY`]. In an entry that is recorded once and launched again and again ([`Replay`]) kernels find in memory
//! whatever changes from one step to the next.
//!
//! An op that no kernel of a GPU does is an error of its own; all of them are reported.

mod attention;
mod kernels;
mod linear;
mod pointwise;
mod state;

pub use kernels::{Kernel, Kernels};
use state::Waiting;

use super::buffers::{Buffers, StateTable};
use super::matrices::linear_spec;
use super::steps::{few_tokens, symbols_of};
use super::tensors::TensorTable;
use crate::cluster::{Cluster, Epilogue, cluster};
use crate::emit::SizesIn;
use crate::spec::gpu::{GpuKernel, Products, Record};
use crate::spec::linear::Tokens;
use crate::spec::{BufferRole, KernelSpec};
use actc_artifact::{Entry, Launch, Step};
use actc_ir::{Graph, Node, NodeData, Op, Region, Value};
use actc_types::{Diagnostic, Dim, Order, Place, Result, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// Tokens that kernels are made for where their number is a symbol: a piece of a prompt.
const MANY: usize = 512;

/// Whether an entry is recorded once and launched again with other sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replay {
    /// It is: sizes that depend on symbols are in memory.
    Recorded,
    /// Each call launches its kernels anew.
    Launched,
}

/// What entries of one program share while they are built.
#[derive(Debug)]
pub struct Shared {
    /// Stored constants.
    pub tensors: TensorTable,
    /// How inputs enter products.
    pub products: Products,
    /// The kernels.
    pub kernels: Kernels,
    /// Why each step is what it is, by label.
    pub reasons: BTreeMap<String, String>,
}

impl Shared {
    /// Nothing yet but `tensors`.
    pub fn new(tensors: TensorTable, products: Products) -> Shared {
        Shared { tensors, products, kernels: Kernels::default(), reasons: BTreeMap::new() }
    }
}

/// Builds the entry `name` that runs `graph`.
pub fn entry(
    name: &str,
    graph: &Graph,
    fixed: &[(Symbol, u64)],
    replay: Replay,
    states: &StateTable,
    shared: &mut Shared,
) -> Result<Entry, Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    let mut buffers = Buffers::new(graph, Order::Mma16).map_err(one)?;
    let copies = buffers.outputs().map_err(one)?;
    let mut steps = Steps {
        graph,
        buffers,
        shared,
        replay,
        users: graph.users(),
        list: Vec::new(),
        clock: 0,
        rope_tables: BTreeMap::new(),
        waiting: Vec::new(),
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

/// One launch: what runs, on which buffers, with which sizes, and why.
struct Call {
    kernel: Kernel,
    bufs: Vec<u32>,
    dims: Vec<Dim>,
    reason: String,
}

/// The steps of an entry under construction.
struct Steps<'g, 's> {
    graph: &'g Graph,
    buffers: Buffers<'g>,
    shared: &'s mut Shared,
    replay: Replay,
    /// For each value, the nodes that use it.
    users: Vec<Vec<Node>>,
    /// Steps of the region that is being built.
    list: Vec<Step>,
    /// Number of steps so far, nested ones included: lifetimes are counted in it.
    clock: usize,
    /// Tables of cosines and sines that are made already, by what they hold.
    rope_tables: BTreeMap<(String, Option<Value>), u32>,
    /// Rows that are to be appended to states.
    waiting: Vec<Waiting>,
    findings: Vec<Diagnostic>,
}

/// The code of what no kernel does.
const CODE: &str = "codegen-cuda";

/// The error of an op that no kernel does.
fn no_kernel(what: impl Into<String>) -> Diagnostic {
    Diagnostic::new(CODE, what).help("a CPU target takes it; `actc targets` lists them")
}

/// `d`, found in an op called `op` at node `origin`, as an error of this plan.
fn found(d: Diagnostic, op: &str, origin: String) -> Diagnostic {
    let help = d.help.clone();
    let d = match d.place {
        Place::Request => no_kernel(format!("no GPU kernel does this `{op}`: {}", d.headline)).at(Place::Node(origin)),
        Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) | Place::Span { .. } => d,
    };
    match help {
        Some(help) => d.help(help),
        None => d,
    }
}

/// The error of a buffer that a kernel asks for and its cluster has not.
fn unexpected(role: BufferRole) -> Diagnostic {
    Diagnostic::new("codegen-buffer", format!("a kernel asks for a buffer {role:?} that its cluster has not"))
}

fn nodes_of(cluster: &Cluster) -> &[Node] {
    match cluster {
        Cluster::Linear { nodes, .. } | Cluster::Elementwise { nodes, .. } => nodes,
        Cluster::Single(node) => std::slice::from_ref(node),
    }
}

impl Steps<'_, '_> {
    fn tick(&mut self, bufs: &[u32]) {
        bufs.iter().for_each(|b| self.buffers.touch(*b, self.clock));
        self.clock += 1;
    }

    fn region(&mut self, region: Region) {
        let graph = self.graph;
        let fused: BTreeSet<Node> =
            graph.region_nodes(region).iter().copied().filter(|n| self.multiplies(*n)).collect();
        // What a branch or a round makes is not there outside of it.
        let tables = self.rope_tables.clone();
        for c in cluster(graph, region, fused) {
            if let Err(d) = self.cluster(&c) {
                self.findings.push(d);
            }
        }
        if let Err(d) = self.append() {
            self.findings.push(d);
        }
        self.rope_tables = tables;
    }

    /// Whether a kernel multiplies the matrix of `node`, a linear.
    fn multiplies(&self, node: Node) -> bool {
        let data = self.graph.node(node);
        let Op::Linear(_) = data.op else { return false };
        let tokens = self.tokens(data.args[0]);
        let spec = linear_spec(self.graph, &[node], data.args[0], Epilogue::None, tokens, Order::Mma16);
        spec.is_ok_and(|s| Record::of(&s.mats[0], s.cols, s.act, self.shared.products, tokens).is_ok())
    }

    /// For how many rows of `x` a kernel is made.
    fn tokens(&self, x: Value) -> Tokens {
        few_tokens(self.graph.ty(x)).map_or(Tokens::Many, |few| Tokens::Few(few as u8))
    }

    /// Launches a kernel of a template.
    fn template(
        &mut self,
        label: &str,
        kernel: GpuKernel,
        bufs: Vec<u32>,
        dims: Vec<Dim>,
        reason: String,
    ) -> Result<()> {
        self.launch(label, Call { kernel: Kernel::Template(kernel), bufs, dims, reason })
    }

    fn launch(&mut self, label: &str, call: Call) -> Result<()> {
        let Call { kernel, bufs, dims, reason } = call;
        kernel.check()?;
        let asked = (kernel.buffers().len(), kernel.dims().len());
        assert_eq!((bufs.len(), dims.len()), asked, "{label}: buffers and dimensions of {kernel}");
        let kernel = self.shared.kernels.index(kernel);
        self.tick(&bufs);
        self.list.push(Step::Launch(Launch { label: label.into(), kernel, bufs, dims }));
        self.shared.reasons.insert(label.into(), reason);
        Ok(())
    }

    /// Where a kernel finds `dims`.
    fn sizes(&self, dims: &[Dim]) -> SizesIn {
        match self.replay {
            Replay::Recorded if dims.iter().any(|d| d.fixed().is_none()) => SizesIn::Memory,
            Replay::Recorded | Replay::Launched => SizesIn::Parameters,
        }
    }

    /// Launches a kernel that CPUs have too.
    fn generated(
        &mut self,
        label: &str,
        spec: KernelSpec,
        bufs: Vec<u32>,
        dims: Vec<Dim>,
        reason: String,
    ) -> Result<()> {
        let kernel = Kernel::Generated(spec, self.sizes(&dims));
        self.launch(label, Call { kernel, bufs, dims, reason })
    }

    fn cluster(&mut self, cluster: &Cluster) -> Result<()> {
        let first = nodes_of(cluster)[0];
        let (op, origin) = (self.graph.node(first).op.name(), self.graph.node(first).origin.clone());
        let read = nodes_of(cluster).iter().flat_map(|n| self.graph.node(*n).args.clone()).collect::<Vec<_>>();
        let done = self.append_before(&read).and_then(|()| match cluster {
            Cluster::Linear { nodes, x, epilogue, outputs } => self.linears(nodes, *x, *epilogue, outputs),
            Cluster::Elementwise { nodes, output } => self.elementwise(nodes, *output),
            Cluster::Single(node) => self.single(*node),
        });
        done.map_err(|d| found(d, op, origin))
    }

    fn single(&mut self, node: Node) -> Result<()> {
        let data: NodeData = self.graph.node(node).clone();
        let label = if data.origin.is_empty() { data.op.name().to_owned() } else { data.origin.clone() };
        match &data.op {
            Op::Const(_) | Op::Reshape(_) => Ok(()),
            // Positions are made where they are used.
            Op::Range(_) if self.only_turns(&data) => Ok(()),
            Op::Embedding(e) => self.embedding(&label, &data, e),
            Op::Attention(a) => self.attention(&label, &data, a),
            Op::CacheAppend(_) => self.cache_append(&label, &data),
            // Rounded where it is appended.
            Op::RoundRows(_) if self.only_appended(&data) => Ok(()),
            Op::RmsNorm(n) => self.rms_norm(&label, &data, n.eps),
            Op::LayerNorm(n) => self.layer_norm(&label, &data, n.eps),
            Op::Rope(rope) => self.rope(&label, &data, rope),
            other => {
                Err(no_kernel(format!("no GPU kernel does `{}`", other.name())).at(Place::Node(data.origin.clone())))
            }
        }
    }

    fn copy_value(&mut self, value: Value, _to: u32) -> Result<()> {
        Err(no_kernel(format!("an output is the value {value} that is elsewhere already")))
    }
}
