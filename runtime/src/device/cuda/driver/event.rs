//! Events: places in a stream with the time at which the device came by.

use super::{Asked, Context};
use actc_types::Result;
use cudarc::driver::{result, sys};
use std::sync::Arc;

/// A place in a stream.
#[derive(Debug)]
pub(crate) struct Event {
    context: Arc<Context>,
    handle: sys::CUevent,
}

// SAFETY: the driver allows any thread to use an event; the handle is only a name.
unsafe impl Send for Event {}

impl Event {
    /// One that was recorded nowhere. The context is current.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Event> {
        let handle = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT).asked("making an event")?;
        Ok(Event { context: context.clone(), handle })
    }

    pub(super) fn handle(&self) -> sys::CUevent {
        self.handle
    }

    /// Waits until the device has come by.
    pub(crate) fn wait(&self) -> Result<()> {
        // SAFETY: the event lives.
        unsafe { result::event::synchronize(self.handle) }.asked("the GPU stopped")
    }

    /// Nanoseconds from `self` to `later`; the device has come by both.
    pub(crate) fn nanoseconds_to(&self, later: &Event) -> Result<u64> {
        type Elapsed = unsafe extern "C" fn(*mut f32, sys::CUevent, sys::CUevent) -> sys::CUresult;
        let mut milliseconds = 0f32;
        // cudarc calls the form of CUDA 12.8 alone; this one is in all drivers.
        // SAFETY: the symbol is a function of this type; the events live, and the call writes one `float`.
        let elapsed = unsafe {
            match sys::culib().get::<Elapsed>(b"cuEventElapsedTime\0") {
                Ok(call) => call(&mut milliseconds, self.handle, later.handle),
                Err(_) => sys::CUresult::CUDA_ERROR_NOT_FOUND,
            }
        };
        elapsed.result().asked("reading the time between events")?;
        Ok((f64::from(milliseconds) * 1e6) as u64)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: it is this one's; the driver lets events go when their stream has come by.
            let _ = unsafe { result::event::destroy(self.handle) };
        }
    }
}
