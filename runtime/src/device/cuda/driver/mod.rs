//! The CUDA driver: an unsafe room.
//!
//! The library is opened when the process first asks for a device, through cudarc, which needs nothing of CUDA to build. All
//! handles are closed by their owners' `Drop`. Calls of this room are safe under these rules, which its users keep:
//!
//! - The context of a device is made current ([`Context::enter`]) on a thread before anything else of it is used there.
//! - Work in a [`Stream`] goes on after the call returns. What it reads or writes, on the device or in [`Pinned`] memory, is
//!   neither freed nor touched by the host before [`Stream::wait`] has returned, whether it succeeded or not.
//! - A [`Function`] is launched with parameters that it was compiled for, and whoever linked its module vouched for what it does to
//!   memory.
#![expect(unsafe_code, reason = "the driver's interface is C")]

mod event;
mod graph;
mod memory;
mod module;
mod stream;

pub(crate) use event::Event;
pub(crate) use graph::Graph;
pub(crate) use memory::{DeviceMemory, Pinned};
pub(crate) use module::{Function, Module};
pub(crate) use stream::{Grid, Stream};

use actc_types::{Diagnostic, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ffi::c_int;
use std::sync::OnceLock;

/// The least driver that has all calls of this room: CUDA 12.0.
const LEAST: u32 = 12000;

const WITHOUT: &str = "without a GPU, run it with the device `cpu`";

/// `12020` as people say it.
pub(crate) fn version_name(version: u32) -> String {
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// The error of a driver that knows CUDA `has` and has to know `needs`.
pub(crate) fn too_old(has: u32, needs: u32, who: &str) -> Diagnostic {
    let (has, needs) = (version_name(has), version_name(needs));
    Diagnostic::new("cuda-driver", format!("the NVIDIA driver of this machine knows CUDA {has}, {who} needs {needs}"))
        .help(format!("install a driver for CUDA {needs} or later; {WITHOUT}"))
}

/// The error of the driver's call `what`.
fn failed(what: &str, error: DriverError) -> Diagnostic {
    let text = |found: Result<&std::ffi::CStr, DriverError>| {
        found.map_or_else(|_| format!("error {}", error.0 as i32), |text| text.to_string_lossy().into_owned())
    };
    let (name, says) = (text(error.error_name()), text(error.error_string()));
    Diagnostic::new("cuda-call", format!("{what}: {says} ({name})"))
}

/// Says what the driver was asked for where it refuses.
trait Asked<T> {
    fn asked(self, what: &str) -> Result<T>;
}

impl<T> Asked<T> for Result<T, DriverError> {
    fn asked(self, what: &str) -> Result<T> {
        self.map_err(|error| failed(what, error))
    }
}

/// Opens the driver's library, once in a process, and gives the version of CUDA that it knows.
///
/// Errors: `cuda-missing` without a driver, `cuda-driver` where it is older than all that this build needs.
pub(crate) fn open() -> Result<u32> {
    static OPENED: OnceLock<Result<u32>> = OnceLock::new();
    OPENED.get_or_init(first_open).clone()
}

fn first_open() -> Result<u32> {
    let missing = |headline: &str, help: &str| Err(Diagnostic::new("cuda-missing", headline).help(help));
    // Its C library has no loader that fits: opening a library would end the process.
    if cfg!(all(target_os = "linux", target_feature = "crt-static")) {
        return missing("this build is linked statically and can open no driver", "use a build that is not static");
    }
    // SAFETY: the driver's library is opened, whose start is NVIDIA's. cudarc panics later where it is not there.
    if !unsafe { sys::is_culib_present() } {
        let help = format!("install NVIDIA's driver; {WITHOUT}");
        return missing("this machine has no NVIDIA driver: there is no library `libcuda`", &help);
    }
    let mut version: c_int = 0;
    // SAFETY: the call writes one `int`; it works before `cuInit`.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().asked("asking for the driver's version")?;
    let version = u32::try_from(version).unwrap_or(0);
    if version < LEAST {
        return Err(too_old(version, LEAST, "actc"));
    }
    result::init().map_err(|error| {
        if error != DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE) {
            return failed("starting the driver", error);
        }
        Diagnostic::new("cuda-device", "the driver finds no GPU").help(format!("see `nvidia-smi`; {WITHOUT}"))
    })?;
    Ok(version)
}

/// Number of devices.
pub(crate) fn count() -> Result<usize> {
    open()?;
    let count = result::device::get_count().asked("counting GPUs")?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The primary context of a device: what this process has there.
#[derive(Debug)]
pub(crate) struct Context {
    device: sys::CUdevice,
    handle: sys::CUcontext,
}

// SAFETY: the driver allows any thread to use a context; the handle is only a name.
unsafe impl Send for Context {}
// SAFETY: as above.
unsafe impl Sync for Context {}

impl Context {
    /// That of device `ordinal`, current on this thread.
    pub(crate) fn new(ordinal: usize) -> Result<Context> {
        let count = count()?;
        let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < count);
        let Some(number) = number else {
            let headline = format!("GPU {ordinal} is asked for, the machine has {count}, counted from 0");
            return Err(Diagnostic::request("cuda-device", headline));
        };
        let device = result::device::get(number).asked("choosing a GPU")?;
        // SAFETY: the device is one that the driver gave; the context is released once, when this is dropped.
        let handle = unsafe { result::primary_ctx::retain(device) }.asked("opening the GPU")?;
        let context = Context { device, handle };
        context.enter()?;
        Ok(context)
    }

    /// Makes it current on this thread.
    pub(crate) fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        unsafe { result::ctx::set_current(self.handle) }.asked("entering the GPU's context")
    }

    /// The device's name.
    pub(crate) fn name(&self) -> Result<String> {
        result::device::get_name(self.device).asked("asking for the GPU's name")
    }

    fn attribute(&self, attribute: sys::CUdevice_attribute) -> Result<u32> {
        // SAFETY: the device is one that the driver gave.
        let value = unsafe { result::device::get_attribute(self.device, attribute) };
        Ok(u32::try_from(value.asked("asking what the GPU can do")?).unwrap_or(0))
    }

    /// Major and minor number of the compute capability.
    pub(crate) fn capability(&self) -> Result<(u32, u32)> {
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        Ok((self.attribute(MAJOR)?, self.attribute(MINOR)?))
    }

    /// Bytes of memory that are free, and all of them. The context is current.
    pub(crate) fn memory(&self) -> Result<(usize, usize)> {
        result::mem_get_info().asked("asking for the GPU's memory")
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once. An error has nobody to go to: the process is giving the device up.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}
