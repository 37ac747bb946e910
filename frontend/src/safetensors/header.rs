//! One safetensors file: the header, checked by the `safetensors` crate and by limits of our own, and its tensors.
//!
//! The crate checks that the tensors cover the data section without overlap, hole or trailing byte and that each has the
//! size of its type and shape. It overlooks names that are there twice, which are refused here, as are empty tensors and
//! more tensors than a model has. After types are mapped to ours the length is checked again.

use crate::stored::{MAX_NAME, MAX_TENSORS, Stored, TensorSet, stored_bytes};
use actc_types::{DType, Diagnostic, Encoding, Place, Result};
use bytes::Bytes;
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors};
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// The longest header, in bytes: the limit of the format.
const MAX_HEADER: u64 = 100_000_000;
/// Bytes of the header's length.
const LENGTH_BYTES: usize = 8;
/// Largest extent; constants of a graph stay below 2^48 elements.
const MAX_EXTENT: usize = 1 << 47;

/// Adds the tensors of the file `bytes`, called `file` in messages, to `set`.
pub fn read_file(bytes: &Bytes, file: &str, set: &mut TensorSet) -> Result<()> {
    let wrong = |code, headline: String| Diagnostic::new(code, headline).at(Place::File(file.into()));
    let header = header_bytes(bytes, file)?;
    let text = std::str::from_utf8(header).map_err(|e| {
        let place = Place::Offset { file: file.into(), offset: (LENGTH_BYTES + e.valid_up_to()) as u64 };
        Diagnostic::new("safetensors-utf8", "the header is no UTF-8").at(place)
    })?;
    check_names(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => wrong("safetensors-names", format!("the header names {e}")),
        serde_json::error::Category::Io | serde_json::error::Category::Syntax | serde_json::error::Category::Eof => {
            wrong("safetensors-json", format!("the header is no JSON: {e}"))
        }
    })?;
    let (length, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| layout_error(&e, file))?;
    let data = bytes.slice(LENGTH_BYTES + length..);
    let mut unknown: BTreeMap<String, (usize, String)> = BTreeMap::new();
    let mut found = Vec::new();
    for name in metadata.offset_keys() {
        let Some(info) = metadata.info(&name) else { continue };
        match dtype_of(info.dtype) {
            Some(dtype) => found.push((name, dtype, info.shape.clone(), info.data_offsets)),
            None => unknown.entry(info.dtype.to_string()).or_insert_with(|| (0, name)).0 += 1,
        }
    }
    if !unknown.is_empty() {
        let list: Vec<String> = unknown.iter().map(|(t, (n, first))| format!("{t} ({n}, first `{first}`)")).collect();
        return Err(wrong("safetensors-types", format!("tensor types without an encoding: {}", list.join(", ")))
            .help("store the tensors as BF16, F16 or F32"));
    }
    for (name, dtype, shape, (start, end)) in found {
        if shape.iter().any(|d| *d == 0 || *d > MAX_EXTENT) {
            return Err(wrong("safetensors-dims", format!("tensor `{name}` has the shape {shape:?}")));
        }
        let dims: Vec<u64> = shape.iter().map(|d| *d as u64).collect();
        let size = stored_bytes(dtype, &Encoding::Dense, &dims)?;
        let stored = data.get(start..end).filter(|b| b.len() as u64 == size);
        if stored.is_none() {
            let headline = format!("tensor `{name}` needs {size} bytes, the header gives it {start}..{end}");
            return Err(wrong("safetensors-layout", headline));
        }
        set.insert(Stored { name, dtype, encoding: Encoding::Dense, dims, bytes: data.slice(start..end) })?;
    }
    Ok(())
}

fn header_bytes<'a>(bytes: &'a Bytes, file: &str) -> Result<&'a [u8]> {
    let wrong = |code, headline: String| {
        Err(Diagnostic::new(code, headline)
            .at(Place::Offset { file: file.into(), offset: 0 })
            .help("the file is damaged, was not fully copied, or is no safetensors file"))
    };
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        return wrong(
            "safetensors-truncated",
            format!("the file has {} bytes, the header's length takes 8", bytes.len()),
        );
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER {
        return wrong("safetensors-header", format!("the header takes {length} bytes, at most {MAX_HEADER}"));
    }
    let Some(header) = rest.get(..length as usize) else {
        let headline = format!("the header takes {length} bytes, {} are there", rest.len());
        return wrong("safetensors-truncated", headline);
    };
    if header.first() != Some(&b'{') {
        return wrong("safetensors-json", "the header does not start with `{`".into());
    }
    Ok(header)
}

fn layout_error(error: &SafeTensorError, file: &str) -> Diagnostic {
    let (code, headline) = match error {
        SafeTensorError::InvalidHeader(_) => ("safetensors-utf8", error.to_string()),
        SafeTensorError::InvalidHeaderDeserialization(_) | SafeTensorError::JsonError(_) => {
            ("safetensors-json", error.to_string())
        }
        SafeTensorError::HeaderTooLarge => ("safetensors-header", error.to_string()),
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            ("safetensors-truncated", error.to_string())
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            ("safetensors-layout", "the tensors do not end where the file ends".to_owned())
        }
        SafeTensorError::InvalidOffset(name) => {
            ("safetensors-layout", format!("tensor `{name}` does not start where the one before ends"))
        }
        SafeTensorError::TensorNotFound(_)
        | SafeTensorError::TensorInvalidInfo
        | SafeTensorError::IoError(_)
        | SafeTensorError::InvalidTensorView(..)
        | SafeTensorError::ValidationOverflow
        | SafeTensorError::MisalignedSlice => ("safetensors-layout", error.to_string()),
    };
    Diagnostic::new(code, headline).at(Place::File(file.into()))
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    // The crate's enum may grow: what is not named here has no encoding.
    #[expect(clippy::wildcard_enum_match_arm, reason = "the enum is another crate's and marked non-exhaustive")]
    match dtype {
        Dtype::BOOL => Some(DType::Bool),
        Dtype::U8 => Some(DType::U8),
        Dtype::I8 => Some(DType::I8),
        Dtype::I16 => Some(DType::I16),
        Dtype::U16 => Some(DType::U16),
        Dtype::U32 => Some(DType::U32),
        Dtype::U64 => Some(DType::U64),
        Dtype::I32 => Some(DType::I32),
        Dtype::I64 => Some(DType::I64),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::Bf16),
        Dtype::F32 => Some(DType::F32),
        Dtype::F64 => Some(DType::F64),
        _ => None,
    }
}

/// Refuses a JSON object with a name twice, an empty or very long name, or more names than a model has tensors.
fn check_names(text: &str) -> serde_json::Result<()> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of tensors")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            let mut seen = HashSet::new();
            while let Some((name, IgnoredAny)) = map.next_entry::<String, IgnoredAny>()? {
                if name.is_empty() || name.len() > MAX_NAME {
                    return Err(A::Error::custom(format!("a tensor with a name of {} bytes", name.len())));
                }
                if seen.len() > MAX_TENSORS {
                    return Err(A::Error::custom(format!("more than {MAX_TENSORS} tensors")));
                }
                if let Some(twice) = seen.replace(name) {
                    return Err(A::Error::custom(format!("`{twice}` twice")));
                }
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_str(text);
    json.deserialize_map(Names)?;
    json.end()
}
