//! Elements around a tensor: `Pad` by constants, the border, reflection or repetition, and `CenterCropPad`.

use super::dynamic::pad::Around;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, number};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pad::Pad;
use actc_ir::ops::shaping::{Concat, Slice};
use actc_ir::{Op, Value};
use actc_types::{Dim, Result, Shape, Tensor};

pub(super) const OPERATORS: &[Operator] = &[since("Pad", 2, pad), since("CenterCropPad", 18, center)];

/// For each axis of `rank` the elements before and behind; negative numbers cut.
fn widths(c: &Call<'_, '_>, rank: usize) -> Result<Vec<(i64, i64)>> {
    let pads = if c.node.opset < 11 { c.int_list("pads")? } else { c.optional_ints(1)? };
    let pads = pads.ok_or_else(|| c.refuse("it has no `pads`"))?;
    let axes = match c.optional_ints(3)? {
        Some(axes) => axes.iter().map(|a| c.axis(*a, rank, false)).collect::<Result<Vec<usize>>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(c.refuse(format!("{} pads of {} axes", pads.len(), axes.len())));
    }
    let mut widths = vec![(0, 0); rank];
    for (i, axis) in axes.iter().enumerate() {
        widths[*axis] = (pads[i], pads[axes.len() + i]);
    }
    Ok(widths)
}

fn pad(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let mut x = c.input(0)?;
    let rank = c.ty(x).shape.rank();
    let beyond = match c.text("mode", "constant")? {
        "constant" => None,
        "edge" => Some(Beyond::Edge),
        "reflect" => Some(Beyond::Reflect),
        "wrap" => Some(Beyond::Wrap),
        other => {
            return Err(c.refuse(format!("`mode` is `{other}`, expected `constant`, `edge`, `reflect` or `wrap`")));
        }
    };
    if c.node.opset >= 11 && c.has(1) && (!c.ints_known(1) || c.has(3) && !c.ints_known(3)) {
        let around = match beyond {
            Some(how) => Around::Own(how),
            None => Around::Number(value(c, x)?),
        };
        return one(super::dynamic::pad::pad(c, x, around)?);
    }
    let mut widths = widths(c, rank)?;
    for (axis, (before, behind)) in widths.iter_mut().enumerate() {
        x = cut(c, x, axis, (*before).min(0).unsigned_abs(), (*behind).min(0).unsigned_abs())?;
        (*before, *behind) = ((*before).max(0), (*behind).max(0));
    }
    let widths: Vec<(u64, u64)> = widths.into_iter().map(|(a, b)| (a.unsigned_abs(), b.unsigned_abs())).collect();
    let Some(mode) = beyond else {
        let value = value(c, x)?;
        return one(around(c, x, value, &widths)?);
    };
    for (axis, (before, behind)) in widths.into_iter().enumerate() {
        x = continued(c, x, axis, mode, before, behind)?;
    }
    one(x)
}

/// `x` without its first and last elements along an axis.
fn cut(c: &mut Call<'_, '_>, x: Value, axis: usize, before: u64, behind: u64) -> Result<Value> {
    if (before, behind) == (0, 0) {
        return Ok(x);
    }
    let extent = c.ty(x).shape.dims()[axis].clone();
    let gone = before.checked_add(behind).filter(|n| i64::try_from(*n).is_ok()).map(Dim::from);
    let len = gone.and_then(|gone| extent.checked_sub(&gone)).filter(|n| number(n).is_none_or(|n| n >= 0));
    let len = len.ok_or_else(|| c.refuse(format!("{before} and {behind} elements cut from {extent}")))?;
    c.add(Op::Slice(Slice { axis, start: Dim::from(before), len }), &[x])
}

/// The value is an attribute up to version 10, an input from then on; zero where none is given.
fn value(c: &mut Call<'_, '_>, x: Value) -> Result<Value> {
    let dtype = c.ty(x).dtype;
    if c.node.opset < 11 {
        let value = c.float("value", 0.0)?;
        c.number(value, dtype)
    } else if c.has(2) {
        let value = c.input(2)?;
        c.reshape(value, Shape(Vec::new()))
    } else {
        c.number(0.0, dtype)
    }
}

/// `x` between elements `value`.
fn around(c: &mut Call<'_, '_>, x: Value, value: Value, widths: &[(u64, u64)]) -> Result<Value> {
    if widths.iter().all(|w| *w == (0, 0)) {
        return Ok(x);
    }
    let (before, behind) = widths.iter().copied().unzip();
    c.add(Op::Pad(Pad { before, behind }), &[x, value])
}

