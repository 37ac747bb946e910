//! Temporary files: activations between blocks, and weights that a pass rewrote.
//!
//! Both live in unnamed files of the working folder and vanish with their last user, so that the memory of a compile is
//! bounded by one block.
#![expect(unsafe_code, reason = "maps a file of our own for reading")]

use actc_types::{DType, Diagnostic, Place, Result, Tensor, TensorData};
use bytes::Bytes;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

fn failed(folder: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::new("spill", format!("cannot use a temporary file: {error}"))
        .at(Place::File(folder.display().to_string()))
        .help("free space in this folder, or name another one with --work")
}

/// Tensors in a file, in the order they were put.
#[derive(Debug)]
pub struct Tensors {
    folder: PathBuf,
    file: File,
    index: Vec<Entry>,
    end: u64,
}

#[derive(Debug)]
struct Entry {
    dims: Vec<u64>,
    dtype: DType,
    offset: u64,
    bytes: usize,
}

impl Tensors {
    /// An empty file in `folder`.
    pub fn new(folder: &Path) -> Result<Tensors> {
        let file = tempfile::tempfile_in(folder).map_err(|e| failed(folder, &e))?;
        Ok(Tensors { folder: folder.into(), file, index: Vec::new(), end: 0 })
    }

    /// Appends a tensor.
    pub fn put(&mut self, tensor: &Tensor) -> Result<()> {
        let bytes = tensor.data().to_le_bytes();
        let mut write = || {
            self.file.seek(SeekFrom::Start(self.end))?;
            self.file.write_all(&bytes)
        };
        write().map_err(|e| failed(&self.folder, &e))?;
        let entry = Entry { dims: tensor.dims().to_vec(), dtype: tensor.dtype(), offset: self.end, bytes: bytes.len() };
        self.index.push(entry);
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// Tensor `i`.
    pub fn get(&mut self, i: usize) -> Result<Tensor> {
        let entry = &self.index[i];
        let mut bytes = vec![0; entry.bytes];
        let mut read = || {
            self.file.seek(SeekFrom::Start(entry.offset))?;
            self.file.read_exact(&mut bytes)
        };
        read().map_err(|e| failed(&self.folder, &e))?;
        Tensor::new(&entry.dims, TensorData::from_le_bytes(entry.dtype, &bytes))
    }
}

/// `data` in an unnamed file, mapped. Small data stays in memory.
pub fn store(folder: &Path, data: Vec<u8>) -> Result<Bytes> {
    if data.len() < 1 << 20 {
        return Ok(Bytes::from(data));
    }
    let map = || {
        let mut file = tempfile::tempfile_in(folder)?;
        file.write_all(&data)?;
        // SAFETY: the file has no name and its only handle is dropped here, so nobody can write to or shorten it while
        // the mapping lives.
        unsafe { memmap2::Mmap::map(&file) }
    };
    map().map(Bytes::from_owner).map_err(|e| failed(folder, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Tensors::new(folder.path()).unwrap();
        let a = Tensor::f32(&[2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, -0.0]).unwrap();
        let b = Tensor::i64(&[0, 4], vec![]).unwrap();
        spill.put(&a).unwrap();
        spill.put(&b).unwrap();
        spill.put(&a).unwrap();
        assert_eq!(spill.get(2).unwrap(), a);
        assert_eq!(spill.get(1).unwrap(), b);
        let data: Vec<u8> = (0..3 << 20).map(|i| (i % 251) as u8).collect();
        assert_eq!(store(folder.path(), data.clone()).unwrap(), data);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "no file has a name");
        let gone = folder.path().join("gone");
        assert_eq!(Tensors::new(&gone).unwrap_err().code, "spill");
    }
}
