//! The bound: bytes that a plain copy on the device reads and writes in a second, the driver's or a kernel's, whichever is faster.

use crate::Result;
use crate::device::Device;
use actc_codegen::spec::gpu::Launch;
use cudarc::driver::result;

/// Bytes that are copied.
const BYTES: usize = 2 << 30;

/// Copies of a measurement.
const COPIES: usize = 4;

/// The kernel's symbol.
pub(crate) const SYMBOL: &str = "copy";

/// Threads of a block, and sixteens of bytes that each copies.
const THREADS: u32 = 512;
const EACH: u32 = 4;

/// The kernel: `to` and `from` are of as many blocks' bytes as are launched.
pub(crate) const SOURCE: &str = r#"
extern "C" __global__ void __launch_bounds__(512) copy(uint4* to, const uint4* from) {
    const size_t first = (size_t)blockIdx.x * (512 * 4) + threadIdx.x;
    uint4 v[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) v[i] = __ldcs(from + first + 512 * i);
#pragma unroll
    for (int i = 0; i < 4; ++i) __stcs(to + first + 512 * i, v[i]);
}
"#;

/// Bytes read and written in a second.
pub(crate) fn copy(device: &Device) -> Result<f64> {
    let (from, to) = (device.zeros(BYTES)?, device.zeros(BYTES)?);
    let driver = device.seconds(&|| {
        for _ in 0..COPIES {
            // SAFETY: both have that many bytes and live until the copy is done.
            unsafe { result::memcpy_dtod_async(to.address, from.address, BYTES, device.stream().cu_stream()) }?;
        }
        Ok(())
    })?;
    let blocks = u32::try_from(BYTES)? / (16 * THREADS * EACH);
    let launch = Launch { grid: [blocks, 1, 1], block: THREADS, shared: 0 };
    let ready = device.launch(SYMBOL, launch, vec![to.address, from.address])?;
    let kernel = device.seconds(&|| (0..COPIES).try_for_each(|_| device.start(&ready)))?;
    let rate = |seconds: f64| (2 * COPIES * BYTES) as f64 / seconds;
    println!(
        "copy: {:.0} GB/s read and written by the driver, {:.0} by a kernel",
        rate(driver) / 1e9,
        rate(kernel) / 1e9
    );
    Ok(rate(driver.min(kernel)))
}
