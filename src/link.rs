//! Code for this machine: made from an artifact's own graph and kept in a local cache, or the artifact's if it is trusted.
//!
//! An artifact's code section is native code from somewhere. It is not run unless the caller vouches for it; instead the
//! graph in the artifact is compiled again, and the result is kept under the artifact's digest, this program's digest,
//! the back end with its version, and the target. Cached code carries its own digest, so that a damaged entry is made again.

use crate::compile::{in_order, program, temporary};
use crate::evaluator::first;
use actc_artifact::{Artifact, CodeImage, Digest, Manifest};
use actc_codegen::spec::gpu::Products;
use actc_codegen::{BACKEND_KEY, Backend, Description, Image, PRODUCTS_KEY, Program, graph_of};
#[cfg(feature = "cuda")]
use actc_codegen::{Entries, Options, compile};
#[cfg(feature = "cuda")]
use actc_ir::{Graph, lower};
use actc_runtime::{Code, Model, Trust};
use actc_types::{Diagnostic, Result, Target};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// Whose machine code of an artifact is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Native {
    /// The artifact's own, the best that this machine can run; the caller vouches for it.
    Embedded,
    /// Code for this very machine, made from the artifact's graph by a back end of this build.
    Made(Backend),
}

/// Compiles the portable graph of `artifact` again for `targets` with `backend`; inputs enter products on GPUs as they did.
pub fn recompile(artifact: &Artifact, targets: Vec<Target>, backend: Backend) -> Result<Program> {
    let graph = in_order(&graph_of(artifact)?, &targets, &std::env::temp_dir())?;
    program(&graph, targets, backend, products(artifact)?).map_err(first)
}

/// As [`recompile`] for `gpu`, by the plan of the artifact where that serves it: for all its GPUs, and beside one for CPUs where it
/// has one, so that tensors have the places that they have there.
#[cfg(feature = "cuda")]
pub(crate) fn recompile_as(artifact: &Artifact, gpu: &Target, backend: Backend) -> Result<Program> {
    let manifest = artifact.manifest();
    let own: Vec<Target> = manifest.cuda.iter().flat_map(|p| p.targets.iter().map(|t| t.target.clone())).collect();
    let graph = in_order_of(artifact, gpu)?;
    let lowered = lower(&graph).map_err(first)?;
    let options = Options {
        products: products(artifact)?,
        plan_for_cpus: !manifest.entries.is_empty(),
        plan_for_gpus: if own.contains(gpu) { own } else { Vec::new() },
        ..Options::new(vec![gpu.clone()], backend, Entries::of(&graph))
    };
    compile(&lowered, &options).map_err(first)
}

/// The graph of `artifact`, with weights as `gpu` reads them where no CPU reads them.
#[cfg(feature = "cuda")]
fn in_order_of(artifact: &Artifact, gpu: &Target) -> Result<Graph> {
    let graph = graph_of(artifact)?;
    if !artifact.manifest().entries.is_empty() {
        return Ok(graph);
    }
    in_order(&graph, std::slice::from_ref(gpu), &std::env::temp_dir())
}

/// What makes code for GPUs, as caches name it.
pub(crate) fn gpu_maker() -> String {
    format!("gpu-{}", Backend::Llvm.full_name())
}

/// How inputs enter products in the code for GPUs of `artifact`, or would in some that is made.
pub fn products(artifact: &Artifact) -> Result<Products> {
    let Some(name) = artifact.manifest().metadata.get(PRODUCTS_KEY) else { return Ok(Products::Single) };
    Products::parse(name)
        .ok_or_else(|| Diagnostic::new("artifact-products", format!("unknown precision of products `{name}`")))
}

/// The bytes of a code section that holds `image`.
pub fn code_section(image: &Image) -> Vec<u8> {
    CodeImage::encode(image.symbols.iter().map(|(name, at)| (name.as_str(), *at as u64)), &image.code)
}

