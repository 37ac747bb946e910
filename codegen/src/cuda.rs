//! What a program has for NVIDIA GPUs: its plan, and the text of every kernel for every target.
//!
//! Planning needs no compiler; texts need NVRTC for kernels from templates and LLVM for those that CPUs have too.

use crate::compile::Entries;
use crate::emit::{Image, SizesIn};
use crate::plan::buffers::StateTable;
use crate::plan::cuda::Kernel;
use crate::plan::device::Device;
use crate::plan::steps::{self, Shared};
use crate::plan::tensors::TensorTable;
use crate::spec::KernelSpec;
use crate::spec::gpu::{GpuKernel, Products};
use crate::specialise::specialise;
use crate::toolchain::{Nvrtc, least};
use actc_artifact::{Blocks, CudaKernel, CudaPlan, CudaTarget, Entry, Sizes};
use actc_ir::Graph;
use actc_types::{Diagnostic, Dim, Result, Symbol, Target};
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Threads that make texts.
const THREADS: usize = 2;

/// What GPUs run, planned and not yet made.
#[derive(Debug)]
pub struct Planned {
    /// The kernels, in the order of their indices.
    pub kernels: Vec<Kernel>,
    /// What can be run.
    pub entries: Vec<Entry>,
    /// Why each step is what it is, by label.
    pub reasons: BTreeMap<String, String>,
    /// The constants that are stored, those of CPUs first where there were some.
    pub tensors: TensorTable,
}

/// What GPUs run.
#[derive(Debug)]
pub struct Cuda {
    /// The plan as it stands in the manifest.
    pub plan: CudaPlan,
    /// For each target the texts of all kernels, each ended by a zero byte.
    pub images: Vec<(Target, Image)>,
    /// The kernels, in the order of the plan's.
    pub kernels: Vec<Kernel>,
    /// Why each step is what it is, by label.
    pub reasons: BTreeMap<String, String>,
}

/// Whether this build on this machine makes code for GPUs; an error says what to type.
pub fn ready() -> Result<()> {
    if !cfg!(feature = "emit-llvm") {
        return Err(Diagnostic::request("cuda-build", "this build makes no code for GPUs: it has no back end `llvm`")
            .help("build with `cargo build --release --features llvm`; `./setup.sh` installs LLVM 19"));
    }
    Nvrtc::open().map(|_| ())
}

/// Plans the entries of `graph`, behind what `tensors` holds, for `targets`: kernels that not all of them have are for plans of one
/// architecture. All ops without a kernel are reported at once.
pub fn plan(
    graph: &Graph,
    entries: Entries,
    products: Products,
    targets: &[Target],
    tensors: TensorTable,
) -> Result<Planned, Vec<Diagnostic>> {
    let one = targets.first().map(|t| t.arch).filter(|arch| targets.iter().all(|t| t.arch == *arch));
    let states = StateTable::of(graph);
    let mut shared = Shared::new(Device::cuda(products, one), tensors);
    let (mut made, mut findings) = (Vec::new(), Vec::new());
    for (name, fixed, rows) in entries.list() {
        let special = specialise(graph, &fixed, rows).map_err(|d| vec![d])?;
        match steps::entry(name, &special, &fixed, &states, &mut shared) {
            Ok(entry) => made.push(entry),
            Err(more) => findings.extend(more.into_iter().filter(|d| !findings.contains(d)).collect::<Vec<_>>()),
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let Shared { tensors, device, reasons } = shared;
    let kernels = match device {
        Device::Cuda { kernels, .. } => kernels.into_list(),
        Device::Cpu { .. } => Vec::new(),
    };
    Ok(Planned { kernels, entries: made, reasons, tensors })
}

impl Planned {
    /// Makes the kernels for `targets`, each text once.
    pub fn compile(self, targets: &[Target]) -> Result<(Cuda, TensorTable)> {
        let Planned { kernels, entries, reasons, tensors } = self;
        let texts = texts(&kernels, targets)?;
        let described = kernels.iter().map(described).collect::<Result<_>>()?;
        let (mut images, mut made_for) = (Vec::new(), Vec::new());
        for (i, target) in targets.iter().enumerate() {
            let mut image = Image::default();
            for (kernel, texts) in kernels.iter().zip(&texts) {
                image.symbols.push((kernel.symbol(), image.code.len()));
                image.code.extend_from_slice(texts[i % texts.len()].as_bytes());
                image.code.push(0);
            }
            images.push((target.clone(), image));
            let (_, driver) = least(target.arch).ok_or_else(|| no_gpu(target))?;
            made_for.push(CudaTarget { target: target.clone(), driver });
        }
        let plan = CudaPlan { kernels: described, entries, targets: made_for };
        Ok((Cuda { plan, images, kernels, reasons }, tensors))
    }
}

fn no_gpu(target: &Target) -> Diagnostic {
    Diagnostic::new("cuda-target", format!("{target} is no NVIDIA GPU")).help("`actc targets` lists them")
}

/// The texts of each kernel: one for each target, or one for all.
fn texts(kernels: &[Kernel], targets: &[Target]) -> Result<Vec<Vec<String>>> {
    let nvrtc = Nvrtc::open()?;
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(kernel) = kernels.get(i) else { return made };
            made.push((i, text(kernel, targets, &nvrtc)));
        }
    };
    let mut all = std::thread::scope(|scope| {
        let running: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        let ended = running.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        ended.collect::<Vec<_>>()
    });
    // An error is that of the first kernel that has one, whichever thread was faster.
    all.sort_by_key(|(i, _)| *i);
    all.into_iter().map(|(_, texts)| texts).collect()
}

