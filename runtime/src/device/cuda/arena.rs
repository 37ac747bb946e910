//! Memory of a session on a GPU, and the pinned memory of the host beside it.
//!
//! What a run puts there before it starts, sizes and inputs, lies in one piece, so that it takes one copy. Memory only grows,
//! in steps, so that a run of a little more than the last one finds its memory where it was.

use super::driver::{Context, DeviceMemory, Pinned, Stream};
use crate::wanted::{Wanted, check_limit};
use actc_types::Result;
use std::sync::Arc;

/// Bytes of a buffer for errors.
pub(crate) const ERRORS: usize = 64;

/// What memory of a run is for, in messages.
const BUFFERS: &str = "the buffers of a run";

/// Device memory that grows.
#[derive(Debug, Default)]
pub(crate) struct Room(Option<DeviceMemory>);

impl Room {
    /// Its address, 0 as long as nothing was asked for.
    pub(crate) fn address(&self) -> u64 {
        self.0.as_ref().map_or(0, DeviceMemory::address)
    }

    /// Bytes that it has room for.
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, DeviceMemory::bytes)
    }

    fn holds(&self, bytes: usize) -> bool {
        self.0.as_ref().is_some_and(|memory| bytes <= memory.bytes())
    }

    /// Bytes of device memory that it takes.
    fn taken(&self) -> usize {
        self.0.as_ref().map_or(0, |memory| DeviceMemory::taken(memory.bytes()))
    }

    /// Makes room for `bytes`; what was there is lost where it has to grow.
    fn reserve(&mut self, context: &Arc<Context>, bytes: usize) -> Result<()> {
        if !self.holds(bytes) {
            // The old memory goes first, so that both are never held.
            self.0 = None;
            self.0 = Some(DeviceMemory::new(context, stepped(bytes), BUFFERS)?);
        }
        Ok(())
    }
}

/// At least `bytes`, at most an eighth more: sizes that grow by a token at a time stay the same for a while.
fn stepped(bytes: usize) -> usize {
    let unit = bytes.checked_next_power_of_two().map_or(1, |n| n / 16).max(512);
    bytes.max(1).checked_next_multiple_of(unit).unwrap_or(bytes)
}

/// A state of a session.
#[derive(Debug)]
pub(crate) struct State {
    pub memory: DeviceMemory,
    pub dims: Vec<u64>,
    pub bytes: usize,
}

/// Device memory of a session, and pinned memory of the host.
#[derive(Debug)]
pub(crate) struct Arena {
    context: Arc<Context>,
    pub states: Vec<State>,
    slots: Vec<Room>,
    outputs: Vec<Room>,
    /// Sizes and inputs, on the device and where the host writes them.
    inward: Room,
    pub sent: Option<Pinned>,
    /// Outputs where the host reads them.
    pub given: Vec<Pinned>,
    errors: DeviceMemory,
    /// What a kernel found wrong, where the host reads it, and behind it what decides about steps.
    pub read: Pinned,
    /// How often memory moved.
    pub epoch: u64,
    limit: u64,
}

impl Arena {
    /// Memory for states of `sizes`, all zero, and no other yet; all together at most `limit` bytes. The context is current.
    pub(crate) fn new(stream: &Stream, sizes: Vec<(Vec<u64>, usize)>, limit: u64) -> Result<Arena> {
        let context = stream.context();
        check_limit(sizes.iter().map(|(_, bytes)| *bytes), limit)?;
        let all = sizes.iter().fold(0usize, |n, (_, bytes)| n.saturating_add(DeviceMemory::taken(*bytes)));
        DeviceMemory::ask(context, all, "the states of a session")?;
        let mut states = Vec::with_capacity(sizes.len());
        for (dims, bytes) in sizes {
            let memory = DeviceMemory::new(context, bytes, "a state of a session")?;
            stream.zero(&memory, bytes)?;
            states.push(State { memory, dims, bytes });
        }
        Ok(Arena {
            context: context.clone(),
            states,
            slots: Vec::new(),
            outputs: Vec::new(),
            inward: Room::default(),
            sent: None,
            given: Vec::new(),
            errors: DeviceMemory::new(context, ERRORS, BUFFERS)?,
            read: Pinned::new(context, 2 * ERRORS)?,
            epoch: 0,
            limit,
        })
    }

    /// Makes room for what a run wants: `inward` bytes of sizes and inputs, slots and outputs. Nothing is in flight.
    pub(crate) fn reserve(&mut self, inward: usize, wanted: &Wanted) -> Result<()> {
        let fits = |rooms: &[Room], sizes: &[usize]| {
            rooms.len() >= sizes.len() && rooms.iter().zip(sizes).all(|(room, bytes)| room.holds(*bytes))
        };
        if !self.inward.holds(inward) || !fits(&self.slots, &wanted.slots) || !fits(&self.outputs, &wanted.outputs) {
            self.grow(inward, wanted)?;
        }
        self.reserve_pinned(inward, wanted)
    }

