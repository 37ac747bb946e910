//! The one way from a lowered graph to a program.

use crate::cuda;
use crate::emit::{Backend, Image};
use crate::plan::buffers::StateTable;
use crate::plan::device::Device;
use crate::plan::launch::Kernels;
use crate::plan::steps::{self, Shared};
use crate::plan::tensors::TensorTable;
use crate::program::Program;
use crate::spec::gpu::Products;
use crate::specialise::{Rows, specialise};
use actc_artifact::StateEntry;
use actc_ir::eval::new_tokens;
use actc_ir::{Graph, Lowered, text};
use actc_types::{Diagnostic, Result, Symbol, Target};
use std::panic::resume_unwind;

/// Which entries a program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entries {
    /// `forward`: the graph as it is.
    Forward,
    /// `prefill` (any number of new tokens, outputs of the last), `decode` (one new token) and `score` (any number of new
    /// tokens, outputs of all).
    Language,
}

impl Entries {
    pub(crate) fn list(self) -> Vec<(&'static str, Vec<(Symbol, u64)>, Rows)> {
        match self {
            Entries::Forward => vec![("forward", Vec::new(), Rows::All)],
            Entries::Language => vec![
                ("prefill", Vec::new(), Rows::Last),
                ("decode", vec![(new_tokens(), 1)], Rows::All),
                ("score", Vec::new(), Rows::All),
            ],
        }
    }

    /// The entries that suit `graph`: those of a language model where it has state and a symbol for new tokens.
    pub fn of(graph: &Graph) -> Entries {
        let tokens = new_tokens();
        let has_tokens =
            graph.inputs().any(|(_, v)| graph.ty(v).shape.dims().iter().any(|d| d.symbols().contains(&&tokens)));
        if has_tokens && !graph.donated().is_empty() { Entries::Language } else { Entries::Forward }
    }
}

/// What to compile for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Machines that code is made for; none makes a program without generated code, to be relinked.
    pub targets: Vec<Target>,
    /// What makes it.
    pub backend: Backend,
    /// Which entries to make.
    pub entries: Entries,
    /// How inputs that are not rounded enter products on GPUs.
    pub products: Products,
    /// Whether there is a plan for CPUs where no target is one.
    pub plan_for_cpus: bool,
    /// GPUs that the plan has to serve beside the targets.
    pub plan_for_gpus: Vec<Target>,
}

impl Options {
    /// A request for `targets`, products on GPUs as exact as single precision.
    pub fn new(targets: Vec<Target>, backend: Backend, entries: Entries) -> Options {
        Options {
            targets,
            backend,
            entries,
            products: Products::Single,
            plan_for_cpus: false,
            plan_for_gpus: Vec::new(),
        }
    }

    /// The targets that are CPUs, or GPUs.
    fn of_class(&self, gpu: bool) -> Vec<Target> {
        self.targets.iter().filter(|t| t.arch.is_gpu() == gpu).cloned().collect()
    }
}

/// Code for every CPU target, made on a thread each.
fn images(kernels: &Kernels, backend: Backend, targets: &[Target]) -> Result<Vec<(Target, Image)>> {
    std::thread::scope(|scope| {
        let made = |target| scope.spawn(move || kernels.compile(backend, target));
        let running: Vec<_> = targets.iter().map(made).collect();
        let ended = running.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        targets.iter().cloned().zip(ended).map(|(target, image)| Ok((target, image?))).collect()
    })
}

/// The images without those that equal the image of a target whose code runs wherever theirs does, and for each of
/// these the target whose image serves it.
fn distinct(mut images: Vec<(Target, Image)>) -> (Vec<(Target, Image)>, Vec<(Target, Target)>) {
    let serves = |(target, image): &(Target, Image)| {
        let same = images.iter().filter(|(other, i)| other != target && target.includes(other) && i == image);
        same.min_by_key(|(other, _)| (other.arch, other.features.len()))
            .map(|(other, _)| (target.clone(), other.clone()))
    };
    let covered: Vec<(Target, Target)> = images.iter().filter_map(serves).collect();
    images.retain(|(target, _)| covered.iter().all(|(t, _)| t != target));
    (images, covered)
}