fn text(kernel: &Kernel, targets: &[Target], nvrtc: &Nvrtc) -> Result<Vec<String>> {
    match kernel {
        Kernel::Template(template) => {
            let (symbol, source) = (template.symbol(), template.source()?);
            targets.iter().map(|target| Ok(nvrtc.compile(&symbol, &source, target)?.text)).collect()
        }
        Kernel::Generated(spec, sizes) => Ok(vec![generated(spec, *sizes)?]),
    }
}

#[cfg(feature = "emit-llvm")]
fn generated(spec: &KernelSpec, sizes: SizesIn) -> Result<String> {
    Ok(crate::spec::compile_ptx(spec, sizes)?.text)
}

#[cfg(not(feature = "emit-llvm"))]
fn generated(spec: &KernelSpec, _: SizesIn) -> Result<String> {
    ready().and_then(|()| Err(Diagnostic::new("cuda-build", format!("nothing makes {spec}"))))
}

/// The kernel as the manifest describes it.
fn described(kernel: &Kernel) -> Result<CudaKernel> {
    let (symbol, sizes) = (kernel.symbol(), kernel.sizes());
    match kernel {
        Kernel::Template(template) => template_of(symbol, template, sizes),
        Kernel::Generated(spec, _) => {
            let launch = spec.gpu_launch()?;
            let mut work = launch.work;
            for (i, name) in spec.dims().iter().enumerate() {
                let symbol = Symbol::new(name).ok_or_else(|| misnamed(name))?;
                work = work.substitute(&symbol, &Dim::sym(&format!("d{i}"))).ok_or_else(|| misnamed(name))?;
            }
            let grid = [Blocks { work, share: launch.share }, Blocks::fixed(1), Blocks::fixed(1)];
            // What it shares is declared in the text.
            Ok(CudaKernel { symbol, grid, threads: launch.threads, shared: 0, sizes })
        }
    }
}

fn template_of(symbol: String, template: &GpuKernel, sizes: Sizes) -> Result<CudaKernel> {
    let geometry = template.geometry()?;
    let grid = geometry.grid.map(|blocks| Blocks { work: blocks.work, share: blocks.share });
    Ok(CudaKernel { symbol, grid, threads: geometry.threads, shared: geometry.shared, sizes })
}

fn misnamed(dim: &str) -> Diagnostic {
    Diagnostic::new("kernel-launch", format!("the dimension `{dim}` has no place in a grid"))
}
