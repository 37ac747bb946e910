//! NumPy's `.npy` files, format versions 1 to 3: little-endian, C order.
//!
//! ```text
//! 0   6   93 "NUMPY"
//! 6   2   version, major and minor
//! 8   2   length of the header (u16), or 4 bytes (u32) from version 2 on
//! .       header: a Python dictionary with 'descr', 'fortran_order' and 'shape', padded with spaces, ends in a line break
//! .       elements
//! ```

use actc_types::{DType, Diagnostic, Place, Result, Tensor, TensorData};
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
const MAX_HEADER: usize = 1 << 16;

fn descr(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::Bool => Some("|b1"),
        DType::U8 => Some("|u1"),
        DType::I8 => Some("|i1"),
        DType::I32 => Some("<i4"),
        DType::I64 => Some("<i8"),
        DType::F16 => Some("<f2"),
        DType::F32 => Some("<f4"),
        DType::F64 => Some("<f8"),
        DType::I16 => Some("<i2"),
        DType::U16 => Some("<u2"),
        DType::U32 => Some("<u4"),
        DType::U64 => Some("<u8"),
        DType::Bf16 => None,
    }
}

fn malformed(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("npy", headline)
}

/// The bytes of a file that holds `tensor`; bf16, which NumPy has not, is widened to f32.
pub fn encode(tensor: &Tensor) -> Vec<u8> {
    let widened;
    let (kind, data) = match descr(tensor.dtype()) {
        Some(kind) => (kind, tensor.data()),
        None => {
            widened = TensorData::from_f64(DType::F32, &tensor.data().to_f64());
            ("<f4", &widened)
        }
    };
    let dims: String = tensor.dims().iter().map(|d| format!("{d},")).collect();
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({dims}), }}");
    let length = (10 + header.len() + 1).next_multiple_of(64) - 10;
    let mut out = MAGIC.to_vec();
    out.extend([1, 0]);
    out.extend((length as u16).to_le_bytes());
    out.extend(header.as_bytes());
    out.resize(10 + length - 1, b' ');
    out.push(b'\n');
    out.extend(data.to_le_bytes());
    out
}

/// The tensor in `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Tensor> {
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
    let kind = value(header, "descr")?.trim_matches(['\'', '"']);
    let dtype =
        DType::ALL.iter().copied().find(|d| descr(*d).is_some_and(|k| k == kind || k.replace('|', "<") == kind));
    let dtype = dtype.ok_or_else(|| {
        malformed(format!("elements of type `{kind}`"))
            .help("save little-endian bool, uint8, int8, int32, int64, float16, float32 or float64")
    })?;
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

/// Reads the tensor in the file at `path`.
pub fn read(path: &Path) -> Result<Tensor> {
    let place = || Place::File(path.display().to_string());
    let bytes = std::fs::read(path)
        .map_err(|e| Diagnostic::request("npy-file", format!("cannot read the file: {e}")).at(place()))?;
    decode(&bytes).map_err(|d| d.at(place()))
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
            assert_eq!(decode(&bytes).unwrap(), tensor);
            let data = tensor.data().to_le_bytes().len();
            assert_eq!((bytes.len() - data) % 64, 0, "elements are aligned");
        }
        let bf16 = Tensor::new(&[1], TensorData::from_f64(DType::Bf16, &[1.5])).unwrap();
        assert_eq!(decode(&encode(&bf16)).unwrap(), Tensor::f32(&[1], vec![1.5]).unwrap());
    }

    #[test]
    fn bytes_as_numpy_writes_them() {
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0, 118, 0]);
        let header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }";
        bytes.extend(format!("{header:<117}\n").bytes());
        bytes.extend([5, 0, 0, 0, 255, 255, 255, 255]);
        assert_eq!(decode(&bytes).unwrap(), Tensor::new(&[2], TensorData::I32(vec![5, -1])).unwrap());
    }

    #[test]
    fn malformed_files_are_refused() {
        let good = encode(&Tensor::f32(&[2, 3], vec![0.0; 6]).unwrap());
        for cut in 0..good.len() {
            assert_eq!(decode(&good[..cut]).unwrap_err().code, "npy", "cut at {cut}");
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
            assert_eq!(decode(&swapped(from, to)).unwrap_err().code, "npy", "{from} -> {to}");
        }
    }
}
