//! Who touched each byte last in this launch, and with it the detection of races.
//!
//! A cell stands for four bytes; a page whose bytes are touched in smaller pieces keeps a cell for two, or for each. A cell
//! holds the last write and the reads since; an access conflicts with what is there unless both are by one thread, both are
//! strong (atomic, volatile, relaxed, acquire, release), or `Clocks` orders them. Two unordered writes of the same value
//! are let pass.

use crate::machine::clocks::Clocks;
use crate::report::Access;

const PAGE: usize = 4096;

/// How an access takes part in races.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(crate) enum Strength {
    Weak,
    Strong,
    Atomic,
}

/// The access that is made.
#[derive(Clone, Copy)]
pub(crate) struct Actor {
    pub(crate) block: u32,
    /// In the block.
    pub(crate) thread: u32,
    pub(crate) line: u32,
    pub(crate) strength: Strength,
}

/// The access that it conflicts with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conflict {
    pub(crate) offset: usize,
    pub(crate) other: Access,
    pub(crate) block: u32,
    pub(crate) thread: u32,
    pub(crate) line: u32,
}

#[derive(Clone, Copy)]
struct Mark {
    block: u32,
    /// 0: nobody yet.
    time: u32,
    line: u32,
    thread: u16,
    strength: Strength,
}

const NOBODY: Mark = Mark { block: 0, time: 0, line: 0, thread: 0, strength: Strength::Atomic };

#[derive(Clone, Copy)]
struct Cell {
    write: Mark,
    read: Mark,
    /// Warps of `read.block` that read since, and whether several lanes of a warp, or several blocks, did.
    warps: u32,
    lanes: bool,
    blocks: bool,
}

const UNTOUCHED: Cell = Cell { write: NOBODY, read: NOBODY, warps: 0, lanes: false, blocks: false };

struct Page {
    /// Bytes of a cell as a power of two.
    shift: u32,
    cells: Vec<Cell>,
}

impl Page {
    fn refine(&mut self, shift: u32) {
        let copies = 1 << (self.shift - shift);
        self.cells = self.cells.iter().flat_map(|c| std::iter::repeat_n(*c, copies)).collect();
        self.shift = shift;
    }
}

/// Cells for a run of bytes, made where they are touched.
#[derive(Default)]
pub(crate) struct Shadow {
    pages: Vec<Option<Box<Page>>>,
}

impl Shadow {
    pub(crate) fn forget(&mut self) {
        self.pages.clear();
    }

    /// Nobody has touched these bytes: a copy that was waited for is ordered before everything that follows.
    pub(crate) fn reset(&mut self, at: usize, bytes: usize) {
        for (index, page) in self.pages.iter_mut().enumerate() {
            let Some(page) = page else { continue };
            let start = index * PAGE;
            let (from, to) = (at.max(start), (at + bytes).min(start + PAGE));
            if from < to {
                let (from, to) = ((from - start) >> page.shift, (to - start).div_ceil(1 << page.shift));
                page.cells[from..to].fill(UNTOUCHED);
            }
        }
    }

    /// What an asynchronous read of `at..at + bytes` for `who` conflicts with, and whether only the fence is missing that hands a
    /// store over; it is not recorded.
    pub(crate) fn read_async(
        &self,
        at: usize,
        bytes: usize,
        who: Actor,
        clocks: &Clocks,
    ) -> Result<(), (Conflict, bool)> {
        let Some(Some(page)) = self.pages.get(at / PAGE) else { return Ok(()) };
        let from = at % PAGE;
        for index in from >> page.shift..(from + bytes) >> page.shift {
            let write = page.cells[index].write;
            let ordered = write.before(who, clocks);
            let handed = write.time == 0 || clocks.handed(write.thread.into(), write.time, (who.thread / 32) as usize);
            if !ordered || !handed {
                let conflict = Conflict {
                    offset: (index << page.shift) - from,
                    other: Access::Write,
                    block: write.block,
                    thread: write.thread.into(),
                    line: write.line,
                };
                return Err((conflict, ordered));
            }
        }
        Ok(())
    }

