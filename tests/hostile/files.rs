//! Writers of files that no reader should accept.

use actc::artifact::{ALIGN, Digest, HEADER_BYTES, Header, KERNEL_ABI_VERSION, Section, SectionRow};

/// Value type codes of GGUF.
pub(crate) const U32: u32 = 4;
pub(crate) const STRING: u32 = 8;
pub(crate) const ARRAY: u32 = 9;

/// A GGUF file under construction. It writes what it is told.
pub(crate) struct Gguf(pub(crate) Vec<u8>);

impl Gguf {
    /// Magic, version 3, the two counts.
    pub(crate) fn new(tensors: u64, pairs: u64) -> Gguf {
        Gguf(b"GGUF\x03\0\0\0".to_vec()).u64(tensors).u64(pairs)
    }

    pub(crate) fn raw(mut self, bytes: &[u8]) -> Gguf {
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn u32(self, n: u32) -> Gguf {
        self.raw(&n.to_le_bytes())
    }

    pub(crate) fn u64(self, n: u64) -> Gguf {
        self.raw(&n.to_le_bytes())
    }

    pub(crate) fn string(self, text: &str) -> Gguf {
        self.u64(text.len() as u64).raw(text.as_bytes())
    }

    pub(crate) fn key(self, key: &str, kind: u32) -> Gguf {
        self.string(key).u32(kind)
    }

    pub(crate) fn number(self, key: &str, value: u32) -> Gguf {
        self.key(key, U32).u32(value)
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Gguf {
        self.key(key, STRING).string(value)
    }

    /// An array's key, element type and length.
    pub(crate) fn array(self, key: &str, kind: u32, length: u64) -> Gguf {
        self.key(key, ARRAY).u32(kind).u64(length)
    }

    /// A line of the directory.
    pub(crate) fn tensor(self, name: &str, dims: &[u64], code: u32, offset: u64) -> Gguf {
        let head = self.string(name).u32(dims.len() as u32);
        dims.iter().fold(head, |w, d| w.u64(*d)).u32(code).u64(offset)
    }

    /// Zeros to the next multiple of 32, then `data` bytes.
    pub(crate) fn data(mut self, data: usize) -> Gguf {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + data, 0);
        self
    }
}

/// A safetensors file: the header with its length, and `data` zeros.
pub(crate) fn safetensors(header: &str, data: usize) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.resize(out.len() + data, 0);
    out
}

/// A header with one tensor.
pub(crate) fn one_tensor(dtype: &str, shape: &str, start: u64, end: u64) -> String {
    format!(r#"{{"t":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}}}"#)
}

/// An artifact of these sections, with digests that agree.
pub(crate) fn artifact(sections: &[(Section, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; HEADER_BYTES];
    let mut rows = Vec::new();
    for (section, bytes) in sections {
        file.resize(file.len().next_multiple_of(ALIGN as usize), 0);
        let (offset, length) = (file.len() as u64, bytes.len() as u64);
        rows.push(SectionRow { section: section.clone(), offset, length, digest: Digest::of(bytes) });
        file.extend_from_slice(bytes);
    }
    let header = Header { kernel_abi: KERNEL_ABI_VERSION, file_length: file.len() as u64, rows };
    file[..HEADER_BYTES].copy_from_slice(&header.encode().expect("these sections fit a header"));
    file
}
