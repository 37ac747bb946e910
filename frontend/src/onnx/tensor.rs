//! Tensors: every way in which the standard stores them becomes one, the layout of `raw_data`.
//!
//! Elements lie one after the other in little-endian order; types of fewer than eight bits are packed from the low bits
//! up. `raw_data` and external data stay slices of the mapped files; typed fields are converted. What a tensor holds is
//! as long as its shape and type say, exactly.

use super::element::ElementType;
use super::external::External;
use super::schema::TensorProto;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::sync::Arc;

/// `data_location` of tensors whose data lies in another file.
const EXTERNAL: i32 = 1;

/// A constant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The name; empty for most tensors of attributes.
    pub name: String,
    /// Type of its elements.
    pub element: ElementType,
    /// The shape; empty for a single number.
    pub dims: Vec<u64>,
    /// The elements in row-major order.
    pub data: TensorBytes,
}

/// The elements of a tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TensorBytes {
    /// Numbers in the layout of `raw_data`: little-endian, without gaps, small types packed from the low bits up.
    Raw(Bytes),
    /// Texts.
    Texts(Arc<[Bytes]>),
}

impl Tensor {
    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.dims.iter().product()
    }

    /// Checks `proto` and takes over its data. `context` is what to call a tensor without a name.
    pub(super) fn read(proto: TensorProto, context: &str, external: &mut External) -> Result<Tensor> {
        let shown = match proto.name.as_deref() {
            Some(name) if !name.is_empty() => name.to_owned(),
            Some(_) | None => context.to_owned(),
        };
        let wrong = |headline: String| Diagnostic::new("onnx-tensor", headline).at(Place::Tensor(shown.clone()));
        let code = proto.data_type.unwrap_or(0);
        let element =
            ElementType::from_code(code).ok_or_else(|| wrong(format!("its elements have the unknown type {code}")))?;
        let (dims, count) = shape(&proto.dims).map_err(wrong)?;
        if proto.segment.is_some() {
            return Err(wrong("it is a segment of a larger tensor, which is not supported".into()));
        }
        let name = proto.name.clone().unwrap_or_default();
        let data = match (proto.data_location.unwrap_or(0), element.bytes(count)) {
            (0, _) => inside(proto, element, count).map_err(wrong)?,
            (EXTERNAL, Some(length)) => {
                let held = held(&proto);
                if !held.is_empty() {
                    return Err(wrong(format!("it has both external data and {}", held.join(", "))));
                }
                TensorBytes::Raw(external.slice(&proto.external_data, length, &shown)?)
            }
            (EXTERNAL, None) => {
                return Err(wrong(format!("{count} elements of type {element} cannot lie in another file")));
            }
            (other, _) => return Err(wrong(format!("its data lies in the unknown place {other}"))),
        };
        match &data {
            TensorBytes::Raw(bytes) if element == ElementType::Bool && bytes.iter().any(|b| *b > 1) => {
                Err(wrong("a byte of type bool is neither 0 nor 1".into()))
            }
            TensorBytes::Raw(_) | TensorBytes::Texts(_) => Ok(Tensor { name, element, dims, data }),
        }
    }
}

/// The extents and their product.
pub(super) fn shape(dims: &[i64]) -> Result<(Vec<u64>, u64), String> {
    let mut count = 1u64;
    let mut out = Vec::with_capacity(dims.len());
    for dim in dims {
        let extent = u64::try_from(*dim).map_err(|_| format!("the extent {dim} is negative"))?;
        count = count.checked_mul(extent).ok_or("its number of elements is no number of 64 bits")?;
        out.push(extent);
    }
    Ok((out, count))
}

