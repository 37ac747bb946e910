//! Scale folding: positive factors on the channels of what linear layers read, moved into the weights around it.
//!
//! Where `x` is read by linear layers alone, dividing its channels by `s` and multiplying their columns by `s` changes
//! nothing but roundings. The division costs nothing where `x` is linear in some weight, channel by channel: that of a
//! norm, with its bias, or the rows of a linear layer, with its bias, also behind a `relu`, one factor of a product, a
//! reshape that keeps channels together, and attention (a channel of the values, of all query heads of its group at once)
//! over a cache that is state of the model. The state of a folded graph is in other units than before.
//!
//! Whether this holds is read off the graph, never off names: [`Folds::find`] gives a [`Fold`] or says why there is none.
//! A weight with another use is never touched.

use crate::quantize::encode::{decode, dense};
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::ops::pointwise::{BinaryFunction, UnaryFunction};
use actc_ir::{ConstId, Graph, Node, Op, Value};
use actc_types::{DType, Diagnostic, Dim, Encoding, Place, Result};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Ops looked at between a tensor and the weight that makes it, at most.
const STEPS: usize = 64;

/// Where factors on a tensor's channels can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// Weights whose columns are multiplied, in the order of their nodes.
    pub readers: Vec<ConstId>,
    /// The weight of a linear layer whose rows are divided, if it is one that makes the tensor.
    pub rows: Option<ConstId>,
    /// Vectors in f32 whose elements are divided: weight and bias of a norm, or the bias of a linear layer.
    pub vectors: Vec<ConstId>,
    /// For each channel of the tensor the row or element that makes it. Channels of one row share their factor.
    pub class_of: Vec<u32>,
    /// Number of rows or elements, each with a factor.
    pub classes: usize,
    /// The tensors that change: the one that is read first, then what it is made of.
    pub path: Vec<Value>,
}

/// What a search for folds knows of a graph.
#[derive(Debug)]
pub struct Folds<'g> {
    graph: &'g Graph,
    /// Uses of each value: node and position among its arguments.
    uses: BTreeMap<Value, Vec<(Node, usize)>>,
    /// Nodes that use each constant, once a use.
    users: BTreeMap<ConstId, Vec<Node>>,
    /// Values that leave the graph, or a region of it.
    given: BTreeSet<Value>,
}

/// A tensor on the way from a linear input to the weight that makes it.
struct Step {
    at: Value,
    /// Its leading dimensions; the trailing ones are channels.
    lead: Vec<Dim>,
    channels: usize,
    class_of: Vec<u32>,
    path: Vec<Value>,
}

impl<'g> Folds<'g> {
    /// Looks over `graph`.
    pub fn new(graph: &'g Graph) -> Folds<'g> {
        let (mut uses, mut users): (BTreeMap<Value, Vec<_>>, BTreeMap<ConstId, Vec<_>>) = Default::default();
        let mut given = BTreeSet::new();
        let mut regions = vec![graph.body()];
        while let Some(region) = regions.pop() {
            given.extend(graph.region_results(region));
            for node in graph.region_nodes(region) {
                let data = graph.node(*node);
                for (slot, arg) in data.args.iter().enumerate() {
                    uses.entry(*arg).or_default().push((*node, slot));
                    if let Some(id) = graph.as_const(*arg) {
                        users.entry(id).or_default().push(*node);
                    }
                }
                regions.extend(&data.regions);
            }
        }
        // A constant that leaves a region has a use that no node stands for.
        let leaving: Vec<ConstId> = given.iter().filter_map(|v| graph.as_const(*v)).collect();
        leaving.iter().for_each(|id| drop(users.remove(id)));
        Folds { graph, uses, users, given }
    }

    /// How factors on the channels of `input` can be folded away; or why they cannot, for people.
    pub fn find(&self, input: Value) -> std::result::Result<Fold, &'static str> {
        let readers = self.readers(input)?;
        let dims = self.graph.ty(input).shape.dims();
        let Some((Some(width), lead)) = dims.split_last().map(|(last, lead)| (last.fixed(), lead)) else {
            return Err("its input's channels are not fixed");
        };
        let first = Step {
            at: input,
            lead: lead.to_vec(),
            channels: width as usize,
            class_of: (0..width as u32).collect(),
            path: vec![input],
        };
        // Depth first; of a product the second factor first, which is the plain one in gated layers.
        let (mut pending, mut reason, mut steps) = (vec![first], None, 0);
        while let Some(step) = pending.pop() {
            steps += 1;
            if steps > STEPS {
                return Err("the weight that makes its input is too far away");
            }
            match self.makers(&step) {
                Ok(Some((rows, vectors))) => {
                    let Step { channels: classes, class_of, path, .. } = step;
                    return Ok(Fold { readers, rows, vectors, class_of, classes, path });
                }
                Ok(None) => pending.extend(self.behind(step, &mut reason)),
                Err(why) => drop(reason.get_or_insert(why)),
            }
        }
        Err(reason.unwrap_or("nothing makes its input"))
    }

