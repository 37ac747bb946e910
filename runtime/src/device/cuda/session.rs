//! A session on a GPU: one caller's state and memory there.

use super::arena::{Arena, ERRORS};
use super::clock::Clock;
use super::driver::{Pinned, Stream};
use super::frame::Frame;
use super::model::CudaModel;
use super::steps::{self, Steps};
use crate::binding;
use crate::footprint::Footprint;
use crate::program::{self, Program};
use crate::session::{SessionOptions, StepTime};
use crate::states::{self, state_sizes};
use crate::values::{self, View};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One caller's state and memory on a model on a GPU. Used by one thread at a time; any number of sessions share a model.
///
/// Of [`SessionOptions`] those about threads have no meaning here.
pub struct CudaSession {
    // Graphs go before the memory that they name.
    frames: Vec<Option<Frame>>,
    clock: Clock,
    stream: Stream,
    arena: Arena,
    model: Arc<CudaModel>,
    options: SessionOptions,
    last: Option<LastRun>,
    profile: BTreeMap<String, StepTime>,
    counts: RunCounts,
}

/// What the last run left in the session.
struct LastRun {
    /// Index of the program.
    program: usize,
    /// Extents and bytes of each output.
    outputs: Vec<(Vec<u64>, usize)>,
}

/// How runs of a session were done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Runs whose launches were asked for one by one.
    pub direct: u64,
    /// Graphs that were made. Each ran once at once.
    pub captured: u64,
    /// Runs that were one launch of a graph, those of its making included.
    pub replayed: u64,
}