/// The names of the data fields that hold anything.
fn held(proto: &TensorProto) -> Vec<&'static str> {
    [
        ("raw_data", proto.raw_data.as_ref().is_some_and(|b| !b.is_empty())),
        ("float_data", !proto.float_data.is_empty()),
        ("int32_data", !proto.int32_data.is_empty()),
        ("string_data", !proto.string_data.is_empty()),
        ("int64_data", !proto.int64_data.is_empty()),
        ("double_data", !proto.double_data.is_empty()),
        ("uint64_data", !proto.uint64_data.is_empty()),
    ]
    .into_iter()
    .filter_map(|(name, held)| held.then_some(name))
    .collect()
}

/// The data of a tensor that lies in the message itself.
fn inside(proto: TensorProto, element: ElementType, count: u64) -> Result<TensorBytes, String> {
    let held = held(&proto);
    if held.len() > 1 {
        return Err(format!("it has both {}", held.join(" and ")));
    }
    let Some(field) = held.first().copied() else {
        return match element.bytes(count) {
            Some(0) => Ok(TensorBytes::Raw(Bytes::new())),
            None if count == 0 => Ok(TensorBytes::Texts(Arc::new([]))),
            Some(_) | None => Err(format!("it has {count} elements of type {element} and no data")),
        };
    };
    let wanted = typed_field(element);
    if field != wanted && (field != "raw_data" || element == ElementType::Text) {
        return Err(format!("elements of type {element} lie in {field}, they belong into {wanted}"));
    }
    let bytes = match field {
        "string_data" => {
            if proto.string_data.len() as u64 != count {
                return Err(format!("it has {} texts, its shape says {count}", proto.string_data.len()));
            }
            return Ok(TensorBytes::Texts(proto.string_data.into()));
        }
        "float_data" => all(&proto.float_data, |n| n.to_le_bytes()),
        "int64_data" => all(&proto.int64_data, |n| n.to_le_bytes()),
        "double_data" => all(&proto.double_data, |n| n.to_le_bytes()),
        "uint64_data" if element == ElementType::Uint64 => all(&proto.uint64_data, |n| n.to_le_bytes()),
        "uint64_data" => narrow(&proto.uint64_data, element, |n| u32::try_from(n).ok().map(u32::to_le_bytes))?,
        "int32_data" => small(&proto.int32_data, element, count)?,
        _ => proto.raw_data.unwrap_or_default(),
    };
    let length = element.bytes(count).ok_or("its number of bytes is no number of 64 bits")?;
    if bytes.len() as u64 == length {
        Ok(TensorBytes::Raw(bytes))
    } else {
        let found = bytes.len();
        Err(format!("{field} gives {found} bytes, {count} elements of type {element} take {length}"))
    }
}

/// The typed field for elements of this type.
fn typed_field(element: ElementType) -> &'static str {
    match element {
        ElementType::Float32 | ElementType::Complex64 => "float_data",
        ElementType::Float64 | ElementType::Complex128 => "double_data",
        ElementType::Int64 => "int64_data",
        ElementType::Uint32 | ElementType::Uint64 => "uint64_data",
        ElementType::Text => "string_data",
        ElementType::Uint8
        | ElementType::Int8
        | ElementType::Uint16
        | ElementType::Int16
        | ElementType::Int32
        | ElementType::Bool
        | ElementType::Float16
        | ElementType::Bfloat16
        | ElementType::Float8E4M3Fn
        | ElementType::Float8E4M3Fnuz
        | ElementType::Float8E5M2
        | ElementType::Float8E5M2Fnuz
        | ElementType::Float8E8M0
        | ElementType::Uint4
        | ElementType::Int4
        | ElementType::Float4E2M1
        | ElementType::Uint2
        | ElementType::Int2
        | ElementType::Float6E2M3
        | ElementType::Float6E3M2 => "int32_data",
    }
}

fn all<T: Copy, const N: usize>(numbers: &[T], bytes: impl Fn(T) -> [u8; N]) -> Bytes {
    let mut out = Vec::with_capacity(numbers.len().saturating_mul(N));
    numbers.iter().for_each(|n| out.extend_from_slice(&bytes(*n)));
    out.into()
}

