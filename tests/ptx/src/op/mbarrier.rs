//! What an mbarrier holds: a phase ends when all expected threads have arrived and all expected bytes have come.

/// One mbarrier of a block.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mbarrier {
    expected: i64,
    pending: i64,
    /// Bytes that are expected and have not come; bytes may come first.
    bytes: i64,
    /// Phases that have ended.
    pub(crate) phase: u64,
    /// What arrivals of this phase hand on, and what those of the last one did.
    view: Vec<u32>,
    pub(crate) done: Vec<u32>,
}

impl Mbarrier {
    /// `none` is a view of nothing.
    pub(crate) fn new(expected: u32, none: Vec<u32>) -> Self {
        let expected = i64::from(expected);
        Self { expected, pending: expected, bytes: 0, phase: 0, view: none.clone(), done: none }
    }

    pub(crate) fn expect(&mut self, bytes: i64) {
        self.bytes += bytes;
        self.settle();
    }

    /// Expects bytes before the arrival that comes with them.
    pub(crate) fn expect_more(&mut self, bytes: u32) {
        self.bytes += i64::from(bytes);
    }

    /// Fails if more threads arrive than the phase has.
    pub(crate) fn arrive(&mut self, count: i64, drops: bool, view: &[u32]) -> Result<(), String> {
        self.view.iter_mut().zip(view).for_each(|(ours, theirs)| *ours = (*ours).max(*theirs));
        if count > self.pending {
            return Err(format!("{count} arrivals at an mbarrier that expects {} more", self.pending));
        }
        self.pending -= count;
        if drops {
            self.expected -= count;
        }
        self.settle();
        Ok(())
    }

    /// `cp.async.mbarrier.arrive` without `.noinc` adds the arrival that it makes.
    pub(crate) fn raise(&mut self) {
        self.pending += 1;
    }

    fn settle(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            self.phase += 1;
            self.pending = self.expected;
            self.done.clone_from(&self.view);
        }
    }

    pub(crate) fn pending(&self) -> u64 {
        self.pending as u64
    }
}
