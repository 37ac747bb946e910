//! Every kernel that neither multiplies stored matrices nor attends: the small problems that a GPU is given too.

use super::room::cuda::Gpu;
use actc_problems::{Case, each, list, rowwise};

/// Those of the small problems whose number has this rest: tests run side by side.
fn check(rest: usize) {
    let Some(mut gpu) = Gpu::open() else { return };
    let part = |(i, case): (usize, Case)| (i % PARTS == rest).then_some(case);
    list::small_templates().into_iter().enumerate().filter_map(part).for_each(|case| gpu.check(&case));
}

const PARTS: usize = 4;

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

#[test]
fn functions_of_other_types_are_refused() {
    for kernel in each::refused().into_iter().chain(rowwise::refused()) {
        assert_eq!(kernel.check().unwrap_err().code, "kernel-dtype", "{kernel}");
    }
}
