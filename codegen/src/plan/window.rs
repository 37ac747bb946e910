//! Windows that slide over images, and regions of images, as calls of the runtime.

use super::device::Device;
use super::steps::{Steps, overflow, product};
use actc_artifact::{Builtin, BuiltinCall};
use actc_ir::ops::conv::Geometry;
use actc_ir::ops::pool::{Fold, Pool};
use actc_ir::ops::regions::{DeformConv, RegionPool};
use actc_ir::ops::window::Window;
use actc_ir::{ConstId, NodeData};
use actc_types::{DType, Diagnostic, Dim, Encoding, Result};

/// The integers that say how windows lie.
fn numbers(window: &Window) -> impl Iterator<Item = i64> {
    // The typing rule keeps them below 2^32.
    [&window.kernel, &window.strides, &window.dilations, &window.pads].into_iter().flatten().map(|n| *n as i64)
}

/// The groups, `more`, and how windows lie.
fn integers(geometry: &Geometry, more: &[i64]) -> Result<Vec<i64>> {
    let groups = i64::try_from(geometry.groups).map_err(|_| overflow())?;
    Ok(std::iter::once(groups).chain(more.iter().copied()).chain(numbers(&geometry.window)).collect())
}

/// An error where `dtype` is none of `known`.
fn known(data: &NodeData, dtype: DType, known: &[DType]) -> Result<i64> {
    if known.contains(&dtype) {
        return Ok(dtype.code());
    }
    let words = known.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    Err(Diagnostic::new("codegen-window", format!("`{}` of {dtype}, expected {words}", data.op.name())))
}

impl Steps<'_, '_> {
    fn dtype(&self, data: &NodeData, i: usize) -> DType {
        self.graph.ty(data.args[i]).dtype
    }

    /// Batch, channels of both sides, extents of the argument and of the result.
    fn sizes(&self, data: &NodeData) -> Result<Vec<Dim>> {
        let (x, y) = (&self.graph.ty(data.args[0]).shape, &self.graph.ty(data.results[0]).shape);
        let ([n, c, from @ ..], [_, m, to @ ..]) = (x.dims(), y.dims()) else { return Err(overflow()) };
        Ok([&[n.clone(), c.clone(), m.clone()], from, to].concat())
    }

    fn convolve(
        &mut self,
        label: &str,
        data: &NodeData,
        geometry: &Geometry,
        builtin: Builtin,
        more: &[i64],
    ) -> Result<()> {
        let dims = self.sizes(data)?;
        self.general(label, data, builtin, dims, integers(geometry, more)?)
    }

    pub(super) fn conv(&mut self, label: &str, data: &NodeData, geometry: &Geometry) -> Result<()> {
        if let Some(id) = self.stored(data) {
            return self.conv_stored(label, data, geometry, id);
        }
        let dtype = known(data, self.dtype(data, 0), &[DType::F32, DType::F64])?;
        self.convolve(label, data, geometry, Builtin::Conv, &[dtype])
    }

    /// The weight of `data`, where it is one whose elements do not stand side by side.
    fn stored(&self, data: &NodeData) -> Option<ConstId> {
        let id = self.weight(data, 1).ok()?;
        (self.graph.const_data(id).encoding != Encoding::Dense).then_some(id)
    }

    fn conv_stored(&mut self, label: &str, data: &NodeData, geometry: &Geometry, weight: ConstId) -> Result<()> {
        known(data, self.dtype(data, 0), &[DType::F32])?;
        let x = self.any(data.args[0])?;
        let bias = data.args.get(2).map(|bias| self.any(*bias)).transpose()?;
        let y = self.buffers.value(data.results[0])?;
        let dims = self.sizes(data)?;
        if let Device::Cuda { .. } = self.shared.device {
            let why = match self.as_product(data, geometry, weight, &dims) {
                Ok(places) => return self.conv_by_product(label, data, places, [x, y], &dims),
                Err(why) => why,
            };
            let weights = self.decoded(label, weight)?;
            let bufs = [x, weights].into_iter().chain(bias).chain([y]).collect();
            let ints = integers(geometry, &[DType::F32.code()])?;
            let call = BuiltinCall { bufs, dims, ints, ..BuiltinCall::new(label, Builtin::Conv) };
            self.builtin(call, &format!("no product on tensor cores with {why}; windows over decoded weights"));
            return Ok(());
        }
        let tensor = self.shared.tensors.index(&self.graph.const_data(weight).name);
        let bufs = [x].into_iter().chain(bias).chain([y]).collect();
        let (tensors, ints) = (vec![tensor], integers(geometry, &[])?);
        let call = BuiltinCall { bufs, tensors, dims, ints, ..BuiltinCall::new(label, Builtin::ConvStored) };
        self.builtin(call, "weights are decoded once for all windows");
        Ok(())
    }