    fn readers(&self, input: Value) -> std::result::Result<Vec<ConstId>, &'static str> {
        if self.leaves(input) {
            return Err("its input leaves the graph too");
        }
        let mut readers = Vec::new();
        for (node, slot) in self.uses.get(&input).into_iter().flatten() {
            let data = self.graph.node(*node);
            let Op::Linear(Linear { act: Act::F32 }) = data.op else {
                return Err("other ops than linear layers read its input");
            };
            let Some(id) = self.graph.as_const(data.args[1]).filter(|_| *slot == 0) else {
                return Err("a weight behind its input is computed");
            };
            self.alone(id).map_err(|_| "a weight behind its input has other uses")?;
            self.unquantised(id).map_err(|_| "a weight behind its input is quantised")?;
            readers.push(id);
        }
        Ok(readers)
    }

    /// What is divided where `step` is made by a norm or a linear layer.
    #[expect(clippy::type_complexity, reason = "rows and vectors of a `Fold`, which the caller makes")]
    fn makers(&self, step: &Step) -> std::result::Result<Option<(Option<ConstId>, Vec<ConstId>)>, &'static str> {
        let graph = self.graph;
        let Some(node) = graph.def_node(step.at) else { return Err("its input is one of the graph's") };
        let data = graph.node(node);
        let (rows, vectors) = match &data.op {
            Op::RmsNorm(_) | Op::LayerNorm(_) => (None, &data.args[1..]),
            Op::Linear(_) => (Some(data.args[1]), &data.args[2..]),
            _another_op => return Ok(None),
        };
        if graph.ty(step.at).shape.last().and_then(Dim::fixed) != Some(step.channels as u64) {
            return Err("what makes its input does so head by head");
        }
        let rows = match rows {
            None => None,
            Some(value) => {
                let id = graph.as_const(value).ok_or("the weight that makes its input is computed")?;
                self.alone(id).map_err(|_| "the weight that makes its input has other uses")?;
                self.unquantised(id).map_err(|_| "the weight that makes its input is quantised")?;
                Some(id)
            }
        };
        let mut out = Vec::with_capacity(vectors.len());
        for value in vectors {
            let id = graph.as_const(*value).ok_or("a norm or bias that makes its input is computed")?;
            self.alone(id).map_err(|_| "a norm or bias that makes its input has other uses")?;
            let constant = graph.const_data(id);
            if constant.encoding != Encoding::Dense || constant.ty.dtype != DType::F32 {
                return Err("a norm or bias that makes its input is not in f32");
            }
            out.push(id);
        }
        Ok(Some((rows, out)))
    }

    /// The tensors one op closer to the weights, any of which may take the factors. Why another one may not goes to
    /// `reason`, unless there is one.
    fn behind(&self, step: Step, reason: &mut Option<&'static str>) -> Vec<Step> {
        let graph = self.graph;
        let Some(node) = graph.def_node(step.at) else { return Vec::new() };
        let data = graph.node(node);
        let slots = match &data.op {
            Op::Reshape(_) => 0..1,
            Op::Unary(u) if u.function == UnaryFunction::Relu => 0..1,
            Op::Binary(b) if b.function == BinaryFunction::Mul => 0..2,
            Op::Attention(_) => 2..3,
            Op::CacheAppend(_) => 1..2,
            _another_op => {
                reason.get_or_insert("an op that no factor passes makes its input");
                return Vec::new();
            }
        };
        let mut next = Vec::with_capacity(slots.len());
        for slot in slots {
            let inner = data.args[slot];
            let mut class_of = step.class_of.clone();
            let inner_dims = graph.ty(inner).shape.dims();
            let fits = match &data.op {
                Op::Reshape(_) => inner_dims.strip_prefix(&step.lead[..]).and_then(product) == Some(step.channels),
                Op::Attention(_) => self.grouped(&step, inner, &mut class_of),
                Op::CacheAppend(_) => step.lead.len() == 1 && self.is_state(data.args[0], step.at),
                _elementwise => graph.ty(inner) == graph.ty(step.at),
            };
            if !fits {
                reason.get_or_insert("its input's channels cannot be followed to a weight");
                continue;
            }
            let used = self.uses.get(&inner).map_or(0, Vec::len);
            let donated = matches!(graph.def_node(inner).map(|n| &graph.node(n).op), Some(Op::CacheAppend(_)));
            if used != 1 || self.given.contains(&inner) || !donated && self.leaves(inner) {
                reason.get_or_insert("what makes its input is read elsewhere too");
                continue;
            }
            let lead = inner_dims[..step.lead.len()].to_vec();
            let Some(channels) = product(&inner_dims[lead.len()..]) else {
                reason.get_or_insert("its input's channels are not fixed");
                continue;
            };
            let path = step.path.iter().copied().chain([inner]).collect();
            next.push(Step { at: inner, lead, channels, class_of, path });
        }
        next
    }

    /// Whether `step` holds all heads of an attention; then `class_of` names channels of its `values`, `[.., T, KV, E]`.
    fn grouped(&self, step: &Step, values: Value, class_of: &mut [u32]) -> bool {
        let (out, values) = (self.graph.ty(step.at).shape.dims(), self.graph.ty(values).shape.dims());
        let ([lead @ .., heads, size], [.., shared, _]) = (out, values) else { return false };
        let (Some(heads), Some(size), Some(shared)) = (heads.fixed(), size.fixed(), shared.fixed()) else {
            return false;
        };
        if step.lead.len() != lead.len() || shared == 0 || size == 0 {
            return false;
        }
        let (size, group) = (size as u32, (heads / shared) as u32);
        class_of.iter_mut().for_each(|c| *c = *c / size / group * size + *c % size);
        true
    }

    /// Whether `cache` is state that becomes `result` and serves nothing else.
    fn is_state(&self, cache: Value, result: Value) -> bool {
        self.graph.donated().contains(&(cache, result)) && self.uses.get(&cache).map_or(0, Vec::len) == 1
    }

    fn leaves(&self, value: Value) -> bool {
        self.given.contains(&value) || self.graph.donated().iter().any(|(old, new)| *old == value || *new == value)
    }

    fn alone(&self, id: ConstId) -> std::result::Result<(), ()> {
        if self.users.get(&id).map_or(0, Vec::len) == 1 { Ok(()) } else { Err(()) }
    }

    fn unquantised(&self, id: ConstId) -> std::result::Result<(), ()> {
        let constant = self.graph.const_data(id);
        match constant.encoding {
            Encoding::Dense if constant.ty.dtype.is_float() => Ok(()),
            Encoding::Block(_) => Ok(()),
            Encoding::Dense | Encoding::Packed(_) | Encoding::Mixed(_) => Err(()),
        }
    }
}