/// A model that is ready to run on this machine.
///
/// Where this build plans a graph otherwise than the build that made the artifact, a temporary artifact is made of it.
pub fn open(artifact: Artifact, native: Native) -> Result<Arc<Model>> {
    let backend = match native {
        Native::Made(backend) => backend,
        Native::Embedded => {
            let manifest = artifact.manifest();
            if manifest.entries.is_empty() && manifest.cuda.is_some() {
                let d = Diagnostic::new("code-missing", "the artifact has code for GPUs alone");
                return Err(
                    d.help("without `--trust-code` code for this processor is made; `--device cuda` runs it on a GPU")
                );
            }
            let model = Model::from_artifact(artifact)?;
            if model.needs_code() {
                model.link(Code::Embedded { target: model.embedded_target()?, trust: Trust::Vouch })?;
            }
            return Ok(model);
        }
    };
    let target = Target::host();
    let entry = cache_entry(&artifact, &target, &backend.full_name());
    if let Some(section) = entry.as_deref().and_then(cached) {
        let model = Model::from_artifact(artifact)?;
        model.link(Code::Image { target: &target, section: &section })?;
        return Ok(model);
    }
    let program = recompile(&artifact, vec![target.clone()], backend)?;
    let section = program.images.first().map(|(_, image)| code_section(image)).unwrap_or_default();
    let manifest = artifact.manifest();
    let same = program.entries == manifest.entries
        && program.kernels == manifest.kernels
        && program.states == manifest.states
        && first_tensors(&program, manifest);
    let artifact = if same { artifact } else { temporary(&program, redescribe(&artifact)?)? };
    // A cache that cannot be written costs time, not results.
    if let Some(entry) = entry.filter(|_| same) {
        let _ = keep(&entry, &section);
    }
    let model = Model::from_artifact(artifact)?;
    model.link(Code::Image { target: &target, section: &section })?;
    Ok(model)
}

/// Whether the tensors of `program` are the first of `manifest`: those of GPUs are behind them.
pub(crate) fn first_tensors(program: &Program, manifest: &Manifest) -> bool {
    let pairs = program.tensors.iter().zip(&manifest.tensors);
    program.tensors.len() <= manifest.tensors.len()
        && pairs.into_iter().all(|(ours, stored)| ours.name() == stored.name)
}

/// What an artifact says about itself, for another one of the same model.
pub fn redescribe(artifact: &Artifact) -> Result<Description> {
    let manifest = artifact.manifest();
    Ok(Description {
        model: manifest.model.clone(),
        pipeline: manifest.pipeline.clone(),
        calibration: manifest.calibration.clone(),
        layers: manifest.layers.clone(),
        text: manifest.text.clone(),
        tokenizer: artifact.tokenizer()?,
        report: artifact.report()?,
        metadata: manifest.metadata.clone(),
    })
}

/// Puts an artifact's own code for this machine, and for GPUs, into the cache. For artifacts that this program has just made.
pub fn remember(artifact: &Artifact) -> Result<()> {
    let gpus = artifact.manifest().targets.iter().filter(|t| t.arch.is_gpu());
    for target in std::iter::once(&Target::host()).chain(gpus) {
        let code = artifact.section(&actc_artifact::Section::Code(target.clone()));
        let maker = match target.arch.is_gpu() {
            true => Some(gpu_maker()),
            false => artifact.manifest().metadata.get(BACKEND_KEY).cloned(),
        };
        if let (Some(section), Some(entry)) = (code, maker.and_then(|maker| cache_entry(artifact, target, &maker))) {
            let _ = keep(&entry, section);
        }
    }
    Ok(())
}

/// Where the code of `artifact` for `target` by `maker`, a back end with its version, is kept, if there is a place for
/// caches. A back end in a shared library changes without the program.
pub(crate) fn cache_entry(artifact: &Artifact, target: &Target, maker: &str) -> Option<PathBuf> {
    let program = program_digest()?;
    let maker = maker.replace(' ', "-");
    Some(folder()?.join(format!("{}-{program}-{maker}-{target}.code", artifact.digest())))
}

/// Where caches are kept: `$ACTC_CACHE_DIR`, else `actc` in the user's folder for caches.
pub fn folder() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    named("ACTC_CACHE_DIR")
        .or_else(|| named("XDG_CACHE_HOME").map(|d| d.join("actc")))
        .or_else(|| named("HOME").map(|d| d.join(".cache/actc")))
}

/// Digest of the running program: another build may generate other code.
pub fn program_digest() -> Option<&'static str> {
    static DIGEST: OnceLock<Option<String>> = OnceLock::new();
    let digest = DIGEST.get_or_init(|| {
        let bytes = std::fs::read(std::env::current_exe().ok()?).ok()?;
        Some(Digest::of(&bytes).to_string()[..16].to_owned())
    });
    digest.as_deref()
}

/// The code that is kept at `path`, undamaged.
pub(crate) fn cached(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (digest, section) = bytes.split_first_chunk::<32>()?;
    (Digest::of(section).0 == *digest).then(|| section.to_vec())
}

/// Keeps `section` at `path`.
pub(crate) fn keep(path: &Path, section: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".code-").tempfile_in(folder)?;
    file.write_all(&Digest::of(section).0)?;
    file.write_all(section)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_entries_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/entry.code");
        assert_eq!(cached(&path), None);
        keep(&path, b"section").unwrap();
        assert_eq!(cached(&path).as_deref(), Some(&b"section"[..]));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(cached(&path), None);
        std::fs::write(&path, b"short").unwrap();
        assert_eq!(cached(&path), None);
    }
}
