//! A model on a GPU: its code there and its weights.

use super::device::CudaDevice;
use super::driver::Context;
use super::kernel::{self, Kernel};
use super::weights::Weights;
use crate::model::{Code, Model, RELINK_GPU, Trust};
use crate::program::Program;
use actc_artifact::{CodeImage, CudaPlan};
use actc_types::{Diagnostic, Result, Target};
use std::sync::Arc;

/// A model on a GPU, immutable and shared by any number of sessions.
#[derive(Debug)]
pub struct CudaModel {
    model: Arc<Model>,
    device: CudaDevice,
    target: Target,
    programs: Vec<Program>,
    kernels: Vec<Kernel>,
    weights: Weights,
}

/// The plan for GPUs of `model`.
fn plan(model: &Model) -> Result<&CudaPlan> {
    model
        .artifact()
        .manifest()
        .cuda
        .as_ref()
        .ok_or_else(|| Diagnostic::new("code-missing", "the artifact has no plan for GPUs").help(RELINK_GPU))
}

impl CudaModel {
    /// `model` on the GPU of number `ordinal`, with the artifact's own code that is best there.
    ///
    /// Errors are those of [`CudaModel::with_code`], [`CudaDevice::open`] and [`CudaDevice::best`]; `code-untrusted` where the
    /// caller does not vouch for the artifact's code comes before all others.
    pub fn embedded(model: Arc<Model>, ordinal: usize, trust: Trust) -> Result<Arc<CudaModel>> {
        trust.check()?;
        plan(&model)?;
        let device = CudaDevice::open(ordinal)?;
        let target = device.best(&model)?.clone();
        CudaModel::with_code(model, device, Code::Embedded { target: &target, trust })
    }

    /// `model` on `device`. Compiles the code for the device, which its driver keeps for the next time, and copies the weights.
    ///
    /// Errors: `code-untrusted`, `code-missing`, `code-abi` and `code-symbol` as [`Model::link`] has them; `code-target` for code
    /// that the device does not run, `cuda-driver` for a driver older than the code needs, `cuda-ptx` for code that the driver
    /// refuses, `cuda-resources` where a kernel needs more shared memory than there is, `cuda-memory` where the weights do not
    /// fit.
    pub fn with_code(model: Arc<Model>, device: CudaDevice, code: Code<'_>) -> Result<Arc<CudaModel>> {
        let (target, image) = match code {
            Code::Embedded { target, trust } => {
                trust.check()?;
                (target, model.embedded(target)?)
            }
            Code::Image { target, section } => (target, CodeImage::parse(section)?),
        };
        let plan = plan(&model)?;
        device.check(plan, target)?;
        let programs = plan.entries.iter().map(Program::new).collect::<Result<Vec<_>>>()?;
        device.context.enter()?;
        let kernels = kernel::load(&device.context, &image, &plan.kernels, device.overlaps())?;
        let weights = Weights::load(&device.context, model.artifact(), plan)?;
        let target = target.clone();
        Ok(Arc::new(CudaModel { model, device, target, programs, kernels, weights }))
    }

    /// The model itself.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The GPU.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// What its code was made for.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Bytes of the GPU's memory that its weights take.
    pub fn weight_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.device.context
    }

    pub(crate) fn programs(&self) -> &[Program] {
        &self.programs
    }

    pub(crate) fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }
}