/// The product of fixed dimensions.
fn product(dims: &[Dim]) -> Option<usize> {
    dims.iter().try_fold(1usize, |n, d| n.checked_mul(usize::try_from(d.fixed()?).ok()?))
}

impl Fold {
    /// Multiplies columns and divides rows and elements by `factors`, one for each class, positive and finite. Matrices
    /// become dense f32, which is as exact as f32 is; what they take lies in files of `work`.
    pub fn apply(&self, graph: &mut Graph, factors: &[f32], work: &Path) -> Result<()> {
        assert_eq!(factors.len(), self.classes, "one factor a class");
        if let Some(bad) = factors.iter().find(|f| !f.is_normal() || **f < 0.0) {
            return Err(Diagnostic::new("fold-factor", format!("a channel cannot be scaled by {bad}")));
        }
        for id in &self.readers {
            rewrite(graph, *id, work, |_, row| {
                row.iter_mut().zip(&self.class_of).for_each(|(w, c)| *w *= factors[*c as usize]);
            })?;
        }
        if let Some(id) = self.rows {
            rewrite(graph, id, work, |r, row| row.iter_mut().for_each(|w| *w /= factors[r]))?;
        }
        for id in &self.vectors {
            rewrite(graph, *id, work, |_, row| row.iter_mut().zip(factors).for_each(|(w, f)| *w /= f))?;
        }
        Ok(())
    }
}

