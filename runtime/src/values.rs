//! Tensors as bytes in memory and back.

use actc_types::{DType, Diagnostic, Result, Tensor, TensorData};
use bytemuck::Pod;

#[cfg(target_endian = "big")]
compile_error!("buffers hold little-endian elements; big-endian machines are not supported");

/// The bytes of a tensor's elements.
pub(crate) fn bytes(data: &TensorData) -> &[u8] {
    match data {
        TensorData::Bool(v) | TensorData::U8(v) | TensorData::Narrow(_, v) => v,
        TensorData::I8(v) => bytemuck::cast_slice(v),
        TensorData::I32(v) => bytemuck::cast_slice(v),
        TensorData::I64(v) => bytemuck::cast_slice(v),
        TensorData::F16(v) => bytemuck::cast_slice(v),
        TensorData::Bf16(v) => bytemuck::cast_slice(v),
        TensorData::F32(v) => bytemuck::cast_slice(v),
        TensorData::F64(v) => bytemuck::cast_slice(v),
        TensorData::I16(v) => bytemuck::cast_slice(v),
        TensorData::U16(v) => bytemuck::cast_slice(v),
        TensorData::U32(v) => bytemuck::cast_slice(v),
        TensorData::U64(v) => bytemuck::cast_slice(v),
    }
}

fn elements<T: Pod>(bytes: &[u8]) -> Vec<T> {
    let mut out = vec![T::zeroed(); bytes.len() / size_of::<T>()];
    let whole = out.len() * size_of::<T>();
    bytemuck::cast_slice_mut(&mut out).copy_from_slice(&bytes[..whole]);
    out
}

/// Elements of `dtype` from bytes.
fn data(dtype: DType, bytes: &[u8]) -> TensorData {
    match dtype {
        DType::Bool => TensorData::Bool(bytes.iter().map(|b| u8::from(*b != 0)).collect()),
        DType::U8 => TensorData::U8(bytes.to_vec()),
        DType::I8 => TensorData::I8(elements(bytes)),
        DType::I32 => TensorData::I32(elements(bytes)),
        DType::I64 => TensorData::I64(elements(bytes)),
        DType::F16 => TensorData::F16(elements(bytes)),
        DType::Bf16 => TensorData::Bf16(elements(bytes)),
        DType::F32 => TensorData::F32(elements(bytes)),
        DType::F64 => TensorData::F64(elements(bytes)),
        DType::I16 => TensorData::I16(elements(bytes)),
        DType::U16 => TensorData::U16(elements(bytes)),
        DType::U32 => TensorData::U32(elements(bytes)),
        DType::U64 => TensorData::U64(elements(bytes)),
        DType::Narrow(n) => TensorData::Narrow(n, bytes.iter().map(|b| n.canonical(*b)).collect()),
    }
}

/// A tensor that a session owns: an output of the last run, or a state.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub dims: &'a [u64],
    /// Little-endian elements, row-major, on a 64-byte line.
    pub bytes: &'a [u8],
}

impl<'a> View<'a> {
    /// The elements of an f32 tensor.
    pub fn as_f32(&self) -> Result<&'a [f32]> {
        let floats = (self.dtype == DType::F32).then(|| bytemuck::try_cast_slice(self.bytes).ok()).flatten();
        floats.ok_or_else(|| Diagnostic::new("tensor-dtype", format!("tensor is {}, expected f32", self.dtype)))
    }

    /// The elements of an i64 tensor.
    pub fn as_i64(&self) -> Result<&'a [i64]> {
        let numbers = (self.dtype == DType::I64).then(|| bytemuck::try_cast_slice(self.bytes).ok()).flatten();
        numbers.ok_or_else(|| Diagnostic::new("tensor-dtype", format!("tensor is {}, expected i64", self.dtype)))
    }

    /// A copy that the caller owns.
    pub fn to_tensor(&self) -> Result<Tensor> {
        Tensor::new(self.dims, data(self.dtype, self.bytes))
    }
}
