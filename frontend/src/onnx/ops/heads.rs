//! Heads of queries, keys and values: numbers of a token in as many runs as there are heads.

use super::movement::{ordered, product};
use crate::onnx::import::{Call, quotient};
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

/// Queries, keys or values of some heads in each order of axes that is read; what is not used falls away.
pub(super) struct Heads {
    /// `[B, S, H, D]`.
    pub(super) rows: Value,
    /// `[B, H, S, D]`.
    pub(super) heads: Value,
    /// `[B, H, D, S]`.
    pub(super) columns: Value,
}

impl Heads {
    /// Of `x [B, S, H, D]`.
    pub(super) fn of_rows(c: &mut Call<'_, '_>, x: Value) -> Result<Heads> {
        let heads = ordered(c, x, vec![0, 2, 1, 3])?;
        let columns = ordered(c, x, vec![0, 2, 3, 1])?;
        Ok(Heads { rows: x, heads, columns })
    }

    /// Of `x [B, H, S, D]`.
    pub(super) fn of_heads(c: &mut Call<'_, '_>, x: Value) -> Result<Heads> {
        let rows = ordered(c, x, vec![0, 2, 1, 3])?;
        let columns = ordered(c, x, vec![0, 1, 3, 2])?;
        Ok(Heads { rows, heads: x, columns })
    }

    /// Of `x [B, S, count * D]`.
    pub(super) fn of_joined(c: &mut Call<'_, '_>, x: Value, count: u64) -> Result<Heads> {
        let x = split(c, x, count)?;
        Heads::of_rows(c, x)
    }

    /// These behind `past [B, H, P, D]`.
    pub(super) fn behind(self, c: &mut Call<'_, '_>, past: Value) -> Result<Heads> {
        let all = c.add(Op::Concat(Concat { axis: 2 }), &[past, self.heads])?;
        Heads::of_heads(c, all)
    }

    /// These in another type.
    pub(super) fn cast(&self, c: &mut Call<'_, '_>, to: DType) -> Result<Heads> {
        if c.ty(self.heads).dtype == to {
            return Ok(Heads { rows: self.rows, heads: self.heads, columns: self.columns });
        }
        let heads = c.cast(self.heads, to)?;
        Heads::of_heads(c, heads)
    }

    /// The extents `B, H, S, D`.
    pub(super) fn dims(&self, c: &Call<'_, '_>) -> Result<[Dim; 4]> {
        let shape = c.ty(self.heads).shape;
        <[Dim; 4]>::try_from(shape.0).map_err(|dims| c.refuse(format!("{} are no heads", Shape(dims))))
    }
}

/// `x [B, S, count * D]` as `[B, S, count, D]`.
pub(super) fn split(c: &mut Call<'_, '_>, x: Value, count: u64) -> Result<Value> {
    let shape = c.ty(x).shape;
    let [b, s, width] = shape.dims() else { return Err(c.refuse(format!("{shape} has not three axes"))) };
    let each = quotient(width, &Dim::from(count)).filter(|_| count > 0);
    let each = each.ok_or_else(|| c.refuse(format!("{width} numbers in {count} heads")))?;
    c.reshape(x, Shape(vec![b.clone(), s.clone(), Dim::from(count), each]))
}

/// `x [B, S, H, D]` as `[B, S, H * D]`.
pub(super) fn joined(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let shape = c.ty(x).shape;
    let [b, s, heads @ ..] = shape.dims() else { return Err(c.refuse(format!("{shape} are no heads"))) };
    let dims = vec![b.clone(), s.clone(), product(c, heads)?];
    c.reshape(x, Shape(dims))
}
