//! Every kernel that neither multiplies stored matrices nor attends: the small problems that a GPU is given too.

use super::room::cuda::Gpu;
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::gpu::GpuKernel;
use actc_problems::{Case, each, list, rowwise};
use std::collections::BTreeSet;

/// Tests run side by side: each has a part of the small problems, those of one kernel together, which is compiled once.
const PARTS: u8 = 4;

fn check(part: u8) {
    let Some(mut gpu) = Gpu::open() else { return };
    let own = |case: &Case| case.kernels[0].symbol().bytes().last().is_some_and(|digit| digit % PARTS == part);
    list::small_templates().iter().filter(|case| own(case)).for_each(|case| gpu.check(case));
}

#[test]
fn first_part() {
    check(0);
}

#[test]
fn second_part() {
    check(1);
}

#[test]
fn third_part() {
    check(2);
}

#[test]
fn fourth_part() {
    check(3);
}

/// What `actc_problems::linear` and `actc_problems::attention` are of.
const OTHERS: [&str; 9] = ["prepare", "gemv", "gemm", "wgmma", "swizzle", "reduce", "attend", "flash", "combine"];

#[test]
fn every_family_has_problems() {
    let kernels = list::small_templates().into_iter().flat_map(|case| case.kernels);
    let family = |kernel| match kernel {
        Kernel::Template(kernel) => kernel.family(),
        Kernel::Generated(spec, _) => panic!("{spec} is no template"),
    };
    // Graphs have some of them too.
    let here: BTreeSet<&str> = kernels.map(family).filter(|name| !OTHERS.contains(name)).collect();
    let all: BTreeSet<&str> = GpuKernel::FAMILIES.iter().copied().filter(|name| !OTHERS.contains(name)).collect();
    assert_eq!(here, all);
}

#[test]
fn functions_of_other_types_are_refused() {
    for kernel in each::refused().into_iter().chain(rowwise::refused()) {
        assert_eq!(kernel.check().unwrap_err().code, "kernel-dtype", "{kernel}");
    }
}
