//! Decoders as language models: one sequence, `S` new tokens behind `P` past ones, past keys and values as state.
//!
//! What [`Ports`] says of the inputs is put in their place: tokens are the input `tokens: i64[S]`, the mask is ones, positions
//! are a range, and past keys and values are views of states `[P, heads, width]`. When the nodes are in, each present output
//! is looked for where new keys are joined behind the past ones: that becomes `cache_append`, and whoever read it reads a
//! view of the new state. Past keys that anything else reads are no state.

use super::{Importer, Item, attended, types};
use crate::onnx::decoder::{Given, Made, Ports, Slot};
use crate::onnx::{ElementType, Graph as Source};
use actc_ir::eval::{new_tokens, past_tokens};
use actc_ir::ops::attention::CacheAppend;
use actc_ir::ops::indexing::Expand;
use actc_ir::ops::pointwise::Cast;
use actc_ir::ops::shaping::{Range, Reshape, Transpose};
use actc_ir::{Graph, Node, Op, Patch, TensorType, Value};
use actc_types::{DType, Diagnostic, Dim, Place, Result, Shape, Tensor, TensorData};
use std::collections::BTreeMap;

/// `[rows, heads, width]` and `[heads, rows, width]` are each other with this order of axes, behind an axis of one.
pub(super) const TURNED: [usize; 4] = [0, 2, 1, 3];

/// Past keys or values.
struct Past {
    /// The name that the file gives them.
    port: String,
    /// The state `[P, heads, width]`.
    state: Value,
    /// What the nodes read: `[1, heads, P, width]`.
    view: Value,
}

/// The states of a decoder whose nodes are still to be imported.
pub(super) struct States {
    past: BTreeMap<Slot, Past>,
}

pub(super) fn new() -> Dim {
    Dim::sym(new_tokens().as_str())
}

pub(super) fn past() -> Dim {
    Dim::sym(past_tokens().as_str())
}

pub(super) fn both() -> Result<Dim> {
    past().checked_add(&new()).ok_or_else(|| Diagnostic::new("dim-overflow", "a dimension exceeds 63 bits"))
}

/// An error that says what keeps the model from being a language model.
pub(super) fn obstacle(port: &str, why: impl Into<String>) -> Diagnostic {
    Diagnostic::new("onnx-decoder", why).at(Place::Tensor(port.to_owned()))
}

pub(super) fn reshape(shape: Vec<Dim>) -> Op {
    Op::Reshape(Reshape { shape: Shape(shape) })
}

impl<'m> Importer<'m> {
    /// Names for the inputs of `source`, whose ports are `ports`. Symbols of the source are taken by none of them.
    pub(super) fn decoder_inputs(&mut self, source: &'m Source, ports: &Ports) -> Result<States> {
        for symbol in [new_tokens(), past_tokens()] {
            self.symbols.take(&symbol);
        }
        let tokens = self.graph.input("tokens", TensorType::new(DType::I64, Shape(vec![new()])));
        let mut states = States { past: BTreeMap::new() };
        let mut slots: Vec<(Slot, u64, u64)> = Vec::new();
        for (given, _) in &ports.inputs {
            if let Given::Past { slot, heads, width } = given {
                slots.push((*slot, *heads, *width));
            }
        }
        slots.sort_unstable();
        let mut inputs = BTreeMap::new();
        for (slot, heads, width) in slots {
            let shape = Shape(vec![past(), heads.into(), width.into()]);
            inputs.insert(slot, self.graph.input(slot.name(), TensorType::new(DType::F32, shape)));
        }
        for (input, (given, element)) in source.inputs.iter().zip(&ports.inputs) {
            let value = self.port(&input.name, *given, tokens, &inputs)?;
            let value = self.of_element(value, *element, &input.name)?;
            if let Given::Past { slot, .. } = given {
                let port = input.name.clone();
                states.past.insert(*slot, Past { port, state: inputs[slot], view: value });
            }
            self.names.insert(&input.name, Item::Value(value));
        }
        Ok(states)
    }

