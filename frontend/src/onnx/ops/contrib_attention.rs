//! Attention in the forms of the domain `com.microsoft`: with projections, for several heads, and in groups with a cache.

use super::attention::{Before, View, attend, count, factor};
use super::contrib::{following, optional, single, turning, unasked};
use super::heads::{Heads, joined, split};
use super::matrix::{linear, multiplied, rows};
use super::movement::{product, run};
use super::rotary::{Angles, looked_up, turned};
use super::{Operator, microsoft};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor};

pub(super) const OPERATORS: &[Operator] = &[
    microsoft("Attention", attention),
    microsoft("MultiHeadAttention", multi_head),
    microsoft("GroupQueryAttention", group_query),
];

/// The factor on the scores that is stated, where it is not 0.
fn stated(c: &Call<'_, '_>) -> Result<Option<f32>> {
    Ok(c.optional_float("scale")?.filter(|s| *s != 0.0))
}

/// The number of heads that attribute `name` must state.
fn heads(c: &Call<'_, '_>, name: &str) -> Result<u64> {
    count(c, name)?.ok_or_else(|| c.refuse(format!("`{name}` is missing")))
}

/// `filter` where `seen` is false, else 0.
fn lowered(c: &mut Call<'_, '_>, seen: Value, filter: f64) -> Result<Value> {
    let (zero, low) = (c.number(0.0, DType::F32)?, c.number(filter, DType::F32)?);
    c.select(seen, zero, low)
}

/// What input `i` adds to the scores of `[b, heads, s, t]`: `filter` where it masks. It has an element for each key, for each
/// query and key, or the number of keys of each of the batch; with `starts` also the first keys behind those.
fn mask(c: &mut Call<'_, '_>, i: usize, [b, t]: [&Dim; 2], filter: f64, starts: bool) -> Result<Option<Value>> {
    if !c.has(i) {
        return Ok(None);
    }
    let given = c.input(i)?;
    let given = c.cast(given, DType::I64)?;
    let shape = c.ty(given).shape;
    let one = Dim::from(1);
    let zero = c.tensor(&Tensor::i64(&[], vec![0])?);
    let seen = match shape.dims() {
        [n] => {
            let keys = c.counting(0, t)?;
            let each = Shape(vec![b.clone(), one.clone(), one.clone(), one.clone()]);
            let pair = b.checked_add(b);
            if n == b {
                let ends = c.reshape(given, each)?;
                c.binary(B::Less, keys, ends)?
            } else if starts && Some(n) == pair.as_ref() {
                let (ends, firsts) =
                    (run(c, given, 0, Dim::from(0), b.clone())?, run(c, given, 0, b.clone(), b.clone())?);
                let (ends, firsts) = (c.reshape(ends, each.clone())?, c.reshape(firsts, each)?);
                let (early, late) = (c.binary(B::Less, keys, ends)?, c.binary(B::LessEqual, firsts, keys)?);
                c.binary(B::And, early, late)?
            } else {
                return Err(c.refuse(format!("a mask {shape} for a batch of {b}")));
            }
        }
        [rows, keys] => {
            let whole = Shape(vec![rows.clone(), one.clone(), one, keys.clone()]);
            let given = c.reshape(given, whole)?;
            c.binary(B::Less, zero, given)?
        }
        [rows, queries, keys] => {
            let whole = Shape(vec![rows.clone(), one, queries.clone(), keys.clone()]);
            let given = c.reshape(given, whole)?;
            c.binary(B::Less, zero, given)?
        }
        _ => return Err(c.refuse(format!("a mask {shape} is not supported"))),
    };
    lowered(c, seen, filter).map(Some)
}

/// The sum of what is given.
fn sum(c: &mut Call<'_, '_>, a: Option<Value>, b: Option<Value>) -> Result<Option<Value>> {
    match (a, b) {
        (Some(a), Some(b)) => c.binary(B::Add, a, b).map(Some),
        (one, None) | (None, one) => Ok(one),
    }
}

/// Parts of `x` along its last axis, of the widths `widths`.
fn parts(c: &mut Call<'_, '_>, x: Value, widths: [&Dim; 3]) -> Result<[Value; 3]> {
    let last = c.ty(x).shape.rank().saturating_sub(1);
    let mut start = Dim::from(0);
    let mut made = [x; 3];
    for (slot, width) in made.iter_mut().zip(widths) {
        *slot = run(c, x, last, start.clone(), width.clone())?;
        start = start.checked_add(width).ok_or_else(|| c.refuse("too wide a matrix"))?;
    }
    if c.ty(x).shape.last() != Some(&start) {
        return Err(c.refuse(format!("{} in parts of {} numbers", c.ty(x).shape, start)));
    }
    Ok(made)
}

