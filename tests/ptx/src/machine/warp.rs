//! A warp: registers of 32 lanes, and which lanes are where.

use super::flight::Flight;
use super::special::Special;

/// One value for each lane.
pub(crate) type Lanes = [u64; 32];

/// A register of up to 64 bits, by its place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reg(pub(crate) u32);

/// A predicate register; predicates are kept as masks of lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pred(pub(crate) u32);

/// Where an operand comes from. An immediate has the bits of its type, integers as 64 bits in two's complement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Src {
    Reg(Reg),
    Imm(u64),
    Special(Special),
}

/// Where a truth value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Truth {
    Pred { pred: Pred, negated: bool },
    Constant(bool),
}

/// Lanes that are at the same instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) at: u32,
    pub(crate) mask: u32,
}

/// Lanes that wait at a barrier and go on at `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parked {
    pub(crate) group: Group,
    pub(crate) barrier: u32,
    pub(crate) line: u32,
}

#[derive(Default)]
pub(crate) struct Warp {
    /// In the block.
    pub(crate) index: u32,
    pub(crate) regs: Vec<Lanes>,
    /// Lanes in which a register was written.
    pub(crate) ready: Vec<u32>,
    pub(crate) preds: Vec<u32>,
    pub(crate) preds_ready: Vec<u32>,
    pub(crate) carry: u32,
    /// Sorted by `at`, which no two share.
    pub(crate) groups: Vec<Group>,
    pub(crate) parked: Vec<Parked>,
    /// Lanes that have not left the kernel.
    pub(crate) live: u32,
    /// `tid` of each lane.
    pub(crate) thread: [[u32; 3]; 32],
    /// Number of the group of copies that `cp.async` adds to, by lane.
    pub(crate) copies: [u32; 32],
    /// Products of its group that it has begun.
    pub(crate) flight: Flight,
}

impl Warp {
    pub(crate) fn put(&mut self, group: Group) {
        if group.mask == 0 {
            return;
        }
        match self.groups.binary_search_by_key(&group.at, |g| g.at) {
            Ok(index) => self.groups[index].mask |= group.mask,
            Err(index) => self.groups.insert(index, group),
        }
    }

    /// Lanes that wait at barrier `number` go on.
    pub(crate) fn wake(&mut self, number: u32) {
        for lanes in std::mem::take(&mut self.parked) {
            if lanes.barrier == number {
                self.put(lanes.group);
            } else {
                self.parked.push(lanes);
            }
        }
    }

    /// Moves the lowest group on by one instruction.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.groups[0].at += 1;
        if self.groups.len() > 1 && self.groups[1].at == self.groups[0].at {
            self.groups[1].mask |= self.groups[0].mask;
            self.groups.remove(0);
        }
    }

    #[inline]
    pub(crate) fn set(&mut self, reg: Reg, mask: u32, ready: u32, values: &Lanes) {
        let index = reg.0 as usize;
        if mask == u32::MAX {
            self.regs[index] = *values;
            self.ready[index] = ready;
        } else {
            let target = &mut self.regs[index];
            for lane in 0..32 {
                if mask >> lane & 1 == 1 {
                    target[lane] = values[lane];
                }
            }
            self.ready[index] = (self.ready[index] & !mask) | (ready & mask);
        }
    }

    #[inline]
    pub(crate) fn set_pred(&mut self, pred: Pred, mask: u32, ready: u32, values: u32) {
        let index = pred.0 as usize;
        self.preds[index] = (self.preds[index] & !mask) | (values & mask);
        self.preds_ready[index] = (self.preds_ready[index] & !mask) | (ready & mask);
    }

    /// Lanes for which it holds, and lanes in which it was written.
    #[inline]
    pub(crate) fn truth(&self, truth: Truth) -> (u32, u32) {
        match truth {
            Truth::Pred { pred, negated } => {
                let value = self.preds[pred.0 as usize];
                (if negated { !value } else { value }, self.preds_ready[pred.0 as usize])
            }
            Truth::Constant(value) => (if value { u32::MAX } else { 0 }, u32::MAX),
        }
    }

    #[inline]
    pub(crate) fn ready(&self, src: Src) -> u32 {
        match src {
            Src::Reg(reg) => self.ready[reg.0 as usize],
            Src::Imm(_) | Src::Special(_) => u32::MAX,
        }
    }
}
