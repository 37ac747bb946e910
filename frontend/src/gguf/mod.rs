//! GGUF, versions 1 to 3, little-endian: a header, metadata, a tensor directory, aligned data.
//!
//! [`File::parse`] checks the whole structure before anything is used; tensors are slices of the mapping and are decoded
//! only where somebody reads a row. Input is untrusted: no declared count or length decides on an allocation, sizes are
//! checked, and every refusal is a typed error with the byte it was found at.

pub mod metadata;
mod reader;
mod split;
mod tensors;
mod vocabulary;

pub use metadata::{Array, Kind, Metadata, Value};
pub(crate) use split::open;
pub use vocabulary::text_model;

use crate::stored::TensorSet;
use actc_types::{Diagnostic, Encoding, Place, Result};
use bytes::Bytes;
use reader::Reader;

/// The first four bytes of a GGUF file.
pub const MAGIC: &[u8; 4] = b"GGUF";
/// Alignment of tensors where the metadata names none.
const DEFAULT_ALIGNMENT: u64 = 32;
/// The greatest alignment; more would only serve to hide bytes.
const MAX_ALIGNMENT: u64 = 1 << 20;
/// The block formats as they are since quantisation version 2.
const QUANTIZATION_VERSION: u64 = 2;

/// Version of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Counts and lengths of 32 bits.
    V1,
    /// Counts and lengths of 64 bits.
    V2,
    /// As version 2; allows big-endian files, which are refused.
    V3,
}

/// A parsed GGUF file.
#[derive(Clone, Debug)]
pub struct File {
    /// Version of the format.
    pub version: Version,
    /// The key-value pairs.
    pub metadata: Metadata,
    /// The tensors.
    pub tensors: TensorSet,
}

impl File {
    /// Parses `bytes`; `name` is what messages call the file. A part of a split model is parsed as the file it is.
    pub fn parse(bytes: &Bytes, name: &str) -> Result<File> {
        let mut reader = Reader::new(bytes, name);
        let magic = reader.take(4, "the magic number")?;
        if magic[..] != MAGIC[..] {
            let headline = format!("the file starts with {:02x?}, expected `GGUF`", &magic[..]);
            return Err(reader.wrong(0, "gguf-magic", headline).help("this is no GGUF file"));
        }
        let version = read_version(&mut reader)?;
        reader.set_version(version);
        // A tensor takes a name of one byte, no dimension, a type and an offset; a pair a key of one byte, a type, a byte.
        let width = reader.size_width();
        let tensor_count = reader.count(width + 1 + 4 + 4 + 8, "the number of tensors")?;
        let pair_count = reader.count(width + 1 + 4 + 1, "the number of metadata keys")?;
        if pair_count > metadata::MAX_KEYS {
            let headline = format!("{pair_count} metadata keys, at most {}", metadata::MAX_KEYS);
            return Err(reader.wrong(reader.at(), "gguf-count", headline));
        }
        let metadata = Metadata::read(&mut reader, pair_count, name)?;
        let alignment = alignment(&metadata, name)?;
        let entries = tensors::read_entries(&mut reader, tensor_count)?;
        let start = (reader.at() as u64).next_multiple_of(alignment).min(bytes.len() as u64);
        let data = bytes.slice(start as usize..);
        let tensors = tensors::cut(&reader, entries, &data, alignment, name)?;
        check_quantization(&metadata, &tensors, name)?;
        Ok(File { version, metadata, tensors })
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<Version> {
    let code = reader.u32("the version")?;
    match code {
        1 => Ok(Version::V1),
        2 => Ok(Version::V2),
        3 => Ok(Version::V3),
        _ if code & 0xffff == 0 && code != 0 => {
            let headline = format!("the file is big-endian: version {} in swapped byte order", code.swap_bytes());
            let help = "convert it with `gguf-convert-endian FILE little` of the Python package `gguf`";
            Err(reader.wrong(4, "gguf-endianness", headline).help(help))
        }
        _ => Err(reader.wrong(4, "gguf-version", format!("GGUF version {code}, supported are 1 to 3"))),
    }
}

fn alignment(metadata: &Metadata, name: &str) -> Result<u64> {
    let alignment = metadata.unsigned("general.alignment")?.unwrap_or(DEFAULT_ALIGNMENT);
    if !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT {
        let headline = format!("`general.alignment` is {alignment}, expected a power of two up to {MAX_ALIGNMENT}");
        return Err(Diagnostic::new("gguf-alignment", headline).at(Place::File(name.into())));
    }
    Ok(alignment)
}

/// Older files hold other layouts under the same type numbers.
fn check_quantization(metadata: &Metadata, tensors: &TensorSet, name: &str) -> Result<()> {
    let blocks = tensors.iter().any(|t| matches!(t.encoding, Encoding::Block(_)));
    match metadata.unsigned("general.quantization_version")? {
        Some(v) if blocks && v != QUANTIZATION_VERSION => {
            let headline = format!("block formats of version {v}, supported is {QUANTIZATION_VERSION}");
            Err(Diagnostic::new("gguf-quantization-version", headline)
                .at(Place::File(name.into()))
                .help("quantise the model again with a current tool"))
        }
        Some(_) | None => Ok(()),
    }
}
