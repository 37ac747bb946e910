//! What carries a state along a sequence beside recurrent layers: linear attention and causal convolution.

use super::attention::count;
use super::heads::{joined, split};
use super::indexing::expanded;
use super::movement::run;
use super::{Operator, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::recurrent::LinearAttention;
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::recurrent::StateRule;
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] =
    &[since("LinearAttention", 27, linear_attention), since("CausalConvWithState", 27, causal_convolution)];

/// Most taps of a convolution that is composed of as many products.
const TAPS: u64 = 64;

/// Zeros of single precision.
fn zeros(c: &mut Call<'_, '_>, dims: Vec<Dim>, dtype: DType) -> Result<Value> {
    let zero = c.number(0.0, dtype)?;
    expanded(c, zero, Shape(dims))
}

/// Computed in single precision whatever the type of the inputs is.
fn linear_attention(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    // How tokens may be grouped; it does not change the result.
    c.int("chunk_size", 64)?;
    let name = c.text("update_rule", "gated_delta")?;
    let rule = StateRule::parse(name);
    let rule = rule.ok_or_else(|| c.refuse(format!("`update_rule` is `{name}`")))?;
    let counts = count(c, "q_num_heads")?.zip(count(c, "kv_num_heads")?);
    let (heads, shared) = counts.ok_or_else(|| c.refuse("numbers of heads are missing"))?;
    if c.has(4) != rule.decays() || c.has(5) != rule.corrects() {
        return Err(c.refuse(format!("`{name}` with a decay or a rate that it has not, or without one that it has")));
    }
    let own = {
        let x = c.input(0)?;
        c.ty(x).dtype
    };
    if own == DType::F64 {
        return Err(c.refuse("linear attention of f64 is not supported"));
    }
    let mut args = Vec::with_capacity(6);
    for (i, count) in [heads, shared, shared].into_iter().enumerate() {
        let x = c.input(i)?;
        let x = c.cast(x, DType::F32)?;
        args.push(split(c, x, count)?);
    }
    let (q, v) = (c.ty(args[0]).shape, c.ty(args[2]).shape);
    let ([b, t, _, k], [_, _, n, width]) = (q.dims(), v.dims()) else { return Err(c.refuse("no heads")) };
    let (state, kept) = if c.has(3) {
        let state = c.input(3)?;
        (c.cast(state, DType::F32)?, c.ty(state).dtype)
    } else {
        (zeros(c, vec![b.clone(), n.clone(), k.clone(), width.clone()], DType::F32)?, own)
    };
    args.push(state);
    if rule.decays() {
        let decay = c.input(4)?;
        let decay = c.cast(decay, DType::F32)?;
        args.push(split(c, decay, shared)?);
    }
    if rule.corrects() {
        let beta = c.input(5)?;
        let beta = c.cast(beta, DType::F32)?;
        let beta = expanded(c, beta, Shape(vec![b.clone(), t.clone(), n.clone()]))?;
        args.push(split(c, beta, shared)?);
    }
    let scale = match c.float("scale", 0.0)? {
        0.0 => {
            let width = k.fixed().filter(|k| *k > 0).ok_or_else(|| c.refuse(format!("heads of {k} numbers")))?;
            1.0 / (width as f64).sqrt()
        }
        scale => scale,
    };
    let made = c.add_many(Op::LinearAttention(LinearAttention { rule, scale }), &args)?;
    let [y, state] = made[..] else { return Err(c.refuse("no two results")) };
    let y = joined(c, y)?;
    Ok(vec![Item::Value(c.cast(y, own)?), Item::Value(c.cast(state, kept)?)])
}

/// Of each channel alone: a sum of as many products as it has taps.
fn causal_convolution(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let activation = c.text("activation", "none")?;
    let (x, weight) = (c.input(0)?, c.input(1)?);
    let (ty, ws) = (c.ty(x), c.ty(weight).shape);
    let ([b, channels, length], [_, _, taps]) = (ty.shape.dims(), ws.dims()) else {
        return Err(c.refuse(format!("inputs {} and {ws} have not three axes", ty.shape)));
    };
    let taps = taps.fixed().filter(|k| (1..=TAPS).contains(k));
    let taps = taps.ok_or_else(|| c.refuse(format!("a convolution {ws}, at most {TAPS} taps are supported")))?;
    let before = Dim::from(taps - 1);
    let past =
        if c.has(3) { c.input(3)? } else { zeros(c, vec![b.clone(), channels.clone(), before.clone()], ty.dtype)? };
    let padded = if taps == 1 { x } else { c.add(Op::Concat(Concat { axis: 2 }), &[past, x])? };
    let state = if taps == 1 { past } else { run(c, padded, 2, length.clone(), before)? };
    let wide = if ty.dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let (padded, weight) = (c.cast(padded, wide)?, c.cast(weight, wide)?);
    let weight = c.reshape(weight, Shape(vec![channels.clone(), Dim::from(taps)]))?;
    let mut sum: Option<Value> = None;
    for tap in 0..taps {
        let part = run(c, padded, 2, Dim::from(tap), length.clone())?;
        let factor = run(c, weight, 1, Dim::from(tap), Dim::from(1))?;
        let product = c.binary(B::Mul, part, factor)?;
        sum = Some(match sum {
            None => product,
            Some(sum) => c.binary(B::Add, sum, product)?,
        });
    }
    let mut y = sum.ok_or_else(|| c.refuse("a convolution without taps"))?;
    if c.has(2) {
        let bias = c.input(2)?;
        let bias = c.cast(bias, wide)?;
        let bias = c.reshape(bias, Shape(vec![channels.clone(), Dim::from(1)]))?;
        y = c.binary(B::Add, y, bias)?;
    }
    y = c.cast(y, ty.dtype)?;
    match activation {
        "none" => {}
        "silu" | "swish" => {
            y = c.unary(U::Silu, y)?;
        }
        other => return Err(c.refuse(format!("`activation` is `{other}`, expected `none`, `silu` or `swish`"))),
    }
    Ok([y, state].map(Item::Value).to_vec())
}
