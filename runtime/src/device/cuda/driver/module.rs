//! Modules of PTX, compiled for the device by its driver, and their functions.

use super::{Context, failed};
use actc_types::{Diagnostic, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ffi::{CStr, CString, c_void};
use std::sync::Arc;

/// Bytes of what the driver's compiler says.
const LOG: usize = 4096;

/// A module on a device.
#[derive(Debug)]
pub(crate) struct Module {
    context: Arc<Context>,
    handle: sys::CUmodule,
    overlaps: bool,
}

// SAFETY: the driver allows any thread to use a module; the handle is only a name.
unsafe impl Send for Module {}
// SAFETY: as above.
unsafe impl Sync for Module {}

/// A kernel that can be launched, as long as its module is there.
#[derive(Debug)]
pub(crate) struct Function {
    /// Keeps the code on the device.
    _module: Arc<Module>,
    handle: sys::CUfunction,
    /// Threads of a block.
    pub(super) threads: u32,
    /// Bytes of shared memory that a launch asks for.
    pub(super) shared: u32,
    /// Whether it waits by itself for what was launched before it.
    pub(super) overlaps: bool,
}

// SAFETY: the driver allows any thread to use a function; the handle is only a name.
unsafe impl Send for Function {}
// SAFETY: as above.
unsafe impl Sync for Function {}

impl Module {
    /// Compiles `ptx` for the device. `overlaps` says that its one kernel waits by itself for what was launched before it. The
    /// context is current.
    pub(crate) fn new(context: &Arc<Context>, ptx: &CStr, overlaps: bool) -> Result<Module> {
        use sys::CUjit_option::{CU_JIT_ERROR_LOG_BUFFER as BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES as BYTES};
        let mut log = vec![0u8; LOG];
        let mut options = [BUFFER, BYTES];
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), LOG as *mut c_void];
        let mut handle: sys::CUmodule = std::ptr::null_mut();
        // SAFETY: the text ends with a zero, there are two options with their values, and the log has the bytes that are told;
        // the last one stays zero.
        let loaded = unsafe {
            values[1] = (LOG - 1) as *mut c_void;
            sys::cuModuleLoadDataEx(
                &mut handle,
                ptx.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        loaded.result().map_err(|error| {
            let said = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy();
            let said = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            let refused = failed("the driver refuses the PTX", error);
            let headline = if said.is_empty() { refused.headline } else { format!("{}: {said}", refused.headline) };
            Diagnostic::new("cuda-ptx", headline)
                .help("the code is damaged, or for a newer driver; make it again with `actc relink`")
        })?;
        Ok(Module { context: context.clone(), handle, overlaps })
    }

    /// The kernel called `symbol`, for launches of `threads` threads a block with `shared` bytes of shared memory.
    pub(crate) fn function(self: &Arc<Module>, symbol: &str, threads: u32, shared: u32) -> Result<Function> {
        let missing = || Diagnostic::new("code-symbol", format!("the code has no kernel `{symbol}`"));
        let name = CString::new(symbol).map_err(|_| missing())?;
        // SAFETY: the module is loaded.
        let found = unsafe { result::module::get_function(self.handle, name) };
        let handle = found.map_err(|error| match error == DriverError(sys::CUresult::CUDA_ERROR_NOT_FOUND) {
            true => missing(),
            false => failed(&format!("looking for `{symbol}`"), error),
        })?;
        // Without it a launch may ask for 48 KiB less what the kernel has by itself.
        if shared > 0 {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is one of the module.
            let set = unsafe { result::function::set_function_attribute(handle, most, shared as i32) };
            set.map_err(|_| {
                let headline = format!("`{symbol}` takes {shared} bytes of shared memory, more than this GPU has");
                Diagnostic::new("cuda-resources", headline).help("make code for this very GPU with `actc relink`")
            })?;
        }
        Ok(Function { _module: self.clone(), handle, threads, shared, overlaps: self.overlaps })
    }
}

impl Function {
    pub(super) fn handle(&self) -> sys::CUfunction {
        self.handle
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.enter().is_ok() {
            // SAFETY: it is this one's; functions hold it, so none is left.
            let _ = unsafe { result::module::unload(self.handle) };
        }
    }
}
