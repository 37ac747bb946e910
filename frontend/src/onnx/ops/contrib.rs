//! Operators of the domain `com.microsoft` that exported and optimised transformers carry: norms with residuals, activations
//! with biases, embeddings. Attention and matrices of few bits are in files of their own.

use super::movement::run;
use super::rotary::{Angles, Pairs, agrees, looked_up, pairs, turned};
use super::{Operator, microsoft, one, since};
use crate::onnx::import::{Call, Item, quotient};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::norm::{LayerNorm, RmsNorm};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    // Written under the standard's own domain by those who write it.
    since("SimplifiedLayerNormalization", 1, simplified),
    microsoft("SimplifiedLayerNormalization", simplified),
    microsoft("SkipLayerNormalization", skip_layer),
    microsoft("SkipSimplifiedLayerNormalization", skip_simplified),
    microsoft("EmbedLayerNormalization", embed),
    microsoft("RotaryEmbedding", rotary),
    microsoft("BiasGelu", |c| biased(c, U::GeluErf)),
    microsoft("FastGelu", |c| biased(c, U::GeluTanh)),
    microsoft("Gelu", |c| biased(c, U::GeluErf)),
    microsoft("QuickGelu", quick_gelu),
    microsoft("BiasAdd", bias_add),
];

/// Input `i` in single precision, in which these operators compute.
pub(super) fn single(c: &mut Call<'_, '_>, i: usize) -> Result<Value> {
    let x = c.input(i)?;
    if c.ty(x).dtype == DType::F64 {
        return Err(c.refuse(format!("input {i} is of f64, which is not supported here")));
    }
    c.cast(x, DType::F32)
}

/// The same, where it is given.
pub(super) fn optional(c: &mut Call<'_, '_>, i: usize) -> Result<Option<Value>> {
    c.has(i).then(|| single(c, i)).transpose()
}

/// An error where output `i` is asked for.
pub(super) fn unasked(c: &Call<'_, '_>, i: usize, what: &str) -> Result<()> {
    match c.node.outputs.get(i) {
        Some(Some(name)) => Err(c.refuse(format!("the output `{name}`, {what}, is not supported"))),
        Some(None) | None => Ok(()),
    }
}

fn input_type(c: &mut Call<'_, '_>) -> Result<DType> {
    let x = c.input(0)?;
    Ok(c.ty(x).dtype)
}

/// Mean and variance of rows taken out, then `gamma` and `beta`.
fn layer_norm(c: &mut Call<'_, '_>, x: Value, gamma: Value, beta: Option<Value>, eps: f64) -> Result<Value> {
    let args: Vec<Value> = [x, gamma].into_iter().chain(beta).collect();
    c.add(Op::LayerNorm(LayerNorm { eps }), &args)
}

fn simplified(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    unasked(c, 1, "the deviations")?;
    if c.int("stash_type", 1)? != 1 {
        return Err(c.refuse("`stash_type` is not 1"));
    }
    let (eps, own) = (c.float("epsilon", 1e-5)?, input_type(c)?);
    let (x, scale) = (single(c, 0)?, single(c, 1)?);
    let rank = c.ty(x).shape.rank();
    if c.axis(c.int("axis", -1)?, rank, false)? + 1 != rank {
        return Err(c.refuse("a norm over more than the last axis"));
    }
    let y = c.add(Op::RmsNorm(RmsNorm { eps }), &[x, scale])?;
    one(c.cast(y, own)?)
}

/// Inputs 0 and 1, and input `bias` where it is given, added up.
fn residual(c: &mut Call<'_, '_>, bias: usize) -> Result<Value> {
    let (x, skip) = (single(c, 0)?, single(c, 1)?);
    let sum = c.binary(B::Add, x, skip)?;
    match optional(c, bias)? {
        Some(bias) => c.binary(B::Add, sum, bias),
        None => Ok(sum),
    }
}

/// The norm of a sum, and the sum.
fn with_sum(c: &mut Call<'_, '_>, y: Value, sum: Value) -> Result<Vec<Item>> {
    unasked(c, 1, "the means")?;
    unasked(c, 2, "the deviations")?;
    let own = input_type(c)?;
    let (y, sum) = (c.cast(y, own)?, c.cast(sum, own)?);
    Ok([y, y, y, sum].map(Item::Value).to_vec())
}

fn skip_layer(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let eps = c.float("epsilon", 1e-12)?;
    let sum = residual(c, 4)?;
    let (gamma, beta) = (single(c, 2)?, optional(c, 3)?);
    let y = layer_norm(c, sum, gamma, beta, eps)?;
    with_sum(c, y, sum)
}

fn skip_simplified(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let eps = c.float("epsilon", 1e-12)?;
    let sum = residual(c, 3)?;
    let gamma = single(c, 2)?;
    let y = c.add(Op::RmsNorm(RmsNorm { eps }), &[sum, gamma])?;
    with_sum(c, y, sum)
}

/// Rows `ids` of input `i`, a table.
fn rows_of(c: &mut Call<'_, '_>, i: usize, ids: Value) -> Result<Value> {
    let (table, ids) = (c.input(i)?, c.cast(ids, DType::I64)?);
    let rows = c.add(Op::Gather(Gather { axis: 0 }), &[table, ids])?;
    c.cast(rows, DType::F32)
}

