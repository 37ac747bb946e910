//! What one warp has under way in products of its group, and which registers are theirs meanwhile.
//!
//! Sums may be neither read nor written, left operands not written, until the product has been waited for. A register that
//! another instruction has used is theirs only behind `wgmma.fence`.

use super::warp::Reg;
use crate::decode::form::Touched;
use crate::report::Fault;
use std::collections::{HashMap, VecDeque};

struct Pending {
    line: u32,
    /// Of the commits of this warp.
    group: u32,
    sums: Vec<Reg>,
    left: Vec<Reg>,
}

/// What a register is of a product that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Sum,
    Left,
}

#[derive(Default)]
pub(crate) struct Flight {
    /// Products that were waited for.
    pub(crate) done: usize,
    pending: VecDeque<Pending>,
    /// Groups that were committed.
    committed: u32,
    /// Use and line of the product.
    taken: HashMap<Reg, (Use, u32)>,
    /// Registers that other instructions have used since the last fence, with their lines.
    touched: HashMap<Reg, u32>,
    /// While it waits: how many products the group has to have begun.
    pub(crate) wanted: usize,
}

impl Flight {
    /// Products that were issued.
    pub(crate) fn issued(&self) -> usize {
        self.done + self.pending.len()
    }

    /// Line of a product that nobody has waited for.
    pub(crate) fn under_way(&self) -> Option<u32> {
        self.pending.front().map(|p| p.line)
    }

    /// Another instruction uses registers.
    pub(crate) fn touch(&mut self, touched: &Touched, line: u32) -> Result<(), Fault> {
        let reads = touched.reads.iter().map(|r| (r, false));
        for (reg, writes) in reads.chain(touched.writes.iter().map(|r| (r, true))) {
            match self.taken.get(reg) {
                Some((Use::Sum, product_line)) => return Err(Fault::PendingSums { product_line: *product_line }),
                Some((Use::Left, product_line)) if writes => {
                    return Err(Fault::PendingOperand { product_line: *product_line });
                }
                Some((Use::Left, _)) | None => {}
            }
            self.touched.insert(*reg, line);
        }
        Ok(())
    }

    pub(crate) fn fence(&mut self) {
        self.touched.clear();
    }

    /// A product begins. Sums that one of the same form is adding to may be added to again.
    pub(crate) fn issue(&mut self, line: u32, sums: &[Reg], left: &[Reg]) -> Result<(), Fault> {
        if let Some(other_line) = sums.iter().chain(left).find_map(|reg| self.touched.get(reg)) {
            return Err(Fault::NoFence { other_line: *other_line });
        }
        let same = |p: &Pending| p.sums == sums || !p.sums.iter().any(|reg| sums.contains(reg));
        if let Some(other) = self.pending.iter().find(|p| !same(p)) {
            return Err(Fault::PendingSums { product_line: other.line });
        }
        for reg in sums {
            if let Some((Use::Left, product_line)) = self.taken.get(reg) {
                return Err(Fault::PendingOperand { product_line: *product_line });
            }
        }
        if let Some((Use::Sum, product_line)) = left.iter().find_map(|r| self.taken.get(r)).filter(|t| t.0 == Use::Sum)
        {
            return Err(Fault::PendingSums { product_line: *product_line });
        }
        let pending = Pending { line, group: self.committed, sums: sums.to_vec(), left: left.to_vec() };
        pending.take(&mut self.taken);
        self.pending.push_back(pending);
        Ok(())
    }

    pub(crate) fn commit(&mut self) {
        self.committed += 1;
    }

    /// How many products are to be done where at most `left` committed groups stay under way.
    pub(crate) fn over(&self, left: u32) -> usize {
        let old = |p: &&Pending| p.group < self.committed && self.committed - p.group > left;
        self.done + self.pending.iter().take_while(old).count()
    }

    /// The first `count` products are done.
    pub(crate) fn finish(&mut self, count: usize) {
        if count > self.done {
            self.pending.drain(..count - self.done);
            self.done = count;
            self.taken.clear();
            self.pending.iter().for_each(|p| p.take(&mut self.taken));
        }
    }
}

impl Pending {
    fn take(&self, taken: &mut HashMap<Reg, (Use, u32)>) {
        taken.extend(self.left.iter().map(|reg| (*reg, (Use::Left, self.line))));
        taken.extend(self.sums.iter().map(|reg| (*reg, (Use::Sum, self.line))));
    }
}
