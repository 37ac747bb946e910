//! Graphs: work that was asked for once and is done again with one call.

use super::{Asked, Context};
use actc_types::Result;
use cudarc::driver::{result, sys};
use std::sync::Arc;

/// A graph that is ready to be launched.
#[derive(Debug)]
pub(crate) struct Graph {
    context: Arc<Context>,
    handle: sys::CUgraphExec,
}

// SAFETY: the driver allows any thread to use a graph, one at a time; the handle is only a name.
unsafe impl Send for Graph {}

impl Graph {
    /// What was captured as `captured`, which is given up.
    pub(super) fn of(context: &Arc<Context>, captured: sys::CUgraph) -> Result<Graph> {
        // SAFETY: the capture gave this graph to us alone; it is destroyed once, and what is ready does not need it.
        let handle = unsafe {
            let handle = result::graph::instantiate(captured, sys::CUgraphInstantiate_flags(0));
            let _ = result::graph::destroy(captured);
            handle
        };
        Ok(Graph { context: context.clone(), handle: handle.asked("making a graph")? })
    }

    pub(super) fn handle(&self) -> sys::CUgraphExec {
        self.handle
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: it is this one's, and by the room's rules it is not in flight.
            let _ = unsafe { result::graph::exec_destroy(self.handle) };
        }
    }
}
