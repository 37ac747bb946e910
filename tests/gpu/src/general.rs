//! All kernels that neither multiply stored matrices nor attend: the problems of `actc_problems::list`, of which the small ones
//! run in the emulator too, and the times of those that a step with one token has.

use crate::Result;
use crate::device::{Device, Memory, Ready};
use crate::tally::Tally;
use actc_codegen::plan::cuda::Kernel;
use actc_problems::{Case, Problem, list};
use std::collections::BTreeSet;

/// Launches of a kernel in one graph.
const LAUNCHES: usize = 100;

fn cases() -> Vec<Case> {
    [list::small(), list::large(), list::step()].into_iter().flatten().collect()
}

/// All kernels that are run for what has `only` in its name.
pub(crate) fn kernels(only: &str) -> Vec<Kernel> {
    cases().into_iter().filter(|case| case.name.contains(only)).flat_map(|case| case.kernels).collect()
}

/// The launches of a case, over memory that is handed back with them.
fn ready(device: &Device, case: &Case, problem: &Problem) -> Result<(Vec<Ready>, Vec<Memory>)> {
    let place = |memory: &actc_problems::Memory| {
        let mut bytes = memory.start.clone();
        // Not-a-number where nothing is written.
        bytes.resize(memory.len, 0xff);
        device.put(&bytes)
    };
    let memory = problem.memory.iter().map(place).collect::<Result<Vec<_>>>()?;
    let launch = |launch: &actc_problems::Launch| {
        let buffers: Vec<u64> = launch.buffers.iter().map(|i| memory[*i].address).collect();
        device.ready_any(&case.kernels[launch.kernel], &buffers, &launch.sizes)
    };
    let launches = problem.launches.iter().map(launch).collect::<Result<Vec<_>>>()?;
    Ok((launches, memory))
}

/// Checks all cases that have `only` in their names; whether all are right. Kernels that LLVM prints are left out where whoever
/// packed them had none, which is said.
pub(crate) fn check(device: &Device, only: &str) -> Result<bool> {
    let (mut templates, mut generated, mut missing) = (Tally::default(), Tally::default(), BTreeSet::new());
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        if case.is_generated() && !device.has(case) {
            missing.extend(case.kernels.iter().map(Kernel::symbol));
            continue;
        }
        let problem = case.problem();
        let (launches, memory) = ready(device, case, &problem)?;
        launches.iter().try_for_each(|launch| device.start(launch))?;
        let result = |i: &usize| device.bytes(&memory[*i], problem.memory[*i].len);
        let got = problem.results().iter().map(result).collect::<Result<Vec<_>>>()?;
        let found = problem.worst(&got);
        let tally = if case.is_generated() { &mut generated } else { &mut templates };
        tally.see(&case.name, found.error, &found);
    }
    let right = templates.done("general") & generated.done("printed by LLVM");
    if !missing.is_empty() {
        println!("{} kernels that LLVM prints are left out: a packer with the feature `llvm` has them", missing.len());
    }
    Ok(right)
}

/// Times what a step has and has `only` in its name: microseconds of a launch, or of two where a kernel needs them. What they read
/// stays in caches, as what the kernel before wrote does in a step.
pub(crate) fn measure(device: &Device, only: &str) -> Result<()> {
    let timed = |case: &Case| case.name.contains(only) && (!case.is_generated() || device.has(case));
    let cases: Vec<Case> = list::step().into_iter().filter(timed).collect();
    if !cases.is_empty() {
        println!("\n      us  kernel of a step with one token");
    }
    for case in &cases {
        let (launches, memory) = ready(device, case, &case.problem())?;
        let seconds = device
            .seconds(&|| (0..LAUNCHES).try_for_each(|_| launches.iter().try_for_each(|launch| device.start(launch))))?;
        println!("{:8.2}  {}", 1e6 * seconds / LAUNCHES as f64, case.name);
        drop(memory);
    }
    Ok(())
}
