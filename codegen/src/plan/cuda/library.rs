//! What CPUs leave to the runtime's library, as kernels: they take the same buffers and sizes in the same order.

use super::no_kernel;
use crate::plan::steps::{FEW_TOKENS, Steps, overflow};
use crate::spec::gpu::{Copy, Each, GpuKernel, Matmul, Of, Place, Rowwise, Sizes, What};
use crate::spec::{Buffer, BufferRole};
use actc_artifact::{Builtin, BuiltinCall};
use actc_types::function::{BinaryFunction, Extreme, RowFunction, UnaryFunction};
use actc_types::{DType, Diagnostic, Dim, Result};

/// Elements of a row that are worth a whole block.
const WIDE: u64 = 1024;

/// What the integers of `call` mean.
struct Words<'c>(&'c BuiltinCall);

impl Words<'_> {
    fn int(&self, i: usize) -> Result<i64> {
        self.0.ints.get(i).copied().ok_or_else(|| self.unknown(i))
    }

    fn unknown(&self, i: usize) -> Diagnostic {
        Diagnostic::new(
            "codegen-library",
            format!("`{}`: integer {i} is none that a kernel knows", self.0.builtin.name()),
        )
    }

    fn word<T>(&self, i: usize, read: fn(i64) -> Option<T>) -> Result<T> {
        read(self.int(i)?).ok_or_else(|| self.unknown(i))
    }

    fn small(&self, i: usize) -> Result<u8> {
        u8::try_from(self.int(i)?).map_err(|_| self.unknown(i))
    }

    /// Axes of tensors of which there are `tensors`.
    fn rank(&self, tensors: usize) -> Result<u8> {
        u8::try_from(self.0.dims.len() / tensors).map_err(|_| overflow())
    }

    /// What is done element by element, if that is what is done.
    fn each(&self) -> Result<Option<What>> {
        Ok(Some(match self.0.builtin {
            Builtin::Unary => What::Unary {
                function: self.word(0, UnaryFunction::from_code)?,
                dtype: self.word(1, DType::from_code)?,
            },
            Builtin::Binary => What::Binary {
                function: self.word(0, BinaryFunction::from_code)?,
                dtype: self.word(1, DType::from_code)?,
                rank: self.rank(3)?,
            },
            Builtin::Select => What::Select { size: self.small(0)?, rank: self.rank(4)? },
            // Types that ask for a way to overflow have no kernel, whichever way it is.
            Builtin::Cast => What::Cast { from: self.word(0, DType::from_code)?, to: self.word(1, DType::from_code)? },
            Builtin::Transpose => {
                let order = (1..self.0.ints.len()).map(|i| self.small(i)).collect::<Result<_>>()?;
                What::Transpose { size: self.small(0)?, order }
            }
            Builtin::Expand => What::Expand { size: self.small(0)?, rank: self.rank(2)? },
            Builtin::Gather => What::Gather { size: self.small(0)? },
            Builtin::Pad => What::Pad { size: self.small(0)?, rank: self.rank(3)? },
            Builtin::Range => What::Range,
            Builtin::Zero => What::Zero,
            _ => return Ok(None),
        }))
    }
}

impl Steps<'_, '_> {
    /// Where kernels of templates find `dims`: by value in 32 bits, unless they change in a recorded entry or are larger.
    fn handed(&self, dims: &[Dim]) -> Sizes {
        let changes = self.recorded && dims.iter().any(|d| d.fixed().is_none());
        let large = dims.iter().filter_map(Dim::fixed).any(|n| n > i32::MAX as u64);
        if changes || large { Sizes::Memory } else { Sizes::Int }
    }