/// Inputs projected by one matrix to queries, keys and values.
fn attention(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    for name in ["do_rotary", "past_present_share_buffer"] {
        if c.int(name, 0)? != 0 {
            return Err(c.refuse(format!("`{name}` is not supported")));
        }
    }
    // Of rotation alone.
    c.int("rotary_embedding_dim", 0)?;
    let (count, scale, filter) = (heads(c, "num_heads")?, stated(c)?, c.float("mask_filter_value", -10000.0)?);
    let causal = c.int("unidirectional", 0)? != 0;
    let sizes = c.int_list("qkv_hidden_sizes")?;
    let own = {
        let x = c.input(0)?;
        c.ty(x).dtype
    };
    let (x, weights) = (single(c, 0)?, single(c, 1)?);
    let mut y = match rows(c, weights, false)? {
        Some(weights) => linear(c, x, weights)?,
        None => multiplied(c, x, weights)?,
    };
    if let Some(bias) = optional(c, 2)? {
        y = c.binary(B::Add, y, bias)?;
    }
    let whole = c.ty(y).shape.last().cloned().unwrap_or_default();
    let widths = match sizes.as_deref() {
        Some(&[q, k, v]) => [q, k, v].map(|n| u64::try_from(n).ok().map(Dim::from)),
        Some(other) => return Err(c.refuse(format!("`qkv_hidden_sizes` is {other:?}"))),
        None => [0; 3].map(|_| crate::onnx::import::quotient(&whole, &Dim::from(3))),
    };
    let [Some(q), Some(k), Some(v)] = &widths else { return Err(c.refuse(format!("{whole} numbers in three parts"))) };
    let made = parts(c, y, [q, k, v])?;
    let [q, k, v] = made.map(|x| Heads::of_joined(c, x, count));
    let (q, mut k, mut v) = (q?, k?, v?);
    let mut past = Dim::from(0);
    if c.has(4) {
        let cache = single(c, 4)?;
        let (keys, values) = (c.part(cache, 0)?, c.part(cache, 1)?);
        let [_, _, before, _] = &c.ty(keys).shape.0[..] else { return Err(c.refuse("a past without five axes")) };
        past = before.clone();
        (k, v) = (k.behind(c, keys)?, v.behind(c, values)?);
    }
    let ([b, ..], [_, _, t, _]) = (q.dims(c)?, k.dims(c)?);
    let scores = mask(c, 3, [&b, &t], filter, true)?;
    let bias = optional(c, 5)?;
    let mask = sum(c, scores, bias)?;
    let view = view(factor(c, scale, &q)?, past, causal, mask);
    let y = attend(c, [&q, &k, &v], &view, false)?.rows;
    let y = joined(c, y)?;
    let mut both = Vec::with_capacity(2);
    for heads in [k.heads, v.heads] {
        let mut shape = c.ty(heads).shape;
        shape.0.insert(0, Dim::from(1));
        both.push(c.reshape(heads, shape)?);
    }
    // Values of another width than keys make no present state; nobody can have asked for it.
    let present = if c.ty(both[0]) == c.ty(both[1]) { c.add(Op::Concat(Concat { axis: 0 }), &both)? } else { y };
    if c.ty(both[0]) != c.ty(both[1]) {
        unasked(c, 1, "keys and values of one width")?;
    }
    let mut outputs = [y, present];
    for output in &mut outputs {
        *output = c.cast(*output, own)?;
    }
    Ok(outputs.map(Item::Value).to_vec())
}

/// A view from behind `past` keys.
fn view(scale: f64, past: Dim, causal: bool, mask: Option<Value>) -> View {
    let right = causal.then_some(0);
    View { scale, cap: 0.0, precision: None, before: Before::Same(past), left: None, right, lengths: None, mask }
}

/// Part `index` of the next to last axis of `x [B, S, H, n, D]`, as heads.
fn unpacked(c: &mut Call<'_, '_>, x: Value, index: u64) -> Result<Heads> {
    let shape = c.ty(x).shape;
    let [b, s, h, _, d] = shape.dims() else { return Err(c.refuse(format!("{shape} has not five axes"))) };
    let part = run(c, x, 3, Dim::from(index), Dim::from(1))?;
    let part = c.reshape(part, Shape(vec![b.clone(), s.clone(), h.clone(), d.clone()]))?;
    Heads::of_rows(c, part)
}

