//! Scaled dot-product attention, of a batch, with masks, caches and caps; other families compose theirs of it.

use super::heads::{Heads, joined};
use super::matrix::multiplied;
use super::movement::{ordered, product};
use super::reduce::{row, softmax, with_last};
use super::{Operator, since};
use crate::onnx::import::{Call, Item, dtype, natural};
use actc_ir::ops::attention::Attention;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U, broadcast};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::ops::shaping::{Concat, Range};
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[since("Attention", 23, attention)];

/// What stands before the first query.
#[derive(Clone)]
pub(super) enum Before {
    /// As many keys for each of the batch.
    Same(Dim),
    /// `i64` that broadcast over `[B, 1, 1, 1]`.
    Each(Value),
}

/// How queries look at keys.
#[derive(Clone)]
pub(super) struct View {
    /// Factor on the scores.
    pub(super) scale: f64,
    /// Scores become `cap * tanh(score / cap)`, where it is not 0.
    pub(super) cap: f64,
    /// Type in which softmax is computed, where it is stated.
    pub(super) precision: Option<DType>,
    /// Where the first query stands among the keys.
    pub(super) before: Before,
    /// Most keys before its own position that a query sees.
    pub(super) left: Option<u64>,
    /// Most keys behind its own position that a query sees.
    pub(super) right: Option<u64>,
    /// Keys that are there, of each of the batch: `i64` that broadcast over `[B, 1, 1, 1]`.
    pub(super) lengths: Option<Value>,
    /// What is added to the scores, or whether they count: repeats over `[B, H, S, T]`.
    pub(super) mask: Option<Value>,
}

/// What attention gives.
pub(super) struct Attended {
    /// `[B, S, H, D]`.
    pub(super) rows: Value,
    /// `[B, H, S, D]`.
    pub(super) heads: Value,
    /// `[B, H, S, T]`: scores, capped, with the mask, and after softmax; where they were asked for.
    pub(super) stages: Option<[Value; 4]>,
}

/// `-infinity` where `seen` is false, else 0, in `dtype`.
fn hidden(c: &mut Call<'_, '_>, seen: Value, dtype: DType) -> Result<Value> {
    let (zero, least) = (c.number(0.0, dtype)?, c.number(f64::NEG_INFINITY, dtype)?);
    c.select(seen, zero, least)
}

/// The integers from `start` on, along axis `axis` of two.
fn positions(c: &mut Call<'_, '_>, start: Dim, count: &Dim, axis: usize) -> Result<Value> {
    let list = c.add(Op::Range(Range { start, len: count.clone() }), &[])?;
    let mut dims = vec![Dim::from(1); 2];
    dims[axis] = count.clone();
    c.reshape(list, Shape(dims))
}

/// Which of `t` keys each of `s` queries sees, as far as positions say it; `None` where all are seen.
fn visible(c: &mut Call<'_, '_>, view: &View, s: &Dim, t: &Dim) -> Result<Option<Value>> {
    let keys = positions(c, Dim::from(0), t, 1)?;
    let own = match &view.before {
        Before::Same(past) => positions(c, past.clone(), s, 0)?,
        Before::Each(past) => {
            let own = positions(c, Dim::from(0), s, 0)?;
            c.binary(B::Add, own, *past)?
        }
    };
    let far = |n: u64| i64::try_from(n).unwrap_or(i64::MAX).min(1 << 62);
    let mut all: Option<Value> = None;
    let mut also = |c: &mut Call<'_, '_>, seen: Value| -> Result<()> {
        all = Some(match all {
            None => seen,
            Some(all) => c.binary(B::And, all, seen)?,
        });
        Ok(())
    };
    if let Some(right) = view.right {
        let right = c.tensor_from(&[far(right)])?;
        let last = c.binary(B::Add, own, right)?;
        let seen = c.binary(B::LessEqual, keys, last)?;
        also(c, seen)?;
    }
    if let Some(left) = view.left {
        let left = c.tensor_from(&[far(left)])?;
        let first = c.binary(B::Sub, own, left)?;
        let seen = c.binary(B::LessEqual, first, keys)?;
        also(c, seen)?;
    }
    if let Some(lengths) = view.lengths {
        let seen = c.binary(B::Less, keys, lengths)?;
        also(c, seen)?;
    }
    Ok(all)
}

