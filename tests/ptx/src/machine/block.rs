//! A block: its warps in turn, its barriers, and who waits.

use super::clocks::{Clocks, members};
use super::flight::Flight;
use super::launch::Launch;
use super::products::Products;
use super::step::{Flow, Step, Stop};
use super::warp::{Group, Parked, Warp};
use crate::cost::Cost;
use crate::memory::Memory;
use crate::memory::bitmap::Bitmap;
use crate::memory::shared::Shared;
use crate::op::barrier::{BARRIERS, Reduction};
use crate::op::group::OTHERS;
use crate::op::mbarrier::Mbarrier;
use crate::report::Fault;
use std::collections::HashMap;

/// Instructions after which a warp gives way to the block's others.
const TURN: u64 = 4096;

/// Whether a block has ended.
pub(crate) enum Turn {
    Done,
    More,
}

/// What went wrong where.
pub(crate) struct Wrong {
    pub(crate) fault: Fault,
    pub(crate) line: u32,
    pub(crate) thread: [u32; 3],
}

/// A barrier by number: who has arrived.
#[derive(Clone, Default)]
pub(crate) struct Barrier {
    /// Warps all of whose lanes have arrived, by waiting or not.
    pub(crate) arrived: u32,
    /// Those that wait.
    pub(crate) waiting: u32,
    /// Lanes of warps that have not arrived whole.
    pub(crate) lanes: HashMap<u32, u32>,
    /// Warps that are expected; 0: all that live.
    pub(crate) expected: u32,
    /// What `bar.red` folds, and where waiting warps want the result.
    pub(crate) threads: u32,
    pub(crate) holds: u32,
    pub(crate) results: Vec<(u32, u32, Reduction)>,
}

pub(crate) struct Block {
    pub(crate) index: [u32; 3],
    /// In the grid, x fastest.
    pub(crate) number: u32,
    pub(crate) shared: Shared,
    /// Each thread's, one behind another.
    pub(crate) local: Vec<u8>,
    pub(crate) local_written: Bitmap,
    pub(crate) clocks: Clocks,
    pub(crate) barriers: Vec<Barrier>,
    pub(crate) mbarriers: HashMap<u64, Mbarrier>,
    pub(crate) products: Products,
    pub(crate) warps: Vec<Warp>,
}

impl Block {
    pub(crate) fn new(launch: &Launch<'_>, number: u64) -> Self {
        let [gx, gy, _] = launch.grid.map(u64::from);
        let index = [number % gx, number / gx % gy, number / gx / gy].map(|i| i as u32);
        let [bx, by, bz] = launch.block;
        let threads = (bx * by * bz) as usize;
        let kernel = launch.kernel;
        let warps = threads.div_ceil(32);
        let warp = |w: usize| {
            let thread = std::array::from_fn(|lane| {
                let t = (w * 32 + lane) as u32;
                [t % bx, t / bx % by, t / bx / by]
            });
            let live = u32::MAX >> (32 - (threads - w * 32).min(32));
            Warp {
                index: w as u32,
                regs: vec![[0; 32]; kernel.regs],
                ready: vec![0; kernel.regs],
                preds: vec![0; kernel.preds],
                preds_ready: vec![0; kernel.preds],
                carry: 0,
                groups: vec![Group { at: 0, mask: live }],
                parked: Vec::new(),
                live,
                thread,
                copies: [0; 32],
                flight: Flight::default(),
            }
        };
        let local = threads.next_multiple_of(32) * kernel.local as usize;
        let shared = (kernel.shared + launch.dynamic_shared) as usize;
        Self {
            index,
            number: number as u32,
            shared: Shared::new(shared),
            local: vec![0; local],
            local_written: Bitmap::new(local),
            clocks: Clocks::new(warps),
            barriers: vec![Barrier::default(); BARRIERS],
            mbarriers: HashMap::new(),
            products: Products::new(warps, shared),
            warps: (0..warps).map(warp).collect(),
        }
    }

    /// Runs until the block has ended or about `slice` instructions are done.
    pub(crate) fn run(
        &mut self,
        launch: &Launch<'_>,
        memory: &mut Memory,
        cost: &mut Cost,
        slice: u64,
    ) -> Result<Turn, Wrong> {
        let end = launch.executed.get() + slice;
        loop {
            let mut moved = false;
            for index in 0..self.warps.len() {
                if self.warps[index].groups.is_empty() {
                    continue;
                }
                moved = true;
                let mut warp = std::mem::take(&mut self.warps[index]);
                let outcome = self.turn(&mut warp, launch, memory, cost);
                self.warps[index] = warp;
                outcome?;
                self.release();
            }
            if self.warps.iter().all(|w| w.live == 0) {
                return Ok(Turn::Done);
            }
            if !moved {
                return Err(self.deadlock());
            }
            if launch.executed.get() >= end {
                return Ok(Turn::More);
            }
        }
    }

