//! Graphs: what a captured stream was asked to do, done again at each launch. Parameters of kernels are those of the
//! capture; memory that they point at is as it is when the graph is launched.

use crate::state::Handle;
use crate::status::{Status, answer, answer_always, put};
use std::ffi::{c_int, c_uint, c_ulonglong};

/// `CUgraphExecUpdateResultInfo`: 0 for done, 1 for a change that is not possible.
#[repr(C)]
struct Update {
    result: c_int,
    error_node: usize,
    error_from: usize,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamBeginCapture_v2(stream: Handle, _mode: c_int) -> c_int {
    answer(|state| {
        // A default stream cannot be captured.
        if state.streams.get(&stream).ok_or(Status::CaptureUnsupported)?.is_some() {
            return Err(Status::InvalidValue);
        }
        let graph = state.handle();
        state.graphs.insert(graph, Vec::new());
        state.captures.insert(graph, stream);
        state.streams.insert(stream, Some(graph));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: Handle, graph: *mut Handle) -> c_int {
    answer_always(|state| {
        let captured = state.capture(stream)?.ok_or(Status::InvalidValue)?;
        if state.captures.get(&captured) != Some(&stream) {
            return Err(Status::CaptureUnmatched);
        }
        state.captures.remove(&captured);
        state.streams.values_mut().filter(|s| **s == Some(captured)).for_each(|s| *s = None);
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(graph, captured) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(stream: Handle, status: *mut c_int) -> c_int {
    answer(|state| {
        let capturing = state.capture(stream)?.is_some();
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(status, c_int::from(capturing)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(exec: *mut Handle, graph: Handle, _flags: c_ulonglong) -> c_int {
    answer(|state| {
        let work = state.graphs.get(&graph).ok_or(Status::InvalidHandle)?.clone();
        let handle = state.handle();
        state.graphs.insert(handle, work);
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(exec, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphLaunch(exec: Handle, stream: Handle) -> c_int {
    answer(|state| {
        let work = state.graphs.get(&exec).ok_or(Status::InvalidHandle)?.clone();
        work.into_iter().try_for_each(|work| state.enqueue(stream, work))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphUpload(exec: Handle, _stream: Handle) -> c_int {
    answer(|state| state.graphs.get(&exec).map(|_| ()).ok_or(Status::InvalidHandle))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecUpdate_v2(exec: Handle, graph: Handle, info: *mut Update) -> c_int {
    answer(|state| {
        let (old, new) = (state.graphs.get(&exec), state.graphs.get(&graph));
        let (old, new) = (old.ok_or(Status::InvalidHandle)?, new.ok_or(Status::InvalidHandle)?);
        let same = old.len() == new.len() && old.iter().zip(new).all(|(a, b)| a.form() == b.form());
        if !info.is_null() {
            // SAFETY: the caller gives a pointer that may be written.
            unsafe { put(info, Update { result: c_int::from(!same), error_node: 0, error_from: 0 }) }?;
        }
        if !same {
            return Err(Status::UpdateFailure);
        }
        let work = new.clone();
        state.graphs.insert(exec, work);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphGetNodes(graph: Handle, nodes: *mut Handle, count: *mut usize) -> c_int {
    answer(|state| {
        let length = state.graphs.get(&graph).ok_or(Status::InvalidHandle)?.len();
        if !nodes.is_null() {
            return Err(Status::NotSupported);
        }
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(count, length) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphCreate(graph: *mut Handle, _flags: c_uint) -> c_int {
    answer(|state| {
        let handle = state.handle();
        state.graphs.insert(handle, Vec::new());
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(graph, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(graph: Handle) -> c_int {
    answer_always(|state| state.graphs.remove(&graph).map(|_| ()).ok_or(Status::InvalidHandle))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecDestroy(exec: Handle) -> c_int {
    answer_always(|state| state.graphs.remove(&exec).map(|_| ()).ok_or(Status::InvalidHandle))
}
