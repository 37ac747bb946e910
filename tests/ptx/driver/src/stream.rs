//! Streams and events. Work is done when it is enqueued, so that waiting finds it done.

use crate::state::{Event, Handle};
use crate::status::{Status, answer, answer_always, put};
use crate::work::Work;
use std::ffi::{c_int, c_uint, c_void};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> c_int {
    answer(|state| {
        // Not 0 to 2, which are the default streams.
        let handle = state.handle() + 2;
        state.streams.insert(handle, None);
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(stream, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut Handle, flags: c_uint, _priority: c_int) -> c_int {
    // SAFETY: the same promise.
    unsafe { cuStreamCreate(stream, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamDestroy_v2(stream: Handle) -> c_int {
    answer_always(|state| state.streams.remove(&stream).map(|_| ()).ok_or(Status::InvalidHandle))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamSynchronize(stream: Handle) -> c_int {
    answer(|state| match state.capture(stream)? {
        Some(_) => Err(Status::CaptureUnsupported),
        None => Ok(()),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamQuery(stream: Handle) -> c_int {
    // SAFETY: it takes no pointer.
    unsafe { cuStreamSynchronize(stream) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> c_int {
    answer(|state| {
        let capture = state.events.get(&event).ok_or(Status::InvalidHandle)?.capture;
        // Waiting for an event of a capture takes the stream into it.
        let capture = capture.filter(|graph| state.captures.contains_key(graph));
        if let Some(slot) = state.streams.get_mut(&stream)
            && capture.is_some()
        {
            *slot = capture;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamAttachMemAsync(_: Handle, _: u64, _: usize, _: c_uint) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchHostFunc(
    stream: Handle,
    function: Option<extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> c_int {
    answer(|state| {
        let function = function.ok_or(Status::InvalidValue)?;
        state.enqueue(stream, Work::Host { function, data: data as usize })
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> c_int {
    answer(|state| {
        let handle = state.handle();
        state.events.insert(handle, Event::default());
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(event, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventDestroy_v2(event: Handle) -> c_int {
    answer_always(|state| state.events.remove(&event).map(|_| ()).ok_or(Status::InvalidHandle))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> c_int {
    answer(|state| {
        let (clock, capture) = (state.clock, state.capture(stream)?);
        let event = state.events.get_mut(&event).ok_or(Status::InvalidHandle)?;
        *event = Event { at: capture.is_none().then_some(clock), capture };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventSynchronize(event: Handle) -> c_int {
    answer(|state| {
        let event = state.events.get(&event).ok_or(Status::InvalidHandle)?;
        if event.capture.is_some_and(|graph| state.captures.contains_key(&graph)) {
            return Err(Status::CaptureUnsupported);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventQuery(event: Handle) -> c_int {
    // SAFETY: it takes no pointer.
    unsafe { cuEventSynchronize(event) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: Handle, end: Handle) -> c_int {
    answer(|state| {
        let at = |event: Handle| state.events.get(&event).and_then(|e| e.at).ok_or(Status::InvalidHandle);
        let nanoseconds = at(end)? as f64 - at(start)? as f64;
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(milliseconds, (nanoseconds / 1e6) as f32) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(milliseconds: *mut f32, start: Handle, end: Handle) -> c_int {
    // SAFETY: the same promise.
    unsafe { cuEventElapsedTime(milliseconds, start, end) }
}