    /// Does what `call` does.
    pub(in crate::plan) fn library_on_gpu(&mut self, call: &BuiltinCall, reason: &str) -> Result<()> {
        let words = Words(call);
        let sizes = self.handed(&call.dims);
        let wide = call.dims.get(1).and_then(Dim::fixed).is_none_or(|n| n >= WIDE);
        let kernel = match (call.builtin, words.each()?) {
            (_, Some(what)) => GpuKernel::Each(Each { what, sizes }),
            (Builtin::Copy, None) => GpuKernel::Copy(Copy { sizes }),
            (Builtin::Softmax, None) => GpuKernel::Rowwise(Rowwise { of: Of::Softmax, wide, sizes }),
            (Builtin::Reduce, None) => {
                let of = Of::Function(words.word(0, RowFunction::from_code)?, words.word(1, DType::from_code)?);
                GpuKernel::Rowwise(Rowwise { of, wide, sizes })
            }
            (Builtin::Matmul, None) if words.int(2).map_or(Some(DType::F32), DType::from_code) == Some(DType::F32) => {
                let few = call.dims[1].fixed().is_some_and(|m| m <= FEW_TOKENS);
                GpuKernel::Matmul(Matmul { ta: words.int(0)? != 0, tb: words.int(1)? != 0, few, sizes })
            }
            (Builtin::Place, None) => {
                let length = call.dims[1].fixed().unwrap_or(0);
                let place = Place::of(words.word(0, Extreme::from_code)?, words.word(1, DType::from_code)?, length);
                return self.place(call, place, reason);
            }
            (other, None) => return Err(no_kernel(format!("no GPU kernel does `{}`", other.name()))),
        };
        let bufs = self.like_the_library(call, &kernel.buffers());
        let reason = format!("{reason}: {kernel}");
        self.template(&call.label, kernel, bufs, call.dims.clone(), reason)
    }

    /// The buffers of `call`, with the error word where a kernel wants it.
    fn like_the_library(&mut self, call: &BuiltinCall, asked: &[Buffer]) -> Vec<u32> {
        let mut given = call.bufs.iter();
        let mut bufs = Vec::with_capacity(asked.len());
        for buffer in asked {
            if buffer.role == BufferRole::Error {
                bufs.push(self.buffers.errors());
            } else {
                bufs.extend(given.next());
            }
        }
        bufs
    }

    /// Where extremes of rows stand; of long rows several blocks look through one each.
    fn place(&mut self, call: &BuiltinCall, place: Place, reason: &str) -> Result<()> {
        let [from, to] = call.bufs[..] else { return Err(overflow()) };
        let Some(choose) = place.choose() else {
            let reason = format!("{reason}: {place}");
            return self.template(&call.label, GpuKernel::Place(place), vec![from, to], call.dims.clone(), reason);
        };
        let bytes = call.dims[0].checked_mul(&Dim::from(8 * u64::from(place.parts))).ok_or_else(overflow)?;
        let finds = self.buffers.scratch(bytes);
        let why = format!("{reason}: {place}");
        self.template(&call.label, GpuKernel::Place(place), vec![from, finds], call.dims.clone(), why)?;
        let why = format!("blocks share a row: {choose}");
        let label = format!("{} (best)", call.label);
        self.template(&label, GpuKernel::Choose(choose), vec![from, finds, to], call.dims.clone(), why)
    }

    /// The product of `x [M, K]` and a dense matrix `[N, K]` in single precision, plus a bias `[N]`.
    pub(super) fn dense_product(
        &mut self,
        label: &str,
        bufs: [u32; 3],
        bias: Option<u32>,
        [m, k, n]: [&Dim; 3],
    ) -> Result<()> {
        let [x, weight, to] = bufs;
        let product = match bias {
            None => to,
            Some(_) => {
                let elements = m.checked_mul(n).and_then(|e| e.checked_mul(&Dim::from(4))).ok_or_else(overflow)?;
                self.buffers.scratch(elements)
            }
        };
        let dims = vec![Dim::from(1), m.clone(), k.clone(), n.clone()];
        let few = m.fixed().is_some_and(|m| m <= FEW_TOKENS);
        let kernel = GpuKernel::Matmul(Matmul { ta: false, tb: true, few, sizes: self.handed(&dims) });
        let reason = format!("weights of single precision: {kernel}");
        self.template(label, kernel, vec![x, weight, product], dims, reason)?;
        let Some(bias) = bias else { return Ok(()) };
        let what = What::Binary { function: BinaryFunction::Add, dtype: DType::F32, rank: 2 };
        let dims = vec![m.clone(), n.clone(), m.clone(), n.clone(), Dim::from(1), n.clone()];
        let kernel = GpuKernel::Each(Each { what, sizes: self.handed(&dims) });
        let reason = format!("the bias: {kernel}");
        self.template(&format!("{label} (bias)"), kernel, vec![product, bias, to], dims, reason)
    }
}
