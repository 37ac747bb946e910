//! Rotary position embedding that exporters write out, as what it is: `x cos + turned(x) sin`, where `turned` is the second half
//! negated before the first, and pairs of parts, `a cos - b sin` beside `a sin + b cos`, which are halves or neighbours.
//!
//! Angles are those of consecutive positions ([`super::angles`]). What is turned has an axis of tokens, and its others but the last
//! are known; they become the heads of the op, and the transposes meet those that the exporter wrote.
//!
//! Left alone is what turns by positions that are inputs, or by tables of something else.

use super::angles::{Turns, base, turns};
use super::findings::Findings;
use super::look::{binary, reshaped, unary};
use super::rewrite::Rewrite;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::rope::{Rope, RopeStyle};
use actc_ir::ops::shaping::{Concat, Range, Reshape, Slice, Transpose};
use actc_ir::{Graph, Node, Op, TensorType, Value};
use actc_types::{DType, Dim, Encoding, Result, Role, Shape};
use std::collections::BTreeMap;

/// Most numbers of a head, and most heads, that kernels turn.
const WIDEST: u64 = 4096;

struct Found {
    x: Value,
    style: RopeStyle,
    turns: Turns,
    /// What the turned numbers are.
    y: Value,
    /// What stands behind `y` in a concatenation, all of which `y` is the first parts of.
    whole: Option<(Value, Vec<Value>)>,
}

/// Either nothing that looks like it, or a reason why it is left.
type Look<T> = std::result::Result<T, Option<&'static str>>;

pub(super) fn rotaries(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let mut found = Vec::new();
    for node in graph.order() {
        match rotary(graph, *node) {
            Ok(rotary) => found.push(rotary),
            Err(Some(why)) => findings.left("rotary embeddings", why),
            Err(None) => {}
        }
    }
    let mut rewrite = Rewrite::new(graph, "rotary");
    let mut divisors: BTreeMap<String, Value> = BTreeMap::new();
    for rotary in found {
        let y = rotary.write(&mut rewrite, findings, &mut divisors)?;
        rewrite.replace(rotary.whole.as_ref().map_or(rotary.y, |(whole, _)| *whole), y);
        findings.made("rotary embeddings");
    }
    rewrite.apply()
}

fn rotary(graph: &Graph, node: Node) -> Look<Found> {
    let data = graph.node(node);
    let &[y] = &data.results[..] else { return Err(None) };
    if graph.ty(y).dtype != DType::F32 {
        return Err(None);
    }
    let rank = graph.ty(y).shape.rank();
    #[expect(clippy::wildcard_enum_match_arm, reason = "three ops end a rotary embedding")]
    let (x, style, [cos, sin], whole) = match &data.op {
        Op::Binary(_) => {
            let (x, tables) = halves(graph, y).ok_or(None)?;
            (x, RopeStyle::Half, tables, None)
        }
        Op::Concat(Concat { axis }) if axis + 1 == rank => {
            let (&[first, second, ref rest @ ..], true) = (&data.args[..], data.args.len() <= 3) else {
                return Err(None);
            };
            let (x, tables) = pair(graph, [first, second], parts).ok_or(None)?;
            (x, RopeStyle::Half, tables, (!rest.is_empty()).then(|| (y, rest.to_vec())))
        }
        Op::Reshape(_) => {
            let both = beside(graph, data.args[0]).ok_or(None)?;
            let (x, tables) = pair(graph, both, neighbours).ok_or(None)?;
            (x, RopeStyle::Interleaved, tables, None)
        }
        _ => return Err(None),
    };
    let reason = Some("their angles are not those of consecutive positions");
    let mut turns = turns(graph, cos, sin).ok_or(reason)?;
    let width = graph.ty(x).shape.last().and_then(Dim::fixed).ok_or(None)?;
    let pairs = turns.frequencies.len();
    if matches!(data.op, Op::Binary(_)) {
        // Tables for whole heads hold each angle twice.
        let (first, second) = turns.frequencies.split_at(pairs / 2);
        if first != second {
            return Err(reason);
        }
        turns.frequencies.truncate(pairs / 2);
    }
    if turns.frequencies.len() as u64 * 2 != width || width > WIDEST {
        return Err(Some("their tables are of another width than they, or too wide"));
    }
    let found = Found { x, style, turns, y, whole };
    found.tokens(graph).map(|_| found)
}