    /// Records an access to `at..at + bytes`, which does not cross a multiple of its size.
    pub(crate) fn touch(
        &mut self,
        at: usize,
        bytes: usize,
        access: Access,
        who: Actor,
        clocks: &Clocks,
        same_value: bool,
    ) -> Result<(), Conflict> {
        let index = at / PAGE;
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, || None);
        }
        let page =
            self.pages[index].get_or_insert_with(|| Box::new(Page { shift: 2, cells: vec![UNTOUCHED; PAGE / 4] }));
        let wanted = if bytes.is_multiple_of(4) { 2 } else { bytes.trailing_zeros() };
        if wanted < page.shift {
            page.refine(wanted);
        }
        let from = at % PAGE;
        for index in from >> page.shift..(from + bytes) >> page.shift {
            let cell = &mut page.cells[index];
            let outcome = match access {
                Access::Read => cell.read(who, clocks),
                Access::Write | Access::Atomic => cell.write(who, clocks, same_value),
            };
            outcome.map_err(|(mark, other)| Conflict {
                offset: (index << page.shift) - from,
                other: if mark.strength == Strength::Atomic { Access::Atomic } else { other },
                block: mark.block,
                thread: u32::from(mark.thread),
                line: mark.line,
            })?;
        }
        Ok(())
    }
}

impl Mark {
    fn of(who: Actor, clocks: &Clocks) -> Self {
        Self { block: who.block, time: clocks.time, line: who.line, thread: who.thread as u16, strength: who.strength }
    }

    /// Whether the marked access needs no order before `who`, or has one.
    #[inline]
    fn before(&self, who: Actor, clocks: &Clocks) -> bool {
        if self.time == 0 || (self.strength > Strength::Weak && who.strength > Strength::Weak) {
            true
        } else if self.block == who.block {
            clocks.ordered(u32::from(self.thread), self.time, who.thread)
        } else {
            clocks.knows(self.block, self.time)
        }
    }
}

impl Cell {
    #[inline]
    fn read(&mut self, who: Actor, clocks: &Clocks) -> Result<(), (Mark, Access)> {
        if !self.write.before(who, clocks) {
            return Err((self.write, Access::Write));
        }
        let warp = 1 << (who.thread / 32);
        let mark = Mark::of(who, clocks);
        if self.read.time == 0 || self.reads_are_before(who, clocks) {
            (self.warps, self.lanes, self.blocks) = (warp, false, false);
        } else if self.read.block != who.block {
            self.blocks = true;
        } else {
            self.lanes |= self.warps & warp != 0 && u32::from(self.read.thread) != who.thread;
            self.warps |= warp;
        }
        let weakest = if self.read.strength == Strength::Weak { Strength::Weak } else { mark.strength };
        self.read = Mark { strength: if self.warps == warp && !self.blocks { mark.strength } else { weakest }, ..mark };
        Ok(())
    }

    /// Whether every read since the last write is ordered before `who`.
    #[inline]
    fn reads_are_before(&self, who: Actor, clocks: &Clocks) -> bool {
        if self.blocks {
            return false;
        }
        if self.read.block != who.block {
            return clocks.knows(self.read.block, self.read.time);
        }
        if self.read.time < clocks.everything {
            return true;
        }
        (0..32).filter(|w| self.warps >> w & 1 == 1).all(|warp| {
            let same = warp == u32::from(self.read.thread) / 32 && !self.lanes;
            let reader = if same { u32::from(self.read.thread) } else { Clocks::any_lane_of(warp) };
            clocks.ordered(reader, self.read.time, who.thread)
        })
    }

    #[inline]
    fn write(&mut self, who: Actor, clocks: &Clocks, same_value: bool) -> Result<(), (Mark, Access)> {
        if !self.write.before(who, clocks) && !same_value {
            return Err((self.write, Access::Write));
        }
        let strong = self.read.strength > Strength::Weak && who.strength > Strength::Weak;
        if self.read.time != 0 && !strong && !self.reads_are_before(who, clocks) {
            return Err((self.read, Access::Read));
        }
        *self = Cell { write: Mark::of(who, clocks), ..UNTOUCHED };
        Ok(())
    }
}
