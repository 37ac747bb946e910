//! Loads, stores and atomic updates of one lane: bounds, alignment, what was written, races, copies under way.

use super::step::{Step, Stop};
use crate::memory::shadow::{Actor, Conflict, Strength};
use crate::report::{Access, Fault, Space};

/// Generic addresses of the other spaces.
pub(crate) const SHARED_WINDOW: u64 = 1 << 40;
pub(crate) const LOCAL_WINDOW: u64 = 2 << 40;
pub(crate) const PARAM_WINDOW: u64 = 3 << 40;
const WINDOW: u64 = 1 << 32;

/// The space that an instruction names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Generic,
    In(Space),
}

impl Where {
    /// The space of an address, and the address within it.
    #[inline]
    pub(crate) fn locate(self, address: u64) -> (Space, u64) {
        match self {
            Self::In(space) => (space, address),
            Self::Generic if address.wrapping_sub(SHARED_WINDOW) < WINDOW => (Space::Shared, address - SHARED_WINDOW),
            Self::Generic if address.wrapping_sub(LOCAL_WINDOW) < WINDOW => (Space::Local, address - LOCAL_WINDOW),
            Self::Generic if address.wrapping_sub(PARAM_WINDOW) < WINDOW => (Space::Param, address - PARAM_WINDOW),
            Self::Generic => (Space::Global, address),
        }
    }
}

fn number(bytes: &[u8]) -> u128 {
    let mut buffer = [0; 16];
    buffer[..bytes.len()].copy_from_slice(bytes);
    u128::from_le_bytes(buffer)
}

