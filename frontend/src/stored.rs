//! Tensors as a file stores them: a name, a type, an encoding, extents and the bytes in the mapping.
//!
//! Both container readers end here; families (see [`crate::arch`]) start here. A [`Stored`] tensor is consistent: its
//! bytes have exactly the length that its encoding and extents ask for.

use actc_types::{DType, Diagnostic, Encoding, Place, Result};
use bytes::Bytes;
use std::collections::HashMap;

/// The most tensors a model may have.
pub const MAX_TENSORS: usize = 1 << 18;
/// The longest name of a tensor, in bytes.
pub const MAX_NAME: usize = 1024;

/// One tensor of a file.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its name in the file.
    pub name: String,
    /// Element type of the logical tensor; f32 for block formats.
    pub dtype: DType,
    /// How it is stored: dense, or a block format along the innermost dimension.
    pub encoding: Encoding,
    /// Extents, outermost first.
    pub dims: Vec<u64>,
    /// Its bytes, a slice of the mapping.
    pub bytes: Bytes,
}

impl Stored {
    /// `(rows, columns)` of the matrix that the encoding sees: leading dimensions folded into rows.
    pub fn matrix(&self) -> (u64, u64) {
        let cols = self.dims.last().copied().unwrap_or(1);
        let rows = self.dims.iter().rev().skip(1).product();
        (rows, cols)
    }
}

/// Bytes that a dense or block tensor of `dims` takes; refuses what overflows or does not fill whole blocks.
pub fn stored_bytes(dtype: DType, encoding: &Encoding, dims: &[u64]) -> Result<u64> {
    let overflow = || Diagnostic::new("tensor-size", format!("a tensor of {dims:?} {dtype} exceeds 62 bits of bytes"));
    let cols = dims.last().copied().unwrap_or(1);
    let rows = dims.iter().rev().skip(1).try_fold(1u64, |n, d| n.checked_mul(*d)).ok_or_else(overflow)?;
    let (rows, cols) = (usize::try_from(rows).map_err(|_| overflow())?, usize::try_from(cols).map_err(|_| overflow())?);
    encoding.stored_bytes(dtype, rows, cols).map_err(|e| if e.code == "encoding-overflow" { overflow() } else { e })
}

/// The tensors of a model by name, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct TensorSet {
    tensors: Vec<Stored>,
    index: HashMap<String, usize>,
}

impl TensorSet {
    /// Adds `tensor`; refuses a second one of the same name and more than [`MAX_TENSORS`].
    pub fn insert(&mut self, tensor: Stored) -> Result<()> {
        if self.tensors.len() >= MAX_TENSORS {
            return Err(Diagnostic::new("tensor-count", format!("more than {MAX_TENSORS} tensors")));
        }
        if self.index.insert(tensor.name.clone(), self.tensors.len()).is_some() {
            let place = Place::Tensor(tensor.name.clone());
            return Err(Diagnostic::new("tensor-duplicate", "a tensor of this name is there twice").at(place));
        }
        self.tensors.push(tensor);
        Ok(())
    }

    /// The tensor called `name`.
    pub fn get(&self, name: &str) -> Option<&Stored> {
        self.index.get(name).map(|i| &self.tensors[*i])
    }

    /// All tensors in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Stored> {
        self.tensors.iter()
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }
}