/// `x` and the tables, where `y` is `x cos + turned(x) sin`.
fn halves(graph: &Graph, y: Value) -> Option<(Value, [Value; 2])> {
    let [a, b] = binary(graph, y, B::Add)?;
    for (plain, turned) in [(a, b), (b, a)] {
        let ([p, q], [r, s]) = (binary(graph, plain, B::Mul)?, binary(graph, turned, B::Mul)?);
        for (x, cos) in [(p, q), (q, p)] {
            for (turned, sin) in [(r, s), (s, r)] {
                if turned_of(graph, turned) == Some(x) {
                    return Some((x, [cos, sin]));
                }
            }
        }
    }
    None
}

/// What `value` is the second half of, negated, before the first.
fn turned_of(graph: &Graph, value: Value) -> Option<Value> {
    let data = graph.node(graph.def_node(value)?);
    let (Op::Concat(Concat { axis }), &[negated, first]) = (&data.op, &data.args[..]) else { return None };
    let last = axis + 1 == graph.ty(value).shape.rank();
    parts(graph, first, unary(graph, negated, U::Neg)?).filter(|x| last && graph.ty(*x) == graph.ty(value))
}

/// What `parts` finds that `a` and `b` are parts of, and the tables, where `first` is `a cos - b sin`, and `second` is
/// `a sin + b cos`.
fn pair(
    graph: &Graph,
    [first, second]: [Value; 2],
    parts: fn(&Graph, Value, Value) -> Option<Value>,
) -> Option<(Value, [Value; 2])> {
    let ([ac, bs], [p, q]) = (binary(graph, first, B::Sub)?, binary(graph, second, B::Add)?);
    let product = |v: Value| binary(graph, v, B::Mul);
    let is = |v: Value, x: Value, y: Value| product(v).is_some_and(|f| f == [x, y] || f == [y, x]);
    let ([a, c], [b, s]) = (product(ac)?, product(bs)?);
    // The sum says which factors belong together, but not which are parts and which tables.
    let orders = [[a, c, b, s], [c, a, s, b], [a, c, s, b], [c, a, b, s]];
    orders.into_iter().find_map(|[a, cos, b, sin]| {
        let crossed = is(p, a, sin) && is(q, b, cos) || is(q, a, sin) && is(p, b, cos);
        Some((parts(graph, a, b).filter(|_| crossed)?, [cos, sin]))
    })
}

/// What `a` and `b` are the two halves of along the last axis.
fn parts(graph: &Graph, a: Value, b: Value) -> Option<Value> {
    let slice = |v: Value| {
        let data = graph.node(graph.def_node(v)?);
        let Op::Slice(Slice { axis, start, len }) = &data.op else { return None };
        let last = axis + 1 == graph.ty(v).shape.rank();
        last.then_some((data.args[0], start.fixed()?, len.fixed()?))
    };
    let ((x, start, half), (other, middle, rest)) = (slice(a)?, slice(b)?);
    let whole = graph.ty(x).shape.last()?.fixed()? == half.checked_add(rest)?;
    (x == other && start == 0 && middle == half && rest == half && whole).then_some(x)
}

/// What `joined` holds beside each other along a last axis of its own.
fn beside(graph: &Graph, joined: Value) -> Option<[Value; 2]> {
    let data = graph.node(graph.def_node(joined)?);
    let (Op::Concat(Concat { axis }), &[first, second]) = (&data.op, &data.args[..]) else { return None };
    let last = axis + 1 == graph.ty(joined).shape.rank();
    Some([reshaped(graph, first).filter(|_| last)?, reshaped(graph, second)?])
}

/// What `a` are the first and `b` the second of each two neighbours of.
fn neighbours(graph: &Graph, a: Value, b: Value) -> Option<Value> {
    let pairs = parts(graph, reshaped(graph, a)?, reshaped(graph, b)?)?;
    let x = reshaped(graph, pairs)?;
    let (dims, [outer @ .., half, two]) = (graph.ty(x).shape.dims(), graph.ty(pairs).shape.dims()) else {
        return None;
    };
    let split = dims.split_last().is_some_and(|(_, own)| own == outer) && two.fixed() == Some(2);
    (split && graph.ty(a).shape.last() == Some(half)).then_some(x)
}

