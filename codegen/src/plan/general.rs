//! Ops on tensors of any element type and shape as calls of the runtime: what no kernel is made for.

use super::steps::{Steps, overflow, product, rows_of};
use actc_artifact::{Builtin, BuiltinCall};
use actc_ir::ops::pointwise::Cast;
use actc_ir::{NodeData, Value};
use actc_types::function::{BinaryFunction, UnaryFunction};
use actc_types::{DType, Diagnostic, Dim, Result};

impl Steps<'_, '_> {
    pub(super) fn unary(&mut self, label: &str, data: &NodeData, function: UnaryFunction) -> Result<()> {
        let dtype = self.graph.ty(data.args[0]).dtype;
        self.each(label, data, Builtin::Unary, vec![function.code(), dtype.code()])
    }

    pub(super) fn cast(&mut self, label: &str, data: &NodeData, cast: Cast) -> Result<()> {
        let from = self.graph.ty(data.args[0]).dtype;
        let (overflow, powers) = (cast.narrowing.overflow as i64, cast.narrowing.powers as i64);
        self.each(label, data, Builtin::Cast, vec![from.code(), cast.to.code(), overflow, powers])
    }

    pub(super) fn bitcast(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let ty = self.graph.ty(data.args[0]).clone();
        let (elements, size) = (ty.shape.elements()?, Dim::from(ty.dtype.size() as u64));
        let bytes = elements.checked_mul(&size).ok_or_else(overflow)?;
        let (from, to) = (self.any(data.args[0])?, self.buffers.value(data.results[0])?);
        let (one, none) = (Dim::from(1), Dim::from(0));
        self.copy(label, [from, to], [&one, &bytes, &none, &bytes, &none, &bytes]);
        Ok(())
    }

    fn each(&mut self, label: &str, data: &NodeData, builtin: Builtin, ints: Vec<i64>) -> Result<()> {
        let dims = vec![self.graph.ty(data.args[0]).shape.elements()?];
        self.general(label, data, builtin, dims, ints)
    }

    pub(super) fn binary(&mut self, label: &str, data: &NodeData, function: BinaryFunction) -> Result<()> {
        let dtype = self.graph.ty(data.args[0]).dtype;
        let dims = self.repeated(data)?;
        self.general(label, data, Builtin::Binary, dims, vec![function.code(), dtype.code()])
    }

    pub(super) fn select(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let size = self.graph.ty(data.results[0]).dtype.size() as i64;
        let dims = self.repeated(data)?;
        self.general(label, data, Builtin::Select, dims, vec![size])
    }

    pub(super) fn transpose(&mut self, label: &str, data: &NodeData, order: &[usize]) -> Result<()> {
        let ty = self.graph.ty(data.args[0]).clone();
        let ints = std::iter::once(ty.dtype.size() as i64).chain(order.iter().map(|a| *a as i64)).collect();
        self.general(label, data, Builtin::Transpose, ty.shape.0, ints)
    }

    pub(super) fn reduce(&mut self, label: &str, data: &NodeData, builtin: Builtin, code: i64) -> Result<()> {
        let ty = self.graph.ty(data.args[0]);
        let dims = vec![rows_of(ty)?, ty.shape.last().cloned().ok_or_else(overflow)?];
        let ints = vec![code, ty.dtype.code()];
        self.general(label, data, builtin, dims, ints)
    }

    pub(super) fn gather(&mut self, label: &str, data: &NodeData, axis: usize) -> Result<()> {
        let x = self.graph.ty(data.args[0]).clone();
        let whole = x.shape.dims();
        let count = self.graph.ty(data.args[1]).shape.elements()?;
        let dims = vec![product(&whole[..axis])?, whole[axis].clone(), product(&whole[axis + 1..])?, count];
        self.general(label, data, Builtin::Gather, dims, vec![x.dtype.size() as i64])
    }

    pub(super) fn expand(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let size = self.graph.ty(data.results[0]).dtype.size() as i64;
        let dims = self.repeated(data)?;
        self.general(label, data, Builtin::Expand, dims, vec![size])
    }

    /// Products of matrices whose leading axes are equal, or by one matrix.
    pub(super) fn matmul(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let (a, b) = (self.graph.ty(data.args[0]).clone(), self.graph.ty(data.args[1]).clone());
        let ([outer_a @ .., m, k], [outer_b @ .., _, n]) = (a.shape.dims(), b.shape.dims()) else {
            return Err(overflow());
        };
        let single = outer_b.iter().all(|d| *d == Dim::from(1));
        if matches!(a.dtype, DType::F16 | DType::Bf16) || outer_a != outer_b && !single {
            let headline = format!("no product of {a} and {b}");
            return Err(Diagnostic::new("codegen-matmul", headline)
                .help("f32, f64 or integers, with equal leading axes or one matrix"));
        }
        let (batches, rows) = if outer_a == outer_b {
            (product(outer_a)?, m.clone())
        } else {
            (Dim::from(1), product(outer_a)?.checked_mul(m).ok_or_else(overflow)?)
        };
        self.general(
            label,
            data,
            Builtin::Matmul,
            vec![batches, rows, k.clone(), n.clone()],
            vec![0, 0, a.dtype.code()],
        )
    }

    /// The extents of the result and of each argument, ones in front.
    fn repeated(&self, data: &NodeData) -> Result<Vec<Dim>> {
        let whole = self.graph.ty(data.results[0]).shape.clone();
        let mut dims = whole.0.clone();
        for arg in &data.args {
            let own = self.graph.ty(*arg).shape.dims();
            let missing = whole.rank().checked_sub(own.len()).ok_or_else(overflow)?;
            dims.extend(std::iter::repeat_n(Dim::from(1), missing));
            dims.extend(own.iter().cloned());
        }
        Ok(dims)
    }

    pub(super) fn general(
        &mut self,
        label: &str,
        data: &NodeData,
        builtin: Builtin,
        dims: Vec<Dim>,
        ints: Vec<i64>,
    ) -> Result<()> {
        let (least, most) = builtin.arity().dims;
        if !(least..=most).contains(&dims.len()) {
            let headline = format!("`{}` over {} sizes, at most {most} can be", builtin.name(), dims.len());
            return Err(Diagnostic::new("codegen-rank", headline));
        }
        let bufs = self.arguments_and_results(data)?;
        self.builtin(BuiltinCall { bufs, dims, ints, ..BuiltinCall::new(label, builtin) }, "any type and shape");
        Ok(())
    }

    /// The buffers of all arguments, then of all results.
    pub(super) fn arguments_and_results(&mut self, data: &NodeData) -> Result<Vec<u32>> {
        let mut bufs = data.args.iter().map(|v| self.any(*v)).collect::<Result<Vec<u32>>>()?;
        for result in &data.results {
            bufs.push(self.buffers.value(*result)?);
        }
        Ok(bufs)
    }

    pub(super) fn any(&mut self, value: Value) -> Result<u32> {
        self.buffers.any(&mut self.shared.tensors, value)
    }
}
