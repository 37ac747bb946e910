//! Products of groups of four warps: what they read of shared memory, and until when nobody may write there.
//!
//! A product begins when its four warps have issued it, and reads shared memory until one of them has waited for it. Whoever
//! writes there has to come behind such a wait.

use super::clocks::Clocks;
use crate::memory::bitmap::Bitmap;
use std::collections::HashMap;

/// Warps of a group.
pub(crate) const GROUP: usize = 4;

/// Bytes of the pieces that are kept apart.
const PIECE: usize = 16;

/// What all warps of a group have to say alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub(crate) line: u32,
    /// Descriptors of A, if it is in shared memory, and B.
    pub(crate) operands: [u64; 2],
    pub(crate) adds: bool,
}

struct Product {
    issue: Issue,
    /// Warps of the group that have issued it.
    issued: u8,
    /// When each warp had waited for it; 0: not yet.
    waited: [u32; GROUP],
}

/// The products of a block, by group in the order of their issue.
#[derive(Default)]
pub(crate) struct Products {
    groups: Vec<Vec<Product>>,
    /// Group and number of those that read a piece of shared memory.
    readers: HashMap<usize, Vec<(usize, usize)>>,
    read: Bitmap,
}

impl Products {
    pub(crate) fn new(warps: usize, shared: usize) -> Self {
        let groups = (0..warps.div_ceil(GROUP)).map(|_| Vec::new()).collect();
        Self { groups, readers: HashMap::new(), read: Bitmap::new(shared.next_multiple_of(PIECE)) }
    }

    /// Warp `warp` issues the `number`th product of its group. Gives what another warp of the group said instead.
    pub(crate) fn issue(&mut self, warp: usize, number: usize, issue: Issue) -> Result<(), Issue> {
        let (group, bit) = (&mut self.groups[warp / GROUP], 1 << (warp % GROUP));
        match group.get_mut(number) {
            Some(product) if product.issue == issue => product.issued |= bit,
            Some(product) => return Err(product.issue),
            None => group.push(Product { issue, issued: bit, waited: [0; GROUP] }),
        }
        Ok(())
    }

    /// The `number`th product of the group of `warp` reads the piece at `at`.
    pub(crate) fn reads(&mut self, warp: usize, number: usize, at: usize) {
        let reader = (warp / GROUP, number);
        let readers = self.readers.entry(at / PIECE).or_default();
        if readers.last() != Some(&reader) {
            readers.push(reader);
            self.read.set(at / PIECE * PIECE, PIECE);
        }
    }

    /// Whether all warps of the group of `warp` have issued so many products.
    pub(crate) fn begun(&self, warp: usize, count: usize) -> bool {
        let last = count.checked_sub(1).map(|last| self.groups[warp / GROUP].get(last));
        last.is_none_or(|product| product.is_some_and(|p| p.issued == (1 << GROUP) - 1))
    }

    /// Warp `warp` has waited for the `number`th product of its group.
    pub(crate) fn wait(&mut self, warp: usize, number: usize, clocks: &Clocks) {
        self.groups[warp / GROUP][number].waited[warp % GROUP] = clocks.time;
    }

    /// Thread `thread` writes `at..at + bytes`. Gives the line of a product that may still read there.
    pub(crate) fn overwrite(&mut self, at: usize, bytes: usize, thread: u32, clocks: &Clocks) -> Result<(), u32> {
        if !self.read.any(at, bytes) {
            return Ok(());
        }
        for piece in at / PIECE..(at + bytes).div_ceil(PIECE) {
            for (group, number) in self.readers.get(&piece).into_iter().flatten() {
                let product = &self.groups[*group][*number];
                let over = product.waited.iter().enumerate().any(|(w, time)| {
                    let warp = (group * GROUP + w) as u32;
                    *time != 0 && (warp == thread / 32 || clocks.ordered(warp * 32, *time, thread))
                });
                if !over {
                    return Err(product.issue.line);
                }
            }
            self.readers.remove(&piece);
            self.read.clear(piece * PIECE, PIECE);
        }
        Ok(())
    }
}