impl Found {
    /// The axis of tokens of `x`.
    fn tokens(&self, graph: &Graph) -> Look<usize> {
        let dims = graph.ty(self.x).shape.dims();
        let tokens = dims.len().checked_sub(2 + self.turns.between).ok_or(None)?;
        if dims[tokens] != self.turns.run.len {
            return Err(Some("their tables have no row for each token"));
        }
        let heads = |(i, d): (usize, &Dim)| if i == tokens { Some(1) } else { d.fixed() };
        let (_, outer) = dims.split_last().ok_or(None)?;
        let heads = outer.iter().enumerate().try_fold(1u64, |n, d| n.checked_mul(heads(d)?));
        match heads {
            Some(1..=WIDEST) => Ok(tokens),
            Some(_) | None => Err(Some("the number of their heads, or of sequences, is not fixed")),
        }
    }

    /// New nodes that give `y`, or all that it is a part of.
    fn write(
        &self,
        rewrite: &mut Rewrite<'_>,
        findings: &mut Findings<'_>,
        divisors: &mut BTreeMap<String, Value>,
    ) -> Result<Value> {
        let dims = rewrite.graph().ty(self.x).shape.0.clone();
        let tokens = self.tokens(rewrite.graph()).unwrap_or_default();
        let order: Vec<usize> = std::iter::once(tokens).chain((0..dims.len()).filter(|i| *i != tokens)).collect();
        let moved: Vec<Dim> = order.iter().map(|axis| dims[*axis].clone()).collect();
        let heads: u64 = moved[1..moved.len() - 1].iter().filter_map(Dim::fixed).product();
        let x = rewrite.add(Op::Transpose(Transpose { order: order.clone() }), &[self.x], self.y)?;
        let flat = Shape(vec![moved[0].clone(), Dim::from(heads), moved[moved.len() - 1].clone()]);
        let x = rewrite.add(Op::Reshape(Reshape { shape: flat }), &[x], self.y)?;
        let Turns { run, frequencies, magnitude, .. } = &self.turns;
        let range = Range { start: run.start.clone(), len: run.len.clone() };
        let mut args = vec![x, rewrite.add(Op::Range(range), &[], self.y)?];
        let theta = base(frequencies);
        if theta.is_none() {
            args.push(self.divisors(rewrite, findings, divisors)?);
        }
        let dims = 2 * frequencies.len() as u32;
        let rope = Rope { dims, theta: theta.unwrap_or(1.0), style: self.style, factor: 1.0, magnitude: *magnitude };
        let y = rewrite.add(Op::Rope(rope), &args, self.y)?;
        let y = rewrite.add(Op::Reshape(Reshape { shape: Shape(moved) }), &[y], self.y)?;
        let mut back = vec![0; order.len()];
        order.iter().enumerate().for_each(|(now, axis)| back[*axis] = now);
        let y = rewrite.add(Op::Transpose(Transpose { order: back }), &[y], self.y)?;
        match &self.whole {
            None => Ok(y),
            Some((_, rest)) => {
                let axis = dims_of(rewrite, y) - 1;
                rewrite.add(Op::Concat(Concat { axis }), &[&[y], &rest[..]].concat(), self.y)
            }
        }
    }

    /// What each pair's frequency is one over of, as a constant.
    fn divisors(
        &self,
        rewrite: &mut Rewrite<'_>,
        findings: &mut Findings<'_>,
        divisors: &mut BTreeMap<String, Value>,
    ) -> Result<Value> {
        let numbers = self.turns.frequencies.iter().map(|f| (1.0 / f) as f32);
        let bytes: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
        let key = format!("{bytes:?}");
        if let Some(known) = divisors.get(&key) {
            return Ok(*known);
        }
        let ty = TensorType::new(DType::F32, Shape::fixed(&[self.turns.frequencies.len() as u64]));
        let name = findings.fresh("divisors");
        let constant = findings.constant(name, ty, Encoding::Dense, vec![(Role::Data, bytes)])?;
        Ok(*divisors.entry(key).or_insert(rewrite.constant(constant)))
    }
}

/// Axes of `value`.
fn dims_of(rewrite: &Rewrite<'_>, value: Value) -> usize {
    rewrite.graph().ty(value).shape.rank()
}