/// Makes constant `id` dense f32, its rows changed by `change`.
fn rewrite(graph: &mut Graph, id: ConstId, work: &Path, change: impl Fn(usize, &mut [f32]) + Sync) -> Result<()> {
    let constant = graph.const_data(id);
    let (mut data, cols) = decode(constant)?;
    data.par_chunks_exact_mut(cols.max(1)).enumerate().for_each(|(r, row)| change(r, row));
    if let Some(i) = data.iter().position(|w| !w.is_finite()) {
        let headline = format!("weight [{}, {}] is {} once scaled", i / cols, i % cols, data[i]);
        return Err(Diagnostic::new("weight-not-finite", headline).at(Place::Tensor(constant.name.clone())));
    }
    let changed = dense(constant, &data, work)?;
    graph.retype_const(id, changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::{Evaluator, Interpreter, text};
    use actc_types::Tensor;

    /// Two heads over one of keys and values, a gated layer, a `relu` layer, a `gelu` layer.
    const SOURCE: &str = "air 1
graph @g(%x: f32[S, 8], %k0: f32[P, 1, 4], %v0: f32[P, 1, 4]) {
  %g0 = const @norm = rng{seed=1, scale=1} : f32[8]
  %g1 = const @shift = rng{seed=2, scale=1} : f32[8]
  %q = const @q = rng{seed=3, scale=1} : f16[8, 8]
  %k = const @k = rng{seed=4, scale=1} : f32[4, 8]
  %v = const @v = rng{seed=5, scale=1} : f32[4, 8]
  %b = const @v.bias = rng{seed=6, scale=1} : f32[4]
  %o = const @o = rng{seed=7, scale=1} : f32[8, 8]
  %gate = const @gate = rng{seed=8, scale=1} : f32[12, 8]
  %up = const @up = rng{seed=9, scale=1} : f16[12, 8]
  %down = const @down = rng{seed=10, scale=1} : f32[8, 12]
  %in = const @in = rng{seed=11, scale=1} : f32[10, 8]
  %out = const @out = rng{seed=12, scale=1} : f32[8, 10]
  %a = const @a = rng{seed=13, scale=1} : f32[10, 8]
  %z = const @z = rng{seed=14, scale=1} : f32[8, 10]
  %n = layer_norm{eps=0.00001} %x, %g0, %g1 : f32[S, 8]
  %0 = linear %n, %q : f32[S, 8]
  %1 = linear %n, %k : f32[S, 4]
  %2 = linear %n, %v, %b : f32[S, 4]
  %3 = reshape{shape=\"S, 2, 4\"} %0 : f32[S, 2, 4]
  %4 = reshape{shape=\"S, 1, 4\"} %1 : f32[S, 1, 4]
  %5 = reshape{shape=\"S, 1, 4\"} %2 : f32[S, 1, 4]
  %6 = cache_append %k0, %4 : f32[P + S, 1, 4]
  %7 = cache_append %v0, %5 : f32[P + S, 1, 4]
  %8 = attention{scale=0.5, causal} %3, %6, %7 : f32[S, 2, 4]
  %9 = reshape{shape=\"S, 8\"} %8 : f32[S, 8]
  %10 = linear %9, %o : f32[S, 8]
  %11 = add %x, %10 : f32[S, 8]
  %12 = linear %11, %gate : f32[S, 12]
  %13 = linear %11, %up : f32[S, 12]
  %14 = silu %12 : f32[S, 12]
  %15 = mul %14, %13 : f32[S, 12]
  %16 = linear %15, %down : f32[S, 8]
  %17 = add %11, %16 : f32[S, 8]
  %18 = linear %17, %in : f32[S, 10]
  %19 = relu %18 : f32[S, 10]
  %20 = linear %19, %out : f32[S, 8]
  %21 = linear %20, %a : f32[S, 10]
  %22 = gelu %21 : f32[S, 10]
  %23 = linear %22, %z : f32[S, 8]
  return y=%23, donate %k0 -> %6, donate %v0 -> %7
}
";

    fn graph(source: &str) -> Graph {
        let graph = text::parse(source, &text::unbound).unwrap();
        assert_eq!(actc_ir::verify(&graph), []);
        graph
    }

    /// The input of the layer with the weight called `name`, and what is found for it.
    fn found(graph: &Graph, name: &str) -> (Value, std::result::Result<Fold, &'static str>) {
        let reads = |n: &&Node| {
            let data = graph.node(**n);
            let weight = data.args.get(1).and_then(|w| graph.as_const(*w));
            matches!(data.op, Op::Linear(_)) && weight.is_some_and(|id| graph.const_data(id).name == name)
        };
        let node = graph.order().iter().find(reads).unwrap();
        let input = graph.node(*node).args[0];
        (input, Folds::new(graph).find(input))
    }

    fn names(graph: &Graph, ids: impl IntoIterator<Item = ConstId>) -> Vec<String> {
        ids.into_iter().map(|id| graph.const_data(id).name.clone()).collect()
    }

    /// The output for seven tokens, fed as four and three, and the state at the end.
    fn run(graph: &Graph) -> (Vec<f64>, Tensor) {
        let mut model = Interpreter.prepare(graph).unwrap();
        let mut state = vec![Tensor::f32(&[0, 1, 4], vec![]).unwrap(); 2];
        let mut out = Vec::new();
        for (from, count) in [(0, 4), (4, 3)] {
            let x = (from * 8..(from + count) * 8).map(|i| ((i * 29) % 37) as f32 / 18.0 - 1.0).collect();
            let x = Tensor::f32(&[count, 8], x).unwrap();
            let mut given = model.run([vec![x], state].concat()).unwrap();
            state = given.split_off(1);
            out.extend(given[0].data().to_f64());
        }
        (out, state.swap_remove(1))
    }

    #[test]
    fn folds_are_read_off_the_graph_and_change_no_output() {
        let before = graph(SOURCE);
        let (wanted, state) = run(&before);
        let mut after = before.clone();
        for (layer, readers, rows, vectors, classes) in [
            ("k", vec!["q", "k", "v"], None, vec!["norm", "shift"], 8),
            ("o", vec!["o"], Some("v"), vec!["v.bias"], 4),
            ("down", vec!["down"], Some("up"), vec![], 12),
            ("out", vec!["out"], Some("in"), vec![], 10),
            ("a", vec!["a"], Some("out"), vec![], 8),
        ] {
            let (_, fold) = found(&after, layer);
            let fold = fold.unwrap_or_else(|why| panic!("{layer}: {why}"));
            assert_eq!(names(&after, fold.readers.clone()), readers);
            assert_eq!(names(&after, fold.rows), rows.into_iter().collect::<Vec<_>>());
            assert_eq!(names(&after, fold.vectors.clone()), vectors);
            assert_eq!(fold.classes, classes);
            let factors: Vec<f32> = (0..classes).map(|c| 0.03 * 1.7f32.powi((c * 5 % 13) as i32)).collect();
            fold.apply(&mut after, &factors, &std::env::temp_dir()).unwrap();
            assert_eq!(actc_ir::verify(&after), [], "{layer}");
        }
        let (got, scaled) = run(&after);
        let largest = wanted.iter().fold(0f64, |m, v| m.max(v.abs()));
        // Each of nine roundings of a weight is at most 2^-24 of it, and so are those of six ops one behind another.
        let most = wanted.iter().zip(&got).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(most < 2e-5 * largest, "{most} of {largest}");
        assert_ne!(state, scaled, "the factors are not all 1");
        // Values of both heads lie in one head of the cache.
        let (_, heads) = found(&before, "o");
        assert_eq!(heads.unwrap().class_of, [0, 1, 2, 3, 0, 1, 2, 3]);
    }

    #[test]
    fn values_of_a_batch_are_followed_to_their_weight() {
        let source = "air 1
graph @g(%x: f32[B, S, 8], %mask: f32[B, 1, 1, S]) {
  %v = const @v = rng{seed=1, scale=1} : f32[8, 8]
  %o = const @o = rng{seed=2, scale=1} : f32[6, 8]
  %0 = linear %x, %v : f32[B, S, 8]
  %1 = reshape{shape=\"B, S, 2, 4\"} %x : f32[B, S, 2, 4]
  %2 = reshape{shape=\"B, S, 2, 4\"} %0 : f32[B, S, 2, 4]
  %3 = attention{scale=0.5} %1, %1, %2, %mask : f32[B, S, 2, 4]
  %4 = reshape{shape=\"B, S, 8\"} %3 : f32[B, S, 8]
  %5 = linear %4, %o : f32[B, S, 6]
  return y=%5
}
";
        let graph = graph(source);
        let fold = found(&graph, "o").1.unwrap();
        assert_eq!((names(&graph, fold.rows), fold.class_of), (vec!["v".to_owned()], (0..8).collect()));
    }

    #[test]
    fn what_would_change_something_else_is_refused() {
        let refusal = |source: &str, layer: &str| found(&graph(source), layer).1.unwrap_err();
        let with = |old: &str, new: &str| {
            assert!(SOURCE.contains(old), "{old}");
            SOURCE.replace(old, new)
        };
        assert_eq!(refusal(SOURCE, "z"), "an op that no factor passes makes its input");
        assert_eq!(refusal(SOURCE, "up"), "other ops than linear layers read its input");
        assert_eq!(refusal(&with("y=%23", "y=%23, n=%n"), "q"), "its input leaves the graph too");
        assert_eq!(refusal(&with("y=%23", "y=%23, n=%13"), "down"), "what makes its input is read elsewhere too");
        assert_eq!(
            refusal(&with("mul %14, %13", "mul %13, %13"), "down"),
            "what makes its input is read elsewhere too"
        );
        let state = "what makes its input is read elsewhere too";
        assert_eq!(refusal(&with("y=%23", "y=%23, cache=%7"), "o"), state);
        let state = "its input's channels cannot be followed to a weight";
        assert_eq!(refusal(&with(", donate %v0 -> %7", ""), "o"), state);
        let keys = with("%8 = attention{scale=0.5, causal} %3, %6, %7", "%8 = attention{scale=0.5, causal} %3, %7, %7");
        assert_eq!(refusal(&keys, "o"), "what makes its input is read elsewhere too");
        let tied = with("linear %n, %v, %b", "linear %n, %k, %b");
        assert_eq!(refusal(&tied, "q"), "a weight behind its input has other uses");
        assert_eq!(refusal(&tied, "o"), "the weight that makes its input has other uses");
        let norms = with("layer_norm{eps=0.00001} %x, %g0, %g1", "layer_norm{eps=0.00001} %x, %g0, %g0");
        assert_eq!(refusal(&norms, "q"), "a norm or bias that makes its input has other uses");
        assert_eq!(
            refusal(&with("@shift = rng{seed=2, scale=1} : f32[8]", "@shift = rng{seed=2, scale=1} : f16[8]"), "q"),
            "a norm or bias that makes its input is not in f32"
        );
        let whole = "linear{act=int8} %15, %down";
        assert_eq!(refusal(&with("linear %15, %down", whole), "down"), "other ops than linear layers read its input");
    }
}
