//! What one run of an entry works on: addresses, sizes and arguments, laid flat for the interpreter.

use crate::device::cpu::memory::{Addresses, Region};
use crate::program::Program;
use actc_types::{Diagnostic, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// What one run of an entry works on.
#[derive(Default)]
pub(crate) struct Frame {
    /// One per argument of the program.
    pub regions: Vec<Region>,
    /// The addresses of `regions`, as kernels take them.
    pub addresses: Addresses,
    /// One per size of the program.
    pub dims: Vec<i64>,
    /// Memory that builtins share within a step.
    pub workspace: Option<Region>,
    /// Nanoseconds of each leaf step, where they are asked for.
    pub profile: Option<Vec<AtomicU64>>,
    /// Most rounds of all loops together.
    pub max_rounds: u64,
    /// Rounds of loops so far, as the first member counts them between runs of the team.
    pub rounds: AtomicU64,
}

impl Frame {
    /// Evaluates the sizes of all steps; what is not known yet is 0.
    pub(crate) fn set_dims(&mut self, program: &Program, values: &[u64]) -> Result<()> {
        self.dims.clear();
        for dim in &program.dims {
            let value = if dim.is_known(values) { dim.eval(values)? } else { 0 };
            let fits = i64::try_from(value);
            self.dims.push(fits.map_err(|_| Diagnostic::new("dim-overflow", format!("size {value} exceeds 63 bits")))?);
        }
        Ok(())
    }

    /// Lays out the arguments of all steps; `buffers` has one region per buffer of the program.
    pub(crate) fn set_args(&mut self, program: &Program, buffers: &[Region]) {
        self.regions.clear();
        self.regions.extend(program.args.iter().map(|b| buffers[*b as usize]));
        self.addresses.set(&self.regions);
    }

    /// Whether the first byte of argument `at`, a `what`, is not 0.
    pub(crate) fn truth(&self, at: usize, what: &str) -> Result<bool> {
        let bytes: &[u8] = self.regions[at].read(1).ok_or_else(|| too_small(what, 1))?;
        Ok(bytes[0] != 0)
    }

    /// The first integers of argument `at`, a `what`.
    pub(crate) fn integers(&self, at: usize, count: usize, what: &str) -> Result<&[i64]> {
        self.regions[at].read(count).ok_or_else(|| too_small(what, count.saturating_mul(8)))
    }

    /// The number of rounds that argument `at` says; a negative one is none.
    pub(crate) fn trips(&self, at: usize) -> Result<u64> {
        Ok(u64::try_from(self.integers(at, 1, "number of rounds")?[0]).unwrap_or(0))
    }

    /// Whether a loop with the guard `live`, where it has one, has another round.
    pub(crate) fn lives(&self, live: Option<usize>) -> Result<bool> {
        live.map_or(Ok(true), |at| self.truth(at, "loop's guard"))
    }

    /// Tells the steps of a loop the number of the round.
    pub(crate) fn set_round(&self, index: Option<usize>, round: u64) -> Result<()> {
        let set = |at: usize| self.regions[at].store(round as i64).ok_or_else(|| too_small("loop index", 8));
        index.map_or(Ok(()), set)
    }

    /// Adds to the time of leaf step `leaf`.
    pub(crate) fn took(&self, leaf: usize, nanoseconds: u64) {
        if let Some(profile) = &self.profile {
            profile[leaf].fetch_add(nanoseconds, Ordering::Relaxed);
        }
    }
}

fn too_small(what: &str, bytes: usize) -> Diagnostic {
    Diagnostic::new("run-buffer", format!("the buffer of a {what} cannot be used: it needs {bytes} bytes of its own"))
}
