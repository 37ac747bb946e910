//! Modules from PTX text, their functions and variables, attributes, occupancy.

use crate::state::{Function, Handle, State, report};
use crate::status::{Status, answer, answer_always, put, text};
use actc_ptx::{Kernel, Module};
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Arc;

/// First bytes of the images that are machine code.
const ELF: &[u8] = b"\x7fELF";
const FATBIN: &[u8] = &[0x50, 0xed, 0x55, 0xba];

fn load(state: &mut State, ptx: &str) -> Result<Handle, Status> {
    let module = Module::load(ptx, state.target, &mut state.memory).map_err(|error| {
        report(&format!("a module was refused:\n{error}"));
        Status::InvalidPtx
    })?;
    let handle = state.handle();
    state.modules.insert(handle, Arc::new(module));
    Ok(handle)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadData(module: *mut Handle, image: *const c_void) -> c_int {
    answer(|state| {
        let start: *const c_char = image.cast();
        if start.is_null() {
            return Err(Status::InvalidValue);
        }
        for magic in [ELF, FATBIN] {
            // SAFETY: the image is a text that ends with a zero, or machine code, whose magic has four bytes: the comparison
            // stops at the first byte that differs.
            let same = magic.iter().enumerate().all(|(i, byte)| unsafe { *start.add(i) } as u8 == *byte);
            if same {
                report("the module is machine code; the stand-in for the driver takes PTX text");
                return Err(Status::InvalidImage);
            }
        }
        // SAFETY: the image is a text that ends with a zero.
        let ptx = unsafe { text(start) }.map_err(|_| Status::InvalidImage)?;
        let handle = load(state, ptx)?;
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(module, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut Handle,
    image: *const c_void,
    _count: c_uint,
    _options: *mut c_int,
    _values: *mut *mut c_void,
) -> c_int {
    // SAFETY: the same promises; options of the compiler say nothing here.
    unsafe { cuModuleLoadData(module, image) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoad(module: *mut Handle, path: *const c_char) -> c_int {
    answer(|state| {
        // SAFETY: the path is a text that ends with a zero.
        let path = unsafe { text(path) }?;
        let bytes = std::fs::read(path).map_err(|_| Status::NotFound)?;
        let ptx = String::from_utf8(bytes).map_err(|_| Status::InvalidImage)?;
        let handle = load(state, &ptx)?;
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(module, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleUnload(module: Handle) -> c_int {
    answer_always(|state| {
        let module = state.modules.remove(&module).ok_or(Status::InvalidHandle)?;
        state.functions.retain(|_, f| !Arc::ptr_eq(&f.module, &module));
        // A graph may still launch its kernels: then its variables stay.
        if let Ok(module) = Arc::try_unwrap(module) {
            module.unload(&mut state.memory);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut Handle, module: Handle, name: *const c_char) -> c_int {
    answer(|state| {
        // SAFETY: the name is a text that ends with a zero.
        let name = unsafe { text(name) }?;
        let module = Arc::clone(state.module(module)?);
        let kernel = module.kernel(name).ok_or(Status::NotFound)?.name().to_owned();
        let handle = state.handle();
        state.functions.insert(handle, Function { module, kernel, dynamic_allowed: 0 });
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(function, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetGlobal_v2(
    address: *mut u64,
    bytes: *mut usize,
    module: Handle,
    name: *const c_char,
) -> c_int {
    answer(|state| {
        // SAFETY: the name is a text that ends with a zero.
        let name = unsafe { text(name) }?;
        let (at, size) = state.module(module)?.variable(name).ok_or(Status::NotFound)?;
        // SAFETY: either pointer is null or may be written.
        unsafe {
            if !address.is_null() {
                put(address, at)?;
            }
            if !bytes.is_null() {
                put(bytes, size as usize)?;
            }
        }
        Ok(())
    })
}

impl Function {
    fn kernel(&self) -> Result<&Kernel, Status> {
        self.module.kernel(&self.kernel).ok_or(Status::InvalidHandle)
    }

    /// Blocks of `threads` threads that fit a multiprocessor side by side; registers are not modelled.
    fn resident(&self, state: &State, threads: u32, dynamic: usize) -> Result<c_int, Status> {
        if threads == 0 {
            return Err(Status::InvalidValue);
        }
        let kernel = self.kernel()?;
        let by_threads = state.target.threads_multiprocessor() / threads.next_multiple_of(32);
        // Each block has a kilobyte beside its own.
        let shared = kernel.shared() as usize + dynamic + 1024;
        let by_shared = state.target.shared_multiprocessor() as usize / shared;
        let fits = threads <= kernel.most_threads();
        Ok(if fits { by_threads.min(32).min(by_shared as u32) as c_int } else { 0 })
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, function: Handle) -> c_int {
    answer(|state| {
        let function = state.function(function)?;
        let kernel = function.kernel()?;
        let (major, minor) = state.target.capability();
        let found = match attribute {
            0 => kernel.most_threads(),
            1 => kernel.shared(),
            3 => kernel.local(),
            // Registers are not modelled; a number that lets every block size launch.
            4 => 32,
            5 | 6 => major * 10 + minor,
            8 => function.dynamic_allowed.max(48 << 10),
            _ => 0,
        };
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(value, found as c_int) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncSetAttribute(function: Handle, attribute: c_int, value: c_int) -> c_int {
    answer(|state| {
        let most = state.target.shared_optin();
        let function = state.functions.get_mut(&function).ok_or(Status::InvalidHandle)?;
        match attribute {
            8 => {
                let shared = function.kernel()?.shared();
                let value = u32::try_from(value).ok().filter(|v| *v + shared <= most).ok_or(Status::InvalidValue)?;
                function.dynamic_allowed = value;
                Ok(())
            }
            // How the cache is shared out: a hint.
            9 => Ok(()),
            _ => Err(Status::NotSupported),
        }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuFuncSetCacheConfig(_function: Handle, _config: c_int) -> c_int {
    answer(|_| Ok(()))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    dynamic: usize,
) -> c_int {
    answer(|state| {
        let found = state.function(function)?.resident(state, threads.max(0) as u32, dynamic)?;
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(blocks, found) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
    blocks: *mut c_int,
    function: Handle,
    threads: c_int,
    dynamic: usize,
    _flags: c_uint,
) -> c_int {
    // SAFETY: the same promise.
    unsafe { cuOccupancyMaxActiveBlocksPerMultiprocessor(blocks, function, threads, dynamic) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: *mut c_int,
    block: *mut c_int,
    function: Handle,
    _dynamic_of: Option<extern "C" fn(c_int) -> usize>,
    dynamic: usize,
    limit: c_int,
) -> c_int {
    answer(|state| {
        let found = state.function(function)?;
        let limit = u32::try_from(limit).ok().filter(|l| *l > 0).unwrap_or(1024);
        let threads = found.kernel()?.most_threads().min(limit).min(256);
        let blocks = found.resident(state, threads, dynamic)? * state.target.multiprocessors() as c_int;
        // SAFETY: the caller gives pointers that may be written.
        unsafe { put(grid, blocks).and_then(|()| put(block, threads as c_int)) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuOccupancyAvailableDynamicSMemPerBlock(
    bytes: *mut usize,
    function: Handle,
    blocks: c_int,
    _threads: c_int,
) -> c_int {
    answer(|state| {
        let shared = state.function(function)?.kernel()?.shared() as usize;
        let blocks = usize::try_from(blocks).ok().filter(|b| *b > 0).ok_or(Status::InvalidValue)?;
        let each = (state.target.shared_multiprocessor() as usize / blocks).saturating_sub(1024 + shared);
        // SAFETY: the caller gives a pointer that may be written.
        unsafe { put(bytes, each.min(state.target.shared_optin() as usize - shared)) }
    })
}
