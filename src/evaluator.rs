//! The fast evaluator: compile for this machine to artifact bytes in memory, and open them with the runtime.
//!
//! There is no second path: what calibration and evaluation run is what an artifact runs.

use crate::compile::temporary;
use crate::link::code_section;
use actc_artifact::{Artifact, ReadOptions, Writer};
use actc_codegen::{Backend, Description, Entries, Options, Program, compile};
use actc_ir::eval::bind;
use actc_ir::{Evaluator, Graph, Prepared, lower};
use actc_runtime::{Code, Model, Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Target, Tensor, TensorData};
use std::sync::Arc;

/// Compiles graphs for this machine and runs them on a team of threads.
#[derive(Clone, Copy, Debug)]
pub struct Compiled {
    threads: usize,
    share_from: u64,
    backend: Backend,
}

impl Compiled {
    /// An evaluator with `threads` threads; results do not depend on their number. Code is made by the best back end of
    /// this build.
    pub fn new(threads: usize) -> Compiled {
        let share_from = SessionOptions::default().share_from;
        Compiled { threads: threads.max(1), share_from, backend: Backend::best() }
    }

    /// The same with threads that share all steps, small ones too: what tests of small graphs want.
    pub fn sharing_all(self) -> Compiled {
        Compiled { share_from: 0, ..self }
    }

    /// The same with code made by `backend`.
    pub fn by(self, backend: Backend) -> Compiled {
        Compiled { backend, ..self }
    }

    /// `graph` as a linked model with the entry `forward`.
    pub fn model(&self, graph: &Graph) -> Result<Arc<Model>> {
        let lowered = lower(graph).map_err(first)?;
        let target = Target::host();
        let options = Options::new(vec![target.clone()], self.backend, Entries::Forward);
        let program = compile(&lowered, &options).map_err(first)?;
        let artifact = open(&program)?;
        let (_, image) = &program.images[0];
        let model = Model::from_artifact(artifact)?;
        model.link(Code::Image { target: &target, section: &code_section(image) })?;
        Ok(model)
    }
}

/// The first finding, with the number of the others.
pub fn first(findings: Vec<Diagnostic>) -> Diagnostic {
    let more = findings.len().saturating_sub(1);
    let mut all = findings.into_iter();
    let mut first = all.next().unwrap_or_else(|| Diagnostic::new("compile", "compiling failed without a finding"));
    for other in all {
        first.headline.push_str(&format!("\n{other}"));
    }
    if more > 0 {
        first.headline.push_str(&format!("\n{more} more finding(s) above"));
    }
    first
}

impl Evaluator for Compiled {
    fn prepare(&self, graph: &Graph) -> Result<Box<dyn Prepared>> {
        Ok(Box::new(Running {
            graph: signature(graph),
            model: self.model(graph)?,
            threads: self.threads,
            share_from: self.share_from,
            session: None,
            capacity: Bindings::new(),
        }))
    }

    fn describe(&self) -> String {
        Target::host().to_string()
    }
}

/// Most bytes of weights that a program in memory holds; larger ones lie in a file, so that anonymous memory stays
/// bounded by a block of the model.
const IN_MEMORY: u64 = 64 << 20;

fn open(program: &Program) -> Result<Artifact> {
    let weights: u64 = program.graph.constants().map(|(_, c)| c.stored_bytes()).sum();
    if weights > IN_MEMORY {
        return temporary(program, Description::default());
    }
    let written = program.write(Writer::to_memory(), Description::default())?;
    let bytes = written.bytes.ok_or_else(|| Diagnostic::new("evaluator", "a program in memory has no bytes"))?;
    // The bytes were made here: their digests need no check.
    Artifact::from_bytes(bytes, &ReadOptions { verify: false, ..ReadOptions::default() })
}

/// The inputs and states of `graph` without its weights, so that a prepared program does not hold them twice.
fn signature(graph: &Graph) -> Signature {
    let inputs: Vec<_> = graph.inputs().map(|(name, v)| (name.to_owned(), v)).collect();
    let donated = graph.donated().iter().map(|(old, new)| {
        let at = inputs.iter().position(|(_, v)| v == old).unwrap_or(usize::MAX);
        (at, graph.ty(*new).shape.clone())
    });
    let mut shell = Graph::new(graph.name());
    for (name, value) in &inputs {
        shell.input(name.clone(), graph.ty(*value).clone());
    }
    Signature { donated: donated.collect(), names: inputs.into_iter().map(|(n, _)| n).collect(), shell }
}

struct Signature {
    shell: Graph,
    names: Vec<String>,
    /// Input position and new shape of each state.
    donated: Vec<(usize, actc_types::Shape)>,
}

struct Running {
    graph: Signature,
    model: Arc<Model>,
    threads: usize,
    share_from: u64,
    session: Option<Session>,
    capacity: Bindings,
}

impl Prepared for Running {
    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
        let bindings = bind(&self.graph.shell, &inputs)?;
        let fits = bindings.iter().all(|(s, n)| self.capacity.get(s) == Some(n));
        if self.session.is_none() || !fits {
            self.session = None;
            self.capacity = bindings.clone();
            let options = SessionOptions {
                threads: self.threads,
                share_from: self.share_from,
                state_capacity: bindings.clone(),
                ..SessionOptions::default()
            };
            self.session = Some(Session::new(self.model.clone(), options)?);
        }
        let session = self.session.as_mut().ok_or_else(|| Diagnostic::new("evaluator", "no session"))?;
        let states: Vec<usize> = self.graph.donated.iter().map(|(at, _)| *at).collect();
        for at in &states {
            session.set_state(&self.graph.names[*at], &inputs[*at])?;
        }
        let plain: Vec<&Tensor> =
            inputs.iter().enumerate().filter(|(i, _)| !states.contains(i)).map(|(_, t)| t).collect();
        session.execute("forward", &plain, &bindings)?;
        let count = self.model.artifact().manifest().entries[0].outputs.len();
        let mut out = (0..count).map(|i| session.output(i)?.to_tensor()).collect::<Result<Vec<_>>>()?;
        for (at, shape) in &self.graph.donated {
            let view = session.state(&self.graph.names[*at])?;
            let dims = shape.eval(&bindings)?;
            let bytes = dims.iter().product::<u64>() as usize * view.dtype.size();
            out.push(Tensor::new(&dims, TensorData::from_le_bytes(view.dtype, &view.bytes[..bytes]))?);
        }
        Ok(out)
    }
}