/// `mask` up to `t` keys: those that it does not speak of are hidden.
fn lengthened(c: &mut Call<'_, '_>, mask: Value, t: &Dim) -> Result<Value> {
    let ty = c.ty(mask);
    let last = ty.shape.last().ok_or_else(|| c.refuse("a mask without axes"))?;
    let missing = t.checked_sub(last).filter(|d| *d == Dim::from(0) || d.fixed().is_some());
    let missing = missing.ok_or_else(|| c.refuse(format!("a mask {} over {t} keys", ty.shape)))?;
    if missing == Dim::from(0) {
        return Ok(mask);
    }
    let axis = ty.shape.rank() - 1;
    let mut shape = ty.shape;
    shape.0[axis] = missing;
    let filler = c.number(if ty.dtype == DType::Bool { 0.0 } else { f64::NEG_INFINITY }, ty.dtype)?;
    let filler = super::indexing::expanded(c, filler, shape)?;
    c.add(Op::Concat(Concat { axis }), &[mask, filler])
}

/// What is added to the scores, and whether it may hide all keys of a query.
fn bias(c: &mut Call<'_, '_>, view: &View, s: &Dim, t: &Dim, dtype: DType) -> Result<Option<(Value, bool)>> {
    let seen = visible(c, view, s, t)?;
    let mut sum = seen.map(|seen| hidden(c, seen, dtype)).transpose()?;
    if let Some(mask) = view.mask {
        let mask = lengthened(c, mask, t)?;
        let mask = if c.ty(mask).dtype == DType::Bool { hidden(c, mask, dtype)? } else { c.cast(mask, dtype)? };
        sum = Some(match sum {
            None => mask,
            Some(sum) => c.binary(B::Add, mask, sum)?,
        });
    }
    // A query that sees up to its own position sees the first key.
    let each = matches!(view.before, Before::Each(_)) || view.lengths.is_some();
    Ok(sum.map(|sum| (sum, each || view.mask.is_some() || view.left.is_some())))
}

/// `x` with zeros where `bias` hides all keys of a query.
fn guarded(c: &mut Call<'_, '_>, bias: Value, x: Value) -> Result<Value> {
    let (ty, to) = (c.ty(bias), c.ty(x).dtype);
    let most = row(c, R::Most, bias)?;
    let most = with_last(c, most)?;
    let least = c.number(f64::NEG_INFINITY, ty.dtype)?;
    let none = c.binary(B::Equal, most, least)?;
    let zero = c.number(0.0, to)?;
    c.select(none, zero, x)
}

/// The graph's own attention; `None` where it does not mean the same.
fn single(c: &mut Call<'_, '_>, q: &Heads, k: &Heads, v: &Heads, view: &View) -> Result<Option<Attended>> {
    let ([b, h, s, d], [of_k, kv, t, _], [of_v, _, _, e]) = (q.dims(c)?, k.dims(c)?, v.dims(c)?);
    let Before::Same(before) = &view.before else { return Ok(None) };
    let floats = [q, k, v].iter().all(|x| c.ty(x.heads).dtype == DType::F32);
    let plain = view.cap == 0.0 && view.lengths.is_none();
    let precise = matches!(view.precision, None | Some(DType::F32));
    let groups = h.fixed().zip(kv.fixed()).is_some_and(|(h, kv)| kv > 0 && h % kv == 0);
    let small = d.fixed().zip(h.fixed()).is_some_and(|(d, h)| (1..=4096).contains(&d) && h <= 4096);
    if !(floats && plain && precise && small && groups && b == of_k && b == of_v && d == e) {
        return Ok(None);
    }
    let past = t.checked_sub(&s).filter(natural);
    let placed = past.is_some_and(|past| past == *before);
    let window = view.left.map(|left| u32::try_from(left).ok().and_then(|n| n.checked_add(1)));
    // What positions hide is known by numbers, or goes into the mask.
    let (causal, window) = match (view.right, window) {
        (Some(0), None) if placed => (true, None),
        (Some(0), Some(Some(window))) if placed => (true, Some(window)),
        (Some(_) | None, _) => (false, None),
    };
    let rest = if causal { View { left: None, right: None, ..view.clone() } } else { view.clone() };
    let bias = bias(c, &rest, &s, &t, DType::F32)?;
    let over = Shape(vec![b.clone(), h.clone(), s.clone(), t.clone()]);
    if bias.is_some_and(|(bias, _)| broadcast(&c.ty(bias).shape, &over).as_ref() != Some(&over)) {
        return Ok(None);
    }
    // One sequence without a mask has no axis for the batch, as caches have none.
    let alone = b == Dim::from(1) && bias.is_none();
    let each = |c: &mut Call<'_, '_>, x: &Heads, dims: [&Dim; 3]| {
        let dims = dims.into_iter().cloned().collect();
        if alone { c.reshape(x.rows, Shape(dims)) } else { Ok(x.rows) }
    };
    let mut args = vec![each(c, q, [&s, &h, &d])?, each(c, k, [&t, &kv, &d])?, each(c, v, [&t, &kv, &d])?];
    args.extend(bias.map(|(bias, _)| bias));
    let y = c.add(Op::Attention(Attention { scale: view.scale, causal, window }), &args)?;
    let rows = c.reshape(y, Shape(vec![b, s, h, d]))?;
    let mut heads = ordered(c, rows, vec![0, 2, 1, 3])?;
    let Some((bias, _)) = bias.filter(|(_, all)| *all) else { return Ok(Some(Attended { rows, heads, stages: None })) };
    heads = guarded(c, bias, heads)?;
    let rows = ordered(c, heads, vec![0, 2, 1, 3])?;
    Ok(Some(Attended { rows, heads, stages: None }))
}

