//! A session: one caller's state and memory on a model, and its team of threads.

use crate::binding;
use crate::device::cpu::memory::Memory;
use crate::device::cpu::team::{Serve, Team};
use crate::footprint::Footprint;
use crate::frame::Frame;
use crate::interpret::not_linked;
use crate::model::Model;
use crate::program::{self, Program};
use crate::states;
use crate::values::{self, View};
use crate::walk::Walk;
use crate::wanted::check_limit;
use crate::work::SHARE_FROM;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How a session is set up.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Number of threads, the caller's included. Results do not depend on it.
    pub threads: usize,
    /// Values of symbols for which states are laid out: `P + S` rows of a cache with `P` = 2048 and `S` = 0 are 2048.
    pub state_capacity: Bindings,
    /// Most bytes of states, buffers, inputs and outputs together.
    pub memory_limit: u64,
    /// Most rounds of all loops of a run together.
    pub max_rounds: u64,
    /// Work of a step, in nanoseconds of one thread by a rough estimate, from which on the threads share it; steps of less are the
    /// first thread's, and a run of hardly more wakes no other. 0 shares all. Results do not depend on it.
    pub share_from: u64,
    /// Whether [`Session::profile`] is kept. Costs two clock readings per step.
    pub profile: bool,
}

impl Default for SessionOptions {
    fn default() -> SessionOptions {
        SessionOptions {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            state_capacity: Bindings::new(),
            memory_limit: 1 << 36,
            max_rounds: 1 << 24,
            share_from: SHARE_FROM,
            profile: false,
        }
    }
}

/// One caller's state and memory on a model. Used by one thread at a time; any number of sessions share a model.
pub struct Session {
    pub(crate) model: Arc<Model>,
    pub(crate) options: SessionOptions,
    pub(crate) team: Team,
    pub(crate) states: Vec<State>,
    pub(crate) slots: Vec<Memory>,
    pub(crate) inputs: Vec<Memory>,
    pub(crate) outputs: Vec<Memory>,
    pub(crate) workspace: Memory,
    pub(crate) frame: Arc<Frame>,
    last: Option<LastRun>,
    profile: BTreeMap<String, StepTime>,
}

/// What the last run left in the session.
struct LastRun {
    /// Index of the program.
    program: usize,
    /// Extents and bytes of each output.
    outputs: Vec<(Vec<u64>, usize)>,
}

pub(crate) struct State {
    pub(crate) memory: Memory,
    dims: Vec<u64>,
    pub(crate) bytes: usize,
}

/// How long a step took, over all runs of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepTime {
    /// Runs of an entry that has the step.
    pub runs: u64,
    /// Nanoseconds of the first member, waiting for the others included.
    pub nanoseconds: u64,
}

impl StepTime {
    /// Adds the nanoseconds that each leaf step of `program` took in a run to `all`.
    pub(crate) fn add(all: &mut BTreeMap<String, StepTime>, program: &Program, times: impl Iterator<Item = u64>) {
        for (label, nanoseconds) in program.labels.iter().zip(times) {
            let entry = all.entry(format!("{}/{label}", program.name)).or_default();
            entry.runs += 1;
            entry.nanoseconds += nanoseconds;
        }
    }
}

impl Session {
    /// A session on `model`, with all states zero and threads of its own.
    pub fn new(model: Arc<Model>, options: SessionOptions) -> Result<Session> {
        let threads = options.threads;
        Session::with_team(model, options, || Team::new(threads))
    }

    /// The same on threads that the caller brings: `start` is called for each member but the first, which is whoever
    /// calls into the session, with its number. It gives the [`Serve`] a thread of its own, at once: members wait for
    /// each other, so a pool that has fewer threads free would never come to an end. Dropping the session waits until
    /// all have returned.
    pub fn on_threads(
        model: Arc<Model>,
        options: SessionOptions,
        start: &mut dyn FnMut(usize, Serve) -> std::io::Result<()>,
    ) -> Result<Session> {
        let threads = options.threads;
        Session::with_team(model, options, || Team::on(threads, start))
    }

