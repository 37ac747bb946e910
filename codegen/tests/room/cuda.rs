//! A GPU for kernels of CUDA text: NVRTC, an emulator of PTX, and its memory.

use super::emulator;
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::gpu::GpuKernel;
use actc_codegen::toolchain::Nvrtc;
use actc_problems::Case;
use actc_ptx::Memory;
use actc_types::Target;
use actc_types::target::Arch;
use std::collections::HashMap;

/// A device with its memory, and the compiler for it.
pub(crate) struct Gpu {
    nvrtc: Nvrtc,
    memory: Memory,
    /// Text by symbol.
    compiled: HashMap<String, String>,
}

impl Gpu {
    /// `None` where NVRTC is not installed, which is said once.
    pub(crate) fn open() -> Option<Gpu> {
        match Nvrtc::open() {
            Ok(nvrtc) => Some(Gpu { nvrtc, memory: Memory::new(1 << 30), compiled: HashMap::new() }),
            Err(error) => {
                eprintln!("kernels of GPUs are not run: {error}");
                None
            }
        }
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let address = self.room(bytes.len());
        self.memory.write(address, bytes).expect("it was allocated");
        address
    }

    pub(crate) fn put_floats(&mut self, x: &[f32]) -> u64 {
        self.put(&bytes(x))
    }

    pub(crate) fn put_integers(&mut self, x: &[i64]) -> u64 {
        self.put(&x.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>())
    }

    pub(crate) fn write(&mut self, address: u64, bytes: &[u8]) {
        self.memory.write(address, bytes).expect("it was allocated");
    }

    /// Memory that nobody has written.
    pub(crate) fn room(&mut self, bytes: usize) -> u64 {
        self.memory.allocate(bytes.max(1) as u64).expect("memory is left")
    }

    /// Fails where not all of it is written.
    pub(crate) fn bytes(&mut self, address: u64, count: usize) -> Vec<u8> {
        self.memory.read(address, count).expect("every output is written").to_vec()
    }

    pub(crate) fn floats(&mut self, address: u64, count: usize) -> Vec<f32> {
        let bytes = self.bytes(address, 4 * count);
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    pub(crate) fn integers(&mut self, address: u64, count: usize) -> Vec<i64> {
        let bytes = self.bytes(address, 8 * count);
        bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    }

    /// Runs `kernel` and stops the test where the emulator finds something.
    pub(crate) fn run(&mut self, kernel: &GpuKernel, buffers: &[u64], dims: &[u64]) {
        let kernel = Kernel::Template(kernel.clone());
        let text = text(&self.nvrtc, &mut self.compiled, &kernel);
        emulator::launch(&mut self.memory, &text, &kernel, buffers, dims);
    }

    /// Runs a problem and stops the test where something is not as it should be.
    pub(crate) fn check(&mut self, case: &Case) {
        emulator::check(&mut self.memory, case, |kernel| text(&self.nvrtc, &mut self.compiled, kernel));
    }
}

/// The PTX of `kernel`, which is made once.
fn text(nvrtc: &Nvrtc, compiled: &mut HashMap<String, String>, kernel: &Kernel) -> String {
    let Kernel::Template(template) = kernel else { panic!("{kernel} is no template") };
    let symbol = kernel.symbol();
    let made = compiled.entry(symbol.clone()).or_insert_with(|| {
        template.check().unwrap_or_else(|e| panic!("{kernel}: {e}"));
        let source = template.source().unwrap_or_else(|e| panic!("{kernel}: {e}"));
        let arch = template.only_for().unwrap_or(Arch::Sm80);
        let ptx = nvrtc.compile(&symbol, &source, &Target::parse(arch.name()).unwrap());
        ptx.unwrap_or_else(|e| panic!("{kernel}: {e}\n{source}")).text
    });
    made.clone()
}

pub(crate) fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}
