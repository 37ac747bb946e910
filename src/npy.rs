//! NumPy's `.npy` files, format versions 1 to 3: little-endian, C order.
//!
//! ```text
//! 0   6   93 "NUMPY"
//! 6   2   version, major and minor
//! 8   2   length of the header (u16), or 4 bytes (u32) from version 2 on
//! .       header: a Python dictionary with 'descr', 'fortran_order' and 'shape', padded with spaces, ends in a line break
//! .       elements
//! ```
//!
//! NumPy has no names for some element types. Their elements are raw bytes in a file, `V2` for bf16 and `V1` for a code of
//! eight bits and fewer, as `numpy.save` writes arrays of the package `ml_dtypes`; the reader must know what they are.

use actc_types::{DType, Diagnostic, Narrow, Place, Result, Tensor, TensorData};
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
const MAX_HEADER: usize = 1 << 16;

/// What a header calls elements of `dtype`.
fn descr(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::I16 => "<i2",
        DType::U16 => "<u2",
        DType::U32 => "<u4",
        DType::U64 => "<u8",
        DType::Bf16 => "<V2",
        DType::Narrow(_) => "|V1",
    }
}

/// The element type that a header calls `kind`; `raw` where that says no more than a number of bytes and `raw` has as many.
fn element(kind: &str, raw: DType) -> Result<DType> {
    let unnamed = |d: DType| descr(d).contains('V');
    // Raw bytes and single bytes have no order, whichever is written.
    let known = |d: DType| {
        let name = descr(d);
        name == kind || (unnamed(d) || d.size() == 1) && name.get(1..) == kind.strip_prefix(['|', '<'])
    };
    // `numpy.save` calls one of the types with five bits of exponent a float of one byte.
    if unnamed(raw) && (known(raw) || kind == "<f1" && raw == DType::Narrow(Narrow::F8E5M2)) {
        return Ok(raw);
    }
    let named = DType::ALL.iter().copied().find(|d| !unnamed(*d) && known(*d));
    named.ok_or_else(|| {
        let headline = format!("elements of type `{kind}`, expected those of {raw}, which are `{}`", descr(raw));
        malformed(headline).help("save little-endian numbers or truth values")
    })
}

fn malformed(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("npy", headline)
}

/// The bytes of a file that holds `tensor`.
pub fn encode(tensor: &Tensor) -> Vec<u8> {
    let kind = descr(tensor.dtype());
    let dims: String = tensor.dims().iter().map(|d| format!("{d},")).collect();
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({dims}), }}");
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((length as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.resize(10 + length - 1, b' ');
    out.push(b'\n');
    out.extend(tensor.data().to_le_bytes());
    out
}

/// The tensor in `bytes`; `raw` is what raw bytes of the size of its elements are.
pub fn decode(bytes: &[u8], raw: DType) -> Result<Tensor> {
    let rest = bytes.strip_prefix(MAGIC).ok_or_else(|| malformed("the file is no .npy file"))?;
    let short = || malformed(format!("the file ends in its header, after {} bytes", bytes.len()));
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(short)?;
    let (length, rest) = match version[0] {
        1 => rest.split_first_chunk().map(|(n, r)| (usize::from(u16::from_le_bytes(*n)), r)).ok_or_else(short)?,
        2 | 3 => rest.split_first_chunk().map(|(n, r)| (u32::from_le_bytes(*n) as usize, r)).ok_or_else(short)?,
        v => return Err(malformed(format!("format version {v}, known are 1 to 3"))),
    };
    if length > MAX_HEADER || length > rest.len() {
        return Err(short());
    }
    let (header, data) = rest.split_at(length);
    let header = std::str::from_utf8(header).map_err(|_| malformed("the header is no text"))?;
    let dtype = element(value(header, "descr")?.trim_matches(['\'', '"']), raw)?;
    if value(header, "fortran_order")? != "False" {
        return Err(malformed("the array is in Fortran order").help("save `numpy.ascontiguousarray(x)`"));
    }
    let shape = value(header, "shape")?;
    let inner = shape.strip_prefix('(').and_then(|s| s.strip_suffix(')'));
    let inner = inner.ok_or_else(|| malformed(format!("the shape is `{shape}`")))?;
    let dims = inner
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| word.parse::<u64>().map_err(|_| malformed(format!("the shape is `{shape}`"))))
        .collect::<Result<Vec<_>>>()?;
    let elements = dims.iter().try_fold(dtype.size() as u64, |n, d| n.checked_mul(*d));
    if elements != Some(data.len() as u64) {
        return Err(malformed(format!("{} bytes of elements do not fill {dtype} {dims:?}", data.len())));
    }
    Tensor::new(&dims, TensorData::from_le_bytes(dtype, data))
}