impl Step<'_> {
    fn actor(&self, lane: usize, strength: Strength) -> Actor {
        Actor { block: self.block.number, thread: self.warp.index * 32 + lane as u32, line: self.line, strength }
    }

    /// `bytes` bytes, at most 16, and whether all of them were written; bytes of local memory may be unwritten.
    pub(crate) fn load(
        &mut self,
        lane: usize,
        place: Where,
        address: u64,
        bytes: usize,
        strength: Strength,
    ) -> Result<(u128, bool), Stop> {
        let (space, address) = place.locate(address);
        self.aligned(space, Access::Read, address, bytes).map_err(|f| f.at(lane))?;
        self.cost.moved(space, false, bytes as u64);
        let outside = |near: String| Fault::OutOfBounds { space, access: Access::Read, address, bytes, near }.at(lane);
        let unwritten = Fault::Uninitialised { space, address, bytes };
        match space {
            Space::Global => {
                let actor = self.actor(lane, strength);
                let Some((allocation, at)) = self.memory.find(address, bytes) else {
                    return Err(self.memory.outside(Access::Read, address, bytes).at(lane));
                };
                if !allocation.written.all(at, bytes) {
                    return Err(unwritten.at(lane));
                }
                let value = number(&allocation.data[at..at + bytes]);
                if !allocation.read_only {
                    let touched = allocation.shadow.touch(at, bytes, Access::Read, actor, &self.block.clocks, false);
                    touched.map_err(|c| race(space, Access::Read, address, c).at(lane))?;
                }
                self.exchange(address, strength, false);
                Ok((value, true))
            }
            Space::Shared => {
                let at = self.shared(lane, Access::Read, address, bytes)?;
                let actor = self.actor(lane, strength);
                let shared = &mut self.block.shared;
                if !shared.written.all(at, bytes) {
                    return Err(unwritten.at(lane));
                }
                let touched = shared.shadow.touch(at, bytes, Access::Read, actor, &self.block.clocks, false);
                touched.map_err(|c| race(space, Access::Read, address, c).at(lane))?;
                Ok((number(&shared.data[at..at + bytes]), true))
            }
            Space::Local => {
                let at = self.local(lane, address, bytes).ok_or_else(|| outside(self.near_local()))?;
                let data = &self.block.local;
                Ok((number(&data[at..at + bytes]), self.block.local_written.all(at, bytes)))
            }
            Space::Param => {
                let params = self.launch.params;
                let at = usize::try_from(address).ok().filter(|at| at.saturating_add(bytes) <= params.len());
                let at = at.ok_or_else(|| outside(format!("there are {} bytes of parameters", params.len())))?;
                Ok((number(&params[at..at + bytes]), true))
            }
        }
    }

    pub(crate) fn store(
        &mut self,
        lane: usize,
        place: Where,
        address: u64,
        bytes: usize,
        value: u128,
        strength: Strength,
    ) -> Result<(), Stop> {
        let (space, address) = place.locate(address);
        self.aligned(space, Access::Write, address, bytes).map_err(|f| f.at(lane))?;
        self.cost.moved(space, true, bytes as u64);
        let value = &value.to_le_bytes()[..bytes];
        match space {
            Space::Global => {
                let actor = self.actor(lane, strength);
                let Some((allocation, at)) = self.memory.find(address, bytes) else {
                    return Err(self.memory.outside(Access::Write, address, bytes).at(lane));
                };
                if allocation.read_only {
                    return Err(Fault::ReadOnly { address }.at(lane));
                }
                let data = &mut allocation.data[at..at + bytes];
                let touched =
                    allocation.shadow.touch(at, bytes, Access::Write, actor, &self.block.clocks, data == value);
                touched.map_err(|c| race(space, Access::Write, address, c).at(lane))?;
                data.copy_from_slice(value);
                allocation.written.set(at, bytes);
                self.exchange(address, strength, true);
            }
            Space::Shared => {
                let at = self.shared(lane, Access::Write, address, bytes)?;
                let actor = self.actor(lane, strength);
                let shared = &mut self.block.shared;
                let data = &mut shared.data[at..at + bytes];
                let touched = shared.shadow.touch(at, bytes, Access::Write, actor, &self.block.clocks, data == value);
                touched.map_err(|c| race(space, Access::Write, address, c).at(lane))?;
                data.copy_from_slice(value);
                shared.written.set(at, bytes);
            }
            Space::Local => {
                let near = self.near_local();
                let at = self.local(lane, address, bytes);
                let at = at.ok_or_else(|| {
                    Fault::OutOfBounds { space, access: Access::Write, address, bytes, near }.at(lane)
                })?;
                self.block.local[at..at + bytes].copy_from_slice(value);
                self.block.local_written.set(at, bytes);
            }
            Space::Param => return Err(Fault::ReadOnly { address }.at(lane)),
        }
        Ok(())
    }

    /// Reads, lets `f` say what to write (`None`: nothing), and returns what was there.
    pub(crate) fn modify(
        &mut self,
        lane: usize,
        place: Where,
        address: u64,
        bytes: usize,
        f: impl FnOnce(u128) -> Option<u128>,
    ) -> Result<u128, Stop> {
        let (space, at) = place.locate(address);
        self.aligned(space, Access::Atomic, at, bytes).map_err(|f| f.at(lane))?;
        if !matches!(space, Space::Global | Space::Shared) {
            let what = format!("an atomic access to {space} memory");
            return Err(Fault::BadOperand { what }.at(lane));
        }
        let (before, _) = self.load(lane, place, address, bytes, Strength::Atomic)?;
        if let Some(after) = f(before) {
            self.store(lane, place, address, bytes, after, Strength::Atomic)?;
        }
        Ok(before)
    }

    /// Sixteen bytes of shared memory as tensor cores and copies out of it read them, and where they are.
    pub(crate) fn load_async(&mut self, lane: usize, address: u64) -> Result<(usize, u128), Stop> {
        let (bytes, space) = (16, Space::Shared);
        self.aligned(space, Access::Read, address, bytes).map_err(|f| f.at(lane))?;
        let at = self.shared(lane, Access::Read, address, bytes)?;
        let actor = self.actor(lane, Strength::Weak);
        let shared = &self.block.shared;
        if !shared.written.all(at, bytes) {
            return Err(Fault::Uninitialised { space, address, bytes }.at(lane));
        }
        if let Err((conflict, ordered)) = shared.shadow.read_async(at, bytes, actor, &self.block.clocks) {
            let fault = if ordered {
                Fault::NoProxyFence { address: address + conflict.offset as u64, other_line: conflict.line }
            } else {
                race(space, Access::Read, address, conflict)
            };
            return Err(fault.at(lane));
        }
        Ok((at, number(&shared.data[at..at + bytes])))
    }

    /// Where in shared memory an address is; no copy is writing there, and what is written no product reads.
    pub(crate) fn shared(&mut self, lane: usize, access: Access, address: u64, bytes: usize) -> Result<usize, Stop> {
        let space = Space::Shared;
        let shared = &self.block.shared;
        let at = shared.find(address, bytes).ok_or_else(|| {
            let near =
                format!("the block has {} bytes from {:#x} on", shared.data.len(), crate::memory::shared::RESERVED);
            Fault::OutOfBounds { space, access, address, bytes, near }.at(lane)
        })?;
        if let Some(pending) = shared.pending(at, bytes) {
            return Err(Fault::PendingCopy { address, copy_line: pending.line }.at(lane));
        }
        if access != Access::Read {
            let (thread, block) = (self.warp.index * 32 + lane as u32, &mut *self.block);
            let free = block.products.overwrite(at, bytes, thread, &block.clocks);
            free.map_err(|product_line| Fault::PendingProduct { address, product_line }.at(lane))?;
        }
        Ok(at)
    }

    /// Records that a copy by this lane writes shared memory now.
    pub(crate) fn shared_written(&mut self, lane: usize, at: usize, bytes: usize, line: u32) -> Result<(), Stop> {
        let actor = Actor { line, ..self.actor(lane, Strength::Weak) };
        let address = (at + crate::memory::shared::RESERVED) as u64;
        let shared = &mut self.block.shared;
        // A cell's access crosses no multiple of 16.
        for piece in (at..at + bytes).step_by(16) {
            let length = (at + bytes - piece).min(16);
            let touched = shared.shadow.touch(piece, length, Access::Write, actor, &self.block.clocks, false);
            touched.map_err(|c| race(Space::Shared, Access::Write, address, c).at(lane))?;
        }
        shared.written.set(at, bytes);
        Ok(())
    }

    fn local(&self, lane: usize, address: u64, bytes: usize) -> Option<usize> {
        let size = self.launch.kernel.local as usize;
        let at = usize::try_from(address).ok().filter(|at| at.saturating_add(bytes) <= size)?;
        Some((self.warp.index as usize * 32 + lane) * size + at)
    }

    /// Bytes of local memory count as unwritten again.
    pub(crate) fn forget_local(&mut self, lane: usize, address: u64, bytes: usize) {
        if let Some(at) = self.local(lane, address, bytes) {
            self.block.local_written.clear(at, bytes);
        }
    }

    fn near_local(&self) -> String {
        format!("a thread has {} bytes", self.launch.kernel.local)
    }

    fn aligned(&self, space: Space, access: Access, address: u64, bytes: usize) -> Result<(), Fault> {
        if address.is_multiple_of(bytes as u64) {
            Ok(())
        } else {
            Err(Fault::Misaligned { space, access, address, bytes })
        }
    }

    /// Order between blocks through a strong access.
    fn exchange(&mut self, address: u64, strength: Strength, writes: bool) {
        if strength > Strength::Weak {
            let place = self.memory.released.entry(address).or_default();
            self.block.clocks.exchange(self.block.number, writes, place);
        }
    }

    /// Counts the pieces of 32 bytes that a warp's access to device memory touches.
    pub(crate) fn count_sectors(&mut self, place: Where, addresses: &[u64; 32], bytes: usize, write: bool) {
        let mut sectors = [0u64; 32];
        let mut count = 0;
        for lane in self.lanes() {
            if place.locate(addresses[lane]).0 == Space::Global {
                let sector = addresses[lane] / 32;
                if count == 0 || sectors[count - 1] != sector {
                    sectors[count] = sector;
                    count += 1;
                }
            }
        }
        let found = &mut sectors[..count];
        if !found.is_sorted() {
            found.sort_unstable();
        }
        let distinct = found.chunk_by(|a, b| a == b).count();
        self.cost.sectors[usize::from(write)] += (distinct * bytes.div_ceil(32)) as u64;
    }
}

fn race(space: Space, access: Access, address: u64, conflict: Conflict) -> Fault {
    Fault::Race {
        space,
        access,
        address: address + conflict.offset as u64,
        other: conflict.other,
        other_block: conflict.block,
        other_thread: conflict.thread,
        other_line: conflict.line,
    }
}
