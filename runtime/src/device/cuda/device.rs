//! A GPU, what it can run, and which of an artifact's codes is best there.

use super::driver::{self, Context};
use crate::model::{Model, RELINK_GPU};
use actc_artifact::{CudaPlan, CudaTarget};
use actc_types::{Diagnostic, Result, Target};
use std::sync::Arc;

/// A GPU of this machine, opened.
#[derive(Clone, Debug)]
pub struct CudaDevice {
    pub(crate) context: Arc<Context>,
    ordinal: usize,
    name: String,
    capability: (u32, u32),
    driver: u32,
}

impl CudaDevice {
    /// The GPU of number `ordinal`, from 0.
    ///
    /// Errors: `cuda-missing` without a driver, `cuda-driver` for one that is too old, `cuda-device` without this GPU.
    pub fn open(ordinal: usize) -> Result<CudaDevice> {
        let driver = driver::open()?;
        let context = Context::new(ordinal)?;
        let (name, capability) = (context.name()?, context.capability()?);
        Ok(CudaDevice { context: Arc::new(context), ordinal, name, capability, driver })
    }

    /// Number of GPUs; errors are those of [`CudaDevice::open`].
    pub fn count() -> Result<usize> {
        driver::count()
    }

    /// Its number.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Major and minor number of its compute capability.
    pub fn capability(&self) -> (u32, u32) {
        self.capability
    }

    /// The version of CUDA that its driver knows: 12020 is 12.2.
    pub fn driver(&self) -> u32 {
        self.driver
    }

    /// Bytes of its memory that are free, and all of them.
    pub fn memory(&self) -> Result<(usize, usize)> {
        self.context.enter()?;
        self.context.memory()
    }

    /// Whether it runs code for `target`.
    pub fn runs(&self, target: &Target) -> bool {
        let (major, minor) = self.capability;
        target.arch.capability().is_some_and(|c| c.runs_on(major, minor))
    }

    /// The target that is best here, of those that `model` has embedded code for.
    ///
    /// Errors: `code-missing` where it has no code for GPUs, `code-target` where all that it has is for other ones.
    pub fn best<'m>(&self, model: &'m Model) -> Result<&'m Target> {
        let gpus: Vec<&Target> = model.embedded_targets().filter(|t| t.arch.is_gpu()).collect();
        let here = gpus.iter().filter(|t| self.runs(t)).max_by_key(|t| t.arch.capability());
        here.copied().ok_or_else(|| {
            let (major, minor) = self.capability;
            match gpus.is_empty() {
                true => Diagnostic::new("code-missing", "the artifact has no code for GPUs").help(RELINK_GPU),
                false => {
                    let names: Vec<String> = gpus.iter().map(ToString::to_string).collect();
                    let headline = format!(
                        "{} has compute capability {major}.{minor}, the code is for {}",
                        self.name,
                        names.join(", ")
                    );
                    Diagnostic::new("code-target", headline).help(RELINK_GPU)
                }
            }
        })
    }

    /// Whether launches can overlap, in graphs too.
    pub(crate) fn overlaps(&self) -> bool {
        self.capability.0 >= 9 && self.driver >= 12030
    }

    /// What `plan` says of `target`; an error where the GPU or its driver does not run that.
    pub(crate) fn check<'p>(&self, plan: &'p CudaPlan, target: &Target) -> Result<&'p CudaTarget> {
        let Some(found) = plan.targets.iter().find(|t| t.target == *target) else {
            let headline = format!("the artifact's plan for GPUs is not made for {target}");
            return Err(Diagnostic::new("code-missing", headline).help(RELINK_GPU));
        };
        if !self.runs(target) {
            let (major, minor) = self.capability;
            let headline = format!("{} has compute capability {major}.{minor}, the code is for {target}", self.name);
            return Err(Diagnostic::new("code-target", headline).help(RELINK_GPU));
        }
        if self.driver < found.driver {
            return Err(driver::too_old(self.driver, found.driver, &format!("the code for {target}")));
        }
        Ok(found)
    }
}
