//! Where the second tensor of an operator lies over the first. From version 7 on their last axes meet; before, the second one's
//! axes are those from `axis` on, where a node says so.

use crate::onnx::import::Call;
use actc_ir::Value;
use actc_types::{Dim, Result};

/// The axis of the first tensor that the second one's first axis is, where it is not for the last axes to meet.
pub(super) struct Place(Option<i64>);

impl Place {
    /// What the node says.
    pub(super) fn of(c: &Call<'_, '_>) -> Result<Place> {
        if c.node.opset >= 7 {
            return Ok(Place(None));
        }
        let (on, axis) = (c.int("broadcast", 0)? != 0, c.optional_int("axis")?);
        Ok(Place(axis.filter(|_| on)))
    }

    /// `b` with as many extents of 1 behind its own as axes of `a` come behind them.
    pub(super) fn put(&self, c: &mut Call<'_, '_>, a: Value, b: Value) -> Result<Value> {
        let Some(axis) = self.0 else { return Ok(b) };
        let (rank, mut shape) = (c.ty(a).shape.rank(), c.ty(b).shape);
        let axis = c.axis(axis, rank, false)?;
        if axis + shape.rank() > rank {
            return Err(c.refuse(format!("{shape} from axis {axis} of {rank} on")));
        }
        shape.0.resize(rank - axis, Dim::from(1));
        c.reshape(b, shape)
    }
}
