//! Device memory, host memory, copies and fills.

use crate::state::Handle;
use crate::status::{Status, answer, answer_always, put};
use crate::work::Work;
use std::alloc::Layout;
use std::ffi::{c_int, c_uint, c_void};

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> c_int {
    answer(|state| {
        let (left, all) = state.memory.info();
        // SAFETY: the caller gives pointers that may be written.
        unsafe { put(free, left as usize).and_then(|()| put(total, all as usize)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(to: *mut u64, bytes: usize) -> c_int {
    answer(|state| {
        if bytes == 0 {
            return Err(Status::InvalidValue);
        }
        let address = state.memory.allocate(bytes as u64).ok_or(Status::OutOfMemory)?;
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(to, address) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocAsync(to: *mut u64, bytes: usize, stream: Handle) -> c_int {
    answer(|state| {
        if state.capture(stream)?.is_some() {
            return Err(Status::NotSupported);
        }
        let address = state.memory.allocate(bytes as u64).ok_or(Status::OutOfMemory)?;
        // SAFETY: as above.
        unsafe { put(to, address) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    answer_always(|state| if address == 0 || state.memory.free(address) { Ok(()) } else { Err(Status::InvalidValue) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> c_int {
    answer_always(|state| {
        if state.capture(stream)?.is_some() {
            return Err(Status::NotSupported);
        }
        if state.memory.free(address) { Ok(()) } else { Err(Status::InvalidValue) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAllocManaged(_: *mut u64, _: usize, _: c_uint) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(to: *mut *mut c_void, bytes: usize, _flags: c_uint) -> c_int {
    answer(|state| {
        let layout = Layout::from_size_align(bytes.max(1), 4096).map_err(|_| Status::InvalidValue)?;
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) };
        if memory.is_null() {
            return Err(Status::OutOfMemory);
        }
        state.pinned.insert(memory as usize, layout);
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(to, memory.cast()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeHost(memory: *mut c_void) -> c_int {
    answer_always(|state| {
        let layout = state.pinned.remove(&(memory as usize)).ok_or(Status::InvalidValue)?;
        // SAFETY: the address came from `alloc_zeroed` with this layout and is freed once.
        unsafe { std::alloc::dealloc(memory.cast(), layout) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostRegister_v2(_memory: *mut c_void, _bytes: usize, _flags: c_uint) -> c_int {
    answer(|_| Ok(()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostUnregister(_memory: *mut c_void) -> c_int {
    answer(|_| Ok(()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostGetDevicePointer_v2(_: *mut u64, _: *mut c_void, _: c_uint) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> c_int {
    answer(|state| state.now(&Work::In { to, from: from as usize, bytes }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: Handle) -> c_int {
    answer(|state| state.enqueue(stream, Work::In { to, from: from as usize, bytes }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> c_int {
    answer(|state| state.now(&Work::Out { to: to as usize, from, bytes }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: Handle) -> c_int {
    answer(|state| state.enqueue(stream, Work::Out { to: to as usize, from, bytes }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> c_int {
    answer(|state| state.now(&Work::Within { to, from, bytes }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: Handle) -> c_int {
    answer(|state| state.enqueue(stream, Work::Within { to, from, bytes }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyPeerAsync(_: u64, _: Handle, _: u64, _: Handle, _: usize, _: Handle) -> c_int {
    answer(|_| Err(Status::NotSupported))
}

fn fill(to: u64, pattern: &[u8], count: usize) -> Work {
    Work::Fill { to, pattern: pattern.to_vec(), count }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8_v2(to: u64, value: u8, count: usize) -> c_int {
    answer(|state| state.now(&fill(to, &[value], count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8Async(to: u64, value: u8, count: usize, stream: Handle) -> c_int {
    answer(|state| state.enqueue(stream, fill(to, &[value], count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD16_v2(to: u64, value: u16, count: usize) -> c_int {
    answer(|state| state.now(&fill(to, &value.to_le_bytes(), count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD16Async(to: u64, value: u16, count: usize, stream: Handle) -> c_int {
    answer(|state| state.enqueue(stream, fill(to, &value.to_le_bytes(), count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD32_v2(to: u64, value: c_uint, count: usize) -> c_int {
    answer(|state| state.now(&fill(to, &value.to_le_bytes(), count)))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD32Async(to: u64, value: c_uint, count: usize, stream: Handle) -> c_int {
    answer(|state| state.enqueue(stream, fill(to, &value.to_le_bytes(), count)))
}
