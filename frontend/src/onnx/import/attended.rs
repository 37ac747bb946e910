//! Attention over a cache that exporters write out, `softmax(scale q k^T + mask) v` with heads in groups, as the graph's own.
//!
//! Keys and values are what `cache_append` gives, under other axes and repeated for each head of a group; the mask depends on
//! numbers of tokens alone and lets every query see keys up to its own, or the last of these. Attention of another form stays
//! as it is written. One whose queries see later tokens as well is an error: what a model says of a text must not depend on
//! how much of it is read at once. The embedding of the tokens is a lookup by them, and becomes what passes know as one.

use super::sight::{self, Says, Sight};
use super::state::{TURNED, both, new, obstacle, replace_turned, reshape, transposed, turned};
use actc_ir::ops::attention::Attention;
use actc_ir::ops::embedding::Embedding;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::{Graph, NodeData, Op, Patch, Value};
use actc_types::{DType, Dim, Encoding, Result, Shape};
use std::collections::{BTreeMap, BTreeSet};

/// The order of axes that exchanges the last two of four.
const COLUMNS: [usize; 4] = [0, 1, 3, 2];

/// Attention that was found.
struct Found {
    /// Queries `[1, H, S, D]`.
    q: Value,
    /// Keys `[T, KV, D]`.
    k: Value,
    /// Values `[T, KV, D]`.
    v: Value,
    attention: Attention,
    /// What it gives: `[1, H, S, D]`.
    y: Value,
}

/// Puts the graph's own attention and embedding where `graph`, a language model, writes them out.
pub(super) fn recognised(mut graph: Graph) -> Result<Graph> {
    let mut search = Search::new(&graph);
    let idle = search.idle()?;
    let mut patch = Patch::new(&mut graph, "idle");
    for (sum, x) in idle {
        patch.replace(sum, x)?;
    }
    patch.apply()?;
    let mut graph = graph.compact();
    let mut search = Search::new(&graph);
    let (found, lookups) = (search.attentions()?, search.lookups());
    let users = search.users;
    let mut patch = Patch::new(&mut graph, "attention");
    for Found { q, k, v, attention, y } in found {
        let shape = patch.graph().ty(y).shape.clone();
        let [one, heads, new, width] = shape.dims() else { continue };
        let rows = transposed(&mut patch, q, TURNED)?;
        let rows = patch.add(reshape(vec![new.clone(), heads.clone(), width.clone()]), &[rows])?;
        let made = patch.add(Op::Attention(attention), &[rows, k, v])?;
        let made = patch.add(reshape(vec![one.clone(), new.clone(), heads.clone(), width.clone()]), &[made])?;
        replace_turned(&mut patch, &users[y.index()], y, made)?;
    }
    for (x, tokens, table) in lookups {
        let shape = patch.graph().ty(x).shape.clone();
        let rows = patch.add(Op::Embedding(Embedding { scale: 1.0 }), &[tokens, table])?;
        let rows = patch.add(reshape(shape.0), &[rows])?;
        patch.replace(x, rows)?;
    }
    patch.apply()?;
    Ok(graph.compact())
}

struct Search<'g> {
    graph: &'g Graph,
    users: Vec<Vec<actc_ir::Node>>,
    /// Inputs whose shapes say how many tokens there are: the tokens, and a state.
    ports: Vec<Value>,
    /// Values that depend on elements of inputs.
    dependent: BTreeSet<Value>,
    known: BTreeMap<(Value, Says), Sight>,
}

impl<'g> Search<'g> {
    fn new(graph: &'g Graph) -> Search<'g> {
        let mut dependent: BTreeSet<Value> = graph.inputs().map(|(_, v)| v).collect();
        let ports = graph.inputs().map(|(_, v)| v).take(2).collect();
        for node in graph.order() {
            let data = graph.node(*node);
            if data.args.iter().any(|v| dependent.contains(v)) {
                dependent.extend(&data.results);
            }
        }
        Search { graph, users: graph.users(), ports, dependent, known: BTreeMap::new() }
    }

    fn node(&self, value: Value) -> Option<&'g NodeData> {
        self.graph.def_node(value).map(|n| self.graph.node(n))
    }

