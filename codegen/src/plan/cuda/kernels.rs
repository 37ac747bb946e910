//! The kernels of a GPU's plan: each text once, in the order of first use.

use crate::emit::SizesIn;
use crate::spec::gpu::{self, GpuKernel, Launch};
use crate::spec::{Buffer, KernelSpec};
use actc_artifact::Sizes;
use actc_types::{Result, Symbol};
use std::collections::BTreeMap;
use std::fmt;

/// A kernel of a GPU, by where its text comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Kernel {
    /// A template of CUDA, compiled by NVRTC for each target.
    Template(GpuKernel),
    /// The kernel that CPUs have too, by LLVM, the same text for all targets.
    Generated(KernelSpec, SizesIn),
}

impl Kernel {
    /// Refuses parameters that make no kernel.
    pub fn check(&self) -> Result<()> {
        match self {
            Kernel::Template(kernel) => kernel.check(),
            Kernel::Generated(spec, _) => spec.gpu_launch().map(|_| ()),
        }
    }

    /// The buffers in the order of the parameters.
    pub fn buffers(&self) -> Vec<Buffer> {
        match self {
            Kernel::Template(kernel) => kernel.buffers(),
            Kernel::Generated(spec, _) => spec.buffers(),
        }
    }

    /// Names of the runtime dimensions, in their order.
    pub fn dims(&self) -> Vec<String> {
        match self {
            Kernel::Template(kernel) => kernel.dims(),
            Kernel::Generated(spec, _) => spec.dims(),
        }
    }

    /// How those are handed over.
    pub fn sizes(&self) -> Sizes {
        match self {
            Kernel::Template(kernel) => match kernel.sizes() {
                gpu::Sizes::Int => Sizes::Int,
                gpu::Sizes::Memory => Sizes::Memory,
            },
            Kernel::Generated(_, SizesIn::Parameters) => Sizes::Long,
            Kernel::Generated(_, SizesIn::Memory) => Sizes::Memory,
        }
    }

    /// How it is started with sizes `sizes`; refuses those that it cannot be handed.
    pub fn launch(&self, sizes: &[u64]) -> Result<Launch> {
        match self {
            Kernel::Template(kernel) => kernel.launch(sizes),
            Kernel::Generated(spec, _) => {
                let launch = spec.gpu_launch()?;
                let bound =
                    spec.dims().iter().zip(sizes).filter_map(|(name, n)| Some((Symbol::new(name)?, *n))).collect();
                // What it shares is declared in the text.
                Ok(Launch { grid: [launch.blocks(&bound)?, 1, 1], block: launch.threads, shared: 0 })
            }
        }
    }

    /// The symbol, unique among different kernels.
    pub fn symbol(&self) -> String {
        match self {
            Kernel::Template(kernel) => kernel.symbol(),
            Kernel::Generated(spec, sizes) => spec.gpu_symbol(*sizes),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kernel::Template(kernel) => write!(f, "{kernel}"),
            Kernel::Generated(spec, SizesIn::Parameters) => write!(f, "{spec}"),
            Kernel::Generated(spec, SizesIn::Memory) => write!(f, "{spec}, sizes in memory"),
        }
    }
}

/// The kernels that launches refer to by index.
#[derive(Debug, Default)]
pub struct Kernels {
    by_symbol: BTreeMap<String, u32>,
    list: Vec<Kernel>,
}

impl Kernels {
    pub(super) fn index(&mut self, kernel: Kernel) -> u32 {
        let next = self.list.len() as u32;
        *self.by_symbol.entry(kernel.symbol()).or_insert_with(|| {
            self.list.push(kernel);
            next
        })
    }

    /// The kernels, in the order of their indices.
    pub fn into_list(self) -> Vec<Kernel> {
        self.list
    }
}
