//! The barrier between steps, and how its waiters wait.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Waits ever more politely: spins, then gives the processor away, then sleeps.
#[derive(Default)]
pub(crate) struct Backoff {
    rounds: u32,
}

impl Backoff {
    const SPINS: u32 = 256;
    const YIELDS: u32 = 2048;

    /// Waits a moment.
    pub(crate) fn wait(&mut self) {
        self.rounds = self.rounds.saturating_add(1);
        if self.rounds < Self::SPINS {
            std::hint::spin_loop();
        } else if self.rounds < Self::YIELDS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Whether the spinning and yielding is over.
    pub(crate) fn is_tired(&self) -> bool {
        self.rounds >= Self::YIELDS
    }
}

/// Another member failed; whoever learns this leaves the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Poisoned;

/// Lets nobody through before all have arrived, or one has failed.
///
/// What members wrote before [`Barrier::wait`] is seen by all behind it.
pub(crate) struct Barrier {
    parts: u32,
    arrived: AtomicU32,
    generation: AtomicU32,
    poisoned: AtomicBool,
}

impl Barrier {
    pub(crate) const fn new(parts: u32) -> Barrier {
        Barrier { parts, arrived: AtomicU32::new(0), generation: AtomicU32::new(0), poisoned: AtomicBool::new(false) }
    }

    /// Waits for all members. An error, for everyone sooner or later, where one called [`Barrier::poison`].
    pub(crate) fn wait(&self) -> Result<(), Poisoned> {
        if self.parts > 1 {
            let generation = self.generation.load(Ordering::Acquire);
            if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.parts {
                self.arrived.store(0, Ordering::Relaxed);
                self.generation.store(generation.wrapping_add(1), Ordering::Release);
            } else {
                let mut backoff = Backoff::default();
                while self.generation.load(Ordering::Acquire) == generation && !self.is_poisoned() {
                    backoff.wait();
                }
            }
        }
        if self.is_poisoned() { Err(Poisoned) } else { Ok(()) }
    }

    /// Lets all waiters go, now and in future, with an error.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Ordering::Release);
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    /// Makes the barrier as new. Only for when no member is inside.
    pub(crate) fn reset(&self) {
        self.arrived.store(0, Ordering::Release);
        self.poisoned.store(false, Ordering::Release);
    }
}
