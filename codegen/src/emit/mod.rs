//! Emitters: tables that print legalised [`kir`](crate::kir) as machine code.
//!
//! Compiled code is position-independent and free of relocations: it can be copied to any 64-byte aligned executable
//! address and called.

pub mod cranelift;

use actc_types::{Diagnostic, Result};

/// Bytes to which every function of an image is aligned.
pub const ALIGN: usize = 64;

/// Machine code of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledKernel {
    /// Its symbol.
    pub symbol: String,
    /// Machine code with its constants; the entry is its first byte.
    pub code: Vec<u8>,
    /// The emitter's text, for people.
    pub text: String,
}

/// Code of several kernels as one flat image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The code; each function starts on a multiple of [`ALIGN`].
    pub code: Vec<u8>,
    /// Symbols with their offsets in `code`, in the order given.
    pub symbols: Vec<(String, usize)>,
}

impl Image {
    /// Appends a kernel; refuses a symbol that is there already.
    pub fn push(&mut self, kernel: &CompiledKernel) -> Result<()> {
        if self.offset(&kernel.symbol).is_some() {
            return Err(Diagnostic::new("kernel-symbol-twice", format!("two kernels are called `{}`", kernel.symbol)));
        }
        self.code.resize(self.code.len().next_multiple_of(ALIGN), 0);
        self.symbols.push((kernel.symbol.clone(), self.code.len()));
        self.code.extend_from_slice(&kernel.code);
        Ok(())
    }

    /// Where the function `symbol` starts.
    pub fn offset(&self, symbol: &str) -> Option<usize> {
        self.symbols.iter().find(|(s, _)| s == symbol).map(|(_, at)| *at)
    }
}
