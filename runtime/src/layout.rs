//! Where the buffers of a run lie: memory of the session for all of them whose sizes are known.
//!
//! Sizes that depend on what earlier steps computed become known on the way. Then what depends on them is laid out again:
//! memory that has to grow held nothing that is still wanted, since code generation lets a buffer lie only in a slot whose
//! size is known before its first tenant is written. A run with the sizes of the last one lays out nothing.

use crate::builtin;
use crate::device::cpu::memory::{Memory, Region};
use crate::frame::Frame;
use crate::program::{Port, Program};
use crate::session::Session;
use crate::stale::Stale;
use crate::values;
use crate::walk::Walk;
use crate::wanted::{Wanted, check_limit};
use actc_artifact::BufferKind;
use actc_types::{Result, Tensor};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The larger of what is held and what is wanted, place by place.
fn held(have: &[Memory], want: &[usize]) -> Vec<usize> {
    let have_at = |i: usize| have.get(i).map_or(0, Memory::capacity);
    (0..have.len().max(want.len())).map(|i| have_at(i).max(want.get(i).copied().unwrap_or(0))).collect()
}

/// Whether each of `want` has its place already.
fn fit(have: &[Memory], want: &[usize]) -> bool {
    have.len() >= want.len() && have.iter().zip(want).all(|(have, want)| have.holds(*want))
}

fn reserve(memory: &mut Vec<Memory>, sizes: &[usize]) -> Result<()> {
    if memory.len() < sizes.len() {
        memory.resize_with(sizes.len(), Memory::default);
    }
    memory.iter_mut().zip(sizes).try_for_each(|(m, bytes)| m.reserve(*bytes))
}

impl Session {
    /// Copies the inputs of a run into the session.
    pub(crate) fn take(&mut self, program: &Program, inputs: &[&Tensor], values: &[u64]) -> Result<()> {
        let size = |port: &Port| program.buffers[port.buffer].bytes.size(values);
        let taken: Vec<usize> = program.inputs.iter().map(size).collect::<Result<_>>()?;
        if !fit(&self.inputs, &taken) {
            // Addresses change.
            unique(&mut self.frame).laid = None;
            self.check([&[], &taken, &[]])?;
            reserve(&mut self.inputs, &taken)?;
        }
        for ((memory, tensor), bytes) in self.inputs.iter_mut().zip(inputs).zip(&taken) {
            memory.bytes_mut(*bytes).copy_from_slice(&values::bytes(tensor.data())[..*bytes]);
        }
        Ok(())
    }

    /// An error where slots, inputs and outputs of `sizes` exceed what is allowed.
    fn check(&self, [slots, inputs, outputs]: [&[usize]; 3]) -> Result<()> {
        let all = [held(&self.slots, slots), held(&self.inputs, inputs), held(&self.outputs, outputs)].concat();
        let fixed = self.states.iter().map(|s| s.bytes).chain([self.workspace.capacity()]);
        check_limit(all.into_iter().chain(fixed), self.options.memory_limit)
    }

    /// Lays out everything whose size is known by the values of `walk` and is not what the frame has.
    pub(crate) fn lay_out(&mut self, walk: &Walk) -> Result<()> {
        let Some(stale) = self.frame.stale(walk.program, &walk.values) else { return Ok(()) };
        let program = walk.program();
        // After an error the session has a new frame, with nothing laid out.
        let mut frame = std::mem::take(&mut self.frame);
        let content = unique(&mut frame);
        let mut laid = content.laid.take().map_or_else(Vec::new, |(_, values)| values);
        self.set_buffers(content, program, &walk.values, stale)?;
        stale.set_dims(program, &walk.values, &mut content.dims)?;
        content.set_args(program);
        content.work.estimate(program, &self.model, &content.dims, &content.buffers, self.options.share_from);
        content.workspace = self.workspace(program, &content.dims)?;
        laid.clone_from(&walk.values);
        content.laid = Some((walk.program, laid));
        self.frame = frame;
        Ok(())
    }

    /// Forgets what the last run counted.
    pub(crate) fn begin(&mut self, program: &Program) {
        let times = self.options.profile.then(|| program.labels.iter().map(|_| AtomicU64::new(0)).collect());
        let frame = unique(&mut self.frame);
        frame.profile = times;
        frame.max_rounds = self.options.max_rounds;
        frame.rounds = AtomicU64::new(0);
    }

    /// Memory for buffers of `program` that are `stale` and whose sizes are known; others of those are empty.
    fn set_buffers(&mut self, frame: &mut Frame, program: &Program, values: &[u64], stale: Stale) -> Result<()> {
        frame.buffers.resize(program.buffers.len(), Region::read_only(&[]));
        let sizes = stale.buffer_sizes(program, values, |i| frame.buffers[i].len())?;
        let states: Vec<usize> = self.states.iter().map(|s| s.bytes).collect();
        let Wanted { slots, outputs: given } = Wanted::of(program, &sizes, &self.model, &states)?;
        let fit = fit(&self.slots, &slots) && fit(&self.outputs, &given);
        if !fit {
            self.check([&slots, &[], &given])?;
            reserve(&mut self.slots, &slots)?;
            reserve(&mut self.outputs, &given)?;
        }
        let regions = frame.buffers.iter_mut();
        for ((buffer, region), bytes) in program.buffers.iter().zip(regions).zip(sizes) {
            if fit && !stale.has(&buffer.bytes) {
                continue;
            }
            *region = match buffer.kind {
                BufferKind::Input(i) => self.inputs[i as usize].region(bytes).frozen(),
                BufferKind::Output(i) => self.outputs[i as usize].region(bytes),
                BufferKind::Slot(i) => self.slots[i as usize].region(bytes),
                BufferKind::State(i) => self.states[i as usize].memory.region(bytes),
                BufferKind::Tensor { tensor, role } => {
                    let artifact = self.model.artifact();
                    let part = artifact.manifest().tensors[tensor as usize].part(role);
                    Region::read_only(part.map_or(&[][..], |p| artifact.part(p)))
                }
                // Reading a plan for CPUs refuses it.
                BufferKind::Errors => Region::read_only(&[]),
            };
        }
        Ok(())
    }

    /// Memory that builtins share within a step, as large as the neediest of `program`.
    fn workspace(&mut self, program: &Program, dims: &[i64]) -> Result<Option<Region>> {
        let mut bytes = 0;
        for call in &program.calls {
            bytes = builtin::workspace(call, &dims[call.dims.clone()], &self.model)?.max(bytes);
        }
        if bytes == 0 {
            return Ok(None);
        }
        check_limit([bytes], self.options.memory_limit)?;
        self.workspace.reserve(bytes)?;
        Ok(Some(self.workspace.region(bytes)))
    }
}

/// The frame to write on; a new one where a run that ended badly still holds it.
fn unique(frame: &mut Arc<Frame>) -> &mut Frame {
    if Arc::get_mut(frame).is_none() {
        *frame = Arc::default();
    }
    Arc::get_mut(frame).expect("nobody else has it")
}