impl CudaSession {
    /// A session on `model`, with all states zero.
    ///
    /// Errors: `memory-limit` where states exceed what the options allow, `cuda-memory` where they do not fit the GPU.
    pub fn new(model: Arc<CudaModel>, options: SessionOptions) -> Result<CudaSession> {
        model.context().enter()?;
        let stream = Stream::new(model.context())?;
        let sizes = state_sizes(model.model(), &options.state_capacity)?;
        let arena = Arena::new(&stream, sizes, options.memory_limit)?;
        Ok(CudaSession {
            frames: model.programs().iter().map(|_| None).collect(),
            clock: Clock::default(),
            stream,
            arena,
            model,
            options,
            last: None,
            profile: BTreeMap::new(),
            counts: RunCounts::default(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<CudaModel> {
        &self.model
    }

    /// Runs `entry` and gives copies of its outputs. See [`CudaSession::execute`].
    pub fn run(&mut self, entry: &str, inputs: &[Tensor], bindings: &Bindings) -> Result<Vec<Tensor>> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        self.execute(entry, &inputs, bindings)?;
        let count = self.last.as_ref().map_or(0, |last| last.outputs.len());
        (0..count).map(|i| self.output(i)?.to_tensor()).collect()
    }

    /// Runs `entry`; its outputs are then in [`CudaSession::output`]. Inputs, symbols and states are as
    /// [`Session::execute`](crate::Session::execute) has them.
    ///
    /// Errors beyond those of CPUs: `cuda-memory`, `cuda-blocks` for more blocks than a launch can have, `run-index` where a kernel
    /// found an id out of range, `cuda-call` where the driver refuses a call or a kernel failed, after which the GPU is of no
    /// use to this process.
    pub fn execute(&mut self, entry: &str, inputs: &[&Tensor], bindings: &Bindings) -> Result<()> {
        let model = self.model.clone();
        let index = program::index(model.programs(), entry)?;
        let program = &model.programs()[index];
        self.last = None;
        let values = binding::bind(program, inputs, bindings)?;
        model.context().enter()?;
        let mut frame = self.frames[index].take().unwrap_or_else(|| Frame::new(program, model.kernels()));
        let ran = self.run_frame(&mut frame, program, inputs, values);
        // Whatever was asked for is done before anyone touches its memory, also after an error.
        let waited = self.stream.wait();
        let values = ran.and_then(|values| waited.map(|()| values))?;
        if self.options.profile {
            self.clock.collect()?;
            StepTime::add(&mut self.profile, program, self.clock.times.iter().copied());
        }
        if frame.errors {
            self.check_errors(program)?;
        }
        let size = |port: &program::Port| frame.places[port.buffer].bytes;
        let outputs = program.outputs.iter();
        let outputs = outputs.map(|port| Ok((binding::extents(port, &values)?, size(port)))).collect::<Result<_>>()?;
        self.frames[index] = Some(frame);
        self.last = Some(LastRun { program: index, outputs });
        Ok(())
    }

    /// Asks the device for everything that a run does; gives the values of all symbols.
    fn run_frame(
        &mut self,
        frame: &mut Frame,
        program: &Program,
        inputs: &[&Tensor],
        values: Vec<u64>,
    ) -> Result<Vec<u64>> {
        let model = self.model.clone();
        frame.lay_out(&model, program, &mut self.arena, &values)?;
        steps::write_table(frame, &mut self.arena);
        if let Some(sent) = &mut self.arena.sent {
            for ((tensor, at), port) in inputs.iter().zip(&frame.inputs).zip(&program.inputs) {
                let bytes = frame.places[port.buffer].bytes;
                sent.bytes_mut()[*at..*at + bytes].copy_from_slice(&values::bytes(tensor.data())[..bytes]);
            }
        }
        let mut clock = self.options.profile.then_some(&mut self.clock);
        if let Some(clock) = clock.as_deref_mut() {
            clock.begin(program.labels.len());
        }
        if !steps::is_straight(program) {
            self.counts.direct += 1;
            steps::bring_in(&self.stream, frame, &self.arena)?;
            let mut steps = Steps {
                stream: &self.stream,
                model: &model,
                program,
                frame,
                arena: &mut self.arena,
                clock,
                values,
                rounds: 0,
                max_rounds: self.options.max_rounds,
            };
            steps.begin()?;
            steps.block(0)?;
            let values = steps.values;
            steps::bring_out(&self.stream, program, frame, &self.arena)?;
            return Ok(values);
        }
        steps::expect_all(program, frame)?;
        let graph = frame.graph.take();
        let (arena, laid) = (&self.arena, &*frame);
        let all = |stream: &Stream, clock: Option<&mut Clock>| {
            steps::bring_in(stream, laid, arena)?;
            steps::launch_all(stream, &model, program, laid, clock)?;
            steps::bring_out(stream, program, laid, arena)
        };
        if clock.is_some() || !laid.settled {
            self.counts.direct += 1;
            all(&self.stream, clock)?;
            frame.settled = true;
            return Ok(values);
        }
        let graph = match graph {
            Some(graph) => graph,
            None => {
                self.counts.captured += 1;
                self.stream.capture(|stream| all(stream, None))?
            }
        };
        self.counts.replayed += 1;
        self.stream.replay(&graph)?;
        frame.graph = Some(graph);
        Ok(values)
    }

    /// An error where a kernel of the run told one.
    fn check_errors(&self, program: &Program) -> Result<()> {
        let told = &self.arena.read.bytes()[..ERRORS];
        if told[..4].iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let headline = format!("`{}`: an id or index is out of range where something is looked up by it", program.name);
        Err(Diagnostic::request("run-index", headline)
            .help("the same run on the device `cpu` says where; ids count from 0"))
    }

    /// Output `i` of the last run.
    pub fn output(&self, i: usize) -> Result<View<'_>> {
        let missing = || Diagnostic::request("run-output", format!("the last run has no output {i}"));
        let last = self.last.as_ref().ok_or_else(missing)?;
        let (dims, bytes) = last.outputs.get(i).ok_or_else(missing)?;
        let dtype = self.model.programs()[last.program].outputs[i].dtype;
        Ok(View { dtype, dims, bytes: &self.arena.given[i].bytes()[..*bytes] })
    }

    /// A copy of the state called `name`, at its full capacity.
    pub fn state(&self, name: &str) -> Result<Tensor> {
        let index = states::index(self.model.model(), name)?;
        let state = &self.arena.states[index];
        self.model.context().enter()?;
        let pinned = Pinned::new(self.model.context(), state.bytes)?;
        let copied = self.stream.copy_out(&pinned, 0, state.memory.address(), state.bytes);
        self.stream.wait().and(copied)?;
        let dtype = self.model.model().artifact().manifest().states[index].dtype;
        View { dtype, dims: &state.dims, bytes: pinned.bytes() }.to_tensor()
    }

    /// Sets the first rows of the state called `name` and makes the others zero.
    pub fn set_state(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let index = states::index(self.model.model(), name)?;
        let state = &self.arena.states[index];
        states::check_fits(self.model.model(), index, &state.dims, tensor)?;
        self.model.context().enter()?;
        let bytes = values::bytes(tensor.data());
        let mut pinned = Pinned::new(self.model.context(), bytes.len())?;
        pinned.bytes_mut().copy_from_slice(bytes);
        let zeroed = self.stream.zero(&state.memory, state.bytes);
        let copied = zeroed.and_then(|()| self.stream.copy_in(state.memory.address(), &pinned, 0, bytes.len()));
        self.stream.wait().and(copied)
    }

    /// Makes all states zero.
    pub fn reset(&mut self) -> Result<()> {
        self.model.context().enter()?;
        let zero = |state: &super::arena::State| self.stream.zero(&state.memory, state.bytes);
        let zeroed = self.arena.states.iter().try_for_each(zero);
        self.stream.wait().and(zeroed)
    }

    /// Bytes of the GPU's memory that the session holds now; inputs are with the sizes that kernels read from memory.
    pub fn footprint(&self) -> Footprint {
        let (inputs, outputs, slots) = self.arena.taken();
        let states = self.arena.states.iter().map(|s| s.memory.bytes() as u64).sum();
        Footprint { states, inputs, outputs, slots, workspace: 0 }
    }

    /// Time per step on the GPU, by `entry/label`, where the session was made with `profile`.
    pub fn profile(&self) -> &BTreeMap<String, StepTime> {
        &self.profile
    }

    /// How its runs were done.
    pub fn counts(&self) -> RunCounts {
        self.counts
    }
}
