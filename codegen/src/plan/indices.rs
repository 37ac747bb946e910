//! Ops that find, put and order elements by indices as calls of the runtime.

use super::steps::{Steps, overflow, product, rows_of};
use actc_artifact::Builtin;
use actc_ir::NodeData;
use actc_ir::ops::order::{Cumulate, TopK};
use actc_ir::ops::places::ScatterElements;
use actc_ir::ops::selection::{Corners, NonMaxSuppression};
use actc_types::function::BinaryFunction;
use actc_types::{Dim, Result, Shape};

/// The number of a reduction in plans.
fn code(reduce: Option<BinaryFunction>) -> i64 {
    reduce.map_or(-1, BinaryFunction::code)
}

/// The length of the tuples that are the last axis of `indices`.
fn tuple(indices: &Shape) -> Result<usize> {
    indices.last().and_then(Dim::fixed).and_then(|k| usize::try_from(k).ok()).ok_or_else(overflow)
}

impl Steps<'_, '_> {
    pub(super) fn gather_nd(&mut self, label: &str, data: &NodeData, batch: usize) -> Result<()> {
        let (x, indices) = (self.graph.ty(data.args[0]).clone(), self.graph.ty(data.args[1]).shape.clone());
        let (whole, k) = (x.shape.dims(), tuple(&indices)?);
        let tuples = &indices.dims()[batch..indices.rank() - 1];
        let mut dims = vec![product(&whole[..batch])?, product(tuples)?, product(&whole[batch + k..])?];
        dims.extend_from_slice(&whole[batch..batch + k]);
        self.general(label, data, Builtin::GatherNd, dims, vec![x.dtype.size() as i64])
    }

    pub(super) fn gather_elements(&mut self, label: &str, data: &NodeData, axis: usize) -> Result<()> {
        let (x, indices) = (self.graph.ty(data.args[0]).clone(), self.graph.ty(data.args[1]));
        let dims = [x.shape.dims(), indices.shape.dims()].concat();
        self.general(label, data, Builtin::GatherElements, dims, vec![x.dtype.size() as i64, axis as i64])
    }

    pub(super) fn scatter_nd(&mut self, label: &str, data: &NodeData, reduce: Option<BinaryFunction>) -> Result<()> {
        let (x, indices) = (self.graph.ty(data.args[0]).clone(), self.graph.ty(data.args[1]).shape.clone());
        let (whole, k) = (x.shape.dims(), tuple(&indices)?);
        let mut dims = vec![product(&indices.dims()[..indices.rank() - 1])?, product(&whole[k..])?];
        dims.extend_from_slice(&whole[..k]);
        self.general(label, data, Builtin::ScatterNd, dims, vec![x.dtype.code(), code(reduce)])
    }

    pub(super) fn scatter_elements(&mut self, label: &str, data: &NodeData, op: &ScatterElements) -> Result<()> {
        let (x, indices) = (self.graph.ty(data.args[0]).clone(), self.graph.ty(data.args[1]));
        let dims = [x.shape.dims(), indices.shape.dims()].concat();
        let ints = vec![x.dtype.code(), code(op.reduce), op.axis as i64];
        self.general(label, data, Builtin::ScatterElements, dims, ints)
    }

    pub(super) fn cumulate(&mut self, label: &str, data: &NodeData, op: &Cumulate) -> Result<()> {
        let x = self.graph.ty(data.args[0]).clone();
        let ints = vec![op.function.code(), x.dtype.code(), i64::from(op.exclusive), i64::from(op.reverse)];
        self.general(label, data, Builtin::Cumulate, x.shape.0, ints)
    }

    pub(super) fn top_k(&mut self, label: &str, data: &NodeData, op: &TopK) -> Result<()> {
        let x = self.graph.ty(data.args[0]);
        let dims = vec![rows_of(x)?, x.shape.last().cloned().ok_or_else(overflow)?, op.k.clone()];
        let ints = vec![x.dtype.code(), i64::from(op.largest)];
        self.general(label, data, Builtin::TopK, dims, ints)
    }

    pub(super) fn non_zero(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let x = self.graph.ty(data.args[0]).clone();
        self.general(label, data, Builtin::NonZero, x.shape.0, vec![x.dtype.code()])
    }

    pub(super) fn unique(&mut self, label: &str, data: &NodeData, sorted: bool) -> Result<()> {
        let x = self.graph.ty(data.args[0]).clone();
        self.general(label, data, Builtin::Unique, x.shape.0, vec![x.dtype.code(), i64::from(sorted)])
    }

    pub(super) fn non_max_suppression(&mut self, label: &str, data: &NodeData, op: &NonMaxSuppression) -> Result<()> {
        let mut dims = self.graph.ty(data.args[1]).shape.clone().0;
        dims.push(op.limit.clone());
        let centre = match op.corners {
            Corners::Opposite => 0,
            Corners::Centre => 1,
        };
        self.general(label, data, Builtin::NonMaxSuppression, dims, vec![centre])
    }
}