    /// The value of a port called `name`.
    fn port(&mut self, name: &str, given: Given, tokens: Value, states: &BTreeMap<Slot, Value>) -> Result<Value> {
        let one = Dim::from(1);
        match given {
            Given::Tokens => self.add(reshape(vec![one, new()]), &[tokens], name),
            Given::Mask => {
                let ones = self.dense(name, &Tensor::i64(&[], vec![1])?);
                self.add(Op::Expand(Expand { shape: Shape(vec![one, both()?]) }), &[ones], name)
            }
            Given::Positions => {
                let range = self.add(Op::Range(Range { start: past(), len: new() }), &[], name)?;
                self.add(reshape(vec![one, new()]), &[range], name)
            }
            Given::Cached => Ok(self.dense(name, &Tensor::new(&[1], TensorData::Bool(vec![1]))?)),
            Given::Past { slot, heads, width } => {
                let rows = vec![one, past(), heads.into(), width.into()];
                let rows = self.add(reshape(rows), &[states[&slot]], name)?;
                self.add(Op::Transpose(Transpose { order: TURNED.to_vec() }), &[rows], name)
            }
        }
    }

    fn of_element(&mut self, value: Value, element: ElementType, name: &str) -> Result<Value> {
        let to = types::dtype(element)?;
        if self.graph.ty(value).dtype == to {
            return Ok(value);
        }
        self.add(Op::Cast(Cast::to(to)), &[value], name)
    }

    /// The language model that the nodes make of `states`: logits `[S, vocabulary]`, then what else the file gives.
    pub(super) fn decoder_outputs(mut self, source: &Source, ports: &Ports, states: &States) -> Result<Graph> {
        let mut logits = None;
        let mut others = Vec::new();
        let mut present = BTreeMap::new();
        for (output, made) in source.outputs.iter().zip(&ports.outputs) {
            let Some(item) = self.names.get(output.name.as_str()).cloned() else {
                return Err(obstacle(&output.name, "no node gives this output"));
            };
            let value = self.value(&item, &output.name)?;
            match made {
                Made::Logits => logits = Some(self.logits(value, &output.name)?),
                Made::Present(slot) => drop(present.insert(*slot, (output.name.as_str(), value))),
                Made::Other => others.push((output.name.as_str(), value)),
            }
        }
        let logits = logits.ok_or_else(|| obstacle("logits", "no node gives this output"))?;
        self.graph.output("logits", logits);
        for (name, value) in others {
            self.graph.output(name, value);
        }
        let mut joins = Vec::new();
        for (slot, past) in &states.past {
            let (name, value) = present[slot];
            joins.push(Join::find(&self.graph, past, value, name)?);
        }
        let mut graph = self.graph;
        appended(&mut graph, &joins)?;
        let graph = graph.compact();
        alone(&graph, states)?;
        attended::recognised(graph)
    }

    /// `value`, logits of all new tokens, as f32 rows.
    fn logits(&mut self, value: Value, name: &str) -> Result<Value> {
        let ty = self.graph.ty(value).clone();
        let vocabulary = match ty.shape.dims() {
            [one, tokens, words] if one.fixed() == Some(1) && *tokens == new() => words.fixed(),
            _ => None,
        };
        let Some(vocabulary) = vocabulary.filter(|_| matches!(ty.dtype, DType::F32 | DType::F16 | DType::Bf16)) else {
            return Err(obstacle(name, format!("the output is {ty}, expected numbers [1, S, vocabulary]")));
        };
        let rows = self.add(reshape(vec![new(), vocabulary.into()]), &[value], name)?;
        self.of_element(rows, ElementType::Float32, name)
    }
}

/// Where new keys or values are joined behind the past ones.
struct Join {
    state: Value,
    /// What the join gives: `[1, heads, P + S, width]`.
    all: Value,
    /// New rows: `[1, heads, S, width]`.
    new: Value,
}

impl Join {
    /// The join that gives `present`, the output `name`.
    fn find(graph: &Graph, past: &Past, present: Value, name: &str) -> Result<Join> {
        let all = source(graph, present);
        let node = graph.def_node(all).map(|n| graph.node(n));
        let found = node.filter(|n| matches!(&n.op, Op::Concat(c) if c.axis == 2)).map(|n| &n.args[..]);
        if let Some(&[before, new]) = found
            && source(graph, before) == source(graph, past.view)
        {
            return Ok(Join { state: past.state, all, new });
        }
        let what = node.map_or("an input", |n| n.op.name());
        Err(obstacle(name, format!("`{what}` gives this output, not new rows joined behind the past ones")))
    }
}

