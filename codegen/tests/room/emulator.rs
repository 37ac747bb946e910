//! An emulator of a GPU for problems of any kernel. Buffers end where they end, so that an access past an end stops the test, as
//! does one that another thread may disturb, or a read of what nobody wrote.

use actc_artifact::Sizes;
use actc_codegen::plan::cuda::Kernel;
use actc_problems::{Case, Problem};
use actc_ptx::{Memory, Module, Shape, Target};
use actc_types::target::Arch;

/// Memory that holds `bytes`.
pub(crate) fn put(memory: &mut Memory, bytes: &[u8], len: usize) -> u64 {
    let address = memory.allocate(len.max(1) as u64).expect("memory is left");
    memory.write(address, bytes).expect("it was allocated");
    address
}

/// Launches `kernel`, whose PTX is `text`, and stops the test where the emulator finds something.
pub(crate) fn launch(memory: &mut Memory, text: &str, kernel: &Kernel, buffers: &[u64], sizes: &[u64]) {
    assert_eq!(kernel.buffers().len(), buffers.len(), "{kernel}");
    let arch = match kernel {
        Kernel::Template(template) => template.only_for().unwrap_or(Arch::Sm80),
        Kernel::Generated(..) => Arch::Sm80,
    };
    let device = Target::parse(arch.name()).expect("the emulator knows it");
    let module = Module::load(text, device, memory).unwrap_or_else(|e| panic!("{kernel}: {e}"));
    let launch = kernel.launch(sizes).unwrap_or_else(|e| panic!("{kernel}: {e}"));
    let shape = Shape {
        grid: launch.grid,
        dynamic_shared: launch.shared,
        dynamic_allowed: launch.shared,
        ..Shape::of(1, launch.block)
    };
    let long = || sizes.iter().map(|n| n.to_le_bytes().to_vec());
    let behind: Vec<Vec<u8>> = match kernel.sizes() {
        Sizes::Int => sizes.iter().map(|n| (*n as u32).to_le_bytes().to_vec()).collect(),
        Sizes::Long => long().collect(),
        Sizes::Memory => {
            let bytes = long().collect::<Vec<_>>().concat();
            vec![put(memory, &bytes, bytes.len()).to_le_bytes().to_vec()]
        }
    };
    let words: Vec<Vec<u8>> = buffers.iter().map(|b| b.to_le_bytes().to_vec()).chain(behind).collect();
    let words: Vec<&[u8]> = words.iter().map(|w| &w[..]).collect();
    let symbol = kernel.symbol();
    let packed = module.kernel(&symbol).expect("the module has it").pack(&words).expect("parameters fit");
    if let Err(finding) = module.launch(&symbol, &shape, &packed, memory) {
        panic!("{kernel} with sizes {sizes:?}\n{finding}\n{text}");
    }
    module.unload(memory);
}

/// Runs `case` in `memory`; `text` gives the PTX of a kernel.
pub(crate) fn check(memory: &mut Memory, case: &Case, mut text: impl FnMut(&Kernel) -> String) {
    let problem = case.problem();
    let places: Vec<u64> = problem.memory.iter().map(|m| put(memory, &m.start, m.len)).collect();
    for step in &problem.launches {
        let kernel = &case.kernels[step.kernel];
        let buffers: Vec<u64> = step.buffers.iter().map(|i| places[*i]).collect();
        launch(memory, &text(kernel), kernel, &buffers, &step.sizes);
    }
    let result = |i: usize| memory.read(places[i], problem.memory[i].len).expect("every output is written").to_vec();
    let got = problem.results().into_iter().map(result).collect();
    judge(&problem, got, &case.name);
}

/// Panics where a result is not as it should be, and where one that is spoiled would pass.
pub(crate) fn judge(problem: &Problem, mut got: Vec<Vec<u8>>, what: &str) {
    problem.check(&got, what);
    for i in 0..got.len() {
        // The exponent of a float, any bit of a whole number.
        let Some(at) = got[i].len().checked_sub(1).map(|last| last.min(3)) else { continue };
        got[i][at] ^= 0x40;
        assert!(problem.worst(&got).error > 1.0, "{what}: result {i} passes where it is spoiled");
        got[i][at] ^= 0x40;
    }
}
