//! A room in which tests run generated code: an executable mapping or an emulator, and aligned buffers with hostile padding.
//!
//! Kernels run by turns for every level of this machine's family that it has and, those of families that LLVM makes for
//! GPUs, in an emulator of one. `ACTC_TEST_TARGETS` names other targets (`sm_80` for the GPU alone),
//! `qemu:` before a name runs it under an emulator (`qemu:x86-64-v2,qemu:aarch64+dotprod`).
#![expect(unsafe_code, reason = "runs machine code")]
#![allow(dead_code, reason = "each test uses a part of it")]

#[cfg(not(feature = "emit-llvm"))]
pub(crate) mod cuda;
mod emulated;
pub(crate) mod emulator;
#[cfg(feature = "emit-llvm")]
pub(crate) mod gpu;
pub(crate) mod parts;

#[allow(unused_imports, reason = "each test uses a part of it")]
pub(crate) use actc_problems::rows::{numbers, rows};
#[allow(unused_imports, reason = "each test uses a part of it")]
pub(crate) use actc_problems::{Matrix, Rng, linear as reference};

use actc_codegen::emit::{Backend, Image};
use actc_codegen::spec::{self, KernelSpec};
use actc_types::Target;
use emulated::Emulated;
use std::cell::RefCell;
use std::sync::OnceLock;

type Entry = unsafe extern "C" fn(*const *mut u8, *const i64, u32, u32);

/// Compiled kernels, ready to run.
pub(crate) struct Room {
    place: Place,
    image: Image,
}

enum Place {
    Here(memmap2::Mmap),
    Elsewhere(RefCell<Emulated>),
    #[cfg(feature = "emit-llvm")]
    Gpu(gpu::Gpu),
}

/// The targets that are tested, and whether each is emulated.
fn targets() -> &'static [(Target, bool)] {
    static TARGETS: OnceLock<Vec<(Target, bool)>> = OnceLock::new();
    TARGETS.get_or_init(|| {
        if let Ok(names) = std::env::var("ACTC_TEST_TARGETS") {
            let target = |name: &str| {
                let bare = name.strip_prefix("qemu:");
                (Target::parse(bare.unwrap_or(name)).unwrap(), bare.is_some())
            };
            return names.split(',').map(target).collect();
        }
        let mut all = Target::portable();
        all.extend((!all.contains(&Target::host())).then(Target::host));
        all.retain(Target::runs_here);
        if cfg!(feature = "emit-llvm") {
            all.push(Target::parse("sm_80").unwrap());
        }
        all.into_iter().map(|target| (target, false)).collect()
    })
}

/// Whether `target` has kernels for all of `specs`.
fn takes(target: &Target, specs: &[KernelSpec]) -> bool {
    #[cfg(feature = "emit-llvm")]
    if target.arch.is_gpu() {
        return gpu::Gpu::takes(specs);
    }
    #[cfg(not(feature = "emit-llvm"))]
    let _ = specs;
    !target.arch.is_gpu()
}

/// Whether an emulator runs the kernels, which takes its time.
pub(crate) fn emulates() -> bool {
    targets().iter().any(|(_, emulated)| *emulated)
}

impl Room {
    /// Compiles `specs` for one of the tested targets: which one depends on the specs, so that of many all get some.
    pub(crate) fn new(specs: &[KernelSpec]) -> Room {
        let text: String = specs.iter().map(KernelSpec::symbol).collect();
        let turn = blake3::hash(text.as_bytes()).as_bytes()[0];
        let able: Vec<&(Target, bool)> = targets().iter().filter(|(target, _)| takes(target, specs)).collect();
        assert!(!able.is_empty(), "no tested target has kernels for {}", specs[0]);
        let (target, emulated) = able[usize::from(turn) % able.len()];
        if *emulated {
            let image = spec::compile_all(specs, Backend::best(), target).unwrap();
            return Room { place: Place::Elsewhere(RefCell::new(Emulated::new(target, &image.code))), image };
        }
        Room::on(specs, target)
    }

    /// Compiles `specs` for a target that runs here, or for a GPU.
    pub(crate) fn on(specs: &[KernelSpec], target: &Target) -> Room {
        #[cfg(feature = "emit-llvm")]
        if target.arch.is_gpu() {
            return Room { place: Place::Gpu(gpu::Gpu::new(specs)), image: Image::default() };
        }
        assert_eq!(target.lacks(), None, "{target} does not run here");
        Room::of(spec::compile_all(specs, Backend::best(), target).unwrap())
    }

