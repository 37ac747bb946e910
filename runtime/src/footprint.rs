//! How much memory a session takes, known before any is taken.

use crate::binding;
use crate::builtin;
use crate::device::cpu::memory::Memory;
use crate::model::Model;
use crate::stale::Stale;
use crate::states::state_sizes;
use actc_artifact::BufferKind;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result};

/// Bytes of memory of a session, by use. The mapping of the model, stacks of threads and the small working memory that
/// each thread grows for decoding weights are not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    /// States, laid out at their capacity.
    pub states: u64,
    /// Copies of inputs.
    pub inputs: u64,
    /// Outputs.
    pub outputs: u64,
    /// Everything between.
    pub slots: u64,
    /// Memory that threads share within a step.
    pub workspace: u64,
}

impl Footprint {
    /// All of it, or `u64::MAX` where that is more.
    pub fn total(&self) -> u64 {
        [self.states, self.inputs, self.outputs, self.slots, self.workspace].into_iter().fold(0, u64::saturating_add)
    }
}

/// A run that a session is going to see: an entry, and the values of its symbols.
#[derive(Clone, Copy, Debug)]
pub struct RunShape<'a> {
    /// The entry's name.
    pub entry: &'a str,
    /// Values of all symbols, those that shapes of inputs would say included.
    pub dims: &'a Bindings,
}

/// The larger of both, place by place.
fn widen(most: &mut Vec<usize>, sizes: &[usize]) {
    most.resize(most.len().max(sizes.len()), 0);
    for (most, bytes) in most.iter_mut().zip(sizes) {
        *most = (*most).max(*bytes);
    }
}

fn total(sizes: impl IntoIterator<Item = usize>) -> Result<u64> {
    let mut sizes = sizes.into_iter();
    let sum = sizes.try_fold(0u64, |n, bytes| n.checked_add(Memory::allocation(bytes)? as u64));
    sum.ok_or_else(|| Diagnostic::new("dim-overflow", "the memory of a session exceeds the address space"))
}

impl Model {
    /// The memory of a session whose states are laid out for `capacity` and that sees all of `runs`. Takes none itself.
    ///
    /// Errors are those that the session would give: unknown entries, symbols without a value, sizes out of bounds.
    pub fn footprint(&self, capacity: &Bindings, runs: &[RunShape<'_>]) -> Result<Footprint> {
        let states = total(state_sizes(self, capacity)?.into_iter().map(|(_, bytes)| bytes))?;
        let (mut inputs, mut outputs, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        let mut workspace = 0;
        for run in runs {
            let program = self.program(run.entry)?;
            let values = binding::without_inputs(program, run.dims)?;
            let mut sizes = [vec![0; program.inputs.len()], vec![0; program.outputs.len()], vec![0; program.slots]];
            for buffer in &program.buffers {
                let bytes = buffer.bytes.size(&values)?;
                let (list, i) = match buffer.kind {
                    BufferKind::Input(i) => (0, i),
                    BufferKind::Output(i) => (1, i),
                    BufferKind::Slot(i) => (2, i),
                    BufferKind::State(_) | BufferKind::Tensor { .. } | BufferKind::Errors => continue,
                };
                let size: &mut usize = &mut sizes[list][i as usize];
                *size = bytes.max(*size);
            }
            widen(&mut inputs, &sizes[0]);
            widen(&mut outputs, &sizes[1]);
            widen(&mut slots, &sizes[2]);
            let mut dims = Vec::new();
            Stale::All.set_dims(program, &values, &mut dims)?;
            for call in &program.calls {
                workspace = builtin::workspace(call, &dims[call.dims.clone()], self)?.max(workspace);
            }
        }
        Ok(Footprint {
            states,
            inputs: total(inputs)?,
            outputs: total(outputs)?,
            slots: total(slots)?,
            workspace: total((workspace > 0).then_some(workspace))?,
        })
    }
}
