//! Scaled dot-product attention that exporters write out, of a batch, with masks, as what it is.
//!
//! `softmax(scale q k^T + mask) v`: factors stand at the queries, at the keys or at their product; masks are added, or choose
//! between scores and a number so low that nothing is left of them beside it. Heads stand before tokens, as in
//! `[B, H, S, D]`; the op reads tokens first, and the transposes meet those that the exporter wrote. Heads of keys and values that
//! are repeated for several heads of queries are read as often instead. What stands before tokens on one axis, `[N, S, D]`, is a batch of single heads, and matrices `[S, D]` are one of one.
//!
//! Where weights that are no numbers are replaced by zeros, as exporters do for queries from which all keys are hidden, the
//! result of those queries is.
//!
//! Left alone is what somebody else reads a part of, what repeats over the batch, what other ops stand in, such as those that
//! round, and what is of another type than f32.

use super::findings::Findings;
use super::look::{beside_number, binary, number, reshaped, transposed};
use super::rewrite::Rewrite;
use crate::uses::Uses;
use actc_ir::ops::attention::Attention;
use actc_ir::ops::pointwise::{Binary, BinaryFunction as B, Select, Unary, UnaryFunction as U};
use actc_ir::ops::reduce::{Reduce, RowFunction};
use actc_ir::ops::shaping::{Reshape, Transpose};
use actc_ir::{Graph, Op, TensorType, Value};
use actc_types::{DType, Dim, Encoding, Result, Role, Shape};

/// Ops between a softmax and the product of queries and keys, at most.
const STEPS: usize = 6;

/// Numbers below it leave nothing of any score that they are added to.
const HIDDEN: f64 = -1e30;

/// Widest heads that kernels read.
const WIDEST: u64 = 4096;

/// What changes scores before their softmax.
enum Mask {
    /// It is added.
    Added(Value),
    /// Scores whose condition is `hides` become `low`.
    Chosen { condition: Value, low: f64, hides: bool },
}

struct Found {
    /// `[.., S, D]`.
    q: Value,
    /// `[.., D, T]`.
    k: Value,
    /// `[.., T, D]`.
    v: Value,
    scale: f64,
    masks: Vec<Mask>,
    /// Whether a query from which all keys are hidden gives zeros.
    zeros: bool,
    /// `[.., S, D]`.
    y: Value,
}

/// Either nothing that looks like it, or a reason why it is left.
type Look<T> = std::result::Result<T, Option<&'static str>>;

pub(super) fn attentions(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let uses = Uses::of(graph);
    let mut found = Vec::new();
    for node in graph.order() {
        let data = graph.node(*node);
        if let (Op::Softmax(_), &[scores], &[shares]) = (&data.op, &data.args[..], &data.results[..]) {
            match attention(graph, &uses, scores, shares) {
                Ok(attention) => found.push(attention),
                Err(Some(why)) => findings.left("attention", why),
                Err(None) => {}
            }
        }
    }
    let mut rewrite = Rewrite::new(graph, "attention");
    for attention in found {
        let y = attention.write(&mut rewrite, findings)?;
        rewrite.replace(attention.y, y);
        findings.made("attention");
    }
    rewrite.apply()
}

/// The attention whose softmax makes `shares` of `scores`.
fn attention(graph: &Graph, uses: &Uses, scores: Value, shares: Value) -> Look<Found> {
    let Scored { q, k, mut scale, masks } = scored(graph, uses, scores)?;
    let (shares, zeros) = guarded(graph, uses, shares).map_or((shares, false), |guarded| (guarded, true));
    let reader = uses.sole(shares).ok_or(Some("its weights are read elsewhere too"))?;
    let product = graph.node(reader);
    let between = Some("other ops stand between its weights and its values");
    let (Op::Matmul(_), &[left, v], &[y]) = (&product.op, &product.args[..], &product.results[..]) else {
        return Err(between);
    };
    if left != shares || v == shares {
        return Err(between);
    }
    let mut sides = [q, k];
    for side in &mut sides {
        while let Some((inner, factor)) = scaled(graph, *side) {
            (*side, scale) = (inner, scale * factor);
        }
    }
    let [q, k] = sides;
    let found = Found { q, k, v, scale, masks, zeros, y };
    found.fits(graph).map(|()| found)
}

