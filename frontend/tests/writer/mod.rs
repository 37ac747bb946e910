//! A GGUF writer for tests: it writes what it is told, also what no reader should accept.

/// Value type codes of the format.
pub(crate) const U32: u32 = 4;
pub(crate) const F32: u32 = 6;
pub(crate) const BOOL: u32 = 7;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// Bytes of a GGUF file under construction.
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
    version: u32,
}

impl Writer {
    /// Magic, version and the two counts.
    pub(crate) fn new(version: u32, tensors: u64, pairs: u64) -> Writer {
        let mut w = Writer { bytes: b"GGUF".to_vec(), version };
        w.u32(version);
        w.size(tensors);
        w.size(pairs);
        w
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Writer {
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u32(&mut self, n: u32) -> &mut Writer {
        self.raw(&n.to_le_bytes())
    }

    pub(crate) fn u64(&mut self, n: u64) -> &mut Writer {
        self.raw(&n.to_le_bytes())
    }

    /// A length or count in the width of the version.
    pub(crate) fn size(&mut self, n: u64) -> &mut Writer {
        if self.version == 1 { self.u32(n as u32) } else { self.u64(n) }
    }

    pub(crate) fn string(&mut self, text: &[u8]) -> &mut Writer {
        self.size(text.len() as u64);
        self.raw(text)
    }

    /// A key and its value's type.
    pub(crate) fn key(&mut self, key: &str, kind: u32) -> &mut Writer {
        self.string(key.as_bytes());
        self.u32(kind)
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Writer {
        self.key(key, STRING);
        self.string(value.as_bytes())
    }

    pub(crate) fn number(&mut self, key: &str, value: u32) -> &mut Writer {
        self.key(key, U32);
        self.u32(value)
    }

    pub(crate) fn float(&mut self, key: &str, value: f32) -> &mut Writer {
        self.key(key, F32);
        self.raw(&value.to_le_bytes())
    }

    /// The number of pairs that were written, for those who must say it.
    pub(crate) fn pairs(&mut self, count: u64) -> u64 {
        count
    }

    /// An array's key, element type and length.
    pub(crate) fn array(&mut self, key: &str, kind: u32, length: u64) -> &mut Writer {
        self.key(key, ARRAY);
        self.u32(kind);
        self.size(length)
    }

    /// A line of the directory; `dims` innermost first, as the file has them.
    pub(crate) fn tensor(&mut self, name: &str, dims: &[u64], code: u32, offset: u64) -> &mut Writer {
        self.string(name.as_bytes());
        self.u32(dims.len() as u32);
        for d in dims {
            self.size(*d);
        }
        self.u32(code);
        self.u64(offset)
    }

    /// Zeros up to a multiple of `alignment`.
    pub(crate) fn pad(&mut self, alignment: usize) -> &mut Writer {
        let length = self.bytes.len().next_multiple_of(alignment);
        self.bytes.resize(length, 0);
        self
    }
}