fn multi_head(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    unasked(c, 3, "the scores")?;
    if c.has(8) || c.has(9) {
        return Err(c.refuse("a shared buffer of past keys"));
    }
    let (count, scale, filter) = (heads(c, "num_heads")?, stated(c)?, c.float("mask_filter_value", -10000.0)?);
    let causal = c.int("unidirectional", 0)? != 0;
    let own = {
        let x = c.input(0)?;
        c.ty(x).dtype
    };
    let (q, k, v) = (single(c, 0)?, optional(c, 1)?, optional(c, 2)?);
    let bias = optional(c, 3)?;
    let rank = |c: &Call<'_, '_>, x: Value| c.ty(x).shape.rank();
    let (q, mut k, mut v) = match (k, v) {
        (None, None) if bias.is_none() => (unpacked(c, q, 0)?, unpacked(c, q, 1)?, unpacked(c, q, 2)?),
        (Some(k), None) if bias.is_none() => (Heads::of_joined(c, q, count)?, unpacked(c, k, 0)?, unpacked(c, k, 1)?),
        (Some(k), Some(v)) if rank(c, k) == 4 && bias.is_none() => {
            (Heads::of_joined(c, q, count)?, Heads::of_heads(c, k)?, Heads::of_heads(c, v)?)
        }
        (Some(k), Some(v)) if rank(c, k) == 3 => {
            let mut all = [q, k, v];
            if let Some(bias) = bias {
                let widths = all.map(|x| c.ty(x).shape.last().cloned().unwrap_or_default());
                let added = parts(c, bias, [&widths[0], &widths[1], &widths[2]])?;
                for (x, bias) in all.iter_mut().zip(added) {
                    *x = c.binary(B::Add, *x, bias)?;
                }
            }
            let [q, k, v] = all.map(|x| Heads::of_joined(c, x, count));
            (q?, k?, v?)
        }
        (_, _) => return Err(c.refuse("keys and values in this form, with or without a bias")),
    };
    let mut past = Dim::from(0);
    if c.has(6) != c.has(7) {
        return Err(c.refuse("past keys without past values"));
    }
    if c.has(6) {
        let (keys, values) = (single(c, 6)?, single(c, 7)?);
        (k, v) = (k.behind(c, keys)?, v.behind(c, values)?);
        past = c.ty(keys).shape.0[2].clone();
    }
    let ([b, ..], [_, _, t, _]) = (q.dims(c)?, k.dims(c)?);
    let scores = mask(c, 4, [&b, &t], filter, false)?;
    let added = optional(c, 5)?;
    let mask = sum(c, scores, added)?;
    let view = view(factor(c, scale, &q)?, past, causal, mask);
    let y = attend(c, [&q, &k, &v], &view, false)?.rows;
    let mut outputs = [joined(c, y)?, k.heads, v.heads];
    for output in &mut outputs {
        *output = c.cast(*output, own)?;
    }
    Ok(outputs.map(Item::Value).to_vec())
}

/// Zeros, one for each of the batch: an error when the model runs where the lengths of input 5 or the total of input 6 are not
/// those of `past` keys and `s` new ones. Without past keys only the total counts, lengths may be less.
fn lengths_agree(c: &mut Call<'_, '_>, past: &Dim, s: &Dim) -> Result<Value> {
    let all = past.checked_add(s).ok_or_else(|| c.refuse("too many keys"))?;
    let (all, past) = (c.extent(&all, DType::I64)?, c.extent(past, DType::I64)?);
    let (lengths, total) = (c.input(5)?, c.input(6)?);
    let (lengths, total) = (c.cast(lengths, DType::I64)?, c.cast(total, DType::I64)?);
    let total = c.reshape(total, Shape(Vec::new()))?;
    let batch = product(c, c.ty(lengths).shape.dims())?;
    let lengths = c.reshape(lengths, Shape(vec![batch]))?;
    let next = c.tensor(&Tensor::i64(&[], vec![1])?);
    let lengths = c.binary(B::Add, lengths, next)?;
    let short = c.binary(B::Sub, all, lengths)?;
    let short = c.binary(B::Mul, short, past)?;
    let short = c.unary(U::Abs, short)?;
    let other = c.binary(B::Sub, all, total)?;
    let other = c.unary(U::Abs, other)?;
    let wrong = c.binary(B::Add, short, other)?;
    // Row 0 is the only one.
    let zero = c.tensor(&Tensor::f32(&[1], vec![0.0])?);
    c.add(Op::Gather(Gather { axis: 0 }), &[zero, wrong])
}

