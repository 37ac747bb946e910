//! What orders accesses of one block: a logical time that each synchronisation advances, and for each warp the time up to
//! which it has seen every other.
//!
//! Barriers and mbarriers order whole warps; `bar.warp.sync` orders lanes. Between blocks a fence followed by a strong
//! access releases and a strong read acquires; there the whole block counts as one thread.

use std::collections::HashMap;

/// Lane number that stands for every lane of a warp.
const ANY_LANE: u32 = 1 << 16;

#[derive(Clone, Debug)]
pub(crate) struct Clocks {
    /// Accesses are stamped with it.
    pub(crate) time: u32,
    /// Everything before is ordered before everything after: the last barrier of the whole block.
    pub(crate) everything: u32,
    warps: usize,
    /// A row of `2 warps` for each warp `w`: what warp `v` did before the time at `v` is ordered before what `w` does now, and
    /// what it stored before the time at `warps + v` before what `w` has read asynchronously: a fence handed it over.
    seen: Vec<u32>,
    /// Whether there was such a fence.
    hands: bool,
    /// Last synchronisation of some lanes of a warp with each other, where one was.
    lanes: Vec<Option<Box<[[u32; 32]; 32]>>>,
    /// For other blocks, the time up to which this block has seen them.
    known: HashMap<u32, u32>,
    /// The release that the last fence allows: the block's time then.
    fenced: Option<u32>,
}

impl Clocks {
    pub(crate) fn new(warps: usize) -> Self {
        Self {
            time: 1,
            everything: 0,
            warps,
            seen: vec![0; 2 * warps * warps],
            hands: false,
            lanes: vec![None; warps],
            known: HashMap::new(),
            fenced: None,
        }
    }

    pub(crate) fn any_lane_of(warp: u32) -> u32 {
        ANY_LANE | (warp * 32)
    }

    /// Whether what thread `from` did at `time` is ordered before what `to` does now.
    #[inline]
    pub(crate) fn ordered(&self, from: u32, time: u32, to: u32) -> bool {
        if time < self.everything || from == to {
            return true;
        }
        let any = from & ANY_LANE != 0;
        let from = from & !ANY_LANE;
        let (v, w) = ((from / 32) as usize, (to / 32) as usize);
        if time < self.seen[2 * w * self.warps + v] {
            return true;
        }
        let Some(lanes) = self.lanes[w].as_ref().filter(|_| v == w) else { return false };
        let row = &lanes[(to % 32) as usize];
        if any { (0..32).all(|l| l == (to % 32) as usize || time < row[l]) } else { time < row[(from % 32) as usize] }
    }

    #[inline]
    pub(crate) fn knows(&self, block: u32, time: u32) -> bool {
        self.known.get(&block).is_some_and(|known| time < *known)
    }

    pub(crate) fn warps(&self) -> usize {
        self.warps
    }

    fn tick(&mut self) -> u32 {
        self.time += 1;
        self.time
    }

    /// A barrier of the whole block.
    pub(crate) fn meet_all(&mut self) {
        self.everything = self.tick();
        if self.hands {
            let (all, width) = (u32::MAX >> (32 - self.warps), 2 * self.warps);
            for v in self.warps..width {
                let most = members(all).map(|w| self.seen[w * width + v]).max().unwrap_or(0);
                members(all).for_each(|w| self.seen[w * width + v] = most);
            }
        }
    }

    /// `fence.proxy.async` of a warp: what it has done and seen may be read asynchronously by it, and by whom it hands that on to.
    pub(crate) fn hand_over(&mut self, warp: usize) {
        self.hands = true;
        let (now, warps, everything) = (self.tick(), self.warps, self.everything);
        let row = &mut self.seen[2 * warp * warps..][..2 * warps];
        row[warp] = row[warp].max(everything);
        let (seen, handed) = row.split_at_mut(warps);
        handed.iter_mut().zip(seen).for_each(|(handed, seen)| *handed = (*handed).max(*seen).max(everything));
        handed[warp] = now;
    }

    /// Whether what thread `from` stored at `time` may be read asynchronously by warp `to`.
    pub(crate) fn handed(&self, from: u32, time: u32, to: usize) -> bool {
        time < self.seen[(2 * to + 1) * self.warps + (from / 32) as usize]
    }

    /// A view of nothing.
    pub(crate) fn no_view(&self) -> Vec<u32> {
        vec![0; 2 * self.warps]
    }