/// What scores come of.
struct Scored {
    q: Value,
    k: Value,
    scale: f64,
    masks: Vec<Mask>,
}

/// What `scores` come of, where they come of a product.
fn scored(graph: &Graph, uses: &Uses, scores: Value) -> Look<Scored> {
    let other = || leads(graph, scores).then_some("other ops stand between its products and its softmax");
    let (mut at, mut scale, mut masks, mut shared) = (scores, 1.0, Vec::new(), false);
    for _ in 0..=STEPS {
        let Some(node) = graph.def_node(at) else { return Err(other()) };
        let data = graph.node(node);
        shared |= uses.sole(at).is_none();
        match (&data.op, &data.args[..]) {
            (Op::Matmul(_), _) if shared => return Err(Some("its scores are read elsewhere too")),
            (Op::Matmul(_), &[q, k]) => return Ok(Scored { q, k, scale, masks }),
            // What a mask is added to is multiplied before.
            (Op::Binary(Binary { function: B::Add }), &[a, b]) if scale == 1.0 => {
                let (inner, mask) = if leads(graph, a) || !leads(graph, b) { (a, b) } else { (b, a) };
                masks.push(Mask::Added(mask));
                at = inner;
            }
            (Op::Select(_), &[condition, a, b]) if scale == 1.0 => {
                let low = |v: Value| number(graph, v).filter(|n| *n <= HIDDEN);
                let (inner, low, hides) = match (low(a), low(b)) {
                    (Some(low), None) => (b, low, true),
                    (None, Some(low)) => (a, low, false),
                    (_, _) => return Err(other()),
                };
                masks.push(Mask::Chosen { condition, low, hides });
                at = inner;
            }
            (_, _) => {
                let Some((inner, factor)) = scaled(graph, at) else { return Err(other()) };
                (at, scale) = (inner, scale * factor);
            }
        }
        if graph.ty(at) != graph.ty(scores) {
            return Err(other());
        }
    }
    Err(other())
}

/// What `shares` are with zeros for what is no number, where they are read so alone.
fn guarded(graph: &Graph, uses: &Uses, shares: Value) -> Option<Value> {
    let [a, b] = uses.pair(shares)?.map(|node| graph.node(node));
    let (test, choice) = if matches!(a.op, Op::Select(_)) { (b, a) } else { (a, b) };
    let (Op::Unary(Unary { function: U::IsNan }), Op::Select(_)) = (&test.op, &choice.op) else { return None };
    let (&[condition, then, otherwise], &[result]) = (&choice.args[..], &choice.results[..]) else { return None };
    let same = graph.ty(result) == graph.ty(shares) && test.results == [condition] && otherwise == shares;
    (same && number(graph, then) == Some(0.0)).then_some(result)
}

/// Whether `value` comes of a product of its own type, element by element.
fn leads(graph: &Graph, value: Value) -> bool {
    let mut at = value;
    for _ in 0..=2 * STEPS {
        let Some(node) = graph.def_node(at) else { return false };
        let data = graph.node(node);
        if matches!(data.op, Op::Matmul(_)) {
            return true;
        }
        let pointwise = matches!(data.op, Op::Unary(_) | Op::Binary(_) | Op::Select(_) | Op::Cast(_));
        let inner = data.args.iter().copied().rfind(|v| graph.ty(*v).shape == graph.ty(at).shape);
        let Some(inner) = inner.filter(|_| pointwise) else { return false };
        at = inner;
    }
    false
}

/// `value` as something of its type times a number.
fn scaled(graph: &Graph, value: Value) -> Option<(Value, f64)> {
    let by = beside_number(graph, value, B::Mul).or_else(|| {
        let [x, below] = binary(graph, value, B::Div)?;
        number(graph, below).map(|n| (x, 1.0 / n))
    });
    by.filter(|(x, factor)| factor.is_finite() && graph.ty(*x) == graph.ty(value))
}

