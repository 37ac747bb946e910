//! One kernel run by several numbers of parts, whose results must have equal bits.

use super::{Buffer, Room, emulator};
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::KernelSpec;
use actc_problems::{Case, Problem};
use actc_types::Target;

/// Runs `case` with 1, 2, 3 and 8 parts; all must agree and be right.
pub(crate) fn check(case: &Case) {
    let problem = case.problem();
    let results = run(case, &problem, &|spec| Room::new(std::slice::from_ref(spec)));
    emulator::judge(&problem, results, &case.name);
}

/// The same on `target`.
pub(crate) fn check_on(case: &Case, target: &Target) {
    let problem = case.problem();
    let results = run(case, &problem, &|spec| Room::on(std::slice::from_ref(spec), target));
    emulator::judge(&problem, results, &case.name);
}

/// The results of `case`, in which 1, 2, 3 and 8 parts must agree.
pub(crate) fn results(case: &Case) -> Vec<Vec<u8>> {
    run(case, &case.problem(), &|spec| Room::new(std::slice::from_ref(spec)))
}

fn run(case: &Case, problem: &Problem, room: &dyn Fn(&KernelSpec) -> Room) -> Vec<Vec<u8>> {
    let [Kernel::Generated(spec, _)] = &case.kernels[..] else { panic!("{} is of no kernel of CPUs", case.name) };
    let room = room(spec);
    let run = |parts| -> Vec<Vec<u8>> {
        let memory: Vec<Buffer> = problem.memory.iter().map(|m| Buffer::starting(&m.start, m.len)).collect();
        for launch in &problem.launches {
            let pointers: Vec<*mut u8> = launch.buffers.iter().map(|i| memory[*i].ptr()).collect();
            let dims: Vec<i64> = launch.sizes.iter().map(|n| *n as i64).collect();
            room.run(spec, &pointers, &dims, parts);
        }
        problem.results().into_iter().map(|i| memory[i].bytes().to_vec()).collect()
    };
    let first = run(1);
    for parts in [2, 3, 8] {
        assert!(first == run(parts), "{}: {parts} parts differ from one", case.name);
    }
    first
}