/// The type that scores are computed in.
pub(super) fn wide(own: DType) -> DType {
    if own == DType::F64 { DType::F64 } else { DType::F32 }
}

/// `x [B, H, S, D]` of heads in groups that share one of `kv` as rows of one matrix: `[B, kv, H / kv * S, D]`.
fn grouped(c: &mut Call<'_, '_>, x: Value, kv: &Dim) -> Result<Value> {
    let shape = c.ty(x).shape;
    let [b, h, s, d] = shape.dims() else { return Err(c.refuse(format!("{shape} are no heads"))) };
    let group = h.fixed().zip(kv.fixed()).filter(|(h, kv)| *kv > 0 && h % kv == 0).map(|(h, kv)| h / kv);
    let group = group.ok_or_else(|| c.refuse(format!("{h} heads of queries over {kv} of keys")))?;
    let rows = product(c, &[Dim::from(group), s.clone()])?;
    c.reshape(x, Shape(vec![b.clone(), kv.clone(), rows, d.clone()]))
}

/// `scale q k^T`: `[B, H, S, T]`.
pub(super) fn scores(c: &mut Call<'_, '_>, q: &Heads, k: &Heads, scale: f64) -> Result<Value> {
    let ([b, h, s, _], [_, kv, t, _]) = (q.dims(c)?, k.dims(c)?);
    let wide = wide(c.ty(q.heads).dtype);
    let k = k.cast(c, wide)?;
    let queries = c.cast(q.heads, wide)?;
    let scale = c.number(scale, wide)?;
    let queries = c.binary(B::Mul, queries, scale)?;
    let queries = grouped(c, queries, &kv)?;
    let made = multiplied(c, queries, k.columns)?;
    c.reshape(made, Shape(vec![b, h, s, t]))
}

/// `weights v`: `[B, H, S, E]`.
pub(super) fn summed(c: &mut Call<'_, '_>, weights: Value, v: &Heads) -> Result<Value> {
    let (mut shape, [_, kv, _, e]) = (c.ty(weights).shape, v.dims(c)?);
    let v = v.cast(c, c.ty(weights).dtype)?;
    let parts = grouped(c, weights, &kv)?;
    let made = multiplied(c, parts, v.heads)?;
    if let Some(last) = shape.0.last_mut() {
        *last = e;
    }
    c.reshape(made, shape)
}

/// Softmax of the scores of `q` on `k`, by which `v` is summed. `staged` asks for what is between.
pub(super) fn attend(c: &mut Call<'_, '_>, [q, k, v]: [&Heads; 3], view: &View, staged: bool) -> Result<Attended> {
    if !staged && let Some(made) = single(c, q, k, v, view)? {
        return Ok(made);
    }
    let ([_, _, s, _], [_, _, t, _]) = (q.dims(c)?, k.dims(c)?);
    let own = c.ty(q.heads).dtype;
    let wide = wide(own);
    let scores = scores(c, q, k, view.scale)?;
    let capped = if view.cap == 0.0 {
        scores
    } else {
        let cap = c.number(view.cap, wide)?;
        let x = c.binary(B::Div, scores, cap)?;
        let x = c.unary(U::Tanh, x)?;
        c.binary(B::Mul, x, cap)?
    };
    let bias = bias(c, view, &s, &t, wide)?;
    let biased = match bias {
        None => capped,
        Some((bias, _)) => c.binary(B::Add, capped, bias)?,
    };
    let x = c.cast(biased, view.precision.unwrap_or(wide))?;
    let weights = softmax(c, x)?;
    let weights = c.cast(weights, wide)?;
    let guard = bias.filter(|(_, all)| *all).map(|(bias, _)| bias);
    let y = summed(c, weights, v)?;
    let y = guard.map_or(Ok(y), |bias| guarded(c, bias, y))?;
    let heads = c.cast(y, own)?;
    let rows = ordered(c, heads, vec![0, 2, 1, 3])?;
    let stages = if staged {
        let last = guard.map_or(Ok(weights), |bias| guarded(c, bias, weights))?;
        let mut stages = [scores, capped, biased, last];
        for stage in &mut stages {
            *stage = c.cast(*stage, own)?;
        }
        Some(stages)
    } else {
        None
    };
    Ok(Attended { rows, heads, stages })
}