    /// A barrier at which the warps `arrived` arrive and the warps `waiting` wait.
    pub(crate) fn meet(&mut self, arrived: u32, waiting: u32) {
        let view = self.view(arrived);
        self.take(waiting, &view);
    }

    /// What the warps of a mask have done and seen: what an arrival hands on.
    pub(crate) fn view(&mut self, warps: u32) -> Vec<u32> {
        let mut view = self.no_view();
        for w in members(warps) {
            let row = &self.seen[w * view.len()..];
            view.iter_mut().zip(row).for_each(|(entry, seen)| *entry = (*entry).max(*seen));
        }
        let now = self.tick();
        members(warps).for_each(|w| view[w] = now);
        view
    }

    /// The warps of a mask now see what a view holds.
    pub(crate) fn take(&mut self, warps: u32, view: &[u32]) {
        for w in members(warps) {
            let row = &mut self.seen[w * view.len()..];
            row.iter_mut().zip(view).for_each(|(seen, entry)| *seen = (*seen).max(*entry));
        }
    }

    /// `bar.warp.sync` of the lanes `mask`, which are all that live in the warp if `whole`.
    pub(crate) fn meet_lanes(&mut self, warp: usize, mask: u32, whole: bool) {
        let now = self.tick();
        if whole {
            self.seen[2 * warp * self.warps + warp] = now;
            return;
        }
        let rows = self.lanes[warp].get_or_insert_with(|| Box::new([[0; 32]; 32]));
        let mut joined = [0; 32];
        for lane in members(mask) {
            joined.iter_mut().zip(rows[lane]).for_each(|(j, r)| *j = (*j).max(r));
        }
        members(mask).for_each(|lane| joined[lane] = now);
        members(mask).for_each(|lane| rows[lane] = joined);
    }

    /// A fence that other blocks can see.
    pub(crate) fn fence(&mut self) {
        self.fenced = Some(self.tick());
    }

    /// A strong access of block `block` to a place at which `place` was released.
    pub(crate) fn exchange(&mut self, block: u32, writes: bool, place: &mut HashMap<u32, u32>) {
        for (other, time) in place.iter() {
            let known = self.known.entry(*other).or_insert(0);
            *known = (*known).max(*time);
        }
        if let Some(time) = self.fenced.filter(|_| writes) {
            for (other, time) in &self.known {
                let entry = place.entry(*other).or_insert(0);
                *entry = (*entry).max(*time);
            }
            place.insert(block, time);
        }
    }
}

/// Set bits of a mask.
pub(crate) fn members(mask: u32) -> impl Iterator<Item = usize> + Clone {
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let lane = rest.trailing_zeros() as usize;
        rest &= rest - 1;
        Some(lane)
    })
}

#[cfg(test)]
mod tests {
    use super::Clocks;
    use std::collections::HashMap;

    #[test]
    fn a_barrier_of_some_warps_orders_these() {
        let mut clocks = Clocks::new(3);
        let before = clocks.time;
        clocks.meet(0b011, 0b011);
        assert!(clocks.ordered(0, before, 32) && clocks.ordered(0, before, 1) && !clocks.ordered(0, before, 64));
        clocks.meet(0b110, 0b110);
        assert!(clocks.ordered(0, before, 64), "handed on through warp 1");
        assert!(!clocks.ordered(64, before, 0));
    }

    #[test]
    fn arrivals_release_and_waits_acquire() {
        let mut clocks = Clocks::new(2);
        let before = clocks.time;
        clocks.meet(0b11, 0b10);
        assert!(clocks.ordered(0, before, 32) && !clocks.ordered(32, before, 0));
    }

    #[test]
    fn lanes_meet_in_parts() {
        let mut clocks = Clocks::new(1);
        let before = clocks.time;
        clocks.meet_lanes(0, 0b0011, false);
        assert!(clocks.ordered(0, before, 1) && !clocks.ordered(0, before, 2));
        clocks.meet_lanes(0, 0b0110, false);
        assert!(clocks.ordered(0, before, 2), "handed on through lane 1");
    }

    #[test]
    fn blocks_hand_on_through_a_fence() {
        let (mut a, mut b, mut place) = (Clocks::new(1), Clocks::new(1), HashMap::new());
        let before = a.time;
        a.exchange(0, true, &mut place);
        b.exchange(1, true, &mut place);
        assert!(!b.knows(0, before), "no fence");
        a.fence();
        a.exchange(0, true, &mut place);
        b.exchange(1, true, &mut place);
        assert!(b.knows(0, before));
    }
}
