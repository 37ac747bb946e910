//! Tensors and their descriptions as C sees them.

use crate::sized::{self, SizedStruct};
use actc_runtime::View;
use actc_types::{DType, Diagnostic, Narrow, Result, Tensor, TensorData};
use std::ffi::{c_char, c_void};

/// Element types.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum actc_dtype {
    /// One byte, 0 or 1.
    ACTC_BOOL = 1,
    /// Unsigned, 8 bits.
    ACTC_U8 = 2,
    /// Signed, 8 bits.
    ACTC_I8 = 3,
    /// Signed, 32 bits.
    ACTC_I32 = 4,
    /// Signed, 64 bits.
    ACTC_I64 = 5,
    /// IEEE half precision.
    ACTC_F16 = 6,
    /// The upper half of an f32.
    ACTC_BF16 = 7,
    /// IEEE single precision.
    ACTC_F32 = 8,
    /// IEEE double precision.
    ACTC_F64 = 9,
    /// Signed 16-bit integer.
    ACTC_I16 = 10,
    /// Unsigned 16-bit integer.
    ACTC_U16 = 11,
    /// Unsigned 32-bit integer.
    ACTC_U32 = 12,
    /// Unsigned 64-bit integer.
    ACTC_U64 = 13,
    /// 8-bit float, 4 bits of exponent and 3 of fraction, no infinity.
    ACTC_F8E4M3FN = 14,
    /// The same with another bias, without a negative zero.
    ACTC_F8E4M3FNUZ = 15,
    /// 8-bit float, 5 bits of exponent and 2 of fraction.
    ACTC_F8E5M2 = 16,
    /// The same with another bias, without infinity and a negative zero.
    ACTC_F8E5M2FNUZ = 17,
    /// 8-bit power of two.
    ACTC_F8E8M0 = 18,
    /// 4-bit float, 2 bits of exponent and 1 of fraction, in the low bits of a byte, as all below.
    ACTC_F4E2M1 = 19,
    /// 6-bit float, 2 bits of exponent and 3 of fraction.
    ACTC_F6E2M3 = 20,
    /// 6-bit float, 3 bits of exponent and 2 of fraction.
    ACTC_F6E3M2 = 21,
    /// Signed 4-bit integer; the upper bits of its byte are zero.
    ACTC_I4 = 22,
    /// Unsigned 4-bit integer.
    ACTC_U4 = 23,
    /// Signed 2-bit integer; the upper bits of its byte are zero.
    ACTC_I2 = 24,
    /// Unsigned 2-bit integer.
    ACTC_U2 = 25,
}

impl actc_dtype {
    pub(crate) fn of(dtype: DType) -> actc_dtype {
        match dtype {
            DType::Bool => actc_dtype::ACTC_BOOL,
            DType::U8 => actc_dtype::ACTC_U8,
            DType::I8 => actc_dtype::ACTC_I8,
            DType::I32 => actc_dtype::ACTC_I32,
            DType::I64 => actc_dtype::ACTC_I64,
            DType::F16 => actc_dtype::ACTC_F16,
            DType::Bf16 => actc_dtype::ACTC_BF16,
            DType::F32 => actc_dtype::ACTC_F32,
            DType::F64 => actc_dtype::ACTC_F64,
            DType::I16 => actc_dtype::ACTC_I16,
            DType::U16 => actc_dtype::ACTC_U16,
            DType::U32 => actc_dtype::ACTC_U32,
            DType::U64 => actc_dtype::ACTC_U64,
            DType::Narrow(n) => actc_dtype::of_narrow(n),
        }
    }

    fn of_narrow(narrow: Narrow) -> actc_dtype {
        match narrow {
            Narrow::F8E4M3Fn => actc_dtype::ACTC_F8E4M3FN,
            Narrow::F8E4M3Fnuz => actc_dtype::ACTC_F8E4M3FNUZ,
            Narrow::F8E5M2 => actc_dtype::ACTC_F8E5M2,
            Narrow::F8E5M2Fnuz => actc_dtype::ACTC_F8E5M2FNUZ,
            Narrow::F8E8M0 => actc_dtype::ACTC_F8E8M0,
            Narrow::F4E2M1 => actc_dtype::ACTC_F4E2M1,
            Narrow::F6E2M3 => actc_dtype::ACTC_F6E2M3,
            Narrow::F6E3M2 => actc_dtype::ACTC_F6E3M2,
            Narrow::I4 => actc_dtype::ACTC_I4,
            Narrow::U4 => actc_dtype::ACTC_U4,
            Narrow::I2 => actc_dtype::ACTC_I2,
            Narrow::U2 => actc_dtype::ACTC_U2,
        }
    }
}

/// A tensor in memory: the caller's for an input, the session's for an output.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct actc_tensor {
    /// sizeof(actc_tensor)
    pub struct_size: usize,
    /// Name of the input or output.
    pub name: *const c_char,
    /// An actc_dtype.
    pub dtype: i32,
    /// Number of extents.
    pub rank: u32,
    /// Extents, outermost first.
    pub dims: *const u64,
    /// Little-endian elements, row-major. Inputs may lie at any address; outputs lie on a 64-byte line.
    pub data: *const c_void,
    /// Bytes of all elements.
    pub bytes: usize,
}

// SAFETY: `repr(C)`, begins with its size, null pointers and zeros are a value.
unsafe impl SizedStruct for actc_tensor {
    const NAME: &'static str = "actc_tensor";
}

/// Most extents of a tensor.
const MAX_RANK: u32 = 64;

impl actc_tensor {
    /// A copy of a tensor of the caller.
    ///
    /// # Safety
    ///
    /// The pointers are null or have behind them what the numbers say.
    pub(crate) unsafe fn copy(&self, name: &str) -> Result<Tensor> {
        let wrong = |headline: String| Diagnostic::request("tensor-argument", format!("tensor `{name}`: {headline}"));
        let dtype = DType::ALL.iter().copied().find(|d| actc_dtype::of(*d) as i32 == self.dtype);
        let dtype =
            dtype.ok_or_else(|| wrong(format!("dtype is {}, from 1 to {} are known", self.dtype, DType::ALL.len())))?;
        if self.rank > MAX_RANK {
            return Err(wrong(format!("rank is {}, at most {MAX_RANK}", self.rank)));
        }
        // SAFETY: as the caller promises.
        let dims = unsafe { sized::slice(self.dims, self.rank as usize, "dims of a tensor")? };
        let bytes = dims.iter().try_fold(dtype.size() as u64, |n, d| n.checked_mul(*d));
        if bytes != Some(self.bytes as u64) {
            return Err(wrong(format!("{} bytes are given for {dtype} {dims:?}", self.bytes)));
        }
        // SAFETY: as the caller promises.
        let data = unsafe { sized::slice(self.data.cast::<u8>(), self.bytes, "data of a tensor")? };
        Tensor::new(dims, TensorData::from_le_bytes(dtype, data))
    }

    /// A tensor of the session, until it changes.
    pub(crate) fn view(name: *const c_char, view: &View<'_>) -> actc_tensor {
        actc_tensor {
            struct_size: size_of::<actc_tensor>(),
            name,
            dtype: actc_dtype::of(view.dtype) as i32,
            rank: view.dims.len() as u32,
            dims: view.dims.as_ptr(),
            data: view.bytes.as_ptr().cast(),
            bytes: view.bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_type_has_a_number() {
        for (dtype, number) in DType::ALL.iter().copied().zip(1..) {
            assert_eq!(actc_dtype::of(dtype) as i32, number);
        }
    }
}
