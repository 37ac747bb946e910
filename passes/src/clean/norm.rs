//! Layer and RMS normalisation of the last axis that exporters write out, as what they are.
//!
//! `low = x - mean(x)`, then `low / sqrt(mean(low^2) + eps)`, and the same of `x` itself; means are sums divided by the width or
//! multiplied by its inverse, squares are products or powers, the root may be a power of a half, and the quotient a product
//! with the inverse. What multiplies and what is added behind it become weight and bias where they are vectors of the width and
//! nobody else reads what is between; else weights are ones.
//!
//! Left alone are norms of a width that is not fixed, of other types than f32, and over other axes, which come as transposes
//! around one over the last.

use super::findings::Findings;
use super::look::{beside_number, binary, by_number, is_near, number, reshaped, unary};
use super::rewrite::Rewrite;
use crate::uses::Uses;
use actc_ir::ops::norm::{LayerNorm, RmsNorm};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::{Reduce, RowFunction};
use actc_ir::ops::shaping::Reshape;
use actc_ir::{Graph, Op, TensorType, Value};
use actc_types::{DType, Dim, Encoding, Result, Role, Shape};
use std::collections::BTreeMap;

/// Most elements of a row that kernels normalise.
const WIDEST: u64 = 1 << 24;

/// Ops between a mean and the sum that it is of, at most.
const STEPS: usize = 3;

struct Norm {
    /// What is normalised.
    x: Value,
    /// Whether the mean is taken out.
    centred: bool,
    eps: f64,
    width: u64,
    /// What the norm with its weight and bias is.
    end: Value,
    weight: Option<Value>,
    bias: Option<Value>,
}

pub(super) fn norms(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let uses = Uses::of(graph);
    let mut found = Vec::new();
    for node in graph.order() {
        let [value] = graph.node(*node).results[..] else { continue };
        let Some((low, radicand)) = normalised(graph, value) else { continue };
        let Some((mean_square, eps)) = raised(graph, radicand) else { continue };
        let Some(square) = mean(graph, mean_square) else { continue };
        if squared(graph, square) != Some(low) {
            continue;
        }
        let (x, centred) = match centre(graph, low) {
            Some(x) => (x, true),
            None => (low, false),
        };
        let ty = graph.ty(x);
        let width = ty.shape.last().and_then(|d| d.fixed()).filter(|n| (2..=WIDEST).contains(n));
        match width {
            Some(width) if ty.dtype == DType::F32 && graph.ty(value) == ty => {
                let norm = Norm { x, centred, eps, width, end: value, weight: None, bias: None };
                found.push(norm.with_vectors(graph, &uses));
            }
            Some(_) => findings.left("norms", "they are not in f32"),
            None => findings.left("norms", "their rows are of one element, or too long"),
        }
    }
    let mut rewrite = Rewrite::new(graph, "norm");
    let mut all_ones: BTreeMap<u64, Value> = BTreeMap::new();
    for norm in found {
        let vector = |rewrite: &mut Rewrite<'_>, v: Value| -> Result<Value> {
            let shape = Shape::fixed(&[norm.width]);
            let flat = rewrite.graph().ty(v).shape == shape;
            if flat { Ok(v) } else { rewrite.add(Op::Reshape(Reshape { shape }), &[v], norm.end) }
        };
        let weight = match (norm.weight, all_ones.get(&norm.width)) {
            (Some(weight), _) => vector(&mut rewrite, weight)?,
            (None, Some(ones)) => *ones,
            (None, None) => {
                let ty = TensorType::new(DType::F32, Shape::fixed(&[norm.width]));
                let ones = 1f32.to_le_bytes().repeat(norm.width as usize);
                if !findings.take(ones.len() as u64) {
                    findings.left("norms", "there is no room for more constants");
                    continue;
                }
                let name = findings.fresh("ones");
                let ones = findings.constant(name, ty, Encoding::Dense, vec![(Role::Data, ones)])?;
                *all_ones.entry(norm.width).or_insert(rewrite.constant(ones))
            }
        };
        let mut args = vec![norm.x, weight];
        if let Some(bias) = norm.bias {
            args.push(vector(&mut rewrite, bias)?);
        }
        let (op, word) = if norm.centred {
            (Op::LayerNorm(LayerNorm { eps: norm.eps }), "layer norms")
        } else {
            (Op::RmsNorm(RmsNorm { eps: norm.eps }), "RMS norms")
        };
        let new = rewrite.add(op, &args, norm.end)?;
        rewrite.replace(norm.end, new);
        findings.made(word);
    }
    rewrite.apply()
}

