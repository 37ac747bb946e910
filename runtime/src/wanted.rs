//! What memory the buffers of a run want: of each slot and output so much, and of states no more than is laid out.

use crate::model::Model;
use crate::program::Program;
use actc_artifact::BufferKind;
use actc_types::{Diagnostic, Place, Result};

/// Bytes that a run wants.
pub(crate) struct Wanted {
    /// Of each slot, as many as its largest tenant has.
    pub slots: Vec<usize>,
    /// Of each output.
    pub outputs: Vec<usize>,
}

impl Wanted {
    /// What `program` wants whose buffers have `sizes`, in bytes; `states` are the bytes that are laid out for each state.
    pub(crate) fn of(program: &Program, sizes: &[usize], model: &Model, states: &[usize]) -> Result<Wanted> {
        let mut wanted = Wanted { slots: vec![0; program.slots], outputs: vec![0; program.outputs.len()] };
        for (buffer, bytes) in program.buffers.iter().zip(sizes) {
            match buffer.kind {
                BufferKind::Input(_) | BufferKind::Tensor { .. } | BufferKind::Errors => {}
                BufferKind::Output(i) => wanted.outputs[i as usize] = *bytes,
                BufferKind::Slot(i) => {
                    let slot = &mut wanted.slots[i as usize];
                    *slot = (*slot).max(*bytes);
                }
                BufferKind::State(i) => {
                    let laid = states[i as usize];
                    if *bytes > laid {
                        let name = &model.artifact().manifest().states[i as usize].name;
                        let headline = format!("the run needs {bytes} bytes of state, {laid} are laid out");
                        return Err(Diagnostic::request("state-capacity", headline)
                            .at(Place::Tensor(name.clone()))
                            .help("make the session with a larger capacity"));
                    }
                }
            }
        }
        Ok(wanted)
    }
}

/// An error where `sizes` together exceed `limit` bytes.
pub(crate) fn check_limit(sizes: impl IntoIterator<Item = usize>, limit: u64) -> Result<()> {
    let total = sizes.into_iter().try_fold(0u64, |n, bytes| n.checked_add(bytes as u64));
    match total {
        Some(total) if total <= limit => Ok(()),
        Some(_) | None => {
            let total = total.map_or("over 2^64".into(), |t| t.to_string());
            Err(Diagnostic::request("memory-limit", format!("{total} bytes of buffers, at most {limit} are allowed"))
                .help("raise the session's memory limit, or shrink the input"))
        }
    }
}
