//! Gives the library the name by which programs open a CUDA driver, so that one which is loaded already is found by it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libcuda.so");
}