    fn grow(&mut self, inward: usize, wanted: &Wanted) -> Result<()> {
        self.epoch += 1;
        self.slots.resize_with(self.slots.len().max(wanted.slots.len()), Room::default);
        self.outputs.resize_with(self.outputs.len().max(wanted.outputs.len()), Room::default);
        self.check(inward, wanted)?;
        let pairs = self.slots.iter_mut().zip(&wanted.slots).chain(self.outputs.iter_mut().zip(&wanted.outputs));
        for (room, bytes) in pairs.chain([(&mut self.inward, &inward)]) {
            room.reserve(&self.context, *bytes)?;
        }
        Ok(())
    }

    /// Pinned memory for the same.
    fn reserve_pinned(&mut self, inward: usize, wanted: &Wanted) -> Result<()> {
        let small = |pinned: Option<&Pinned>, bytes: usize| pinned.is_none_or(|p| p.bytes().len() < bytes);
        if small(self.sent.as_ref(), inward) {
            self.epoch += 1;
            self.sent = None;
            self.sent = Some(Pinned::new(&self.context, stepped(inward))?);
        }
        for (i, bytes) in wanted.outputs.iter().enumerate() {
            if small(self.given.get(i), *bytes) {
                self.epoch += 1;
                let pinned = Pinned::new(&self.context, stepped(*bytes))?;
                match self.given.get_mut(i) {
                    Some(place) => *place = pinned,
                    None => self.given.push(pinned),
                }
            }
        }
        Ok(())
    }

    /// An error where what a run wants is more than is allowed, or than the device has.
    fn check(&self, inward: usize, wanted: &Wanted) -> Result<()> {
        let slots = self.slots.iter().enumerate().map(|(i, room)| (room, wanted.slots.get(i)));
        let outputs = self.outputs.iter().enumerate().map(|(i, room)| (room, wanted.outputs.get(i)));
        let all = slots.chain(outputs).chain([(&self.inward, Some(&inward))]);
        let (mut held, mut more, mut less) = (Vec::new(), 0usize, 0usize);
        for (room, bytes) in all {
            let bytes = bytes.copied().unwrap_or(0);
            held.push(bytes.max(room.bytes()));
            if !room.holds(bytes) {
                more = more.saturating_add(DeviceMemory::taken(stepped(bytes)));
                less = less.saturating_add(room.taken());
            }
        }
        check_limit(held.into_iter().chain(self.states.iter().map(|s| s.bytes)), self.limit)?;
        DeviceMemory::ask(&self.context, more.saturating_sub(less), BUFFERS)
    }

    /// Where sizes and inputs lie on the device.
    pub(crate) fn inward(&self) -> u64 {
        self.inward.address()
    }

    /// Where slot `i` lies.
    pub(crate) fn slot(&self, i: usize) -> u64 {
        self.slots.get(i).map_or(0, Room::address)
    }

    /// Where output `i` lies.
    pub(crate) fn output(&self, i: usize) -> u64 {
        self.outputs.get(i).map_or(0, Room::address)
    }

    /// Where errors are told.
    pub(crate) fn errors(&self) -> u64 {
        self.errors.address()
    }

    /// Makes room for `bytes` that the host is going to read. Nothing is in flight.
    pub(crate) fn reserve_read(&mut self, bytes: usize) -> Result<()> {
        if self.read.bytes().len() < bytes {
            self.read = Pinned::new(&self.context, bytes)?;
            self.epoch += 1;
        }
        Ok(())
    }

    /// Bytes of device memory for inputs with sizes, for outputs, and for slots.
    pub(crate) fn taken(&self) -> (u64, u64, u64) {
        let sum = |rooms: &[Room]| rooms.iter().map(|room| room.taken() as u64).sum();
        (self.inward.taken() as u64, sum(&self.outputs), sum(&self.slots))
    }
}

#[cfg(test)]
mod tests {
    use super::stepped;

    #[test]
    fn sizes_grow_in_steps() {
        let mut last = 0;
        let mut changes = 0;
        for bytes in (0..100_000).step_by(4) {
            let room = stepped(bytes);
            assert!(room >= bytes && room <= bytes + (bytes / 8).max(512), "{bytes}: {room}");
            assert!(room >= last);
            changes += usize::from(room != last);
            last = room;
        }
        assert!(changes < 100, "{changes}");
        assert_eq!(stepped(usize::MAX), usize::MAX);
    }
}
