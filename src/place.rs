//! An artifact on the device where it is to run: CPUs, or a GPU.
//!
//! The rule for code is the same on both: an artifact's own runs where the caller vouches for it, else code is made from the
//! graph on this machine and kept in the local cache.

use crate::link::{self, Native};
use actc_artifact::{Artifact, Entry};
use actc_runtime::{Device, Model, Placed, Trust};
use actc_types::Result;

/// `artifact` on `device`, its code as `native` says.
///
/// Errors of a GPU: `cuda-missing` without a driver, `cuda-driver` for one that is too old, `cuda-device` without this GPU;
/// `code-missing` and `code-target` where the artifact's own code is asked for and there is none for this GPU; `cuda-build` and
/// `cuda-toolchain` where code is to be made and the compilers are not there; `codegen-cuda` where the graph has no kernels.
pub fn place(artifact: Artifact, native: Native, device: Device) -> Result<Placed> {
    match (device, native) {
        (Device::Cpu, _) => link::open(artifact, native).map(Placed::Cpu),
        (Device::Cuda(_), Native::Embedded) => Placed::embedded(Model::from_artifact(artifact)?, device, Trust::Vouch),
        (Device::Cuda(ordinal), Native::Made(backend)) => gpu::made(artifact, backend, ordinal),
    }
}

/// What can be run where `placed` is.
pub fn entries(placed: &Placed) -> &[Entry] {
    let manifest = placed.model().artifact().manifest();
    match placed {
        Placed::Cpu(_) => &manifest.entries,
        #[cfg(feature = "cuda")]
        Placed::Cuda(_) => manifest.cuda.as_ref().map_or(&[], |plan| &plan.entries),
    }
}

#[cfg(not(feature = "cuda"))]
mod gpu {
    use super::*;
    use actc_codegen::Backend;

    pub(super) fn made(artifact: Artifact, _: Backend, ordinal: usize) -> Result<Placed> {
        Placed::embedded(Model::from_artifact(artifact)?, Device::Cuda(ordinal), Trust::Refuse)
    }
}

#[cfg(feature = "cuda")]
mod gpu {
    use super::*;
    use crate::compile::temporary;
    use crate::link::{cache_entry, cached, code_section, first_tensors, keep, recompile_as, redescribe};
    use actc_codegen::{Backend, Program};
    use actc_runtime::{Code, CudaDevice, CudaModel};
    use actc_types::target::Arch;
    use actc_types::{Diagnostic, Target};

    const TRUST: &str = "`--trust-code` runs the artifact's own code: only for files that you trust";

    /// `artifact` on the GPU of number `ordinal` with code made on this machine, or kept from an earlier time.
    pub(super) fn made(artifact: Artifact, backend: Backend, ordinal: usize) -> Result<Placed> {
        let device = CudaDevice::open(ordinal)?;
        let target = target(&artifact, &device)?;
        let entry = cache_entry(&artifact, &target, &link::gpu_maker());
        let planned = artifact.manifest().cuda.as_ref().is_some_and(|p| p.targets.iter().any(|t| t.target == target));
        if let Some(section) = entry.as_deref().filter(|_| planned).and_then(cached) {
            return with(artifact, device, &target, &section);
        }
        let program = recompile_as(&artifact, &target, backend).map_err(|d| match (d.code, &d.help) {
            ("cuda-build" | "cuda-toolchain", Some(help)) => {
                let help = format!("{help}; {TRUST}");
                d.help(help)
            }
            _ => d,
        })?;
        let section = section(&program, &target)?;
        let same = planned && same(&program, &artifact);
        let artifact = if same { artifact } else { temporary(&program, redescribe(&artifact)?)? };
        // A cache that cannot be written costs time, not results.
        if let Some(entry) = entry.filter(|_| same) {
            let _ = keep(&entry, &section);
        }
        with(artifact, device, &target, &section)
    }

    fn with(artifact: Artifact, device: CudaDevice, target: &Target, section: &[u8]) -> Result<Placed> {
        let model = Model::from_artifact(artifact)?;
        CudaModel::with_code(model, device, Code::Image { target, section }).map(Placed::Cuda)
    }

    /// What code is made for: of the artifact's own GPUs the best that `device` runs, else the best that there is.
    fn target(artifact: &Artifact, device: &CudaDevice) -> Result<Target> {
        let own = artifact.manifest().cuda.iter().flat_map(|plan| plan.targets.iter().map(|t| t.target.clone()));
        let all = Arch::ALL.iter().map(|arch| Target { arch: *arch, features: Vec::new() });
        let best =
            |targets: Vec<Target>| targets.into_iter().filter(|t| device.runs(t)).max_by_key(|t| t.arch.capability());
        best(own.collect()).or_else(|| best(all.collect())).ok_or_else(|| {
            let (major, minor) = device.capability();
            let headline =
                format!("{} has compute capability {major}.{minor}, too old for this program", device.name());
            Diagnostic::new("code-target", headline).help("`actc targets` lists the GPUs that code is made for")
        })
    }

    fn section(program: &Program, target: &Target) -> Result<Vec<u8>> {
        let images = program.cuda.iter().flat_map(|cuda| &cuda.images);
        let image = images.into_iter().find(|(made, _)| made == target).map(|(_, image)| code_section(image));
        image.ok_or_else(|| Diagnostic::new("code-missing", format!("no code was made for {target}")))
    }

    /// Whether `artifact` has the plan of `program`.
    fn same(program: &Program, artifact: &Artifact) -> bool {
        let manifest = artifact.manifest();
        let plans = (program.cuda.as_ref().map(|cuda| &cuda.plan), manifest.cuda.as_ref());
        let (Some(ours), Some(stored)) = plans else { return false };
        (&ours.entries, &ours.kernels) == (&stored.entries, &stored.kernels)
            && program.states == manifest.states
            && first_tensors(program, manifest)
    }
}