    fn with_team(model: Arc<Model>, options: SessionOptions, team: impl FnOnce() -> Result<Team>) -> Result<Session> {
        let sizes = states::state_sizes(&model, &options.state_capacity)?;
        check_limit(sizes.iter().map(|(_, bytes)| *bytes), options.memory_limit)?;
        let mut states = Vec::with_capacity(sizes.len());
        for (dims, bytes) in sizes {
            let mut memory = Memory::default();
            memory.reserve(bytes)?;
            states.push(State { memory, dims, bytes });
        }
        let team = team()?;
        Ok(Session {
            model,
            options,
            team,
            states,
            slots: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            workspace: Memory::default(),
            frame: Arc::new(Frame::default()),
            last: None,
            profile: BTreeMap::new(),
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Runs `entry` and gives copies of its outputs. See [`Session::execute`].
    pub fn run(&mut self, entry: &str, inputs: &[Tensor], bindings: &Bindings) -> Result<Vec<Tensor>> {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        self.execute(entry, &inputs, bindings)?;
        let count = self.last.as_ref().map_or(0, |last| last.outputs.len());
        (0..count).map(|i| self.output(i)?.to_tensor()).collect()
    }

    /// Runs `entry`; its outputs are then in [`Session::output`]. Memory of the last run is used again.
    ///
    /// `inputs` are in the order of the entry. Symbols take their values from the plan, from `bindings` and from the
    /// shapes of inputs; all must agree. States are changed in place; after an error they may hold part of a step.
    pub fn execute(&mut self, entry: &str, inputs: &[&Tensor], bindings: &Bindings) -> Result<()> {
        let model = self.model.clone();
        let index = model.program_index(entry)?;
        let program = &model.programs()[index];
        if program.launches && model.kernels().is_none() {
            return Err(not_linked());
        }
        self.last = None;
        let values = binding::bind(program, inputs, bindings)?;
        self.take(program, inputs, &values)?;
        let mut walk = Walk { model: model.clone(), program: index, values };
        self.begin(program);
        let result = self.lay_out(&walk).and_then(|()| self.walk(&mut walk, 0));
        if self.options.profile {
            self.add_profile(program);
        }
        result?;
        let size = |b: &program::Buffer| b.bytes.size(&walk.values);
        let outputs = (program.outputs.iter())
            .map(|port| Ok((binding::extents(port, &walk.values)?, size(&program.buffers[port.buffer])?)))
            .collect::<Result<_>>()?;
        self.last = Some(LastRun { program: index, outputs });
        Ok(())
    }

    /// Output `i` of the last run.
    pub fn output(&self, i: usize) -> Result<View<'_>> {
        let missing = || Diagnostic::request("run-output", format!("the last run has no output {i}"));
        let last = self.last.as_ref().ok_or_else(missing)?;
        let (dims, bytes) = last.outputs.get(i).ok_or_else(missing)?;
        let dtype = self.model.programs()[last.program].outputs[i].dtype;
        Ok(View { dtype, dims, bytes: self.outputs[i].bytes(*bytes) })
    }

    /// The state called `name`, at its full capacity.
    pub fn state(&self, name: &str) -> Result<View<'_>> {
        Ok(self.state_at(states::index(&self.model, name)?))
    }

    /// Sets the first rows of the state called `name` and makes the others zero.
    pub fn set_state(&mut self, name: &str, tensor: &Tensor) -> Result<()> {
        let index = states::index(&self.model, name)?;
        states::check_fits(&self.model, index, &self.states[index].dims, tensor)?;
        self.set_state_at(index, values::bytes(tensor.data()));
        Ok(())
    }

    /// Makes all states zero.
    pub fn reset(&mut self) {
        for state in &mut self.states {
            state.memory.bytes_mut(state.bytes).fill(0);
        }
    }

    /// State `i` of the manifest.
    pub(crate) fn state_at(&self, i: usize) -> View<'_> {
        let (entry, state) = (&self.model.artifact().manifest().states[i], &self.states[i]);
        View { dtype: entry.dtype, dims: &state.dims, bytes: state.memory.bytes(state.bytes) }
    }

    /// Sets the first bytes of state `i` and makes the others zero. They fit.
    pub(crate) fn set_state_at(&mut self, i: usize, bytes: &[u8]) {
        let state = &mut self.states[i];
        let (head, tail) = state.memory.bytes_mut(state.bytes).split_at_mut(bytes.len());
        head.copy_from_slice(bytes);
        tail.fill(0);
    }

    /// Bytes of memory that the session holds now.
    pub fn footprint(&self) -> Footprint {
        let sum = |all: &[Memory]| all.iter().map(|m| m.allocated() as u64).sum();
        Footprint {
            states: self.states.iter().map(|s| s.memory.allocated() as u64).sum(),
            inputs: sum(&self.inputs),
            outputs: sum(&self.outputs),
            slots: sum(&self.slots),
            workspace: self.workspace.allocated() as u64,
        }
    }

    fn add_profile(&mut self, program: &Program) {
        if let Some(profile) = &self.frame.profile {
            StepTime::add(&mut self.profile, program, profile.iter().map(|time| time.load(Ordering::Relaxed)));
        }
    }

    /// Time per step, by `entry/label`, where the session was made with `profile`.
    pub fn profile(&self) -> &BTreeMap<String, StepTime> {
        &self.profile
    }
}
