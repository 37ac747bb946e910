//! Rotary position embedding by tables of cosines and sines.

use super::attention::count;
use super::heads::{joined, split};
use super::movement::run;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, quotient};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[since("RotaryEmbedding", 23, rotary)];

/// Which numbers of a head are turned together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pairs {
    /// Number `i` of the first half and number `i` of the second.
    Halves,
    /// Numbers `2 i` and `2 i + 1`.
    Neighbours,
}

/// Cosines and sines of the angles of each token, `[B or 1, S, R / 2]`.
#[derive(Clone, Copy)]
pub(super) struct Angles {
    pub(super) cos: Value,
    pub(super) sin: Value,
}

/// Rows `ids` of tables `[M, R / 2]`.
pub(super) fn looked_up(c: &mut Call<'_, '_>, tables: Angles, ids: Value) -> Result<Angles> {
    let ids = c.cast(ids, DType::I64)?;
    let cos = c.add(Op::Gather(Gather { axis: 0 }), &[tables.cos, ids])?;
    let sin = c.add(Op::Gather(Gather { axis: 0 }), &[tables.sin, ids])?;
    Ok(Angles { cos, sin })
}

/// `x`, heads whose last axis is cut into pairs, with the first numbers turned: as many as the tables have, twice. `heads` is
/// the axis of heads, 1 or 2; the other of the two is that of tokens.
pub(super) fn turned(c: &mut Call<'_, '_>, x: Value, angles: Angles, heads: usize, pairs: Pairs) -> Result<Value> {
    let shape = c.ty(x).shape;
    let [.., width] = shape.dims() else { return Err(c.refuse(format!("{shape} are no heads"))) };
    let half = c.ty(angles.cos).shape.last().cloned().unwrap_or_default();
    let whole = half.checked_add(&half).ok_or_else(|| c.refuse("too wide a table"))?;
    let rest = width.checked_sub(&whole).ok_or_else(|| c.refuse("too wide a table"))?;
    if rest.terms().any(|(n, _)| n < 0) {
        return Err(c.refuse(format!("{whole} of {width} numbers of a head are turned")));
    }
    let last = shape.rank() - 1;
    let part = run(c, x, last, Dim::from(0), whole.clone())?;
    let (a, b) = match pairs {
        Pairs::Halves => {
            (run(c, part, last, Dim::from(0), half.clone())?, run(c, part, last, half.clone(), half.clone())?)
        }
        Pairs::Neighbours => {
            let mut dims = shape.0.clone();
            dims[last] = half.clone();
            let flat = Shape(dims.clone());
            dims.push(Dim::from(2));
            let pairs = c.reshape(part, Shape(dims))?;
            let [a, b] = [0, 1].map(|i| {
                let one = run(c, pairs, last + 1, Dim::from(i), Dim::from(1))?;
                c.reshape(one, flat.clone())
            });
            (a?, b?)
        }
    };
    let mut tables = [angles.cos, angles.sin];
    for table in &mut tables {
        let mut dims = c.ty(*table).shape;
        if dims.rank() + 1 != shape.rank() || heads > dims.rank() {
            return Err(c.refuse(format!("tables {dims} for {shape}")));
        }
        dims.0.insert(heads, Dim::from(1));
        *table = c.reshape(*table, dims)?;
    }
    let [cos, sin] = tables;
    let (ac, bs) = (c.binary(B::Mul, a, cos)?, c.binary(B::Mul, b, sin)?);
    let (as_, bc) = (c.binary(B::Mul, a, sin)?, c.binary(B::Mul, b, cos)?);
    let (real, imaginary) = (c.binary(B::Sub, ac, bs)?, c.binary(B::Add, as_, bc)?);
    let mut parts = match pairs {
        Pairs::Halves => vec![real, imaginary],
        Pairs::Neighbours => {
            let mut dims = c.ty(real).shape;
            let mut flat = dims.clone();
            flat.0[last] = whole.clone();
            dims.0.push(Dim::from(1));
            let (real, imaginary) = (c.reshape(real, dims.clone())?, c.reshape(imaginary, dims)?);
            let both = c.add(Op::Concat(Concat { axis: last + 1 }), &[real, imaginary])?;
            vec![c.reshape(both, flat)?]
        }
    };
    if rest != Dim::from(0) {
        parts.push(run(c, x, last, whole, rest)?);
    }
    if let [only] = parts[..] { Ok(only) } else { c.add(Op::Concat(Concat { axis: last }), &parts) }
}

/// Whether attribute `interleaved` says pairs of neighbours.
pub(super) fn pairs(c: &Call<'_, '_>, name: &str) -> Result<Pairs> {
    match c.int(name, 0)? {
        0 => Ok(Pairs::Halves),
        1 => Ok(Pairs::Neighbours),
        n => Err(c.refuse(format!("`{name}` is {n}, expected 0 or 1"))),
    }
}

/// An error where `stated` numbers of a head are to be turned, not 0, and the tables are for others.
pub(super) fn agrees(c: &Call<'_, '_>, stated: i64, angles: Angles) -> Result<()> {
    let half = c.ty(angles.cos).shape.last().and_then(Dim::fixed);
    let twice = half.and_then(|n| n.checked_mul(2)).and_then(|n| i64::try_from(n).ok());
    if stated == 0 || twice.is_none_or(|n| n == stated) {
        return Ok(());
    }
    Err(c.refuse(format!("`rotary_embedding_dim` is {stated}, tables are for {twice:?} numbers")))
}

fn rotary(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (pairs, stated) = (pairs(c, "interleaved")?, c.int("rotary_embedding_dim", 0)?);
    let heads = count(c, "num_heads")?;
    let x = c.input(0)?;
    let mut angles = Angles { cos: c.input(1)?, sin: c.input(2)? };
    agrees(c, stated, angles)?;
    if c.has(3) {
        let ids = c.input(3)?;
        angles = looked_up(c, angles, ids)?;
    }
    match (c.ty(x).shape.rank(), heads) {
        (3, Some(heads)) => {
            let x = split(c, x, heads)?;
            whole(c, x, stated, angles)?;
            let y = turned(c, x, angles, 2, pairs)?;
            one(joined(c, y)?)
        }
        (4, _) => {
            whole(c, x, stated, angles)?;
            one(turned(c, x, angles, 1, pairs)?)
        }
        (rank, _) => Err(c.refuse(format!("an input of {rank} axes, or the number of heads is not stated"))),
    }
}

/// An error where whole heads are to be turned and the tables are for less.
fn whole(c: &Call<'_, '_>, x: Value, stated: i64, angles: Angles) -> Result<()> {
    let (width, half) = (c.ty(x).shape.last().cloned(), c.ty(angles.cos).shape.last().cloned());
    let (width, half) = (width.unwrap_or_default(), half.unwrap_or_default());
    if stated != 0 || quotient(&width, &Dim::from(2)).as_ref() == Some(&half) {
        return Ok(());
    }
    Err(c.refuse(format!("tables of {half} numbers for heads of {width}")))
}