    /// Maps an image for this machine.
    pub(crate) fn of(image: Image) -> Room {
        let mut map = memmap2::MmapMut::map_anon(image.code.len().max(1)).unwrap();
        map[..image.code.len()].copy_from_slice(&image.code);
        Room { place: Place::Here(map.make_exec().unwrap()), image }
    }

    /// Bytes of code.
    pub(crate) fn size(&self) -> usize {
        self.image.code.len()
    }

    /// Runs part `part` of `parts`.
    pub(crate) fn part(&self, spec: &KernelSpec, buffers: &[*mut u8], dims: &[i64], part: u32, parts: u32) {
        assert_eq!(buffers.len(), spec.buffers().len());
        assert_eq!(dims.len(), spec.dims().len());
        let Place::Here(map) = &self.place else { panic!("an emulator runs all parts") };
        let at = self.offset(spec);
        // SAFETY: the image was compiled for this machine, and tests give buffers of the lengths the family states.
        unsafe {
            let entry: Entry = std::mem::transmute(map.as_ptr().add(at));
            entry(buffers.as_ptr(), dims.as_ptr(), part, parts);
        }
    }

    /// Runs all parts, last first: no part may rely on another.
    pub(crate) fn run(&self, spec: &KernelSpec, buffers: &[*mut u8], dims: &[i64], parts: u32) {
        match &self.place {
            Place::Here(_) => (0..parts).rev().for_each(|part| self.part(spec, buffers, dims, part, parts)),
            Place::Elsewhere(process) => process.borrow_mut().run(self.offset(spec), buffers, dims, parts),
            #[cfg(feature = "emit-llvm")]
            Place::Gpu(gpu) => gpu.run(spec, buffers, dims, parts),
        }
    }

    fn offset(&self, spec: &KernelSpec) -> usize {
        self.image.offset(&spec.symbol()).expect("compiled with the room")
    }
}

/// A buffer aligned to 64 bytes with 64 bytes of ones behind it: not-a-number where floats are read, and a canary. Its
/// length stands in the eight bytes before it, where a room finds it.
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// `len` bytes, all ones.
    pub(crate) fn new(len: usize) -> Buffer {
        let mut bytes = vec![0xff; len + 256];
        let start = bytes.as_ptr().align_offset(64) + 64;
        bytes[start - 8..start].copy_from_slice(&(len as u64).to_le_bytes());
        Buffer { bytes, start, len }
    }

    /// A copy of `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Buffer {
        Buffer::starting(bytes, bytes.len())
    }

    /// `bytes`, and ones up to a length of `len`.
    pub(crate) fn starting(bytes: &[u8], len: usize) -> Buffer {
        let mut buffer = Buffer::new(len);
        buffer.bytes[buffer.start..buffer.start + bytes.len()].copy_from_slice(bytes);
        buffer
    }

    /// A copy of `floats`.
    pub(crate) fn floats(floats: &[f32]) -> Buffer {
        Buffer::of(&floats.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
    }

    /// Where it starts.
    pub(crate) fn ptr(&self) -> *mut u8 {
        self.bytes[self.start..].as_ptr().cast_mut()
    }

    /// The bytes of the buffer at `ptr`, with the 64 behind it.
    fn padded<'b>(ptr: *mut u8) -> &'b mut [u8] {
        // SAFETY: pointers that a room is given come from `Buffer::ptr` of buffers that live; nothing else looks at their
        // bytes meanwhile.
        unsafe {
            let len = ptr.sub(8).cast::<u64>().read();
            std::slice::from_raw_parts_mut(ptr, len as usize + 64)
        }
    }

    /// Its bytes; panics where something wrote behind them.
    pub(crate) fn bytes(&self) -> &[u8] {
        let end = self.start + self.len;
        assert!(self.bytes[end..end + 64].iter().all(|b| *b == 0xff), "written past the end");
        &self.bytes[self.start..end]
    }

    /// Its floats.
    pub(crate) fn read(&self) -> Vec<f32> {
        self.bytes().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }
}