impl Norm {
    /// The same with what stands behind it.
    fn with_vectors(mut self, graph: &Graph, uses: &Uses) -> Norm {
        let behind = |value: Value, function: B| {
            let data = graph.node(uses.sole(value)?);
            let [next] = data.results[..] else { return None };
            let [a, b] = binary(graph, next, function)?;
            let other = if a == value { b } else { a };
            let ty = graph.ty(other);
            let (elements, last) = (ty.shape.elements().ok()?.fixed()?, ty.shape.last()?.fixed()?);
            let vector = elements == self.width && last == self.width && ty.dtype == DType::F32;
            (vector && graph.ty(next) == graph.ty(value)).then_some((next, other))
        };
        if let Some((next, weight)) = behind(self.end, B::Mul) {
            (self.end, self.weight) = (next, Some(weight));
        }
        if self.centred
            && let Some((next, bias)) = behind(self.end, B::Add)
        {
            (self.end, self.bias) = (next, Some(bias));
        }
        self
    }
}

/// `low` and `radicand`, where `value` is `low / sqrt(radicand)`.
fn normalised(graph: &Graph, value: Value) -> Option<(Value, Value)> {
    if let Some([low, below]) = binary(graph, value, B::Div) {
        return root(graph, below).map(|radicand| (low, radicand));
    }
    let [a, b] = binary(graph, value, B::Mul)?;
    [(a, b), (b, a)].into_iter().find_map(|(low, inverse)| inverse_root(graph, inverse).map(|r| (low, r)))
}

/// What `value` is the root of.
fn root(graph: &Graph, value: Value) -> Option<Value> {
    unary(graph, value, U::Sqrt).or_else(|| by_number(graph, value, B::Pow, 0.5))
}

/// What `value` is one over the root of.
fn inverse_root(graph: &Graph, value: Value) -> Option<Value> {
    if let Some([one, below]) = binary(graph, value, B::Div) {
        return root(graph, below).filter(|_| is_near(graph, one, 1.0));
    }
    let below = unary(graph, value, U::Reciprocal).and_then(|below| root(graph, below));
    below.or_else(|| by_number(graph, value, B::Pow, -0.5))
}

/// The square of what `value` is.
fn squared(graph: &Graph, value: Value) -> Option<Value> {
    if let Some([a, b]) = binary(graph, value, B::Mul) {
        return (a == b).then_some(a);
    }
    by_number(graph, value, B::Pow, 2.0)
}

/// What a small number is added to, and the number, as its decimal digits say it.
fn raised(graph: &Graph, value: Value) -> Option<(Value, f64)> {
    let (of, eps) = beside_number(graph, value, B::Add)?;
    let eps = (eps as f32).to_string().parse().ok().filter(|e: &f64| e.is_finite() && *e >= 0.0)?;
    Some((of, eps))
}

/// The tensor whose rows' means `value` is, with an extent of 1 for their axis.
fn mean(graph: &Graph, value: Value) -> Option<Value> {
    // The width is known only when the sum is found.
    let reduced = |v: Value| {
        let data = graph.node(graph.def_node(v)?);
        matches!(data.op, Op::Reduce(Reduce { function: RowFunction::Sum })).then(|| data.args[0])
    };
    let (mut at, mut divisor) = (value, None);
    for _ in 0..=STEPS {
        if let Some(x) = reduced(at) {
            let width = graph.ty(x).shape.last()?.fixed()? as f64;
            let near = |d: f64| (d - width).abs() <= 1e-6 * width;
            let kept = graph.ty(value).shape.dims().split_last() == Some((&Dim::from(1), graph.ty(at).shape.dims()));
            return (kept && divisor.is_some_and(near)).then_some(x);
        }
        at = if let Some(inner) = reshaped(graph, at) {
            inner
        } else if let Some([sum, count]) = binary(graph, at, B::Div) {
            divisor = Some(number(graph, count).filter(|_| divisor.is_none())?);
            sum
        } else {
            let (sum, share) = beside_number(graph, at, B::Mul)?;
            divisor = Some(Some(1.0 / share).filter(|_| divisor.is_none())?);
            sum
        };
    }
    None
}

/// The tensor that `low` is without the mean of its rows.
fn centre(graph: &Graph, low: Value) -> Option<Value> {
    let [x, taken] = binary(graph, low, B::Sub)?;
    (mean(graph, taken) == Some(x)).then_some(x)
}