/// Words, positions and segments looked up, added and normalised.
fn embed(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let eps = c.float("epsilon", 1e-12)?;
    c.int("mask_index_type", 0)?;
    let words = c.input(0)?;
    let [_, s] = <[Dim; 2]>::try_from(c.ty(words).shape.0).map_err(|_| c.refuse("words have not two axes"))?;
    let table = c.input(2)?;
    let own = c.ty(table).dtype;
    let mut sum = rows_of(c, 2, words)?;
    let positions = if c.has(8) {
        let ids = c.input(8)?;
        rows_of(c, 3, ids)?
    } else {
        let table = single(c, 3)?;
        run(c, table, 0, Dim::from(0), s)?
    };
    sum = c.binary(B::Add, sum, positions)?;
    if c.has(1) && c.has(4) {
        let ids = c.input(1)?;
        let segments = rows_of(c, 4, ids)?;
        sum = c.binary(B::Add, sum, segments)?;
    }
    let (gamma, beta) = (single(c, 5)?, single(c, 6)?);
    let y = layer_norm(c, sum, gamma, Some(beta), eps)?;
    let lengths = if c.has(7) {
        let mask = c.input(7)?;
        let mask = c.cast(mask, DType::I32)?;
        let set = c.number(1.0, DType::I32)?;
        let set = c.binary(B::Equal, mask, set)?;
        let set = c.cast(set, DType::I32)?;
        super::reduce::row(c, R::Sum, set)?
    } else {
        let zero = c.number(0.0, DType::I32)?;
        let batch = c.ty(words).shape.0[0].clone();
        super::indexing::expanded(c, zero, Shape(vec![batch]))?
    };
    let (y, sum) = (c.cast(y, own)?, c.cast(sum, own)?);
    Ok([y, lengths, sum].map(Item::Value).to_vec())
}

/// `function` of the first input, or of its sum with the second.
fn biased(c: &mut Call<'_, '_>, function: U) -> Result<Vec<Item>> {
    let mut x = c.input(0)?;
    if c.has(1) {
        let bias = c.input(1)?;
        x = c.binary(B::Add, x, bias)?;
    }
    one(c.unary(function, x)?)
}

fn quick_gelu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, alpha) = (c.input(0)?, c.float("alpha", 1.702)?);
    if alpha == 1.0 {
        return one(c.unary(U::Silu, x)?);
    }
    let alpha = c.number(alpha, c.ty(x).dtype)?;
    let y = c.binary(B::Mul, x, alpha)?;
    let y = c.unary(U::Sigmoid, y)?;
    one(c.binary(B::Mul, x, y)?)
}

fn bias_add(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, bias, skip) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let y = c.binary(B::Add, x, bias)?;
    one(c.binary(B::Add, y, skip)?)
}

/// Positions are an input: one for each token, or the first of all.
fn rotary(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (pairs, stated) = (pairs(c, "interleaved")?, c.int("rotary_embedding_dim", 0)?);
    let count = c.int("num_heads", 0)?;
    if c.int("is_packed_batching", 0)? != 0 || c.float("scale", 1.0)? != 1.0 {
        return Err(c.refuse("ragged batches, or a scale"));
    }
    let (x, ids) = (c.input(0)?, c.input(1)?);
    let tables = Angles { cos: c.input(2)?, sin: c.input(3)? };
    agrees(c, stated, tables)?;
    let shape = c.ty(x).shape;
    match shape.dims() {
        [_, _, s, _] => {
            let angles = placed(c, tables, ids, s)?;
            one(turned(c, x, angles, 1, pairs)?)
        }
        [b, s, width] => {
            let half = c.ty(tables.cos).shape.last().cloned().unwrap_or_default();
            let whole = half.checked_add(&half).ok_or_else(|| c.refuse("too wide a table"))?;
            let heads = match u64::try_from(count).ok().filter(|n| *n > 0) {
                Some(count) => Some(Dim::from(count)),
                None => quotient(width, &whole),
            };
            let each = heads.as_ref().and_then(|heads| quotient(width, heads));
            let (Some(heads), Some(each)) = (heads, each) else {
                return Err(c.refuse(format!("{width} numbers in heads of {whole}")));
            };
            let split = c.reshape(x, Shape(vec![b.clone(), s.clone(), heads, each]))?;
            let angles = placed(c, tables, ids, s)?;
            let y = turned(c, split, angles, 2, pairs)?;
            one(c.reshape(y, shape)?)
        }
        _ => Err(c.refuse(format!("an input {shape}"))),
    }
}

/// Angles of `s` tokens at positions `ids`: of each, or of the first.
fn placed(c: &mut Call<'_, '_>, tables: Angles, ids: Value, s: &Dim) -> Result<Angles> {
    let ids = c.cast(ids, DType::I64)?;
    if c.ty(ids).shape.rank() == 2 {
        return looked_up(c, tables, ids);
    }
    let list = c.counting(0, s)?;
    let list = c.binary(B::Add, list, ids)?;
    let list = c.reshape(list, Shape(vec![Dim::from(1), s.clone()]))?;
    looked_up(c, tables, list)
}

/// Angles of `s` tokens from position `past` on.
pub(super) fn following(c: &mut Call<'_, '_>, tables: Angles, past: &Dim, s: &Dim) -> Result<Angles> {
    let mut made = [tables.cos, tables.sin];
    for table in &mut made {
        let rows = run(c, *table, 0, past.clone(), s.clone())?;
        let mut shape = c.ty(rows).shape;
        shape.0.insert(0, Dim::from(1));
        *table = c.reshape(rows, shape)?;
    }
    Ok(Angles { cos: made[0], sin: made[1] })
}

/// Which numbers attribute `name` says are turned together, and whether any are.
pub(super) fn turning(c: &Call<'_, '_>) -> Result<Option<Pairs>> {
    let pairs = pairs(c, "rotary_interleaved")?;
    Ok((c.int("do_rotary", 0)? != 0).then_some(pairs))
}