/// Causal attention in groups over a cache, with rotation. Each of the batch has as many past keys as the cache has.
fn group_query(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    unasked(c, 3, "the scores")?;
    for (name, usual) in [("smooth_softmax", [0, -1]), ("sliding_window_cache", [0, 0]), ("qk_output", [0, 0])] {
        let found = c.int(name, usual[0])?;
        if !usual.contains(&found) {
            return Err(c.refuse(format!("`{name}` is {found}, which is not supported")));
        }
    }
    c.float("qk_norm_epsilon", 1e-6)?;
    c.int("kv_cache_bit_width", 0)?;
    let kinds = [c.text("k_quant_type", "NONE")?, c.text("v_quant_type", "NONE")?];
    if kinds != ["NONE"; 2] || (11..=15).any(|i| c.has(i)) {
        return Err(c.refuse("caches in fewer bits, sinks of heads and norms of queries are not supported"));
    }
    let (count, shared, scale) = (heads(c, "num_heads")?, heads(c, "kv_num_heads")?, stated(c)?);
    let (cap, causal) = (c.float("softcap", 0.0)?, c.int("causal", 1)? != 0);
    let window = match c.int("local_window_size", -1)? {
        -1 => None,
        n => Some(u64::try_from(n).ok().filter(|n| *n > 0).ok_or_else(|| c.refuse(format!("a window of {n}")))?),
    };
    let pairs = turning(c)?;
    let own = {
        let x = c.input(0)?;
        c.ty(x).dtype
    };
    let (q, k, v) = (single(c, 0)?, optional(c, 1)?, optional(c, 2)?);
    let [mut q, mut k, v] = match (k, v) {
        (Some(k), Some(v)) => [split(c, q, count)?, split(c, k, shared)?, split(c, v, shared)?],
        (None, None) => {
            let all = split(c, q, count + 2 * shared)?;
            let starts = [(0, count), (count, shared), (count + shared, shared)];
            let [q, k, v] = starts.map(|(start, len)| run(c, all, 2, Dim::from(start), Dim::from(len)));
            [q?, k?, v?]
        }
        (_, _) => return Err(c.refuse("keys without values")),
    };
    let s = c.ty(q).shape.0[1].clone();
    if c.has(3) != c.has(4) {
        return Err(c.refuse("past keys without past values"));
    }
    let cache = if c.has(3) { Some((single(c, 3)?, single(c, 4)?)) } else { None };
    let past = cache.map(|(keys, _)| c.ty(keys).shape.0.get(2).cloned().unwrap_or_default()).unwrap_or_default();
    if let Some(pairs) = pairs {
        let tables = Angles { cos: single(c, 7)?, sin: single(c, 8)? };
        let angles = if c.has(9) {
            let ids = c.input(9)?;
            looked_up(c, tables, ids)?
        } else {
            following(c, tables, &past, &s)?
        };
        (q, k) = (turned(c, q, angles, 2, pairs)?, turned(c, k, angles, 2, pairs)?);
    }
    let agree = lengths_agree(c, &past, &s)?;
    let (q, mut k, mut v) = (Heads::of_rows(c, q)?, Heads::of_rows(c, k)?, Heads::of_rows(c, v)?);
    if let Some((keys, values)) = cache {
        (k, v) = (k.behind(c, keys)?, v.behind(c, values)?);
    }
    let mask = optional(c, 10)?;
    let left = window.map(|window| window - 1);
    let view = View { cap, left, ..view(factor(c, scale, &q)?, past, causal, mask) };
    let y = attend(c, [&q, &k, &v], &view, false)?.rows;
    let y = joined(c, y)?;
    let batch = c.ty(agree).shape.0[0].clone();
    let agree = c.reshape(agree, Shape(vec![batch, Dim::from(1), Dim::from(1)]))?;
    let mut outputs = [c.binary(B::Add, y, agree)?, k.heads, v.heads];
    for output in &mut outputs {
        *output = c.cast(*output, own)?;
    }
    Ok(outputs.map(Item::Value).to_vec())
}