/// Compiles `lowered`. All nodes without code are reported at once.
///
/// A program for GPUs alone has no plan for CPUs, unless the options ask for one.
pub fn compile(lowered: &Lowered, options: &Options) -> Result<Program, Vec<Diagnostic>> {
    let one = |d: Diagnostic| vec![d];
    let graph = lowered.graph();
    let states = StateTable::of(graph);
    let (cpus, gpus) = (options.of_class(false), options.of_class(true));
    let mut shared = Shared::new(Device::cpu(options.backend), TensorTable::default());
    let mut entries = Vec::new();
    let mut findings = Vec::new();
    let for_cpus = gpus.is_empty() || !cpus.is_empty() || options.plan_for_cpus;
    for (name, fixed, rows) in options.entries.list().into_iter().filter(|_| for_cpus) {
        let special = specialise(graph, &fixed, rows).map_err(one)?;
        match steps::entry(name, &special, &fixed, &states, &mut shared) {
            Ok(entry) => entries.push(entry),
            Err(more) => findings.extend(more.into_iter().filter(|d| !findings.contains(d)).collect::<Vec<_>>()),
        }
    }
    let Shared { mut tensors, device, reasons } = shared;
    let kernels = match device {
        Device::Cpu { kernels, .. } => kernels,
        Device::Cuda { .. } => Kernels::default(),
    };
    let mut planned = None;
    if !gpus.is_empty() {
        let served = [&gpus[..], &options.plan_for_gpus].concat();
        match cuda::plan(graph, options.entries, options.products, &served, std::mem::take(&mut tensors)) {
            Ok(plan) => planned = Some(plan),
            Err(more) => findings.extend(more),
        }
    }
    if !findings.is_empty() {
        return Err(findings);
    }
    let mut gpu = None;
    if let Some(plan) = planned {
        let (made, all) = plan.compile(&gpus).map_err(one)?;
        (gpu, tensors) = (Some(made), all);
    }
    // What the portable graph names by digest is there for who reads it.
    for (_, constant) in graph.constants().filter(|(_, c)| text::by_digest(c)) {
        tensors.index(&constant.name);
    }
    let (images, covered) = distinct(images(&kernels, options.backend, &cpus).map_err(one)?);
    let states =
        states.states.into_iter().map(|(name, dtype, shape)| StateEntry { name, dtype, dims: shape.0 }).collect();
    Ok(Program {
        graph: graph.clone(),
        tensors: tensors.order,
        states,
        kernels: kernels.symbols(),
        entries,
        images,
        covered,
        cuda: gpu,
        products: options.products,
        backend: options.backend,
        reasons,
        specs: kernels.specs().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_code_is_kept_once_where_one_target_serves_the_other() {
        let image = |byte| Image { code: vec![byte], symbols: vec![("f".into(), 0)] };
        let all = [("x86-64-v4", 1), ("x86-64-v2", 2), ("x86-64-v3", 1), ("x86-64-v3+avxvnni", 1), ("aarch64", 1)];
        let (images, covered) = distinct(all.map(|(name, byte)| (Target::parse(name).unwrap(), image(byte))).to_vec());
        let kept: Vec<String> = images.iter().map(|(t, _)| t.to_string()).collect();
        // Code of another machine is never instead, equal or not.
        assert_eq!(kept, ["x86-64-v2", "x86-64-v3", "aarch64"]);
        let covered: Vec<String> = covered.iter().map(|(t, by)| format!("{t} by {by}")).collect();
        assert_eq!(covered, ["x86-64-v4 by x86-64-v3", "x86-64-v3+avxvnni by x86-64-v3"]);
    }
}
