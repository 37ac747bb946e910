//! The tensor directory of a GGUF file.
//!
//! What is accepted is exactly what the reference writer makes: at most four extents, none zero, whole blocks in a row,
//! every tensor at the aligned end of the one before. So tensors cannot overlap, overflow or hide bytes between them.
//! Types that this compiler has no encoding for are reported all at once, before any size is looked at.

use super::reader::Reader;
use crate::stored::{MAX_NAME, MAX_TENSORS, Stored, TensorSet, stored_bytes};
use actc_types::{BlockFormat, DType, Diagnostic, Encoding, Place, Result};
use bytes::Bytes;
use std::collections::{BTreeMap, HashSet};

/// Most extents of a tensor: the limit of the format.
const MAX_RANK: u32 = 4;
/// Largest extent; constants of a graph stay below 2^48 elements.
const MAX_EXTENT: u64 = 1 << 47;

/// What a type code of the format means here.
enum Type {
    /// A type with an encoding.
    Known(DType, Encoding),
    /// A type of the format without one, by its name.
    Named(&'static str),
    /// A code that the format does not have.
    Unknown,
}

fn type_of(code: u32) -> Type {
    let dense = |dtype| Type::Known(dtype, Encoding::Dense);
    let block = |format| Type::Known(DType::F32, Encoding::Block(format));
    match code {
        0 => dense(DType::F32),
        1 => dense(DType::F16),
        2 => block(BlockFormat::Q4_0),
        3 => block(BlockFormat::Q4_1),
        6 => block(BlockFormat::Q5_0),
        7 => block(BlockFormat::Q5_1),
        8 => block(BlockFormat::Q8_0),
        9 => Type::Named("Q8_1"),
        10 => block(BlockFormat::Q2K),
        11 => block(BlockFormat::Q3K),
        12 => block(BlockFormat::Q4K),
        13 => block(BlockFormat::Q5K),
        14 => block(BlockFormat::Q6K),
        15 => Type::Named("Q8_K"),
        16 => Type::Named("IQ2_XXS"),
        17 => Type::Named("IQ2_XS"),
        18 => Type::Named("IQ3_XXS"),
        19 => Type::Named("IQ1_S"),
        20 => Type::Named("IQ4_NL"),
        21 => Type::Named("IQ3_S"),
        22 => Type::Named("IQ2_S"),
        23 => Type::Named("IQ4_XS"),
        24 => dense(DType::I8),
        25 => dense(DType::I16),
        26 => dense(DType::I32),
        27 => dense(DType::I64),
        28 => dense(DType::F64),
        29 => Type::Named("IQ1_M"),
        30 => dense(DType::Bf16),
        34 => Type::Named("TQ1_0"),
        35 => Type::Named("TQ2_0"),
        39 => Type::Named("MXFP4"),
        40 => Type::Named("NVFP4"),
        41 => Type::Named("Q1_0"),
        _ => Type::Unknown,
    }
}

/// One line of the directory.
pub(super) struct Entry {
    /// Where the line starts in the file, for messages.
    place: usize,
    name: String,
    /// Outermost first.
    dims: Vec<u64>,
    code: u32,
    /// From the start of the data section.
    offset: u64,
}

/// Reads `count` lines of the directory.
pub(super) fn read_entries(reader: &mut Reader<'_>, count: u64) -> Result<Vec<Entry>> {
    if count > MAX_TENSORS as u64 {
        let headline = format!("{count} tensors, at most {MAX_TENSORS}");
        return Err(reader.wrong(8, "gguf-count", headline));
    }
    let mut entries = Vec::new();
    let mut names = HashSet::new();
    for _ in 0..count {
        let place = reader.at();
        let name = reader.name(MAX_NAME, "a tensor name")?;
        if !names.insert(name.clone()) {
            return Err(reader.wrong(place, "tensor-duplicate", format!("tensor `{name}` is there twice")));
        }
        let rank = reader.u32("the number of dimensions")?;
        if rank > MAX_RANK {
            let headline = format!("tensor `{name}` has {rank} dimensions, at most {MAX_RANK}");
            return Err(reader.wrong(place, "gguf-dims", headline));
        }
        let mut dims = Vec::new();
        for _ in 0..rank {
            let extent = reader.size("a dimension")?;
            if extent == 0 || extent > MAX_EXTENT {
                let headline = format!("tensor `{name}` has a dimension of {extent}, expected 1 to {MAX_EXTENT}");
                return Err(reader.wrong(place, "gguf-dims", headline));
            }
            dims.push(extent);
        }
        dims.reverse();
        let code = reader.u32("the tensor type")?;
        let offset = reader.u64("the tensor offset")?;
        entries.push(Entry { place, name, dims, code, offset });
    }
    Ok(entries)
}

/// Refuses types without an encoding, all in one finding.
fn check_types(entries: &[Entry], file: &str) -> Result<()> {
    let mut bad: BTreeMap<String, (usize, &str)> = BTreeMap::new();
    for entry in entries {
        let name = match type_of(entry.code) {
            Type::Known(..) => continue,
            Type::Named(name) => name.to_owned(),
            Type::Unknown => format!("number {}", entry.code),
        };
        bad.entry(name).or_insert((0, &entry.name)).0 += 1;
    }
    if bad.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = bad.iter().map(|(t, (n, first))| format!("{t} ({n}, first `{first}`)")).collect();
    let known: Vec<String> = BlockFormat::ALL.iter().map(|f| f.name().to_uppercase()).collect();
    Err(Diagnostic::new("gguf-types", format!("tensor types without an encoding: {}", list.join(", ")))
        .at(Place::File(file.into()))
        .help(format!("take a file of F32, F16, BF16, {}", known.join(", "))))
}

/// Cuts the data section into the tensors of `entries`.
pub(super) fn cut(
    reader: &Reader<'_>,
    entries: Vec<Entry>,
    data: &Bytes,
    alignment: u64,
    file: &str,
) -> Result<TensorSet> {
    check_types(&entries, file)?;
    let mut set = TensorSet::default();
    // The aligned end of the tensor before; one past the section once a tensor ends inside the last padding.
    let mut expected: u64 = 0;
    for Entry { place, name, dims, code, offset } in entries {
        let Type::Known(dtype, encoding) = type_of(code) else {
            return Err(reader.wrong(place, "gguf-types", format!("tensor type number {code}")));
        };
        if offset % alignment != 0 {
            let headline = format!("tensor `{name}` starts at {offset}, no multiple of the alignment {alignment}");
            return Err(reader.wrong(place, "gguf-offset", headline));
        }
        if offset != expected {
            let headline = format!("tensor `{name}` starts at {offset}, expected {expected}");
            let help = "tensors must follow each other in the order of the directory, without overlap or gap";
            return Err(reader.wrong(place, "gguf-offset", headline).help(help));
        }
        let size = stored_bytes(dtype, &encoding, &dims).map_err(|e| {
            let code = if e.code == "encoding-shape" { "gguf-row" } else { "gguf-size" };
            reader.wrong(place, code, format!("tensor `{name}`: {}", e.headline))
        })?;
        let end = offset.checked_add(size).filter(|end| *end <= data.len() as u64);
        let Some(end) = end else {
            let headline =
                format!("tensor `{name}` needs {size} bytes at {offset} of a data section of {}", data.len());
            let help = "the file is damaged or was not fully copied";
            return Err(reader.wrong(place, "gguf-truncated", headline).help(help));
        };
        // Both are below 2^63: the end lies inside the file and the alignment is checked.
        expected = end.next_multiple_of(alignment);
        let bytes = data.slice(offset as usize..end as usize);
        set.insert(Stored { name, dtype, encoding, dims, bytes })?;
    }
    Ok(set)
}