    pub(super) fn conv_integer(&mut self, label: &str, data: &NodeData, geometry: &Geometry) -> Result<()> {
        let each = self.graph.ty(data.args[3]).shape.rank() == 1;
        let more = [self.dtype(data, 0).code(), self.dtype(data, 1).code(), i64::from(each)];
        self.convolve(label, data, geometry, Builtin::ConvInteger, &more)
    }

    pub(super) fn conv_transpose(&mut self, label: &str, data: &NodeData, geometry: &Geometry) -> Result<()> {
        let dtype = known(data, self.dtype(data, 0), &[DType::F32])?;
        self.convolve(label, data, geometry, Builtin::ConvTranspose, &[dtype])
    }

    pub(super) fn deform_conv(&mut self, label: &str, data: &NodeData, deform: &DeformConv) -> Result<()> {
        known(data, self.dtype(data, 0), &[DType::F32])?;
        let groups = [deform.groups, deform.offset_groups].map(|g| i64::try_from(g).map_err(|_| overflow()));
        let ints = groups.into_iter().chain(numbers(&deform.window).map(Ok)).collect::<Result<_>>()?;
        let dims = self.sizes(data)?;
        self.general(label, data, Builtin::DeformConv, dims, ints)
    }

    pub(super) fn pool(&mut self, label: &str, data: &NodeData, pool: &Pool) -> Result<()> {
        let ints = [pool.function.code(), self.dtype(data, 0).code(), i64::from(pool.p)];
        let ints = ints.into_iter().chain(numbers(&pool.window)).chain(pool.behind.iter().map(|n| *n as i64));
        let sizes = self.sizes(data)?;
        let dims = std::iter::once(product(&sizes[..2])?).chain(sizes[3..].iter().cloned()).collect();
        self.general(label, data, Builtin::Pool, dims, ints.collect())
    }

    pub(super) fn fold(&mut self, label: &str, data: &NodeData, fold: &Fold) -> Result<()> {
        let ints = std::iter::once(self.dtype(data, 0).code()).chain(numbers(&fold.window)).collect();
        let planes = product(&self.graph.ty(data.results[0]).shape.dims()[..2])?;
        let dims = [&[planes], &fold.windows[..], &fold.extents[..]].concat();
        self.general(label, data, Builtin::Fold, dims, ints)
    }

    pub(super) fn unpool(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let (x, y) = (self.graph.ty(data.args[0]), self.graph.ty(data.results[0]));
        let (dims, size) = (vec![x.shape.elements()?, y.shape.elements()?], x.dtype.size() as i64);
        self.general(label, data, Builtin::Unpool, dims, vec![size])
    }

    pub(super) fn region_pool(&mut self, label: &str, data: &NodeData, pool: &RegionPool) -> Result<()> {
        let dtype = known(data, self.dtype(data, 0), &[DType::F32, DType::F64])?;
        let mut dims = self.graph.ty(data.args[0]).shape.0.clone();
        dims.push(self.graph.ty(data.results[0]).shape.dims()[0].clone());
        let bufs = self.arguments_and_results(data)?;
        let [rows, cols] = pool.size.map(|n| n as i64);
        let ints = vec![pool.function.code(), dtype, rows, cols, i64::from(pool.samples)];
        let floats = vec![f64::from(pool.scale), f64::from(pool.shift)];
        let call = BuiltinCall { bufs, dims, ints, floats, ..BuiltinCall::new(label, Builtin::RegionPool) };
        self.builtin(call, "points between elements");
        Ok(())
    }
}
