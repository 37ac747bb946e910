//! One instruction of one group of lanes: what it may read and change, and the loops over lanes that most instructions are.

use super::block::Block;
use super::launch::Launch;
use super::warp::{Lanes, Pred, Reg, Src, Truth, Warp};
use crate::cost::Cost;
use crate::memory::Memory;
use crate::report::Fault;

/// A fault, and the lane that it happens in.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) fault: Fault,
    pub(crate) lane: u32,
}

impl Fault {
    pub(crate) fn at(self, lane: usize) -> Stop {
        Stop { fault: self, lane: lane as u32 }
    }
}

/// Where the lanes go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Next,
    /// The lanes of a mask at an instruction, the others at the next one.
    Jump {
        mask: u32,
        to: u32,
    },
    /// The lanes of a mask at an instruction; the others execute this one again.
    Table {
        mask: u32,
        to: u32,
    },
    Exit,
    /// They wait at a barrier.
    Park {
        barrier: u32,
    },
    /// They go on when the block's other warps have had their turns.
    GiveWay,
    /// They wait, and then execute this one again.
    Again {
        barrier: u32,
    },
}

pub(crate) struct Step<'a> {
    pub(crate) warp: &'a mut Warp,
    pub(crate) block: &'a mut Block,
    pub(crate) launch: &'a Launch<'a>,
    pub(crate) memory: &'a mut Memory,
    pub(crate) cost: &'a mut Cost,
    /// Lanes that execute it.
    pub(crate) mask: u32,
    pub(crate) line: u32,
}

impl Step<'_> {
    #[inline]
    pub(crate) fn get(&self, src: Src) -> Lanes {
        match src {
            Src::Reg(reg) => self.warp.regs[reg.0 as usize],
            Src::Imm(bits) => [bits; 32],
            Src::Special(special) => special.lanes(self.warp, self.launch, self.block.index),
        }
    }

    pub(crate) fn lanes(&self) -> impl Iterator<Item = usize> + Clone + use<> {
        super::clocks::members(self.mask)
    }

    pub(crate) fn first(&self) -> usize {
        self.mask.trailing_zeros() as usize
    }

    /// The first lane that executes the instruction is at fault.
    pub(crate) fn stop(&self, fault: Fault) -> Stop {
        fault.at(self.first())
    }

    /// An operand whose bits decide where or whether something happens.
    pub(crate) fn need(&self, src: Src, what: &'static str) -> Result<(), Stop> {
        let missing = self.mask & !self.warp.ready(src);
        if missing == 0 {
            Ok(())
        } else {
            Err(Fault::UninitialisedRegister { what }.at(missing.trailing_zeros() as usize))
        }
    }

    pub(crate) fn set(&mut self, d: Reg, ready: u32, values: &Lanes) {
        self.warp.set(d, self.mask, ready, values);
    }

    #[inline]
    pub(crate) fn map1(&mut self, d: Reg, a: Src, f: impl Fn(u64) -> u64) {
        let x = self.get(a);
        let out: Lanes = std::array::from_fn(|l| f(x[l]));
        let ready = self.warp.ready(a);
        self.set(d, ready, &out);
    }

    #[inline]
    pub(crate) fn map2(&mut self, d: Reg, a: Src, b: Src, f: impl Fn(u64, u64) -> u64) {
        let (x, y) = (self.get(a), self.get(b));
        let out: Lanes = std::array::from_fn(|l| f(x[l], y[l]));
        let ready = self.warp.ready(a) & self.warp.ready(b);
        self.set(d, ready, &out);
    }

    #[inline]
    pub(crate) fn map3(&mut self, d: Reg, a: Src, b: Src, c: Src, f: impl Fn(u64, u64, u64) -> u64) {
        let (x, y, z) = (self.get(a), self.get(b), self.get(c));
        let out: Lanes = std::array::from_fn(|l| f(x[l], y[l], z[l]));
        let ready = self.warp.ready(a) & self.warp.ready(b) & self.warp.ready(c);
        self.set(d, ready, &out);
    }

    /// Lanes for which a comparison holds, and lanes in which both sides were written.
    #[inline]
    pub(crate) fn test(&self, a: Src, b: Src, f: impl Fn(u64, u64) -> bool) -> (u32, u32) {
        let (x, y) = (self.get(a), self.get(b));
        let mask = (0..32).fold(0, |mask, l| mask | (u32::from(f(x[l], y[l])) << l));
        (mask, self.warp.ready(a) & self.warp.ready(b))
    }

    pub(crate) fn truth(&self, truth: Truth) -> (u32, u32) {
        self.warp.truth(truth)
    }

    pub(crate) fn set_pred(&mut self, d: Pred, ready: u32, values: u32) {
        self.warp.set_pred(d, self.mask, ready, values);
    }
}