/// The bound that attribute `name` states; -1 is none.
fn bound(c: &Call<'_, '_>, name: &str) -> Result<Option<u64>> {
    match c.int(name, -1)? {
        -1 => Ok(None),
        n => u64::try_from(n).map(Some).map_err(|_| c.refuse(format!("`{name}` is {n}, expected -1 or more"))),
    }
}

/// The number of heads that attribute `name` states.
pub(super) fn count(c: &Call<'_, '_>, name: &str) -> Result<Option<u64>> {
    let Some(n) = c.optional_int(name)? else { return Ok(None) };
    let found = u64::try_from(n).ok().filter(|n| (1..=1 << 24).contains(n));
    found.map(Some).ok_or_else(|| c.refuse(format!("`{name}` is {n}, expected a positive number")))
}

/// The factor on the scores: `stated` where that is not 0, else one over the root of the head's width.
pub(super) fn factor(c: &Call<'_, '_>, stated: Option<f32>, q: &Heads) -> Result<f64> {
    if let Some(scale) = stated {
        return Ok(scale.into());
    }
    let [_, _, _, d] = q.dims(c)?;
    let width = d.fixed().filter(|d| *d > 0).ok_or_else(|| c.refuse(format!("heads of {d} numbers")))?;
    Ok(1.0 / (width as f64).sqrt())
}

fn attention(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (causal, cap) = (c.int("is_causal", 0)? != 0, c.float("softcap", 0.0)?);
    let (left, right) = (bound(c, "left_window_size")?, bound(c, "right_window_size")?);
    let precision = c.element("softmax_precision")?.map(dtype).transpose()?;
    let stated = c.optional_float("scale")?;
    let mode = c.int("qk_matmul_output_mode", 0)?;
    let counts = [count(c, "q_num_heads")?, count(c, "kv_num_heads")?];
    let flat = {
        let x = c.input(0)?;
        c.ty(x).shape.rank() == 3
    };
    let mut all = Vec::with_capacity(3);
    for (i, count) in [counts[0], counts[1], counts[1]].into_iter().enumerate() {
        let x = c.input(i)?;
        all.push(match (flat, count) {
            (true, Some(count)) => Heads::of_joined(c, x, count)?,
            (true, None) => return Err(c.refuse("inputs of three axes, and the number of heads is not stated")),
            (false, _) => Heads::of_heads(c, x)?,
        });
        let found = all[i].dims(c)?[1].fixed();
        if count.is_some() && count != found {
            return Err(c.refuse(format!("input {i} has {found:?} heads, stated are {count:?}")));
        }
    }
    let [q, mut k, mut v] = <[Heads; 3]>::try_from(all).map_err(|_| c.refuse("not three inputs"))?;
    let scale = factor(c, stated, &q)?;
    let s = q.dims(c)?[2].clone();
    let mut before = Before::Same(Dim::from(0));
    let mut lengths = None;
    if c.has(4) != c.has(5) || c.has(4) && c.has(6) {
        return Err(c.refuse("past keys without past values, or beside lengths"));
    }
    if c.has(4) {
        let (keys, values) = (c.input(4)?, c.input(5)?);
        (k, v) = (k.behind(c, keys)?, v.behind(c, values)?);
        before = Before::Same(c.ty(keys).shape.dims()[2].clone());
    } else if c.has(6) {
        let given = c.input(6)?;
        let given = c.cast(given, DType::I64)?;
        let batch = product(c, c.ty(given).shape.dims())?;
        let given = c.reshape(given, Shape(vec![batch, Dim::from(1), Dim::from(1), Dim::from(1)]))?;
        let queries = c.extent(&s, DType::I64)?;
        before = Before::Each(c.binary(B::Sub, given, queries)?);
        lengths = Some(given);
    }
    let right = if causal { Some(0) } else { right };
    let mask = c.optional_input(3)?;
    let staged = c.node.outputs.get(3).is_some_and(Option::is_some);
    let view = View { scale, cap, precision, before, left, right, lengths, mask };
    let made = attend(c, [&q, &k, &v], &view, staged)?;
    let y = if flat { joined(c, made.rows)? } else { made.heads };
    let mut outputs = vec![y, k.heads, v.heads];
    if let Some(stages) = made.stages {
        let stage = usize::try_from(mode).ok().and_then(|i| stages.get(i).copied());
        outputs.push(stage.ok_or_else(|| c.refuse(format!("`qk_matmul_output_mode` is {mode}, expected 0 to 3")))?);
    }
    Ok(outputs.into_iter().map(Item::Value).collect())
}
