//! Growing memory whose first byte lies on a 64-byte line, so that parts of an artifact in memory are aligned as in a
//! mapped file. Safe code: the vector is longer than needed and the content starts at its first aligned byte.

use bytes::Bytes;

const LINE: usize = 64;

/// Growing memory that starts on a line.
#[derive(Default)]
pub(crate) struct AlignedBytes {
    memory: Vec<u8>,
    start: usize,
}

impl AlignedBytes {
    /// The content.
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..]
    }

    /// The content, to be changed.
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..]
    }

    /// Appends `bytes`.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let wanted = self.memory.len() + bytes.len();
        if wanted > self.memory.capacity() {
            // Growing in place could move the content off its line, so the content is laid out anew.
            let mut memory: Vec<u8> = Vec::with_capacity((2 * self.memory.capacity()).max(wanted) + LINE);
            let start = memory.as_ptr().align_offset(LINE);
            memory.resize(start, 0);
            memory.extend_from_slice(self.as_slice());
            (self.memory, self.start) = (memory, start);
        }
        self.memory.extend_from_slice(bytes);
    }

    /// The content as shared bytes that start on a line.
    pub(crate) fn into_bytes(self) -> Bytes {
        let start = self.start;
        // `Bytes::from(Vec)` may shrink and so move the memory; an owner is kept as it is.
        Bytes::from_owner(self.memory).slice(start..)
    }
}

/// `bytes` where they start on a line, else a copy that does.
pub(crate) fn align(bytes: Bytes) -> Bytes {
    if bytes.as_ptr().align_offset(LINE) == 0 {
        return bytes;
    }
    let mut aligned = AlignedBytes::default();
    aligned.extend(&bytes);
    aligned.into_bytes()
}