impl Found {
    fn fits(&self, graph: &Graph) -> Look<()> {
        let types = [self.q, self.k, self.v, self.y].map(|v| graph.ty(v));
        if types.iter().any(|ty| ty.dtype != DType::F32) {
            return Err(Some("it is not in f32"));
        }
        let [q, k, v, y] = types.map(|ty| ty.shape.dims());
        let (Some((lead, [_, width])), Some((of_k, [_, keys])), Some((of_v, values)), Some((of_y, _))) = (
            q.split_last_chunk::<2>(),
            k.split_last_chunk::<2>(),
            v.split_last_chunk::<2>(),
            y.split_last_chunk::<2>(),
        ) else {
            return Err(None);
        };
        if lead.len() > 2 {
            return Err(Some("it has more axes than batch, heads, tokens and numbers"));
        }
        if [of_k, of_v, of_y].iter().any(|other| *other != lead) || values[0] != *keys {
            return Err(Some("its batches are repeated"));
        }
        if width.fixed().is_none_or(|d| d > WIDEST || d == 0) || values[1] != *width {
            return Err(Some("its values are of another width than its keys, or of an unknown or too large one"));
        }
        match lead {
            [_, heads] if heads.fixed().is_none_or(|h| h > WIDEST || h == 0) => {
                Err(Some("the number of its heads is known only when it runs, or too large"))
            }
            _fits => Ok(()),
        }
    }

    /// New nodes that give what `y` is.
    fn write(&self, rewrite: &mut Rewrite<'_>, findings: &mut Findings<'_>) -> Result<Value> {
        let q = self.tokens_first(rewrite, self.q)?;
        let rank = rewrite.graph().ty(self.k).shape.rank();
        let rows = match transposed(rewrite.graph(), self.k) {
            Some((of, order)) if turns_last(order) => of,
            Some(_) | None => {
                let order = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
                rewrite.add(Op::Transpose(Transpose { order }), &[self.k], self.y)?
            }
        };
        let own = [rows, self.v].map(|heads| repeated(rewrite.graph(), heads));
        let alike = |[k, v]: [Value; 2]| {
            let heads = |x: Value| rewrite.graph().ty(x).shape.dims().get(1).cloned();
            heads(k) == heads(v)
        };
        let [k, v] = match own {
            [Some(k), Some(v)] if alike([k, v]) => [k, v],
            [_, _] => [rows, self.v],
        };
        let (k, v) = (self.tokens_first(rewrite, k)?, self.tokens_first(rewrite, v)?);
        let mut args = vec![q, k, v];
        args.extend(self.mask(rewrite, findings)?);
        let attention = Attention { scale: self.scale, causal: false, window: None };
        let mut y = rewrite.add(Op::Attention(attention), &args, self.y)?;
        if let Some(mask) = args.get(3).filter(|_| self.zeros) {
            y = self.without_hidden(rewrite, findings, *mask, y)?;
        }
        let shape = rewrite.graph().ty(self.y).shape.clone();
        if rank == 4 {
            rewrite.add(Op::Transpose(Transpose { order: vec![0, 2, 1, 3] }), &[y], self.y)
        } else {
            rewrite.add(Op::Reshape(Reshape { shape }), &[y], self.y)
        }
    }

    /// `heads`, `[B, H, S, D]` or `[N, S, D]` or `[S, D]`, as `[B, S, H, D]`.
    fn tokens_first(&self, rewrite: &mut Rewrite<'_>, heads: Value) -> Result<Value> {
        let shape = rewrite.graph().ty(heads).shape.clone();
        let one = Dim::from(1);
        let dims = match &shape.0[..] {
            [n, s, d] => vec![n.clone(), s.clone(), one, d.clone()],
            [s, d] => vec![one.clone(), s.clone(), one, d.clone()],
            _four => {
                return rewrite.add(Op::Transpose(Transpose { order: vec![0, 2, 1, 3] }), &[heads], self.y);
            }
        };
        rewrite.add(Op::Reshape(Reshape { shape: Shape(dims) }), &[heads], self.y)
    }