/// What `value` is but for the type of its elements.
fn source(graph: &Graph, mut value: Value) -> Value {
    while let Some(node) = graph.def_node(value)
        && let data = graph.node(node)
        && let Op::Cast(_) | Op::Expect(_) = data.op
    {
        value = data.args[0];
    }
    value
}

/// Every join becomes an append to its state, and its readers read views of that.
fn appended(graph: &mut Graph, joins: &[Join]) -> Result<()> {
    let users = graph.users();
    let mut patch = Patch::new(graph, "cache");
    let mut donated = Vec::new();
    for join in joins {
        let ty = patch.graph().ty(join.all).clone();
        let [_, heads, rows, width] = ty.shape.dims() else {
            return Err(Diagnostic::new("onnx-decoder", format!("{ty} are no keys of several heads")));
        };
        let (heads, rows, width) = (heads.clone(), rows.clone(), width.clone());
        let fresh = transposed(&mut patch, join.new, TURNED)?;
        let fresh = patch.add(reshape(vec![new(), heads.clone(), width.clone()]), &[fresh])?;
        let fresh = cast(&mut patch, fresh, DType::F32)?;
        let all = patch.add(Op::CacheAppend(CacheAppend), &[join.state, fresh])?;
        let view = patch.add(reshape(vec![Dim::from(1), rows, heads, width]), &[all])?;
        let view = cast(&mut patch, view, ty.dtype)?;
        replace_turned(&mut patch, &users[join.all.index()], join.all, view)?;
        donated.push((join.state, all));
    }
    patch.apply()?;
    for (old, new) in donated {
        graph.donate(old, new);
    }
    Ok(())
}

/// Whoever reads `old`, `[1, heads, rows, width]`, and those are `users`, reads `new`, `[1, rows, heads, width]`, with its axes turned; where it is read
/// in another order, that is made of `new` at once.
pub(super) fn replace_turned(patch: &mut Patch<'_>, users: &[Node], old: Value, new: Value) -> Result<()> {
    for user in users {
        let data = patch.graph().node(*user);
        if let Some(order) = turning(&data.op) {
            let result = data.results[0];
            let direct = transposed(patch, new, order.map(|axis| TURNED[axis]))?;
            patch.replace(result, direct)?;
        }
    }
    let turned = transposed(patch, new, TURNED)?;
    patch.replace(old, turned)
}

fn cast(patch: &mut Patch<'_>, x: Value, to: DType) -> Result<Value> {
    if patch.graph().ty(x).dtype == to {
        return Ok(x);
    }
    patch.add(Op::Cast(Cast::to(to)), &[x])
}

/// The order that `op` gives four axes, where it does nothing else.
pub(super) fn turning(op: &Op) -> Option<[usize; 4]> {
    if let Op::Transpose(t) = op { t.order[..].try_into().ok() } else { None }
}

/// What `value` is under another order of axes, and the order.
pub(super) fn turned(graph: &Graph, value: Value) -> (Value, [usize; 4]) {
    let data = graph.def_node(value).map(|n| graph.node(n));
    let turned = data.and_then(|data| turning(&data.op).map(|order| (data.args[0], order)));
    turned.unwrap_or((value, [0, 1, 2, 3]))
}

/// `x` with axes in another order; what is turned twice is turned once, or not at all.
pub(super) fn transposed(patch: &mut Patch<'_>, x: Value, order: [usize; 4]) -> Result<Value> {
    let (x, inner) = turned(patch.graph(), x);
    let order = order.map(|axis| inner[axis]);
    if order == [0, 1, 2, 3] {
        return Ok(x);
    }
    patch.add(Op::Transpose(Transpose { order: order.to_vec() }), &[x])
}

/// An error where anything but its append reads a state.
fn alone(graph: &Graph, states: &States) -> Result<()> {
    let users = graph.users();
    for (name, old) in graph.inputs() {
        let Some((_, new)) = graph.donated().iter().find(|(state, _)| *state == old) else { continue };
        let append = graph.def_node(*new);
        if let Some(reader) = users[old.index()].iter().find(|n| Some(**n) != append) {
            let port = states.past.iter().find(|(slot, _)| slot.name() == name).map_or(name, |(_, past)| &past.port);
            let by = &graph.node(*reader).origin;
            return Err(obstacle(port, format!("`{by}` reads past rows, not only with the new ones behind them")));
        }
    }
    Ok(())
}
