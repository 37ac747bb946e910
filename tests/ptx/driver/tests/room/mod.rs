//! Where the stand-in is, and how a process gets it.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(unsafe_code, reason = "loading a library runs it")]

use std::path::PathBuf;

/// The library that this build made.
pub(crate) fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("the test has a path");
    exe.with_file_name(format!("{}actc_ptx_driver{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// Loads the stand-in, so that opening `libcuda.so` finds it from now on.
pub(crate) fn open() {
    // SAFETY: the library's start does nothing but what Rust's own does.
    let opened = unsafe { libloading::Library::new(library()) }.expect("the build made it");
    std::mem::forget(opened);
    // SAFETY: as above; it is open already.
    assert!(unsafe { cudarc::driver::sys::is_culib_present() });
}

/// Text of `tests/ptx/data/<name>.ptx`.
pub(crate) fn data(name: &str) -> cudarc::nvrtc::Ptx {
    let path = format!("{}/../data/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    cudarc::nvrtc::Ptx::from_src(std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")))
}
