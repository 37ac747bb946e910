//! How a process gets the stand-in for the driver, and tests that need a process of their own.
#![allow(unsafe_code, reason = "loading a library runs it")]

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Once;

/// What a process that a test started is to do.
const CHILD: &str = "ACTC_CUDA_TEST_CHILD";

/// The stand-in that this build made.
fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("the test has a path");
    exe.with_file_name(format!("{}actc_ptx_driver{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// Loads the stand-in, so that opening `libcuda.so` finds it from now on. Before anything asks for a GPU.
pub(crate) fn open() {
    static OPENED: Once = Once::new();
    OPENED.call_once(|| {
        // SAFETY: the library's start does nothing but what Rust's own does.
        let opened = unsafe { libloading::Library::new(library()) }.expect("the build made it");
        std::mem::forget(opened);
    });
}

/// Whether this process was started by [`child`] for `test`.
pub(crate) fn is_child(test: &str) -> bool {
    std::env::var(CHILD).is_ok_and(|name| name == test)
}

/// Runs the test called `test` in a process of its own with `variables` set; it has to succeed.
pub(crate) fn child(test: &str, variables: &[(&str, &str)]) -> Output {
    let output = Command::new(std::env::current_exe().expect("the test has a path"))
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, test)
        .envs(variables.iter().copied())
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    output
}