/// What continues a tensor beyond its border.
#[derive(Clone, Copy)]
pub(super) enum Beyond {
    /// Its last element.
    Edge,
    /// Its elements in reverse, without the last.
    Reflect,
    /// Its elements again.
    Wrap,
}

impl Beyond {
    /// Which of `extent` elements, at least one, stands at place `at`.
    fn place(self, at: i64, extent: i64) -> i64 {
        match self {
            Beyond::Edge => at.clamp(0, extent - 1),
            Beyond::Wrap => at.rem_euclid(extent),
            Beyond::Reflect if extent == 1 => 0,
            Beyond::Reflect => {
                let period = 2 * (extent - 1);
                let at = at.rem_euclid(period);
                at.min(period - at)
            }
        }
    }

    /// The same before and behind an axis whose extent is not known, from its start and from its end.
    fn ends(self, before: i64, behind: i64) -> (Vec<i64>, Vec<i64>) {
        match self {
            Beyond::Edge => (vec![0; before as usize], vec![-1; behind as usize]),
            Beyond::Wrap => ((-before..0).collect(), (0..behind).collect()),
            Beyond::Reflect => ((1..=before).rev().collect(), (0..behind).map(|i| -2 - i).collect()),
        }
    }
}

fn continued(c: &mut Call<'_, '_>, x: Value, axis: usize, how: Beyond, before: u64, behind: u64) -> Result<Value> {
    let extent = c.ty(x).shape.dims()[axis].clone();
    let longest = super::indexing::LONGEST;
    let total = before.checked_add(behind).and_then(|n| n.checked_add(extent.fixed().unwrap_or(0)));
    if (before, behind) == (0, 0) {
        return Ok(x);
    }
    if total.is_none_or(|n| n > longest) {
        return Err(c.refuse(format!("{before} and {behind} elements around {extent} are more than {longest}")));
    }
    let (before, behind) = (before as i64, behind as i64);
    let gather = |c: &mut Call<'_, '_>, places: Vec<i64>| {
        let places = c.tensor(&Tensor::i64(&[places.len() as u64], places)?);
        c.add(Op::Gather(Gather { axis }), &[x, places])
    };
    match extent.fixed() {
        Some(0) => Err(c.refuse(format!("an axis of no elements of {} goes on", c.ty(x).shape))),
        Some(n) => {
            let n = n as i64;
            gather(c, (-before..n + behind).map(|at| how.place(at, n)).collect())
        }
        // Where it is shorter than what is added, an index outside of it is an error when the graph runs.
        None => {
            let (first, last) = how.ends(before, behind);
            let mut parts = Vec::with_capacity(3);
            if before > 0 {
                parts.push(gather(c, first)?);
            }
            parts.push(x);
            if behind > 0 {
                parts.push(gather(c, last)?);
            }
            c.add(Op::Concat(Concat { axis }), &parts)
        }
    }
}

/// Axes cut or filled up with zeros on both sides, of an odd number one more behind.
fn center(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let mut x = c.input(0)?;
    let rank = c.ty(x).shape.rank();
    let axes = match c.int_list("axes")? {
        Some(axes) => axes.iter().map(|a| c.axis(*a, rank, false)).collect::<Result<Vec<usize>>>()?,
        None => (0..rank).collect(),
    };
    if !c.ints_known(1) || axes.iter().any(|a| c.ty(x).shape.dims()[*a].fixed().is_none()) {
        return one(super::dynamic::pad::center(c, x, &axes)?);
    }
    let wanted = c.ints(1)?;
    if axes.len() != wanted.len() {
        return Err(c.refuse(format!("{} extents of {} axes", wanted.len(), axes.len())));
    }
    let mut widths = vec![(0, 0); rank];
    for (axis, wanted) in axes.into_iter().zip(wanted) {
        let own = c.ty(x).shape.dims()[axis].clone();
        let (Some(own), Ok(wanted)) = (own.fixed(), u64::try_from(wanted)) else {
            return Err(c.refuse(format!("an axis of {own} elements made {wanted}")));
        };
        let (gone, added) = (own.saturating_sub(wanted), wanted.saturating_sub(own));
        x = cut(c, x, axis, gone / 2, gone - gone / 2)?;
        widths[axis] = (added / 2, added - added / 2);
    }
    let zero = c.number(0.0, c.ty(x).dtype)?;
    one(around(c, x, zero, &widths)?)
}
