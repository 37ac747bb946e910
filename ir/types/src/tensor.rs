//! Tensors of values: what graphs take in and give out. Dense, row-major, owned.

use crate::diagnostic::{Diagnostic, Result};
use crate::dtype::DType;
use crate::narrow::{Narrow, Narrowing};
use crate::nearest;
use half::{bf16, f16};

/// The elements of a [`Tensor`], row-major.
#[derive(Clone, Debug, PartialEq)]
pub enum TensorData {
    /// Bytes that are 0 or 1.
    Bool(Vec<u8>),
    /// Unsigned 8-bit integers.
    U8(Vec<u8>),
    /// Signed 8-bit integers.
    I8(Vec<i8>),
    /// Signed 32-bit integers.
    I32(Vec<i32>),
    /// Signed 64-bit integers.
    I64(Vec<i64>),
    /// Half precision.
    F16(Vec<f16>),
    /// Brain float.
    Bf16(Vec<bf16>),
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
    /// Signed 16-bit integers.
    I16(Vec<i16>),
    /// Unsigned 16-bit integers.
    U16(Vec<u16>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
    /// Unsigned 64-bit integers.
    U64(Vec<u64>),
    /// Codes of a type of eight bits and fewer, one a byte.
    Narrow(Narrow, Vec<u8>),
}

/// A dense tensor with fixed extents.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    dims: Vec<u64>,
    data: TensorData,
}

macro_rules! each {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            TensorData::Bool($v) => $body,
            TensorData::U8($v) => $body,
            TensorData::I8($v) => $body,
            TensorData::I32($v) => $body,
            TensorData::I64($v) => $body,
            TensorData::F16($v) => $body,
            TensorData::Bf16($v) => $body,
            TensorData::F32($v) => $body,
            TensorData::F64($v) => $body,
            TensorData::I16($v) => $body,
            TensorData::U16($v) => $body,
            TensorData::U32($v) => $body,
            TensorData::U64($v) => $body,
            TensorData::Narrow(_, $v) => $body,
        }
    };
}

/// The same, giving elements of the same type.
macro_rules! rebuilt {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            TensorData::Bool($v) => TensorData::Bool($body),
            TensorData::U8($v) => TensorData::U8($body),
            TensorData::I8($v) => TensorData::I8($body),
            TensorData::I32($v) => TensorData::I32($body),
            TensorData::I64($v) => TensorData::I64($body),
            TensorData::F16($v) => TensorData::F16($body),
            TensorData::Bf16($v) => TensorData::Bf16($body),
            TensorData::F32($v) => TensorData::F32($body),
            TensorData::F64($v) => TensorData::F64($body),
            TensorData::I16($v) => TensorData::I16($body),
            TensorData::U16($v) => TensorData::U16($body),
            TensorData::U32($v) => TensorData::U32($body),
            TensorData::U64($v) => TensorData::U64($body),
            TensorData::Narrow(n, $v) => TensorData::Narrow(*n, $body),
        }
    };
}

impl TensorData {
    /// The elements at `places`, which are below [`TensorData::len`], in their order.
    #[must_use]
    pub fn pick(&self, places: impl Iterator<Item = usize>) -> TensorData {
        rebuilt!(self, v => places.map(|i| v[i]).collect())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, v => v.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        match self {
            TensorData::Bool(_) => DType::Bool,
            TensorData::U8(_) => DType::U8,
            TensorData::I8(_) => DType::I8,
            TensorData::I32(_) => DType::I32,
            TensorData::I64(_) => DType::I64,
            TensorData::F16(_) => DType::F16,
            TensorData::Bf16(_) => DType::Bf16,
            TensorData::F32(_) => DType::F32,
            TensorData::F64(_) => DType::F64,
            TensorData::I16(_) => DType::I16,
            TensorData::U16(_) => DType::U16,
            TensorData::U32(_) => DType::U32,
            TensorData::U64(_) => DType::U64,
            TensorData::Narrow(n, _) => DType::Narrow(*n),
        }
    }