/// The text of the value of `key` in a Python dictionary without nested dictionaries.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str> {
    let missing = || malformed(format!("the header has no `{key}`"));
    let at = header.find(&format!("'{key}'")).ok_or_else(missing)? + key.len() + 2;
    let rest = header[at..].trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start();
    let end = if rest.starts_with('(') { rest.find(')').map(|i| i + 1) } else { rest.find([',', '}']) };
    Ok(rest[..end.ok_or_else(missing)?].trim())
}

/// Reads the tensor in the file at `path`, whose elements have a name.
pub fn read(path: &Path) -> Result<Tensor> {
    read_as(path, DType::F32)
}

/// Reads the tensor in the file at `path`; `raw` as in [`decode`].
pub fn read_as(path: &Path, raw: DType) -> Result<Tensor> {
    let place = || Place::File(path.display().to_string());
    let bytes = std::fs::read(path)
        .map_err(|e| Diagnostic::request("npy-file", format!("cannot read the file: {e}")).at(place()))?;
    decode(&bytes, raw).map_err(|d| d.at(place()))
}

/// Writes `tensor` to a file at `path`.
pub fn write(path: &Path, tensor: &Tensor) -> Result<()> {
    std::fs::write(path, encode(tensor)).map_err(|e| {
        Diagnostic::new("npy-file", format!("cannot write the file: {e}")).at(Place::File(path.display().to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let tensors = [
            Tensor::f32(&[2, 3], vec![0.0, -1.5, f32::INFINITY, 1e-40, 2.0, 3.0]).unwrap(),
            Tensor::i64(&[4], vec![1, -2, i64::MAX, i64::MIN]).unwrap(),
            Tensor::f32(&[], vec![7.0]).unwrap(),
            Tensor::new(&[0, 5], TensorData::U8(vec![])).unwrap(),
            Tensor::new(&[2], TensorData::Bool(vec![1, 0])).unwrap(),
        ];
        for tensor in tensors {
            let bytes = encode(&tensor);
            assert_eq!(decode(&bytes, DType::F32).unwrap(), tensor);
            let data = tensor.data().to_le_bytes().len();
            assert_eq!((bytes.len() - data) % 64, 0, "elements are aligned");
        }
    }

    #[test]
    fn elements_without_a_name_are_raw_bytes() {
        for dtype in DType::ALL.iter().copied().filter(|d| matches!(d, DType::Bf16 | DType::Narrow(_))) {
            let tensor = Tensor::new(&[3], TensorData::from_f64(dtype, &[0.0, 1.0, 2.0])).unwrap();
            let bytes = encode(&tensor);
            assert_eq!(decode(&bytes, dtype).unwrap(), tensor);
            let header = format!("'descr': '{}V{}'", if dtype.size() == 1 { '|' } else { '<' }, dtype.size());
            assert!(bytes.windows(header.len()).any(|w| w == header.as_bytes()), "{dtype}");
            for other in [DType::F32, DType::U8, if dtype.size() == 1 { DType::Bf16 } else { Narrow::I4.into() }] {
                let error = decode(&bytes, other).unwrap_err();
                assert!(error.code == "npy" && error.headline.contains(other.name()), "{error}");
            }
        }
        // What has a name needs no other.
        let named = Tensor::new(&[2], TensorData::U8(vec![1, 200])).unwrap();
        assert_eq!(decode(&encode(&named), Narrow::F8E5M2.into()).unwrap(), named);
    }

    #[test]
    fn bytes_as_numpy_writes_them() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0, 118, 0]);
        let header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }";
        bytes.extend(format!("{header:<117}\n").bytes());
        bytes.extend([5, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(decode(&bytes, DType::F32).unwrap(), Tensor::new(&[2], TensorData::I32(vec![5, -1])).unwrap());
    }

    #[test]
    fn malformed_files_are_refused() {
        let good = encode(&Tensor::f32(&[2, 3], vec![0.0; 6]).unwrap());
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut], DType::F32).unwrap_err().code, "npy", "cut at {cut}");
        }
        let swapped = |from: &str, to: &str| {
            let text: Vec<u8> = good.clone();
            let at = text.windows(from.len()).position(|w| w == from.as_bytes()).expect("the header has it");
            let mut bytes = text[..at].to_vec();
            bytes.extend(to.bytes());
            bytes.extend(&text[at + from.len()..]);
            bytes
        };
        for (from, to) in [
            ("<f4", ">f4"),
            ("<f4", "|O8"),
            ("False", "True "),
            ("(2,3,)", "(2,4,)"),
            ("(2,3,)", "(2,-3)"),
            ("(2,3,)", "[2,3,]"),
            ("'descr'", "'unde'x"),
            ("(2,3,)", "(4294967296,4294967296,4294967296,)"),
        ] {
            assert_eq!(decode(&swapped(from, to), DType::F32).unwrap_err().code, "npy", "{from} -> {to}");
        }
    }
}
