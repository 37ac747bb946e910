//! A packed program on the stand-in for the driver, in a process of its own: a right kernel passes, one with another instruction
//! is found and is exit 1, and what was not packed is counted.
//!
//! Needs NVRTC and ptxas; without them a line says so and nothing is checked. A build with LLVM packs onto another program, and is
//! not tested here.
#![cfg(not(feature = "llvm"))]
#![allow(clippy::print_stderr, reason = "says why nothing is checked")]

use actc_codegen::toolchain::{Nvrtc, Ptxas};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// What is packed and checked.
const ONLY: &str = "small each add of f32";

/// The stand-in that this build made.
fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("the test has a path");
    exe.with_file_name(format!("{}actc_ptx_driver{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// What `program` says of its checks, with a driver in `folder`.
fn checked(program: &Path, folder: &Path, only: &str) -> (Option<i32>, String) {
    let mut command = Command::new(program);
    command.args(["--no-timing", "--only", only]).env("LD_LIBRARY_PATH", folder).env("ACTC_PTX_ARCH", "sm_80");
    let Output { status, stdout, stderr } = command.output().expect("it starts");
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

/// The packed program with `to` for each `from`, which is as long, in the texts of its kernels.
fn changed(program: &[u8], from: &str, to: &str) -> Vec<u8> {
    let rest = program.strip_suffix(b"actc-gpu").expect("the mark");
    let (rest, length) = rest.split_last_chunk::<8>().expect("the length");
    let (program, packed) = rest.split_at(rest.len() - u64::from_le_bytes(*length) as usize);
    let mut pack = zstd::decode_all(packed).expect("it is compressed");
    let places: Vec<usize> = (0..pack.len()).filter(|i| pack[*i..].starts_with(from.as_bytes())).collect();
    assert!(!places.is_empty() && from.len() == to.len(), "the text has {from}");
    places.iter().for_each(|at| pack[*at..*at + to.len()].copy_from_slice(to.as_bytes()));
    let packed = zstd::encode_all(&pack[..], 1).expect("it compresses");
    [program, &packed, &(packed.len() as u64).to_le_bytes(), b"actc-gpu"].concat()
}

#[test]
fn a_wrong_kernel_is_found() {
    if let (Err(e), _) | (_, Err(e)) = (Nvrtc::open().map(|_| ()), Ptxas::open().map(|_| ())) {
        eprintln!("no kernels are packed: {e}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(library(), folder.path().join("libcuda.so")).expect("the build made it");
    let program = folder.path().join("packed");
    let made = Command::new(env!("CARGO_BIN_EXE_actc-gpu"))
        .args(["pack", "--only", ONLY, "-o"])
        .arg(&program)
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&made.stdout);
    assert!(
        made.status.success() && said.starts_with("1 kernels, "),
        "{said}{}",
        String::from_utf8_lossy(&made.stderr)
    );

    let (code, said) = checked(&program, folder.path(), ONLY);
    assert!(code == Some(0) && said.contains("general: 1 cases, 0 wrong"), "{said}");
    let (code, said) = checked(&program, folder.path(), "small rms_norm");
    assert!(code == Some(0) && said.contains("\n8 kernels that LLVM prints are left out"), "{said}");

    std::fs::write(&program, changed(&std::fs::read(&program).expect("it is there"), "add.f32", "sub.f32")).unwrap();
    let (code, said) = checked(&program, folder.path(), ONLY);
    assert!(code == Some(1) && said.contains(&format!("WRONG {ONLY}, ")), "{said}");
    assert!(said.contains("general: 1 cases, 1 wrong"), "{said}");
}
