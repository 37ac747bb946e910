//! What one run of an entry works on: addresses, sizes and arguments, laid flat for the interpreter.

use crate::device::cpu::memory::{Addresses, Region};
use crate::program::Program;
use crate::stale::Stale;
use crate::work::Work;
use actc_types::{Diagnostic, Result};
use std::sync::atomic::{AtomicU64, Ordering};

/// What one run of an entry works on. It serves the runs after it as far as the values of symbols are theirs.
#[derive(Default)]
pub(crate) struct Frame {
    /// Which program it is laid out for and the values of its symbols, or `None` where everything has to be laid out.
    pub laid: Option<(usize, Vec<u64>)>,
    /// The buffers of the program.
    pub buffers: Vec<Region>,
    /// One per argument of the program.
    pub regions: Vec<Region>,
    /// The addresses of `regions`, as kernels take them.
    pub addresses: Addresses,
    /// One per size of the program.
    pub dims: Vec<i64>,
    /// Which steps the team shares.
    pub work: Work,
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
    /// What has to be laid out again for `program` with `values`, or `None`; see [`Stale::between`].
    pub(crate) fn stale(&self, program: usize, values: &[u64]) -> Option<Stale> {
        let Some((_, laid)) = self.laid.as_ref().filter(|(of, _)| *of == program) else { return Some(Stale::All) };
        Stale::between(laid, values)
    }

    /// Lays out the arguments of all steps.
    pub(crate) fn set_args(&mut self, program: &Program) {
        self.regions.clear();
        self.regions.extend(program.args.iter().map(|b| self.buffers[*b as usize]));
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

/// The error of a buffer that is smaller than what a step reads of it or writes to it.
pub(crate) fn too_small(what: &str, bytes: usize) -> Diagnostic {
    Diagnostic::new("run-buffer", format!("the buffer of a {what} cannot be used: it needs {bytes} bytes of its own"))
}
