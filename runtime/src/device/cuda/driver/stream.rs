//! Streams: work of a device in order.

use super::{Asked, Context, DeviceMemory, Event, Function, Graph, Pinned};
use actc_types::Result;
use cudarc::driver::{result, sys};
use std::ffi::c_void;
use std::sync::Arc;

/// Blocks of a launch along x, y and z.
pub(crate) type Grid = [u32; 3];

/// A stream of its own.
#[derive(Debug)]
pub(crate) struct Stream {
    context: Arc<Context>,
    handle: sys::CUstream,
}

// SAFETY: the driver allows any thread to use a stream; the handle is only a name.
unsafe impl Send for Stream {}

impl Stream {
    /// A stream that waits for no other one. The context is current.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Stream> {
        let handle = result::stream::create(result::stream::StreamKind::NonBlocking).asked("making a stream")?;
        Ok(Stream { context: context.clone(), handle })
    }

    /// Its device's context.
    pub(crate) fn context(&self) -> &Arc<Context> {
        &self.context
    }

    /// Copies `bytes` from byte `at` of `from` to the device.
    pub(crate) fn copy_in(&self, to: u64, from: &Pinned, at: usize, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let from = from.place(at, bytes).cast::<c_void>();
        // SAFETY: both sides have so many bytes, and by the room's rules they stay until the stream has been waited for.
        unsafe { sys::cuMemcpyHtoDAsync_v2(to, from, bytes, self.handle) }.result().asked("copying to the GPU")
    }

    /// Copies `bytes` from the device to byte `at` of `to`.
    pub(crate) fn copy_out(&self, to: &Pinned, at: usize, from: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        let to = to.place(at, bytes).cast::<c_void>();
        // SAFETY: as in `copy_in`; the host does not look there before it has waited.
        unsafe { sys::cuMemcpyDtoHAsync_v2(to, from, bytes, self.handle) }.result().asked("copying from the GPU")
    }

    /// Copies `bytes` from one place of the device to another, which do not overlap.
    pub(crate) fn copy_within(&self, to: u64, from: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller names memory of its own on both sides, which by the room's rules stays until the stream was waited for.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.handle) }.asked("copying within the GPU")
    }

    /// Makes the first `bytes` of `memory` zero.
    pub(crate) fn zero(&self, memory: &DeviceMemory, bytes: usize) -> Result<()> {
        self.fill(memory.address(), bytes.min(memory.bytes()))
    }

    /// Makes `bytes` of device memory zero.
    pub(crate) fn fill(&self, address: u64, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller names memory of its own.
        unsafe { result::memset_d8_async(address, 0, bytes, self.handle) }.asked("clearing GPU memory")
    }

    /// Stores `value` at an address that is a multiple of 8.
    pub(crate) fn store(&self, address: u64, value: i64) -> Result<()> {
        for (i, half) in [value as u32, (value >> 32) as u32].into_iter().enumerate() {
            // SAFETY: the caller names eight bytes of its own. The value itself is part of the call.
            let stored = unsafe { sys::cuMemsetD32Async(address + 4 * i as u64, half, 1, self.handle) };
            stored.result().asked("storing a number on the GPU")?;
        }
        Ok(())
    }

    /// Starts `function`; `params` are its parameters as they lie in memory. Where the function waits by itself for the launch
    /// before, it may start while that one runs, unless it is to be `alone`.
    pub(crate) fn launch(
        &self,
        function: &Function,
        grid: Grid,
        params: &[u8],
        alone: bool,
        label: &str,
    ) -> Result<()> {
        let mut bytes = params.len();
        // The driver compares the size with what the kernel takes.
        let mut extra: [*mut c_void; 5] = [
            sys::CU_LAUNCH_PARAM_BUFFER_POINTER_AS_INT as usize as *mut c_void,
            params.as_ptr().cast_mut().cast(),
            sys::CU_LAUNCH_PARAM_BUFFER_SIZE_AS_INT as usize as *mut c_void,
            (&raw mut bytes).cast(),
            sys::CU_LAUNCH_PARAM_END_AS_INT as usize as *mut c_void,
        ];
        let [x, y, z] = grid;
        let mut overlap = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value: sys::CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
        };
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: function.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: function.shared,
            hStream: self.handle,
            attrs: &raw mut overlap,
            numAttrs: u32::from(function.overlaps && !alone),
        };
        // SAFETY: the function's module is loaded; the parameters are copied before the call returns; whoever linked the
        // module vouched for what it does to memory that they name.
        let launched =
            unsafe { sys::cuLaunchKernelEx(&config, function.handle(), std::ptr::null_mut(), extra.as_mut_ptr()) };
        launched.result().asked(&format!("launching `{label}`"))
    }

    /// Notes the time at this place of the stream.
    pub(crate) fn record(&self, event: &Event) -> Result<()> {
        // SAFETY: both were made in this context and live.
        unsafe { result::event::record(event.handle(), self.handle) }.asked("recording an event")
    }

    /// What `work` asks of this stream as a graph; nothing of it is done now.
    pub(crate) fn capture(&self, work: impl FnOnce(&Stream) -> Result<()>) -> Result<Graph> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives; the capture is ended below, whatever `work` says.
        unsafe { result::stream::begin_capture(self.handle, mode) }.asked("beginning a graph")?;
        let worked = work(self);
        // SAFETY: it was begun in this stream, on this thread.
        let graph = unsafe { result::stream::end_capture(self.handle) }.asked("ending a graph");
        let graph = graph.map(|handle| Graph::of(&self.context, handle));
        worked?;
        graph?
    }

    /// Does what `graph` holds.
    pub(crate) fn replay(&self, graph: &Graph) -> Result<()> {
        // SAFETY: both live; what the graph's work names is kept by its owner as long as the graph.
        unsafe { result::graph::launch(graph.handle(), self.handle) }.asked("launching a graph")
    }

    /// Waits until all work is done.
    pub(crate) fn wait(&self) -> Result<()> {
        // SAFETY: the stream lives.
        unsafe { result::stream::synchronize(self.handle) }.asked("the GPU stopped")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: it is this one's; work in it ends by itself.
            let _ = unsafe { result::stream::destroy(self.handle) };
        }
    }
}
