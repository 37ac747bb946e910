//! A GPU for kernels of CUDA text: NVRTC, an emulator of PTX, and its memory. Buffers end where they end, so that an access
//! past an end stops the test, as does one that another thread may disturb, or a read of what nobody wrote.

use actc_codegen::spec::gpu::{GpuKernel, Sizes};
use actc_codegen::toolchain::{Nvrtc, Ptx};
use actc_ptx::{Memory, Module, Shape};
use actc_types::Target;
use actc_types::target::Arch;
use std::collections::HashMap;

/// A device with its memory, and the compiler for it.
pub(crate) struct Gpu {
    nvrtc: Nvrtc,
    memory: Memory,
    /// Text by symbol.
    compiled: HashMap<String, Ptx>,
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
        kernel.check().unwrap_or_else(|e| panic!("{kernel}: {e}"));
        assert_eq!(kernel.buffers().len(), buffers.len(), "{kernel}");
        let (symbol, source) = (kernel.symbol(), kernel.source().unwrap_or_else(|e| panic!("{kernel}: {e}")));
        let arch = kernel.only_for().unwrap_or(Arch::Sm80);
        let ptx = self.compiled.entry(symbol.clone()).or_insert_with(|| {
            let ptx = self.nvrtc.compile(&symbol, &source, &Target::parse(arch.name()).unwrap());
            ptx.unwrap_or_else(|e| panic!("{kernel}: {e}\n{source}"))
        });
        let device = actc_ptx::Target::parse(arch.name()).expect("the emulator knows it");
        let module = Module::load(&ptx.text, device, &mut self.memory).unwrap_or_else(|e| panic!("{e}"));
        let launch = kernel.launch(dims).unwrap();
        let shape = Shape {
            grid: launch.grid,
            dynamic_shared: launch.shared,
            dynamic_allowed: launch.shared,
            ..Shape::of(1, launch.block)
        };
        let mut words: Vec<Vec<u8>> = buffers.iter().map(|b| b.to_le_bytes().to_vec()).collect();
        match kernel.sizes() {
            Sizes::Int => words.extend(dims.iter().map(|d| (*d as u32).to_le_bytes().to_vec())),
            Sizes::Memory => {
                let sizes = self.put(&dims.iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<u8>>());
                words.push(sizes.to_le_bytes().to_vec());
            }
        }
        let words: Vec<&[u8]> = words.iter().map(|w| &w[..]).collect();
        let packed = module.kernel(&symbol).expect("the module has it").pack(&words).expect("parameters fit");
        if let Err(finding) = module.launch(&symbol, &shape, &packed, &mut self.memory) {
            panic!("{kernel} with sizes {dims:?}\n{finding}\n{source}");
        }
        module.unload(&mut self.memory);
    }
}

pub(crate) fn bytes(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|v| v.to_le_bytes()).collect()
}