fn narrow<T: Copy + std::fmt::Display, const N: usize>(
    numbers: &[T],
    element: ElementType,
    bytes: impl Fn(T) -> Option<[u8; N]>,
) -> Result<Bytes, String> {
    let mut out = Vec::with_capacity(numbers.len().saturating_mul(N));
    for n in numbers {
        out.extend_from_slice(&bytes(*n).ok_or_else(|| format!("{n} is no value of type {element}"))?);
    }
    Ok(out.into())
}

/// The types that are stored as numbers of 32 bits. Types of two and four bits come as whole bytes of packed elements.
fn small(numbers: &[i32], element: ElementType, count: u64) -> Result<Bytes, String> {
    let signed8 = |n: i32| i8::try_from(n).ok().map(i8::to_le_bytes);
    let byte = |n: i32| u8::try_from(n).ok().map(u8::to_le_bytes);
    let signed16 = |n: i32| i16::try_from(n).ok().map(i16::to_le_bytes);
    let word = |n: i32| u16::try_from(n).ok().map(u16::to_le_bytes);
    match element {
        ElementType::Int32 => Ok(all(numbers, i32::to_le_bytes)),
        ElementType::Int16 => narrow(numbers, element, signed16),
        ElementType::Uint16 | ElementType::Float16 | ElementType::Bfloat16 => narrow(numbers, element, word),
        ElementType::Int8 => narrow(numbers, element, signed8),
        ElementType::Float6E2M3 | ElementType::Float6E3M2 => six_bits(numbers, element, count),
        ElementType::Uint8
        | ElementType::Bool
        | ElementType::Float8E4M3Fn
        | ElementType::Float8E4M3Fnuz
        | ElementType::Float8E5M2
        | ElementType::Float8E5M2Fnuz
        | ElementType::Float8E8M0
        | ElementType::Uint4
        | ElementType::Int4
        | ElementType::Float4E2M1
        | ElementType::Uint2
        | ElementType::Int2 => narrow(numbers, element, byte),
        // Their elements never lie in this field.
        ElementType::Float32
        | ElementType::Float64
        | ElementType::Int64
        | ElementType::Uint32
        | ElementType::Uint64
        | ElementType::Text
        | ElementType::Complex64
        | ElementType::Complex128 => Err(format!("elements of type {element} lie in int32_data")),
    }
}

/// Elements of six bits come one in a number and are packed here.
fn six_bits(numbers: &[i32], element: ElementType, count: u64) -> Result<Bytes, String> {
    if numbers.len() as u64 != count {
        return Err(format!("int32_data gives {} elements, its shape says {count}", numbers.len()));
    }
    let mut out = Vec::with_capacity(numbers.len().saturating_mul(6).div_ceil(8));
    for group in numbers.chunks(4) {
        let mut bits = 0u32;
        for (i, n) in group.iter().enumerate() {
            let code = u32::try_from(*n).ok().filter(|c| *c < 64);
            bits |= code.ok_or_else(|| format!("{n} is no value of type {element}"))? << (6 * i);
        }
        out.extend_from_slice(&bits.to_le_bytes()[..(6 * group.len()).div_ceil(8)]);
    }
    Ok(out.into())
}

/// `count` elements that lie packed in `bytes`, each in the low bits of a byte of its own; the bytes themselves where elements
/// are whole bytes. There are at most four elements in a byte, so that the result is bounded by the file.
pub(super) fn unpacked(element: ElementType, count: u64, bytes: &Bytes) -> Bytes {
    let Some(bits @ (2 | 4 | 6)) = element.bits().map(|b| b as usize) else { return bytes.clone() };
    let held = (8 * bytes.len() / bits) as u64;
    let code = |i: usize| {
        let at = i * bits;
        let next = bytes.get(at / 8 + 1).copied().unwrap_or_default();
        let word = u16::from_le_bytes([bytes[at / 8], next]);
        (word >> (at % 8)) as u8 & (0xff >> (8 - bits))
    };
    (0..count.min(held) as usize).map(code).collect()
}
