//! Plans for NVIDIA GPUs: the clusters, buffers and steps of CPUs, other kernels, and nothing that the host computes between
//! launches.
//!
//! Up to [`FEW_TOKENS`](super::steps::FEW_TOKENS) tokens linears are `gemv`, twice as many where products are rounded; with more (or a
//! number known only at run time) they are `gemm`, or in a plan for compute capability 9.0 alone `wgmma`. All read inputs that
//! `prepare` or `swizzle` made operands of, norms that nothing else reads with them. A kernel is right for any number of tokens; where the number is a
//! symbol it is made for [`MANY`]. In an entry that is recorded once and launched again and again kernels find in memory
//! whatever changes from one step to the next: such are the entries whose symbols are fixed in part.
//!
//! What CPUs leave to the runtime's library is a kernel too, where there is one. An op that none does is an error of its own;
//! all of them are reported.

mod attention;
mod groups;
mod heads;
mod inputs;
mod kernels;
mod library;
mod linear;
mod table;
mod window;

pub(super) use heads::Waiting;
pub use kernels::{Kernel, Kernels};

use super::device::Device;
use super::linear::unexpected;
use super::steps::Steps;
use crate::emit::SizesIn;
use crate::spec::KernelSpec;
use crate::spec::gpu::{GpuKernel, Products};
use actc_artifact::{Launch, Step};
use actc_ir::{Node, NodeData, Op};
use actc_types::{Diagnostic, Dim, Place, Result};

/// Tokens that kernels are made for where their number is a symbol: a piece of a prompt.
const MANY: usize = 512;

/// The code of what no kernel does.
const CODE: &str = "codegen-cuda";

/// The error of an op that no kernel does.
pub(super) fn no_kernel(what: impl Into<String>) -> Diagnostic {
    Diagnostic::new(CODE, what).help("a CPU target takes it; `actc targets` lists them")
}

/// `d`, found in an op called `op` at node `origin`, as an error of a plan for GPUs.
pub(super) fn found(d: Diagnostic, op: &str, origin: String) -> Diagnostic {
    let (help, headline) = (d.help, d.headline);
    match d.place {
        Place::Request => {
            // What says so already is not said twice.
            let headline = match d.code {
                CODE => headline,
                _ => format!("no GPU kernel does this `{op}`: {headline}"),
            };
            let d = no_kernel(headline).at(Place::Node(origin));
            help.map_or(d.clone(), |help| d.help(help))
        }
        place @ (Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) | Place::Span { .. }) => {
            Diagnostic { help, headline, place, ..d }
        }
    }
}

impl Steps<'_, '_> {
    /// How inputs enter products.
    fn products(&self) -> Products {
        match self.shared.device {
            Device::Cuda { products, .. } => products,
            Device::Cpu { .. } => Products::Single,
        }
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
        self.launch_on_gpu(label, Kernel::Template(kernel), bufs, dims, reason)
    }

    /// Launches a kernel that CPUs have too.
    pub(super) fn generated_for_gpu(
        &mut self,
        label: &str,
        spec: KernelSpec,
        bufs: Vec<u32>,
        dims: Vec<Dim>,
        reason: String,
    ) -> Result<()> {
        let changes = self.recorded && dims.iter().any(|d| d.fixed().is_none());
        let sizes = if changes { SizesIn::Memory } else { SizesIn::Parameters };
        self.launch_on_gpu(label, Kernel::Generated(spec, sizes), bufs, dims, reason)
    }

    fn launch_on_gpu(
        &mut self,
        label: &str,
        kernel: Kernel,
        bufs: Vec<u32>,
        dims: Vec<Dim>,
        reason: String,
    ) -> Result<()> {
        kernel.check()?;
        let asked = (kernel.buffers().len(), kernel.dims().len());
        assert_eq!((bufs.len(), dims.len()), asked, "{label}: buffers and dimensions of {kernel}");
        self.append_before(&bufs)?;
        let Device::Cuda { kernels, .. } = &mut self.shared.device else {
            return Err(no_kernel(format!("{kernel} is no kernel of CPUs")));
        };
        let kernel = kernels.index(kernel);
        self.tick(&bufs);
        self.list.push(Step::Launch(Launch { label: label.into(), kernel, bufs, dims }));
        self.shared.reasons.insert(label.into(), reason);
        Ok(())
    }

    /// The steps of `data` where GPUs have kernels of their own for it; `None` where they do what CPUs do.
    pub(super) fn single_on_gpu(&mut self, label: &str, data: &NodeData) -> Option<Result<()>> {
        if let Op::Embedding(e) = &data.op {
            return Some(self.rows_of_table(label, data, e));
        }
        if let Op::Attention(a) = &data.op {
            return Some(self.attend(label, data, a));
        }
        if matches!(data.op, Op::CacheAppend(_)) && self.buffers.is_state(data.results[0]) {
            return Some(self.append_rows(label, data));
        }
        // Regions end what waits, which may stand before them.
        if matches!(data.op, Op::If(_) | Op::Loop(_)) {
            return self.append().err().map(Err);
        }
        // Done by what reads it.
        if self.on_the_way(data) || self.norm_of_inputs(data).is_some() {
            return Some(Ok(()));
        }
        if matches!(data.op, Op::Rope(_)) {
            return Some(self.turn_heads(label, data));
        }
        // The table of cosines and sines has the positions of heads that are turned.
        (matches!(data.op, Op::Range(_)) && self.only_turns(data)).then_some(Ok(()))
    }

    /// Whether `data`, positions, are only those of heads that are turned.
    fn only_turns(&self, data: &NodeData) -> bool {
        let turns = |node: &Node| matches!(self.graph.node(*node).op, Op::Rope(_));
        let given = data.results.iter().any(|v| self.is_given(*v));
        !given && data.results.iter().all(|v| self.users[v.index()].iter().all(turns))
    }
}
