//! What our products are measured against: cuBLAS on f16 matrices, where the machine has it.

use crate::Result;
use crate::device::{Device, Memory};
use cudarc::cublas::{CudaBlas, result, sys};
use std::ffi::c_void;

/// cuBLAS with f16 weights `[rows, cols]`, as many sets as rotate.
pub(crate) struct Rival {
    blas: CudaBlas,
    rows: usize,
    cols: usize,
    weights: Vec<Memory>,
}

impl Rival {
    /// `None` where the library is not there.
    pub(crate) fn open(device: &Device, rows: usize, cols: usize, sets: usize) -> Result<Option<Rival>> {
        // SAFETY: looks for a library and loads it; it is NVIDIA's.
        if !unsafe { sys::is_culib_present() } {
            return Ok(None);
        }
        let half = crate::speed::halves(rows * cols);
        let weights = (0..sets).map(|_| device.put(&half)).collect::<Result<_>>()?;
        Ok(Some(Rival { blas: CudaBlas::new(device.stream().clone())?, rows, cols, weights }))
    }

    /// Seconds of a product with `tokens` tokens, sums in f32, results in f16.
    pub(crate) fn seconds(&self, device: &Device, tokens: usize) -> Result<f64> {
        let x = device.put(&crate::speed::halves(tokens * self.cols))?;
        let y = device.zeros(2 * tokens * self.rows)?;
        let (m, n, k) = (i32::try_from(self.rows)?, i32::try_from(tokens)?, i32::try_from(self.cols)?);
        let (one, zero) = (1.0f32, 0.0f32);
        let all = device.seconds(&|| {
            for w in &self.weights {
                // SAFETY: addresses are of matrices of these sizes on the device, factors of two floats that live.
                unsafe {
                    result::gemm_ex(
                        *self.blas.handle(),
                        sys::cublasOperation_t::CUBLAS_OP_T,
                        sys::cublasOperation_t::CUBLAS_OP_N,
                        m,
                        n,
                        k,
                        (&raw const one).cast(),
                        w.address as *const c_void,
                        sys::cudaDataType::CUDA_R_16F,
                        k,
                        x.address as *const c_void,
                        sys::cudaDataType::CUDA_R_16F,
                        k,
                        (&raw const zero).cast(),
                        y.address as *mut c_void,
                        sys::cudaDataType::CUDA_R_16F,
                        m,
                        sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                        sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
                    )
                }?;
            }
            Ok(())
        })?;
        Ok(all / self.weights.len() as f64)
    }
}
