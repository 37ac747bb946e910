//! Memory on a device, and memory of the host that it copies from and to.

use super::{Context, failed};
use actc_types::{Diagnostic, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ptr::NonNull;
use std::sync::Arc;

/// Bytes behind what was asked for that may be read too, as CPUs' buffers have them.
const SPARE: usize = 64;

const OUT_OF_MEMORY: DriverError = DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY);

/// A piece of device memory. What it holds at first is not known.
#[derive(Debug)]
pub(crate) struct DeviceMemory {
    context: Arc<Context>,
    address: u64,
    bytes: usize,
}

fn full(what: &str, wanted: usize, free: usize, total: usize) -> Diagnostic {
    let headline = format!("{what} wants {wanted} bytes of GPU memory, {free} of {total} are free");
    Diagnostic::new("cuda-memory", headline).help("free memory of the GPU, use a smaller context, or another GPU")
}

impl DeviceMemory {
    /// An error where less than `wanted` bytes are free for `what`.
    pub(crate) fn ask(context: &Context, wanted: usize, what: &str) -> Result<()> {
        let (free, total) = context.memory()?;
        if wanted > free { Err(full(what, wanted, free, total)) } else { Ok(()) }
    }

    /// Bytes that room for `bytes` takes.
    pub(crate) fn taken(bytes: usize) -> usize {
        bytes.saturating_add(SPARE)
    }

    /// `bytes` for `what`, asked for before they are taken. The context is current.
    pub(crate) fn new(context: &Arc<Context>, bytes: usize, what: &str) -> Result<DeviceMemory> {
        let taken = DeviceMemory::taken(bytes);
        DeviceMemory::ask(context, taken, what)?;
        // SAFETY: the context is current; the memory is freed once, when this is dropped.
        let address = unsafe { result::malloc_sync(taken) }.map_err(|error| {
            if error != OUT_OF_MEMORY {
                return failed("taking GPU memory", error);
            }
            // Free memory need not be in one piece.
            let (free, total) = context.memory().unwrap_or_default();
            full(what, taken, free, total)
        })?;
        Ok(DeviceMemory { context: context.clone(), address, bytes })
    }

    /// Its first address, a multiple of 256.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }

    /// Bytes of it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for DeviceMemory {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: the memory is this one's, and by the room's rules nothing in flight uses it. After a fault of the
            // device the call fails, and the driver frees everything itself.
            let _ = unsafe { result::free_sync(self.address) };
        }
    }
}

/// Memory of the host that devices copy from and to without the host's help. It is zero at first.
#[derive(Debug)]
pub(crate) struct Pinned {
    context: Arc<Context>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its bytes like a `Vec<u8>`.
unsafe impl Send for Pinned {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// `bytes` of it, on a 64-byte line. The context is current.
    pub(crate) fn new(context: &Arc<Context>, bytes: usize) -> Result<Pinned> {
        let taken = bytes.max(1);
        // SAFETY: the context is current; the memory is freed once, when this is dropped.
        let start = unsafe { result::malloc_host(taken, 0) };
        let full = || Diagnostic::new("out-of-memory", format!("cannot get {taken} bytes of memory for copies"));
        let start = start.map_err(|error| match error == OUT_OF_MEMORY {
            true => full(),
            false => failed("taking host memory for copies", error),
        })?;
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(full)?;
        // SAFETY: the driver gave so many bytes.
        unsafe { start.write_bytes(0, taken) };
        Ok(Pinned { context: context.clone(), start, bytes })
    }

    /// All of it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: it has so many bytes, which were set at the start; by the room's rules no copy into it is in flight.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// All of it, to be changed.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, no copy from it is in flight either, and `self` is borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// The address of byte `at`, before which copies of `bytes` are checked.
    pub(super) fn place(&self, at: usize, bytes: usize) -> *mut u8 {
        let end = at.checked_add(bytes);
        assert!(end.is_some_and(|end| end <= self.bytes), "{bytes} bytes at {at} of {}", self.bytes);
        // SAFETY: it is inside the allocation or at its end.
        unsafe { self.start.as_ptr().add(at) }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: the memory is this one's, and by the room's rules nothing in flight uses it.
            let _ = unsafe { result::free_host(self.start.as_ptr().cast()) };
        }
    }
}
