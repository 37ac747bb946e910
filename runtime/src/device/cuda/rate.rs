//! How fast a GPU's memory is: what a plain copy within it reaches.

use super::device::CudaDevice;
use super::driver::{DeviceMemory, Event, Stream};
use actc_types::{Diagnostic, Result};

/// Bytes that a copy moves from one place to another, more than any cache holds.
const MOST: usize = 256 << 20;

/// Bytes of the least copy that is timed: twice as much is beyond the caches of today's GPUs.
const LEAST: usize = 64 << 20;

/// Copies of which the fastest counts, the first of which wakes the GPU.
const COPIES: usize = 5;

impl CudaDevice {
    /// Bytes a second that a plain copy within the GPU's memory reads and writes, both counted.
    ///
    /// Takes half a gigabyte of the GPU's memory for the time, or half of what is free where that is less. Errors:
    /// `cuda-memory` where too little is free, `cuda-call` where the driver refuses a call.
    pub fn copy_rate(&self) -> Result<f64> {
        self.context.enter()?;
        let (free, _) = self.context.memory()?;
        let bytes = MOST.min(free / 4);
        if bytes < LEAST {
            let headline = format!("{free} bytes of GPU memory are free, too few for a copy that caches do not hold");
            return Err(Diagnostic::new("cuda-memory", headline).help("free memory of the GPU"));
        }
        let place = || DeviceMemory::new(&self.context, bytes, "a copy that is timed");
        let (from, to) = (place()?, place()?);
        let stream = Stream::new(&self.context)?;
        let timed = fastest(&stream, &from, &to, bytes);
        // Nothing is in flight when its memory goes, also after an error.
        stream.wait()?;
        match timed? {
            0 => Err(Diagnostic::new("cuda-call", "the GPU's clock does not tell the time of a copy")),
            nanoseconds => Ok(2.0 * bytes as f64 / (nanoseconds as f64 * 1e-9)),
        }
    }
}

/// Nanoseconds of the fastest of some copies of `bytes`.
fn fastest(stream: &Stream, from: &DeviceMemory, to: &DeviceMemory, bytes: usize) -> Result<u64> {
    stream.zero(from, bytes)?;
    let (start, end) = (Event::new(stream.context())?, Event::new(stream.context())?);
    let mut best = u64::MAX;
    for _ in 0..COPIES {
        stream.record(&start)?;
        stream.copy_within(to.address(), from.address(), bytes)?;
        stream.record(&end)?;
        end.wait()?;
        best = best.min(start.nanoseconds_to(&end)?);
    }
    Ok(best)
}
