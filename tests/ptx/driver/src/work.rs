//! What streams do: done at once, or kept while the stream is captured.

use crate::state::{Handle, State, append, report};
use crate::status::Status;
use actc_ptx::{Fault, Module, Shape};
use std::ffi::c_void;
use std::sync::Arc;

/// One piece of work. Host memory is looked at when the work is done, so that a graph that is launched again sees what is
/// there then.
#[derive(Clone)]
pub(crate) enum Work {
    Launch { module: Arc<Module>, kernel: String, shape: Shape, params: Vec<u8> },
    In { to: u64, from: usize, bytes: usize },
    Out { to: usize, from: u64, bytes: usize },
    Within { to: u64, from: u64, bytes: usize },
    Fill { to: u64, pattern: Vec<u8>, count: usize },
    Host { function: extern "C" fn(*mut c_void), data: usize },
}

impl Work {
    /// What has to be equal for an instantiated graph to take another one's work.
    pub(crate) fn form(&self) -> (u8, Option<&str>) {
        match self {
            Self::Launch { kernel, .. } => (0, Some(kernel)),
            Self::In { .. } => (1, None),
            Self::Out { .. } => (2, None),
            Self::Within { .. } => (3, None),
            Self::Fill { .. } => (4, None),
            Self::Host { .. } => (5, None),
        }
    }
}

impl State {
    /// Does the work, or adds it to the capture that the stream takes part in.
    pub(crate) fn enqueue(&mut self, stream: Handle, work: Work) -> Result<(), Status> {
        match self.capture(stream)? {
            Some(graph) => {
                self.graphs.get_mut(&graph).ok_or(Status::InvalidHandle)?.push(work);
                Ok(())
            }
            None => self.perform(&work),
        }
    }

    /// Does the work, not in a stream that is captured.
    pub(crate) fn now(&mut self, work: &Work) -> Result<(), Status> {
        self.not_capturing()?;
        self.perform(work)
    }

    pub(crate) fn perform(&mut self, work: &Work) -> Result<(), Status> {
        let wrong = |fault: Fault| {
            report(&format!("a copy: {fault}"));
            Status::InvalidValue
        };
        let bytes = match work {
            Work::Launch { module, kernel, shape, params } => {
                let shape = Shape { budget: self.budget, ..shape.clone() };
                return match module.launch(kernel, &shape, params, &mut self.memory) {
                    Ok(cost) => {
                        self.clock += cost.nanoseconds();
                        append("ACTC_PTX_COST", &format!("{kernel} {:?} x {:?}\n{cost}", shape.grid, shape.block));
                        Ok(())
                    }
                    Err(finding) => {
                        report(&finding.to_string());
                        Err(self.broken_by(&finding.fault))
                    }
                };
            }
            Work::In { to, from, bytes } => {
                // SAFETY: the caller of the copy promises that so many bytes can be read there until the work is done.
                let data = unsafe { host(*from, *bytes) }?;
                self.memory.write(*to, data).map_err(wrong)?;
                *bytes
            }
            Work::Out { to, from, bytes } => {
                let data = self.memory.read(*from, *bytes).map_err(wrong)?;
                if *bytes > 0 {
                    // SAFETY: the caller of the copy promises that so many bytes can be written there until the work is
                    // done; device memory is never the caller's.
                    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), *to as *mut u8, *bytes) };
                }
                *bytes
            }
            Work::Within { to, from, bytes } => {
                self.memory.copy(*to, *from, *bytes).map_err(wrong)?;
                *bytes
            }
            Work::Fill { to, pattern, count } => {
                self.memory.write(*to, &pattern.repeat(*count)).map_err(wrong)?;
                pattern.len() * count
            }
            Work::Host { function, data } => {
                function(*data as *mut c_void);
                0
            }
        };
        // A microsecond, and 25 bytes a nanosecond.
        self.clock += 1000 + bytes as u64 / 25;
        Ok(())
    }

    /// What a finding makes of this and every later call; a launch that was refused breaks nothing.
    fn broken_by(&mut self, fault: &Fault) -> Status {
        let status = match fault {
            Fault::Launch { .. } => return Status::LaunchOutOfResources,
            Fault::Misaligned { .. } => Status::Misaligned,
            Fault::OutOfBounds { .. }
            | Fault::Uninitialised { .. }
            | Fault::UninitialisedRegister { .. }
            | Fault::Race { .. }
            | Fault::PendingCopy { .. }
            | Fault::PendingProduct { .. }
            | Fault::PendingSums { .. }
            | Fault::PendingOperand { .. }
            | Fault::NoFence { .. }
            | Fault::NoProxyFence { .. }
            | Fault::ReadOnly { .. } => Status::IllegalAddress,
            Fault::Divergent { .. }
            | Fault::InactiveLane { .. }
            | Fault::Deadlock { .. }
            | Fault::Trap
            | Fault::Budget { .. }
            | Fault::BadOperand { .. } => Status::LaunchFailed,
        };
        self.broken = Some(status);
        status
    }
}

/// Bytes of the caller.
///
/// # Safety
/// So many bytes can be read there.
unsafe fn host<'a>(at: usize, bytes: usize) -> Result<&'a [u8], Status> {
    if bytes == 0 {
        return Ok(&[]);
    }
    if at == 0 {
        return Err(Status::InvalidValue);
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(at as *const u8, bytes) })
}
