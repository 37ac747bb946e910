//! Kernels for GPUs, in an emulator of PTX: a launch of as many blocks as there are parts. Buffers end where they end, so
//! that an access past an end stops the test, as does one that another thread may disturb.

use super::{Buffer, emulator};
use actc_codegen::emit::SizesIn;
use actc_codegen::emit::llvm::ptx::PtxKernel;
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::{self, KernelSpec};
use actc_problems::Case;
use actc_ptx::{Memory, Module, Shape, Target};

/// Bytes of the device's memory.
const MEMORY: u64 = 1 << 30;

/// A device with kernels.
pub(crate) struct Gpu {
    kernels: Vec<PtxKernel>,
}

impl Gpu {
    /// Whether all of these have kernels for GPUs.
    pub(crate) fn takes(specs: &[KernelSpec]) -> bool {
        specs.iter().all(|spec| !matches!(spec, KernelSpec::Linear(_) | KernelSpec::Attention(_)))
    }

    /// Compiles `specs`.
    pub(crate) fn new(specs: &[KernelSpec]) -> Gpu {
        Gpu { kernels: specs.iter().map(|spec| spec::compile_ptx(spec, SizesIn::Parameters).unwrap()).collect() }
    }

    /// Runs a problem and stops the test where something is not as it should be.
    pub(crate) fn check(case: &Case) {
        emulator::check(&mut Memory::new(MEMORY), case, |kernel| {
            let Kernel::Generated(spec, sizes) = kernel else { panic!("{kernel} is a template") };
            spec::compile_ptx(spec, *sizes).unwrap_or_else(|e| panic!("{kernel}: {e}")).text
        });
    }

    /// Launches `blocks` blocks. Buffers that are given twice are one.
    pub(crate) fn run(&self, spec: &KernelSpec, buffers: &[*mut u8], dims: &[i64], blocks: u32) {
        let symbol = spec.symbol();
        let kernel = self.kernels.iter().find(|k| k.symbol == symbol).expect("compiled with the room");
        let mut memory = Memory::new(MEMORY);
        let module = Module::load(&kernel.text, Target::Sm80, &mut memory).unwrap_or_else(|e| panic!("{spec}: {e}"));
        let mut distinct = buffers.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        let content = |ptr: *mut u8| {
            let padded = Buffer::padded(ptr);
            let len = padded.len() - 64;
            &mut padded[..len]
        };
        let places: Vec<u64> = distinct
            .iter()
            .map(|ptr| {
                let bytes = content(*ptr);
                let place = memory.allocate(bytes.len().max(1) as u64).expect("memory is left");
                memory.write(place, bytes).expect("it was allocated");
                place
            })
            .collect();
        let place = |ptr: &*mut u8| places[distinct.binary_search(ptr).expect("one of them")] as i64;
        let values: Vec<[u8; 8]> =
            buffers.iter().map(place).chain(dims.iter().copied()).map(i64::to_le_bytes).collect();
        let values: Vec<&[u8]> = values.iter().map(|v| &v[..]).collect();
        let params = module.kernel(&symbol).expect("the text has it").pack(&values).expect("parameters fit");
        let shape = Shape::of(blocks, kernel.launch.threads);
        let done = module.launch(&symbol, &shape, &params, &mut memory);
        done.unwrap_or_else(|e| panic!("{spec} with dims {dims:?} and {blocks} blocks: {e}\n{}", kernel.text));
        for (ptr, place) in distinct.iter().zip(&places) {
            let bytes = content(*ptr);
            bytes.copy_from_slice(memory.read(*place, bytes.len()).expect("it was allocated"));
        }
    }
}