    fn dims(&self, value: Value) -> &'g [Dim] {
        self.graph.ty(value).shape.dims()
    }

    fn free(&self, value: Value) -> bool {
        !self.dependent.contains(&value)
    }

    /// What the mask `value`, which depends on no input, lets see.
    fn sight(&mut self, value: Value, says: Says) -> Result<Sight> {
        if let Some(known) = self.known.get(&(value, says)) {
            return Ok(*known);
        }
        let keys = both()?;
        let counts = |d: &Dim| d.fixed() == Some(1) || *d == new() || *d == keys;
        let sight = if self.dims(value).iter().all(counts) {
            sight::of(self.graph, value, says, &self.ports)?
        } else {
            Sight::Other
        };
        self.known.insert((value, says), sight);
        Ok(sight)
    }

    /// Sums that add nothing for any number of tokens, and what they add it to.
    fn idle(&mut self) -> Result<Vec<(Value, Value)>> {
        let mut idle = Vec::new();
        for node in self.graph.order() {
            let data = self.graph.node(*node);
            let Op::Binary(binary) = &data.op else { continue };
            let (&[a, b], &[sum]) = (&data.args[..], &data.results[..]) else { continue };
            if binary.function != B::Add || self.free(sum) || !self.graph.ty(sum).dtype.is_float() {
                continue;
            }
            for (x, added) in [(a, b), (b, a)] {
                if self.free(added)
                    && self.graph.as_const(added).is_none()
                    && self.graph.ty(x) == self.graph.ty(sum)
                    && self.sight(added, Says::Added)? == Sight::All
                {
                    idle.push((sum, x));
                    break;
                }
            }
        }
        Ok(idle)
    }

    /// Lookups of tokens in a table of floats.
    fn lookups(&self) -> Vec<(Value, Value, Value)> {
        let tokens = self.ports[0];
        let mut found = Vec::new();
        for node in self.graph.order() {
            let data = self.graph.node(*node);
            let (Op::Gather(gather), &[table, ids]) = (&data.op, &data.args[..]) else { continue };
            let Some(constant) = self.graph.as_const(table).map(|id| self.graph.const_data(id)) else { continue };
            let floats = constant.ty.dtype == DType::F32 && constant.encoding == Encoding::Dense;
            if gather.axis == 0 && floats && constant.ty.shape.rank() == 2 && self.named(ids) == tokens {
                found.push((data.results[0], tokens, table));
            }
        }
        found
    }

    /// What `value` is but for its shape and integer type.
    fn named(&self, mut value: Value) -> Value {
        while let Some(data) = self.node(value)
            && let Op::Cast(_) | Op::Reshape(_) = data.op
        {
            value = data.args[0];
        }
        value
    }

    fn attentions(&mut self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        for node in self.graph.order() {
            let data = self.graph.node(*node);
            if let (Op::Softmax(_), &[scores], &[shares]) = (&data.op, &data.args[..], &data.results[..]) {
                found.extend(self.attention(scores, shares)?);
            }
        }
        Ok(found)
    }

    /// The attention whose softmax makes `shares` of `scores`.
    fn attention(&mut self, scores: Value, shares: Value) -> Result<Option<Found>> {
        let [reader] = self.users[shares.index()][..] else { return Ok(None) };
        let product = self.graph.node(reader);
        if !matches!(product.op, Op::Matmul(_)) || product.args[0] != shares || product.args[1] == shares {
            return Ok(None);
        }
        let y = product.results[0];
        let Some(v) = self.cached(product.args[1], false) else { return Ok(None) };
        let mut masks = Vec::new();
        let mut scale = 1.0;
        let mut x = scores;
        // Scores, from the softmax back to the product.
        let pair = loop {
            let Some(data) = self.node(x) else { return Ok(None) };
            match (&data.op, &data.args[..]) {
                (Op::Matmul(_), &[q, k]) => break (q, k),
                (Op::Binary(binary), &[a, b]) if binary.function == B::Add && scale == 1.0 => {
                    let Some((scores, mask)) = self.split(a, b) else { return Ok(None) };
                    masks.push((mask, Says::Added));
                    x = scores;
                }
                (Op::Select(_), &[condition, a, b]) if scale == 1.0 && self.free(condition) => {
                    let low = |v: Value| self.scalar(v).is_some_and(|n| n <= sight::HIDDEN);
                    match (low(a), low(b)) {
                        (false, true) => masks.push((condition, Says::Seen)),
                        (true, false) => masks.push((condition, Says::Unseen)),
                        _ => return Ok(None),
                    }
                    x = if low(b) { a } else { b };
                }
                _ => {
                    let Some((inner, factor)) = self.scaled(x) else { return Ok(None) };
                    scale *= factor;
                    x = inner;
                }
            }
        };
        let (mut q, mut k) = pair;
        for side in [&mut q, &mut k] {
            while let Some((inner, factor)) = self.scaled(*side) {
                scale *= factor;
                *side = inner;
            }
        }
        let Some(k) = self.cached(k, true) else { return Ok(None) };
        if !self.fits(q, k, v, y) {
            return Ok(None);
        }
        let mut window = None;
        let mut causal = false;
        for (mask, says) in masks {
            match self.sight(mask, says)? {
                Sight::All => {}
                Sight::Causal(limit) if !causal => (causal, window) = (true, limit),
                Sight::Causal(_) | Sight::Other => return Ok(None),
            }
        }
        if !causal {
            let name = self.graph.def_node(scores).map_or("", |n| &self.graph.node(n).origin);
            return Err(obstacle(name, "queries of attention see later tokens: nothing hides these from them"));
        }
        Ok(Some(Found { q, k, v, attention: Attention { scale, causal, window }, y }))
    }

    /// Of two values that are added, the one that depends on inputs and the one that does not.
    fn split(&self, a: Value, b: Value) -> Option<(Value, Value)> {
        match (self.free(a), self.free(b)) {
            (false, true) => Some((a, b)),
            (true, false) => Some((b, a)),
            (true, true) | (false, false) => None,
        }
    }

    /// The number that `value` is everywhere, where it is a constant of one.
    fn scalar(&self, value: Value) -> Option<f64> {
        let constant = self.graph.const_data(self.graph.as_const(value)?);
        if constant.ty.shape.elements().ok()?.fixed()? != 1 {
            return None;
        }
        constant.decode().ok()?.data().to_f64().first().copied()
    }

    /// `value` as something of its type times a number.
    fn scaled(&self, value: Value) -> Option<(Value, f64)> {
        let data = self.node(value)?;
        let (Op::Binary(binary), &[a, b]) = (&data.op, &data.args[..]) else { return None };
        let (x, factor) = if binary.function == B::Mul {
            self.scalar(b).map(|n| (a, n)).or_else(|| self.scalar(a).map(|n| (b, n)))?
        } else if binary.function == B::Div {
            (a, 1.0 / self.scalar(b)?)
        } else {
            return None;
        };
        (factor.is_finite() && self.graph.ty(x) == self.graph.ty(value)).then_some((x, factor))
    }

    /// The rows `[T, KV, D]` of a cache of which `value` is the heads `[1, H, T, D]`, or with `columns` `[1, H, D, T]`.
    fn cached(&self, value: Value, columns: bool) -> Option<Value> {
        let (mut inner, mut order) = turned(self.graph, value);
        if columns {
            // As the order that would give heads.
            order = COLUMNS.map(|axis| order[axis]);
        }
        if order == [0, 1, 2, 3] {
            let copies = self.reshaped(inner)?;
            let expand = self.node(copies).filter(|n| matches!(n.op, Op::Expand(_)))?;
            let single = self.reshaped(expand.args[0])?;
            let ([one, kv, t, d], [_, kv2, group, t2, d2]) = (self.dims(single), self.dims(copies)) else {
                return None;
            };
            let [_, kv3, each, t3, d3] = self.dims(expand.args[0]) else { return None };
            let same = [kv2, kv3].iter().all(|n| *n == kv) && [t2, t3].iter().all(|n| *n == t);
            let same = same && [d2, d3].iter().all(|n| *n == d) && one.fixed() == Some(1) && each.fixed() == Some(1);
            let heads = kv.checked_mul(group)?;
            if !same || self.dims(inner) != [one.clone(), heads, t.clone(), d.clone()] {
                return None;
            }
            (inner, order) = turned(self.graph, single);
        }
        if order != TURNED {
            return None;
        }
        let rows = self.reshaped(inner)?;
        let append = self.node(rows).filter(|n| matches!(n.op, Op::CacheAppend(_)))?;
        let [one, dims @ ..] = self.dims(inner) else { return None };
        let donated = self.graph.donated().iter().any(|(old, new)| append.args[0] == *old && rows == *new);
        (donated && one.fixed() == Some(1) && self.dims(rows) == dims).then_some(rows)
    }

    fn reshaped(&self, value: Value) -> Option<Value> {
        let data = self.node(value)?;
        matches!(data.op, Op::Reshape(_)).then(|| data.args[0])
    }

    /// Whether the graph's own attention is for these.
    fn fits(&self, q: Value, k: Value, v: Value, y: Value) -> bool {
        let ([one, heads, tokens, width], [_, kv, d], [_, kv2, e]) = (self.dims(q), self.dims(k), self.dims(v)) else {
            return false;
        };
        let groups = heads.fixed().zip(kv.fixed()).is_some_and(|(h, kv)| kv > 0 && h % kv == 0 && h <= 4096);
        let small = width.fixed().is_some_and(|d| (1..=4096).contains(&d));
        let floats = [q, k, v, y].iter().all(|x| self.graph.ty(*x).dtype == DType::F32);
        let wanted = Shape(vec![one.clone(), heads.clone(), tokens.clone(), e.clone()]);
        groups
            && small
            && floats
            && *tokens == new()
            && width == d
            && d == e
            && kv == kv2
            && self.graph.ty(y).shape == wanted
    }
}
