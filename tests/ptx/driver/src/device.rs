//! The driver, its one device, contexts.

use crate::state::{Handle, report};
use crate::status::{Status, answer, answer_always, put};
use actc_ptx::Target;
use actc_ptx::target::{BLOCK, GRID, SHARED_DEFAULT, THREADS};
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uint};

/// The driver's version that is told: CUDA 13.0.
const VERSION: c_int = 13000;
/// The one context.
const CONTEXT: Handle = 1;

thread_local! {
    static CURRENT: Cell<Handle> = const { Cell::new(0) };
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuInit(_flags: c_uint) -> c_int {
    answer_always(|state| {
        if let Some(mistake) = &state.mistake {
            report(mistake);
            return Err(Status::InvalidValue);
        }
        state.initialised = true;
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> c_int {
    // SAFETY: the caller gives a pointer that may be written, here and in every call below.
    answer_always(|_| unsafe { put(version, VERSION) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> c_int {
    // SAFETY: as above.
    answer(|_| unsafe { put(count, 1) })
}

fn only(device: c_int) -> Result<(), Status> {
    if device == 0 { Ok(()) } else { Err(Status::InvalidDevice) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> c_int {
    answer(|_| {
        only(ordinal)?;
        // SAFETY: as above.
        unsafe { put(device, 0) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> c_int {
    answer(|state| {
        only(device)?;
        let (major, minor) = state.target.capability();
        let text = format!("actc PTX emulator (sm_{major}{minor})");
        let room = usize::try_from(length).unwrap_or(0).checked_sub(1).ok_or(Status::InvalidValue)?;
        for (index, byte) in text.bytes().take(room).chain([0]).enumerate() {
            // SAFETY: the caller gives `length` bytes, and at most that many are written.
            unsafe { put(name.add(index), byte as c_char) }?;
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid(to: *mut [u8; 16], device: c_int) -> c_int {
    answer(|state| {
        only(device)?;
        let mut uuid = *b"actc-ptx-emul-00";
        uuid[14] = state.target.capability().0 as u8;
        uuid[15] = state.target.capability().1 as u8;
        // SAFETY: as above.
        unsafe { put(to, uuid) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetUuid_v2(to: *mut [u8; 16], device: c_int) -> c_int {
    // SAFETY: the same promise.
    unsafe { cuDeviceGetUuid(to, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> c_int {
    answer(|state| {
        only(device)?;
        // SAFETY: as above.
        unsafe { put(bytes, state.memory.info().1 as usize) }
    })
}

/// Attributes by the driver's numbers. What is not modelled and not here is 0, as of a device that lacks it.
fn attribute(target: Target, number: c_int) -> c_int {
    let value = match number {
        1 => THREADS,
        2..=4 => BLOCK[number as usize - 2],
        5..=7 => GRID[number as usize - 5],
        // Shared memory of a block.
        8 => SHARED_DEFAULT,
        // Constant memory.
        9 => 64 << 10,
        10 => 32,
        // Longest pitch of a copy.
        11 => 0x7fff_ffff,
        // Registers of a block, and of a multiprocessor.
        12 | 82 => 64 << 10,
        // Clock of the processors and of the memory in kHz; width of the memory's bus.
        13 => 1_500_000,
        36 => 2_600_000,
        37 => 5120,
        16 => target.multiprocessors(),
        // Host memory is mapped, kernels run side by side, copies do, addresses are unified, launches may be cooperative,
        // memory comes from pools.
        19 | 31 | 40 | 41 | 95 | 115 => 1,
        38 => 50 << 20,
        39 => target.threads_multiprocessor(),
        75 => target.capability().0,
        76 => target.capability().1,
        81 => target.shared_multiprocessor(),
        97 => target.shared_optin(),
        106 => 32,
        111 => 1024,
        _ => 0,
    };
    value as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, number: c_int, device: c_int) -> c_int {
    answer(|state| {
        only(device)?;
        // SAFETY: as above.
        unsafe { put(value, attribute(state.target, number)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut Handle, device: c_int) -> c_int {
    answer(|_| {
        only(device)?;
        // SAFETY: as above.
        unsafe { put(context, CONTEXT) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> c_int {
    answer_always(|_| only(device))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSetCurrent(context: Handle) -> c_int {
    answer_always(|_| {
        if context > CONTEXT {
            return Err(Status::InvalidContext);
        }
        CURRENT.set(context);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> c_int {
    // SAFETY: as above.
    answer_always(|_| unsafe { put(context, CURRENT.get()) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetDevice(device: *mut c_int) -> c_int {
    // SAFETY: as above.
    answer(|_| unsafe { put(device, 0) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSynchronize() -> c_int {
    answer(|state| state.not_capturing())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSetFlags(_flags: c_uint) -> c_int {
    answer(|_| Ok(()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> c_int {
    // SAFETY: as above, for both.
    answer(|_| unsafe { put(least, 0).and_then(|()| put(greatest, 0)) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetLimit(_value: *mut usize, _limit: c_int) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSetLimit(_limit: c_int, _value: usize) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v4(_: *mut Handle, _: *mut u8, _: c_uint, _: c_int) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxDestroy_v2(_context: Handle) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuProfilerStart() -> c_int {
    answer(|_| Ok(()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuProfilerStop() -> c_int {
    answer(|_| Ok(()))
}
