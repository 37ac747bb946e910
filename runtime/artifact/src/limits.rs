//! Bounds on what a file may ask of its reader. Every bound is checked before memory is taken.

/// Bounds on what a file may ask of its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the manifest.
    pub manifest_bytes: u64,
    /// Messages inside the manifest: tensors, parts, ports, buffers, steps and so on, all together.
    pub messages: usize,
    /// Depth to which `If` and `Loop` may nest.
    pub nesting: usize,
    /// Bytes of a JSON text, the tokenizer's or the report's, after decompression.
    pub tokenizer_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { manifest_bytes: 16 << 20, messages: 1 << 18, nesting: 8, tokenizer_bytes: 256 << 20 }
    }
}

/// How an artifact is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether the digest of every section is checked. This reads the whole file.
    pub verify: bool,
    /// Bounds on what the file may ask for.
    pub limits: Limits,
}

impl Default for ReadOptions {
    fn default() -> ReadOptions {
        ReadOptions { verify: true, limits: Limits::default() }
    }
}
