//! The bound: bytes that a plain copy on the device reads and writes in a second.

use crate::Result;
use crate::device::Device;
use cudarc::driver::result;

/// Bytes that are copied.
const BYTES: usize = 4 << 30;

/// Copies of a measurement.
const COPIES: usize = 4;

/// Bytes read and written in a second.
pub(crate) fn copy(device: &Device) -> Result<f64> {
    let (from, to) = (device.zeros(BYTES)?, device.zeros(BYTES)?);
    let seconds = device.seconds(&|| {
        for _ in 0..COPIES {
            // SAFETY: both have that many bytes and live until the copy is done.
            unsafe { result::memcpy_dtod_async(to.address, from.address, BYTES, device.stream().cu_stream()) }?;
        }
        Ok(())
    })?;
    Ok((2 * COPIES * BYTES) as f64 / seconds)
}