    /// `n` zeros of `dtype`.
    pub fn zeros(dtype: DType, n: usize) -> TensorData {
        match dtype {
            DType::Bool => TensorData::Bool(vec![0; n]),
            DType::U8 => TensorData::U8(vec![0; n]),
            DType::I8 => TensorData::I8(vec![0; n]),
            DType::I32 => TensorData::I32(vec![0; n]),
            DType::I64 => TensorData::I64(vec![0; n]),
            DType::F16 => TensorData::F16(vec![f16::ZERO; n]),
            DType::Bf16 => TensorData::Bf16(vec![bf16::ZERO; n]),
            DType::F32 => TensorData::F32(vec![0.0; n]),
            DType::F64 => TensorData::F64(vec![0.0; n]),
            DType::I16 => TensorData::I16(vec![0; n]),
            DType::U16 => TensorData::U16(vec![0; n]),
            DType::U32 => TensorData::U32(vec![0; n]),
            DType::U64 => TensorData::U64(vec![0; n]),
            DType::Narrow(narrow) => TensorData::Narrow(narrow, vec![0; n]),
        }
    }

    /// Little-endian bytes of all elements.
    pub fn to_le_bytes(&self) -> Vec<u8> {
        match self {
            TensorData::Bool(v) | TensorData::U8(v) | TensorData::Narrow(_, v) => v.clone(),
            TensorData::I8(v) => v.iter().map(|x| *x as u8).collect(),
            TensorData::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::F16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::Bf16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::F64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::I16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::U16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::U32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
            TensorData::U64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }

    /// Elements of `dtype` from little-endian bytes; trailing bytes that fill no element are dropped.
    pub fn from_le_bytes(dtype: DType, bytes: &[u8]) -> TensorData {
        fn read<const N: usize, T>(bytes: &[u8], f: impl Fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect()
        }
        match dtype {
            DType::Bool => TensorData::Bool(bytes.iter().map(|b| u8::from(*b != 0)).collect()),
            DType::U8 => TensorData::U8(bytes.to_vec()),
            DType::I8 => TensorData::I8(bytes.iter().map(|b| *b as i8).collect()),
            DType::I32 => TensorData::I32(read(bytes, i32::from_le_bytes)),
            DType::I64 => TensorData::I64(read(bytes, i64::from_le_bytes)),
            DType::F16 => TensorData::F16(read(bytes, f16::from_le_bytes)),
            DType::Bf16 => TensorData::Bf16(read(bytes, bf16::from_le_bytes)),
            DType::F32 => TensorData::F32(read(bytes, f32::from_le_bytes)),
            DType::F64 => TensorData::F64(read(bytes, f64::from_le_bytes)),
            DType::I16 => TensorData::I16(read(bytes, i16::from_le_bytes)),
            DType::U16 => TensorData::U16(read(bytes, u16::from_le_bytes)),
            DType::U32 => TensorData::U32(read(bytes, u32::from_le_bytes)),
            DType::U64 => TensorData::U64(read(bytes, u64::from_le_bytes)),
            DType::Narrow(n) => TensorData::Narrow(n, bytes.iter().map(|b| n.canonical(*b)).collect()),
        }
    }

    /// All elements as f64.
    pub fn to_f64(&self) -> Vec<f64> {
        match self {
            TensorData::Bool(v) | TensorData::U8(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::I8(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::I64(v) => v.iter().map(|x| *x as f64).collect(),
            TensorData::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
            TensorData::Bf16(v) => v.iter().map(|x| x.to_f64()).collect(),
            TensorData::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::F64(v) => v.clone(),
            TensorData::I16(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::U16(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::U32(v) => v.iter().map(|x| f64::from(*x)).collect(),
            TensorData::U64(v) => v.iter().map(|x| *x as f64).collect(),
            TensorData::Narrow(n, v) => v.iter().map(|x| n.number(*x)).collect(),
        }
    }

    /// All elements as integers; floats are truncated, and saturate at the ends of `i128`.
    pub fn to_integers(&self) -> Vec<i128> {
        match self {
            TensorData::Bool(v) | TensorData::U8(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::I8(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::I16(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::I32(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::I64(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::U16(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::U32(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::U64(v) => v.iter().map(|x| i128::from(*x)).collect(),
            TensorData::Narrow(n, v) => v.iter().map(|x| n.integer(*x)).collect(),
            TensorData::F16(_) | TensorData::Bf16(_) | TensorData::F32(_) | TensorData::F64(_) => {
                self.to_f64().into_iter().map(|x| x as i128).collect()
            }
        }
    }

    /// Elements of `dtype` from integers: those of an integer type modulo its size, truth values by `!= 0`.
    pub fn from_integers(dtype: DType, v: &[i128]) -> TensorData {
        match dtype {
            DType::Bool => TensorData::Bool(v.iter().map(|x| u8::from(*x != 0)).collect()),
            DType::U8 => TensorData::U8(v.iter().map(|x| *x as u8).collect()),
            DType::I8 => TensorData::I8(v.iter().map(|x| *x as i8).collect()),
            DType::I16 => TensorData::I16(v.iter().map(|x| *x as i16).collect()),
            DType::I32 => TensorData::I32(v.iter().map(|x| *x as i32).collect()),
            DType::I64 => TensorData::I64(v.iter().map(|x| *x as i64).collect()),
            DType::U16 => TensorData::U16(v.iter().map(|x| *x as u16).collect()),
            DType::U32 => TensorData::U32(v.iter().map(|x| *x as u32).collect()),
            DType::U64 => TensorData::U64(v.iter().map(|x| *x as u64).collect()),
            DType::F64 => TensorData::F64(v.iter().map(|x| *x as f64).collect()),
            DType::F16 | DType::Bf16 | DType::F32 => {
                TensorData::from_f64(dtype, &v.iter().map(|x| nearest::sticky(*x)).collect::<Vec<_>>())
            }
            DType::Narrow(n) => {
                TensorData::Narrow(n, v.iter().map(|x| n.integer_code(*x, Narrowing::default())).collect())
            }
        }
    }

    /// Elements of `dtype` from f64, each rounded once.
    pub fn from_f64(dtype: DType, v: &[f64]) -> TensorData {
        match dtype {
            DType::Bool => TensorData::Bool(v.iter().map(|x| u8::from(*x != 0.0)).collect()),
            DType::U8 => TensorData::U8(v.iter().map(|x| *x as u8).collect()),
            DType::I8 => TensorData::I8(v.iter().map(|x| *x as i8).collect()),
            DType::I32 => TensorData::I32(v.iter().map(|x| *x as i32).collect()),
            DType::I64 => TensorData::I64(v.iter().map(|x| *x as i64).collect()),
            DType::F16 => TensorData::F16(v.iter().map(|x| nearest::half(*x)).collect()),
            DType::Bf16 => TensorData::Bf16(v.iter().map(|x| nearest::brain(*x)).collect()),
            DType::F32 => TensorData::F32(v.iter().map(|x| *x as f32).collect()),
            DType::F64 => TensorData::F64(v.to_vec()),
            DType::I16 => TensorData::I16(v.iter().map(|x| *x as i16).collect()),
            DType::U16 => TensorData::U16(v.iter().map(|x| *x as u16).collect()),
            DType::U32 => TensorData::U32(v.iter().map(|x| *x as u32).collect()),
            DType::U64 => TensorData::U64(v.iter().map(|x| *x as u64).collect()),
            DType::Narrow(n) => TensorData::Narrow(n, v.iter().map(|x| n.code(*x, Narrowing::default())).collect()),
        }
    }
}

impl Tensor {
    /// A tensor of `dims` over `data`; their sizes must agree.
    pub fn new(dims: &[u64], data: TensorData) -> Result<Tensor> {
        let wanted = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d));
        if wanted != Some(data.len() as u64) {
            return Err(Diagnostic::new(
                "tensor-size",
                format!("shape {dims:?} does not hold {} elements", data.len()),
            ));
        }
        Ok(Tensor { dims: dims.to_vec(), data })
    }

    /// An f32 tensor.
    pub fn f32(dims: &[u64], data: Vec<f32>) -> Result<Tensor> {
        Tensor::new(dims, TensorData::F32(data))
    }

    /// An i64 tensor.
    pub fn i64(dims: &[u64], data: Vec<i64>) -> Result<Tensor> {
        Tensor::new(dims, TensorData::I64(data))
    }

    /// Extents, outermost first.
    pub fn dims(&self) -> &[u64] {
        &self.dims
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// The elements, by value.
    pub fn into_data(self) -> TensorData {
        self.data
    }

    /// The elements of an f32 tensor.
    pub fn as_f32(&self) -> Result<&[f32]> {
        match &self.data {
            TensorData::F32(v) => Ok(v),
            other => Err(Diagnostic::new("tensor-dtype", format!("tensor is {}, expected f32", other.dtype()))),
        }
    }

    /// The elements of an i64 tensor.
    pub fn as_i64(&self) -> Result<&[i64]> {
        match &self.data {
            TensorData::I64(v) => Ok(v),
            other => Err(Diagnostic::new("tensor-dtype", format!("tensor is {}, expected i64", other.dtype()))),
        }
    }
}
