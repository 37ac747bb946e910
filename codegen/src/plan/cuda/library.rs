//! What CPUs leave to the runtime's library, as kernels: they take the same buffers and sizes in the same order.

use super::no_kernel;
use crate::plan::pointwise::small;
use crate::plan::steps::{FEW_TOKENS, Steps, fixed, overflow};
use crate::spec::gpu::{Append, Det, Each, Element, GpuKernel, Matmul, Place, Rows, Sizes, What};
use crate::spec::{Buffer, BufferRole};
use actc_artifact::{Builtin, BuiltinCall};
use actc_types::function::BinaryFunction;
use actc_types::{DType, Dim, Result, RowForm};

impl Steps<'_, '_> {
    /// Where kernels of templates find `dims`: by value in 32 bits, unless they change in a recorded entry or are larger.
    pub(super) fn handed(&self, dims: &[Dim]) -> Sizes {
        let changes = self.recorded && dims.iter().any(|d| d.fixed().is_none());
        let large = dims.iter().filter_map(Dim::fixed).any(|n| n > i32::MAX as u64);
        if changes || large { Sizes::Memory } else { Sizes::Int }
    }

    /// Does what `call` does.
    pub(in crate::plan) fn library_on_gpu(&mut self, call: &BuiltinCall, reason: &str) -> Result<()> {
        if call.builtin == Builtin::RoundRows {
            return self.rounded_rows(call, reason);
        }
        let kernel = GpuKernel::of_call(call, self.handed(&call.dims)).map_err(|d| no_kernel(d.headline))?;
        if let GpuKernel::Place(place) = kernel {
            return self.place(call, place, reason);
        }
        if let GpuKernel::Det(det) = kernel {
            return self.determinants(call, det, reason);
        }
        let bufs = self.like_the_library(call, &kernel.buffers())?;
        let reason = format!("{reason}: {kernel}");
        self.template(&call.label, kernel, bufs, call.dims.clone(), reason)
    }

    /// The buffers of `call`, with the error word where a kernel wants it.
    fn like_the_library(&mut self, call: &BuiltinCall, asked: &[Buffer]) -> Result<Vec<u32>> {
        let mut given = call.bufs.iter();
        let mut bufs = Vec::with_capacity(asked.len());
        for buffer in asked {
            if buffer.role == BufferRole::Error {
                bufs.push(self.buffers.errors());
            } else {
                bufs.extend(given.next());
            }
        }
        match given.len() {
            0 if bufs.len() == asked.len() => Ok(bufs),
            _ => {
                Err(no_kernel(format!("`{}` has {} buffers, its kernel {}", call.label, call.bufs.len(), asked.len())))
            }
        }
    }

    /// Rows that are rounded: new ones of a state that has none.
    fn rounded_rows(&mut self, call: &BuiltinCall, reason: &str) -> Result<()> {
        let form = RowForm::ALL.into_iter().find(|form| call.ints == [i64::from(form.bits())]);
        let ([rows, n, offset], Some(form)) = (&call.dims[..], form) else { return Err(overflow()) };
        if offset.fixed() != Some(0) {
            return Err(no_kernel(format!("no GPU kernel rounds rows into the middle, at byte {offset}")));
        }
        let n = small(fixed(Some(n), "the length of a row")?, "the length of a row")?;
        let kernel = GpuKernel::Append(Append { rows: vec![Rows::plain(1, n)], form });
        let reason = format!("{reason}: {kernel}");
        self.template(&call.label, kernel, call.bufs.clone(), vec![rows.clone(), Dim::from(0)], reason)
    }

    /// Determinants, whose elimination needs memory to work in.
    fn determinants(&mut self, call: &BuiltinCall, det: Det, reason: &str) -> Result<()> {
        let ([from, to], [m, n]) = (&call.bufs[..], &call.dims[..]) else { return Err(overflow()) };
        let scratch = self.buffers.scratch(Det::scratch(m, n).ok_or_else(overflow)?);
        let reason = format!("{reason}: {det}");
        self.template(&call.label, GpuKernel::Det(det), vec![*from, scratch, *to], call.dims.clone(), reason)
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
        let what = What::Binary { function: BinaryFunction::Add, dtype: Element::of(DType::F32)?, rank: 2 };
        let dims = vec![m.clone(), n.clone(), m.clone(), n.clone(), Dim::from(1), n.clone()];
        let kernel = GpuKernel::Each(Each { what, sizes: self.handed(&dims) });
        let reason = format!("the bias: {kernel}");
        self.template(&format!("{label} (bias)"), kernel, vec![product, bias, to], dims, reason)
    }
}
