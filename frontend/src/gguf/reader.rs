//! A cursor over untrusted bytes: little-endian scalars, strings and counts, each bounded by the bytes that are left.
//!
//! Every error says at which byte of the file it was found. A count is accepted only where that many elements of the
//! least possible size still fit, so that no declared number ever decides on an allocation.

use super::Version;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;

/// The position in a GGUF file.
pub(super) struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
    file: &'a str,
    version: Version,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a Bytes, file: &'a str) -> Reader<'a> {
        Reader { bytes, at: 0, file, version: Version::V3 }
    }

    /// From here on counts and lengths have the width of `version`.
    pub(super) fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Bytes from the start of the file.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// What was read since byte `from`.
    pub(super) fn behind(&self, from: usize) -> Bytes {
        self.bytes.slice(from..self.at)
    }

    /// A finding at byte `offset`.
    pub(super) fn wrong(&self, offset: usize, code: &'static str, headline: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, headline).at(Place::Offset { file: self.file.into(), offset: offset as u64 })
    }

    /// The next `n` bytes, as a slice of the mapping.
    pub(super) fn take(&mut self, n: u64, what: &str) -> Result<Bytes> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(n) {
            Ok(n) if n <= left => {
                let slice = self.bytes.slice(self.at..self.at + n);
                self.at += n;
                Ok(slice)
            }
            _ => {
                let headline = format!("{what} needs {n} bytes, {left} are left");
                Err(self.wrong(self.at, "gguf-truncated", headline).help("the file is damaged or was not fully copied"))
            }
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let left = self.bytes.len() - self.at;
        match self.bytes[self.at..].first_chunk::<N>() {
            Some(chunk) => {
                self.at += N;
                Ok(*chunk)
            }
            None => {
                let headline = format!("{what} needs {N} bytes, {left} are left");
                Err(self.wrong(self.at, "gguf-truncated", headline).help("the file is damaged or was not fully copied"))
            }
        }
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A length or count: 32 bits in version 1, 64 later.
    pub(super) fn size(&mut self, what: &str) -> Result<u64> {
        match self.version {
            Version::V1 => self.u32(what).map(u64::from),
            Version::V2 | Version::V3 => self.u64(what),
        }
    }

    /// Bytes of a length or count.
    pub(super) fn size_width(&self) -> u64 {
        match self.version {
            Version::V1 => 4,
            Version::V2 | Version::V3 => 8,
        }
    }

    /// A count of things that take at least `least` bytes each, refused where they cannot fit in what is left.
    pub(super) fn count(&mut self, least: u64, what: &str) -> Result<u64> {
        let start = self.at;
        let n = self.size(what)?;
        let left = (self.bytes.len() - self.at) as u64;
        if n.checked_mul(least).is_none_or(|bytes| bytes > left) {
            let headline = format!("{what} is {n}, but only {left} bytes are left");
            return Err(self.wrong(start, "gguf-count", headline).help("the file is damaged or was not fully copied"));
        }
        Ok(n)
    }

    /// A string: its length, then UTF-8.
    pub(super) fn string(&mut self, what: &str) -> Result<Bytes> {
        let n = self.size(what)?;
        let start = self.at;
        let bytes = self.take(n, what)?;
        match std::str::from_utf8(&bytes) {
            Ok(_) => Ok(bytes),
            Err(e) => Err(self.wrong(start + e.valid_up_to(), "gguf-utf8", format!("{what} is no UTF-8"))),
        }
    }

    /// A string of 1 to `limit` bytes that names something.
    pub(super) fn name(&mut self, limit: usize, what: &str) -> Result<String> {
        let start = self.at;
        let bytes = self.string(what)?;
        if bytes.is_empty() || bytes.len() > limit {
            let headline = format!("{what} has {} bytes, expected 1 to {limit}", bytes.len());
            return Err(self.wrong(start, "gguf-name", headline));
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}