    /// The sum of all masks, which repeats over `[B, H, S, T]`.
    fn mask(&self, rewrite: &mut Rewrite<'_>, findings: &mut Findings<'_>) -> Result<Option<Value>> {
        let mut sum = None;
        for mask in &self.masks {
            let own = match mask {
                Mask::Added(value) => *value,
                Mask::Chosen { condition, low, hides } => {
                    let (zero, low) = (number_of(rewrite, findings, 0.0)?, number_of(rewrite, findings, *low as f32)?);
                    let [then, otherwise] = if *hides { [low, zero] } else { [zero, low] };
                    rewrite.add(Op::Select(Select), &[*condition, then, otherwise], self.y)?
                }
            };
            sum = Some(match sum {
                None => own,
                Some(sum) => rewrite.add(Op::Binary(Binary { function: B::Add }), &[own, sum], self.y)?,
            });
        }
        let Some(mask) = sum else { return Ok(None) };
        let mut dims = rewrite.graph().ty(mask).shape.0.clone();
        if dims.len() == 4 {
            return Ok(Some(mask));
        }
        // Without an axis of heads each has one.
        let rank = rewrite.graph().ty(self.y).shape.rank();
        dims.splice(0..0, vec![Dim::from(1); rank - dims.len()]);
        dims.splice(rank - 2..rank - 2, vec![Dim::from(1); 4 - rank]);
        rewrite.add(Op::Reshape(Reshape { shape: Shape(dims) }), &[mask], self.y).map(Some)
    }

    /// `y [B, S, H, D]` with zeros for the queries from which `mask`, of four axes, hides all keys.
    fn without_hidden(
        &self,
        rewrite: &mut Rewrite<'_>,
        findings: &mut Findings<'_>,
        mask: Value,
        y: Value,
    ) -> Result<Value> {
        let most = rewrite.add(Op::Reduce(Reduce { function: RowFunction::Most }), &[mask], self.y)?;
        let mut dims = rewrite.graph().ty(most).shape.0.clone();
        dims.push(Dim::from(1));
        let most = rewrite.add(Op::Reshape(Reshape { shape: Shape(dims) }), &[most], self.y)?;
        let most = rewrite.add(Op::Transpose(Transpose { order: vec![0, 2, 1, 3] }), &[most], self.y)?;
        let zero = number_of(rewrite, findings, 0.0)?;
        let least = number_of(rewrite, findings, f32::NEG_INFINITY)?;
        let none = rewrite.add(Op::Binary(Binary { function: B::Equal }), &[most, least], self.y)?;
        rewrite.add(Op::Select(Select), &[none, zero, y], self.y)
    }
}

/// The constant `n` without axes.
fn number_of(rewrite: &mut Rewrite<'_>, findings: &mut Findings<'_>, n: f32) -> Result<Value> {
    let name = findings.fresh("number");
    let ty = TensorType::new(DType::F32, Shape::default());
    let constant = findings.constant(name, ty, Encoding::Dense, vec![(Role::Data, n.to_le_bytes().to_vec())])?;
    Ok(rewrite.constant(constant))
}

/// The `[B, KV, T, D]` of which `heads [B, KV * n, T, D]` are each head `n` times.
fn repeated(graph: &Graph, heads: Value) -> Option<Value> {
    let copies = reshaped(graph, heads)?;
    let data = graph.node(graph.def_node(copies)?);
    let single = matches!(data.op, Op::Expand(_)).then(|| data.args[0])?;
    let x = reshaped(graph, single)?;
    let dims = |v: Value| graph.ty(v).shape.dims();
    let ([b, kv, t, d], [b1, kv1, one, t1, d1], [b2, kv2, n, t2, d2]) = (dims(x), dims(single), dims(copies)) else {
        return None;
    };
    let split = [b, kv, t, d] == [b1, kv1, t1, d1] && *one == Dim::from(1);
    let copied =
        [b, kv, t, d] == [b2, kv2, t2, d2] && dims(heads) == [b.clone(), kv.checked_mul(n)?, t.clone(), d.clone()];
    (split && copied).then_some(x)
}

/// Whether `order` swaps the last two axes and no others.
fn turns_last(order: &[usize]) -> bool {
    let n = order.len();
    n >= 2 && order[n - 2..] == [n - 1, n - 2] && order[..n - 2].iter().enumerate().all(|(i, axis)| i == *axis)
}
