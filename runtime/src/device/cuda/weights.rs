//! Weights in the memory of a GPU: each part of a stored tensor that its plan names, once.
//!
//! They go there from the artifact's mapping through two pieces of pinned memory: while one is on its way, the other is
//! filled. So the host never holds more of them than those pieces, and what the mapping has in its cache.

use super::driver::{Context, DeviceMemory, Event, Pinned, Stream};
use actc_artifact::{Artifact, BufferKind, CudaPlan};
use actc_types::{Diagnostic, Result, Role};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes that are on their way at once.
const CHUNK: usize = 8 << 20;

/// Where a part starts: a multiple of this, as memory of the driver does.
const ALIGN: usize = 256;

/// The weights of a plan on a device.
#[derive(Debug)]
pub(crate) struct Weights {
    memory: Option<DeviceMemory>,
    /// First byte in `memory` of each part.
    places: BTreeMap<(u32, Role), u64>,
}

impl Weights {
    /// Copies what `plan` names from `artifact` to the device. The context is current.
    pub(crate) fn load(context: &Arc<Context>, artifact: &Artifact, plan: &CudaPlan) -> Result<Weights> {
        let mut places = BTreeMap::new();
        let buffers = plan.entries.iter().flat_map(|e| &e.buffers);
        for buffer in buffers {
            if let BufferKind::Tensor { tensor, role } = buffer.kind {
                places.insert((tensor, role), 0);
            }
        }
        let too_much = || Diagnostic::new("dim-overflow", "the weights exceed the address space");
        let mut parts = Vec::with_capacity(places.len());
        let mut total = 0usize;
        for ((tensor, role), place) in &mut places {
            // The part and the padding behind it, which kernels may read.
            let part = artifact.manifest().tensors[*tensor as usize].part(*role);
            let bytes = part.map_or(&[][..], |part| artifact.padded_part(part));
            *place = total as u64;
            parts.push((total, bytes));
            total =
                total.checked_add(bytes.len()).and_then(|n| n.checked_next_multiple_of(ALIGN)).ok_or_else(too_much)?;
        }
        if total == 0 {
            return Ok(Weights { memory: None, places });
        }
        let memory = DeviceMemory::new(context, total, "the model's weights")?;
        Staging::new(context)?.copy(&memory, &parts)?;
        Ok(Weights { memory: Some(memory), places })
    }

    /// Address of the part `role` of tensor `tensor`, which the plan names.
    pub(crate) fn address(&self, tensor: u32, role: Role) -> u64 {
        let start = self.memory.as_ref().map_or(0, DeviceMemory::address);
        self.places.get(&(tensor, role)).map_or(0, |place| start + place)
    }

    /// Bytes that they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.as_ref().map_or(0, |memory| memory.bytes() as u64)
    }
}

/// Pinned memory that copies go through, in turns.
struct Staging {
    stream: Stream,
    pieces: Vec<(Pinned, Event)>,
}

/// A copy from a place in a piece to one on the device.
struct Parcel {
    to: u64,
    at: usize,
    bytes: usize,
}

impl Staging {
    fn new(context: &Arc<Context>) -> Result<Staging> {
        let piece = |_| Ok((Pinned::new(context, CHUNK)?, Event::new(context)?));
        Ok(Staging { stream: Stream::new(context)?, pieces: (0..2).map(piece).collect::<Result<_>>()? })
    }

    /// Copies each of `parts` to its place in `memory`, and waits until all are there.
    fn copy(mut self, memory: &DeviceMemory, parts: &[(usize, &[u8])]) -> Result<()> {
        let sent = self.send(memory, parts);
        // What was sent before an error is still on its way.
        self.stream.wait().and(sent)
    }

    fn send(&mut self, memory: &DeviceMemory, parts: &[(usize, &[u8])]) -> Result<()> {
        let chunks = parts
            .iter()
            .flat_map(|(at, bytes)| bytes.chunks(CHUNK).enumerate().map(move |(i, chunk)| (at + i * CHUNK, chunk)));
        // Small parts share a piece, which goes when it is full.
        let (mut turn, mut filled, mut parcels) = (0, 0, Vec::new());
        for (to, chunk) in chunks {
            if filled + chunk.len() > CHUNK {
                self.dispatch(turn, &mut parcels)?;
                turn = (turn + 1) % self.pieces.len();
                filled = 0;
                self.pieces[turn].1.wait()?;
            }
            self.pieces[turn].0.bytes_mut()[filled..filled + chunk.len()].copy_from_slice(chunk);
            parcels.push(Parcel { to: memory.address() + to as u64, at: filled, bytes: chunk.len() });
            filled += chunk.len();
        }
        self.dispatch(turn, &mut parcels)
    }

    fn dispatch(&self, turn: usize, parcels: &mut Vec<Parcel>) -> Result<()> {
        let (piece, event) = &self.pieces[turn];
        for Parcel { to, at, bytes } in parcels.drain(..) {
            self.stream.copy_in(to, piece, at, bytes)?;
        }
        self.stream.record(event)
    }
}
