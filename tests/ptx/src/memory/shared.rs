//! The shared memory of one block, and the asynchronous copies into it that are not done.

use super::bitmap::Bitmap;
use super::shadow::Shadow;

/// Bytes at the start of the window that belong to the system: no variable has address zero.
pub(crate) const RESERVED: usize = 1024;

/// A copy whose bytes nobody may use yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) at: usize,
    pub(crate) bytes: usize,
    pub(crate) line: u32,
    pub(crate) waits: Waits,
}

/// What ends a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// `cp.async.wait_group` of this thread, for its group of this number.
    Group { thread: u32, group: u32 },
    /// A wait at the mbarrier of this address.
    Barrier { address: u64 },
}

#[derive(Default)]
pub(crate) struct Shared {
    /// Without the reserved bytes.
    pub(crate) data: Vec<u8>,
    pub(crate) written: Bitmap,
    pub(crate) shadow: Shadow,
    under_way: Bitmap,
    pending: Vec<Pending>,
}

impl Shared {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            data: vec![0; bytes],
            written: Bitmap::new(bytes),
            shadow: Shadow::default(),
            under_way: Bitmap::new(bytes),
            pending: Vec::new(),
        }
    }

    /// Where in `data` an address is.
    #[inline]
    pub(crate) fn find(&self, address: u64, bytes: usize) -> Option<usize> {
        let at = usize::try_from(address).ok()?.checked_sub(RESERVED)?;
        (at.checked_add(bytes)? <= self.data.len()).then_some(at)
    }

    pub(crate) fn begin(&mut self, pending: Pending) {
        self.under_way.set(pending.at, pending.bytes);
        self.pending.push(pending);
    }

    /// The copy that is still writing one of these bytes.
    #[inline]
    pub(crate) fn pending(&self, at: usize, bytes: usize) -> Option<Pending> {
        if !self.under_way.any(at, bytes) {
            return None;
        }
        self.pending.iter().find(|p| p.at < at + bytes && at < p.at + p.bytes).copied()
    }

    /// Ends the copies that `done` says, and returns them.
    pub(crate) fn finish(&mut self, done: impl Fn(Waits) -> bool) -> Vec<Pending> {
        let (over, left): (Vec<Pending>, Vec<Pending>) = self.pending.iter().partition(|p| done(p.waits));
        over.iter().for_each(|p| self.under_way.clear(p.at, p.bytes));
        left.iter().for_each(|p| self.under_way.set(p.at, p.bytes));
        self.pending = left;
        over
    }
}
