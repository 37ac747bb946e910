//! What the steps of a plan are made of: kernels and library calls of CPUs, or kernels of GPUs.

use super::cuda;
use super::launch::Kernels;
use crate::emit::Backend;
use crate::spec::gpu::Products;
use actc_types::Order;
use actc_types::target::Arch;

/// The class of machines that a plan is for, with the kernels that its launches refer to.
#[derive(Debug)]
pub enum Device {
    /// CPUs of all kinds.
    Cpu {
        /// What makes the kernels.
        backend: Backend,
        /// The kernels.
        kernels: Kernels,
    },
    /// NVIDIA GPUs.
    Cuda {
        /// How inputs enter products.
        products: Products,
        /// The architecture, where the plan is for one alone.
        alone: Option<Arch>,
        /// The kernels.
        kernels: cuda::Kernels,
    },
}

impl Device {
    /// CPUs, whose kernels `backend` makes; none yet.
    pub fn cpu(backend: Backend) -> Device {
        Device::Cpu { backend, kernels: Kernels::default() }
    }

    /// GPUs with no kernel yet; `alone` is their architecture, where it is one.
    pub fn cuda(products: Products, alone: Option<Arch>) -> Device {
        Device::Cuda { products, alone, kernels: cuda::Kernels::default() }
    }

    /// How it wants the bits of weights.
    pub fn order(&self) -> Order {
        match self {
            Device::Cpu { .. } => Order::Panels8,
            Device::Cuda { .. } => Order::Mma16,
        }
    }
}