    /// Runs a warp until it waits, ends, or has had its turn.
    fn turn(
        &mut self,
        warp: &mut Warp,
        launch: &Launch<'_>,
        memory: &mut Memory,
        cost: &mut Cost,
    ) -> Result<(), Wrong> {
        let begun = launch.executed.get();
        while let Some(&Group { at, mask }) = warp.groups.first() {
            let executed = launch.executed.get();
            if executed - begun >= TURN {
                return Ok(());
            }
            launch.executed.set(executed + 1);
            let inst = &launch.kernel.code[at as usize];
            let wrong = |warp: &Warp, stop: Stop| Wrong {
                fault: stop.fault,
                line: inst.line,
                thread: warp.thread[stop.lane as usize % 32],
            };
            if executed >= launch.budget {
                let fault = Fault::Budget { instructions: executed };
                return Err(wrong(warp, fault.at(mask.trailing_zeros() as usize)));
            }
            let mut run = mask;
            if let Some(guard) = inst.guard {
                let (holds, ready) = warp.truth(guard);
                if mask & !ready != 0 {
                    let fault = Fault::UninitialisedRegister { what: "a guard" };
                    return Err(wrong(warp, fault.at((mask & !ready).trailing_zeros() as usize)));
                }
                run &= holds;
            }
            if run == 0 {
                warp.advance();
                continue;
            }
            if inst.touched.any() {
                let used = warp.flight.touch(&inst.touched, inst.line);
                used.map_err(|fault| wrong(warp, fault.at(run.trailing_zeros() as usize)))?;
            }
            let family = inst.op.family() as usize;
            cost.warps[family] += 1;
            cost.threads[family] += u64::from(run.count_ones());
            let mut step = Step { warp, block: self, launch, memory, cost, mask: run, line: inst.line };
            let flow = inst.op.run(&mut step).map_err(|stop| wrong(step.warp, stop))?;
            match flow {
                Flow::Next => warp.advance(),
                Flow::GiveWay => {
                    warp.advance();
                    return Ok(());
                }
                Flow::Jump { mask: taken, to } => {
                    warp.groups.remove(0);
                    warp.put(Group { at: at + 1, mask: mask & !taken });
                    warp.put(Group { at: to, mask: taken });
                }
                Flow::Table { mask: taken, to } => {
                    warp.groups.remove(0);
                    warp.put(Group { at: at + 1, mask: mask & !run });
                    warp.put(Group { at, mask: run & !taken });
                    warp.put(Group { at: to, mask: taken });
                }
                Flow::Exit => {
                    warp.live &= !run;
                    warp.groups.remove(0);
                    warp.put(Group { at: at + 1, mask: mask & !run });
                }
                Flow::Park { barrier } | Flow::Again { barrier } => {
                    warp.groups.remove(0);
                    warp.put(Group { at: at + 1, mask: mask & !run });
                    let group = Group { at: if matches!(flow, Flow::Again { .. }) { at } else { at + 1 }, mask: run };
                    warp.parked.push(Parked { group, barrier, line: inst.line });
                }
            }
        }
        Ok(())
    }

    /// Opens the barriers at which all have arrived.
    fn release(&mut self) {
        let live = self.warps.iter().filter(|w| w.live != 0).fold(0, |mask, w| mask | 1u32 << w.index);
        for warp in self.warps.iter_mut().filter(|w| !w.parked.is_empty()) {
            if self.products.begun(warp.index as usize, warp.flight.wanted) {
                warp.wake(OTHERS);
            }
        }
        for number in 0..self.barriers.len() {
            let barrier = &mut self.barriers[number];
            if barrier.arrived == 0 && barrier.lanes.is_empty() {
                continue;
            }
            // Lanes that have left the kernel are not waited for.
            for (warp, lanes) in &barrier.lanes {
                if *lanes != 0 && self.warps[*warp as usize].live & !lanes == 0 {
                    barrier.arrived |= 1 << warp;
                    barrier.waiting |= 1 << warp;
                }
            }
            let full = if barrier.expected == 0 {
                barrier.arrived != 0 && live & !barrier.arrived == 0
            } else {
                barrier.arrived.count_ones() >= barrier.expected
            };
            if !full {
                continue;
            }
            let barrier = std::mem::take(&mut self.barriers[number]);
            if barrier.waiting & live == live && barrier.arrived == barrier.waiting {
                self.clocks.meet_all();
            } else {
                self.clocks.meet(barrier.arrived, barrier.waiting);
            }
            for index in members(barrier.waiting) {
                self.warps[index].wake(number as u32);
            }
            for (warp, mask, reduction) in &barrier.results {
                reduction.finish(&barrier, &mut self.warps[*warp as usize], *mask);
            }
        }
    }

    fn deadlock(&self) -> Wrong {
        let mut waiting: Vec<String> = Vec::new();
        let mut first = None;
        for warp in &self.warps {
            for Parked { group, barrier, line } in &warp.parked {
                let place =
                    if *barrier == OTHERS { "for its group".to_owned() } else { format!("at barrier {barrier}") };
                waiting.push(format!("warp {} lanes {:#010x} {place}, line {line}", warp.index, group.mask));
                first.get_or_insert((*line, warp.thread[group.mask.trailing_zeros() as usize % 32]));
            }
        }
        waiting.truncate(8);
        let (line, thread) = first.unwrap_or_default();
        Wrong { fault: Fault::Deadlock { waiting: waiting.join("; ") }, line, thread }
    }
}
