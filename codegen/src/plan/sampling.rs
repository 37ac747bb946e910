//! Padding, resampling and determinants as calls of the runtime.

use super::steps::{Steps, overflow, product};
use actc_artifact::Builtin;
use actc_ir::NodeData;
use actc_ir::ops::pad::Pad;
use actc_ir::ops::sampling::Sampling;
use actc_types::{Dim, Result};

impl Steps<'_, '_> {
    pub(super) fn pad(&mut self, label: &str, data: &NodeData, pad: &Pad) -> Result<()> {
        let (x, y) = (self.graph.ty(data.args[0]).clone(), self.graph.ty(data.results[0]).clone());
        let before = pad.before.iter().map(|n| Dim::from(*n)).collect();
        let dims = [y.shape.0, x.shape.0, before].concat();
        self.general(label, data, Builtin::Pad, dims, vec![x.dtype.size() as i64])
    }

    pub(super) fn resample(&mut self, label: &str, data: &NodeData, axis: usize) -> Result<()> {
        let x = self.graph.ty(data.args[0]).clone();
        let whole = x.shape.dims();
        let mut dims = vec![product(&whole[..axis])?, whole[axis].clone(), product(&whole[axis + 1..])?];
        dims.extend(self.graph.ty(data.args[1]).shape.0.iter().cloned());
        self.general(label, data, Builtin::Resample, dims, vec![x.dtype.code()])
    }

    pub(super) fn grid_sample(&mut self, label: &str, data: &NodeData, sampling: Sampling) -> Result<()> {
        let (x, grid) = (self.graph.ty(data.args[0]).clone(), self.graph.ty(data.args[1]).clone());
        let ([n, channels, axes @ ..], [_, places @ .., _]) = (x.shape.dims(), grid.shape.dims()) else {
            return Err(overflow());
        };
        let mut dims = vec![n.clone(), channels.clone(), product(places)?];
        dims.extend(axes.iter().cloned());
        let Sampling { interpolation, border, ends } = sampling;
        let ints = vec![interpolation.code(), border.code(), ends.code(), x.dtype.code(), grid.dtype.code()];
        self.general(label, data, Builtin::GridSample, dims, ints)
    }

    pub(super) fn det(&mut self, label: &str, data: &NodeData) -> Result<()> {
        let x = self.graph.ty(data.args[0]).clone();
        let [outer @ .., _, n] = x.shape.dims() else { return Err(overflow()) };
        self.general(label, data, Builtin::Det, vec![product(outer)?, n.clone()], vec![x.dtype.code()])
    }
}
