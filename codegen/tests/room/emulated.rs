//! Kernels for machines that this one is not: each image runs in a process of its own under QEMU, see `runner.rs`.

use super::Buffer;
use actc_types::Target;
use actc_types::target::{Arch, Family};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// A process with an image.
pub(crate) struct Emulated {
    child: Child,
}

/// The emulator for `target` and the processor that it shall be: one that has what the target has, and no more where
/// there is such a one, so that code beyond its target stops.
fn machine(target: &Target) -> (&'static str, &'static str) {
    match target.arch.family() {
        Family::Aarch64 if target.features.is_empty() => ("qemu-aarch64", "cortex-a72"),
        Family::Aarch64 if target.features == ["dotprod"] => ("qemu-aarch64", "cortex-a76"),
        Family::Aarch64 => ("qemu-aarch64", "max"),
        Family::X86 if target.arch == Arch::X86V2 => ("qemu-x86_64", "Nehalem"),
        // Without what QEMU has not and says so each time.
        Family::X86 if target.arch == Arch::X86V3 && target.features.is_empty() => {
            ("qemu-x86_64", "Haswell-noTSX,-tsc-deadline,-invpcid,-x2apic,-pcid")
        }
        Family::X86 | Family::Nvidia => panic!("no emulator runs {target}"),
    }
}

/// `runner.rs` as a program for `family`; built once a test program.
fn runner(family: Family) -> &'static Path {
    static X86: OnceLock<PathBuf> = OnceLock::new();
    static AARCH64: OnceLock<PathBuf> = OnceLock::new();
    let (place, name, more): (_, _, &[&str]) = match family {
        Family::X86 => (&X86, "x86", &[]),
        // This target brings its own C library and linker, so that no cross compiler is needed.
        Family::Aarch64 => (&AARCH64, "aarch64", &["--target", "aarch64-unknown-linux-musl", "-C", "linker=rust-lld"]),
        Family::Nvidia => panic!("no emulator runs GPUs"),
    };
    place.get_or_init(|| {
        let folder = option_env!("CARGO_TARGET_TMPDIR").expect("only tests emulate");
        let program = Path::new(folder).join(format!("runner-{name}-{}", std::process::id()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/room/runner.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let mut command = Command::new(rustc);
        let made = command.args(["--edition", "2024", "-O"]).args(more).arg("-o").arg(&program).arg(source).status();
        assert!(made.expect("rustc starts").success(), "`rustup target add aarch64-unknown-linux-musl` may be missing");
        program
    })
}

impl Emulated {
    /// Starts an emulator of `target` with `code`.
    pub(crate) fn new(target: &Target, code: &[u8]) -> Emulated {
        let (emulator, processor) = machine(target);
        let mut command = Command::new(emulator);
        command.args(["-cpu", processor]).arg(runner(target.arch.family()));
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.unwrap_or_else(|e| panic!("{emulator} does not start ({e}): install qemu-user"));
        let mut message = (code.len() as u64).to_le_bytes().to_vec();
        message.extend_from_slice(code);
        child.stdin.as_mut().expect("a pipe").write_all(&message).expect("the runner listens");
        Emulated { child }
    }

    /// Runs all parts of the kernel at `offset`, the last first. Buffers that are given twice are one.
    pub(crate) fn run(&mut self, offset: usize, buffers: &[*mut u8], dims: &[i64], parts: u32) {
        let mut distinct = buffers.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let mut message = Vec::new();
        let mut add = |n: u64| message.extend_from_slice(&n.to_le_bytes());
        add(offset as u64);
        add(parts.into());
        add(distinct.len() as u64);
        for buffer in &distinct {
            let bytes = Buffer::padded(*buffer);
            message.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            message.extend_from_slice(bytes);
        }
        let mut add = |n: u64| message.extend_from_slice(&n.to_le_bytes());
        add(buffers.len() as u64);
        buffers.iter().for_each(|b| add(distinct.binary_search(b).expect("one of them") as u64));
        add(dims.len() as u64);
        dims.iter().for_each(|n| add(*n as u64));
        self.child.stdin.as_mut().expect("a pipe").write_all(&message).expect("the runner listens");
        for buffer in distinct {
            let answer = self.child.stdout.as_mut().expect("a pipe").read_exact(Buffer::padded(buffer));
            answer.unwrap_or_else(|_| panic!("the kernel ended the emulator: {:?}", self.child.wait()));
        }
    }
}

impl Drop for Emulated {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
