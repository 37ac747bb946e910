//! Graphs in attributes: branches and loops.

use super::dynamic::count::unless;
use super::movement::ordered;
use super::{Operator, since};
use crate::onnx::Graph as Source;
use crate::onnx::TensorBytes;
use crate::onnx::import::{Call, Item};
use actc_ir::ops::control::{If, Loop};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::shaping::{Concat, Slice};
use actc_ir::{Op, Region, TensorType, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor, TensorData};

pub(super) const OPERATORS: &[Operator] = &[
    since("If", 1, branch),
    since("Loop", 1, repeat),
    since("Scan", 8, scan),
    since("Optional", 15, |c| Ok(vec![c.item(0)?])),
    since("OptionalHasElement", 15, has_element),
    since("OptionalGetElement", 15, |c| Ok(vec![c.item(0)?])),
];

/// Most sequences of a batch that is run one behind the other.
const BATCH: u64 = 64;

/// A truth value that is known here decides which graph there is.
fn branch(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (then, otherwise) = (c.graph("then_branch")?, c.graph("else_branch")?);
    if let Some(taken) = c.truth(0)? {
        return c.inside(if taken { then } else { otherwise }, Vec::new());
    }
    let captures = c.captures(&[then, otherwise])?;
    let condition = c.input(0)?;
    let condition = c.reshape(condition, Shape::default())?;
    let mut regions = Vec::new();
    for graph in [then, otherwise] {
        let region = c.region(graph, &[], &captures, |_, _| Ok(Vec::new()), |c, items| values(c, &items))?;
        regions.push(region);
    }
    let [a, b] = [0, 1].map(|i| c.results(regions[i]));
    // Where the branches give other types, what follows is for one of them.
    // That it is the first one is seen when the model runs.
    if of_other_ranks(&a, &b) {
        let items = c.inside(then, Vec::new())?;
        let other = c.unary(U::Not, condition)?;
        let given = items.iter().map(|item| c.value(item)).collect::<Result<Vec<Value>>>()?;
        return given.into_iter().map(|x| unless(c, x, other).map(Item::Value)).collect();
    }
    if a != b {
        let list = |types: &[TensorType]| types.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        return Err(c.refuse(format!("one branch gives {}, the other {}", list(&a), list(&b))));
    }
    let args = [&[condition], captures.values()].concat();
    let made = c.add_owning(Op::If(If { results: a }), &args, regions)?;
    Ok(made.into_iter().map(Item::Value).collect())
}

/// Whether two branches differ in nothing but the ranks of what they give.
fn of_other_ranks(then: &[TensorType], otherwise: &[TensorType]) -> bool {
    let ranks = |types: &[TensorType]| types.iter().map(|ty| ty.shape.rank()).collect::<Vec<_>>();
    let dtypes = |types: &[TensorType]| types.iter().map(|ty| ty.dtype).collect::<Vec<_>>();
    dtypes(then) == dtypes(otherwise) && ranks(then) != ranks(otherwise)
}

/// Whether there is a value is known here: an input of the graph is always given.
fn has_element(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let has = c.has(0);
    Ok(vec![Item::Value(truth(c, has)?)])
}

fn values(c: &mut Call<'_, '_>, items: &[Item]) -> Result<Vec<Value>> {
    items.iter().map(|item| c.value(item)).collect()
}

fn scalar(dtype: DType) -> TensorType {
    TensorType::new(dtype, Shape::default())
}

fn truth(c: &mut Call<'_, '_>, is: bool) -> Result<Value> {
    Ok(c.tensor(&Tensor::new(&[], TensorData::Bool(vec![u8::from(is)]))?))
}

/// Whether the graph of a loop always says that it goes on, once it runs: it gives back what it is given, or true.
fn goes_on(body: &Source) -> bool {
    let (Some(given), Some(asked)) = (body.inputs.get(1), body.outputs.first()) else { return false };
    let mut name = asked.name.as_str();
    // Each step goes to a node further up.
    for node in body.nodes.iter().rev() {
        if !node.outputs.iter().flatten().any(|n| n == name) {
            continue;
        }
        match (node.op.as_str(), node.inputs.first()) {
            ("Identity", Some(Some(from))) => name = from,
            ("Constant", _) => {
                let tensor = node.attributes.tensor("value").ok().flatten();
                return tensor.is_some_and(is_true);
            }
            (_, _) => return false,
        }
    }
    name == given.name || body.initialisers.iter().any(|(n, tensor)| n == name && is_true(tensor))
}

fn is_true(tensor: &crate::onnx::Tensor) -> bool {
    matches!(&tensor.data, TensorBytes::Raw(bytes) if bytes.len() == 1 && bytes[0] != 0)
}

/// What a loop is made of: arguments, how many of which are carried, and what its rounds give beside those.
pub(super) struct Rounds {
    pub(super) count: Value,
    /// Whether the first carried value says whether there is a next round.
    pub(super) guarded: bool,
    pub(super) carried: Vec<Value>,
    /// What every round reads, in front of the captures.
    pub(super) read: Vec<Value>,
    /// Rows of what the rounds give beside the carried values.
    pub(super) rows: Option<Dim>,
}

impl Rounds {
    /// Adds the loop over `region`, which messages call `name`: of the round, the carried values, what is read and `captures`
    /// it makes the new carried values and what is stacked.
    pub(super) fn add(
        self,
        c: &mut Call<'_, '_>,
        name: &str,
        captures: &[Value],
        region: Region,
    ) -> Result<Vec<Value>> {
        let given = c.results(region);
        let own: Vec<TensorType> = self.carried.iter().map(|v| c.ty(*v)).collect();
        if given.len() < own.len() {
            return Err(c.refuse(format!("the graph `{name}` gives too few outputs")));
        }
        let (again, stacked) = given.split_at(own.len());
        if let Some((a, b)) = own.iter().zip(again).find(|(a, b)| a != b) {
            return Err(c.refuse(format!("a value of the loop begins as {a} and is {b} after a round")));
        }
        let rows = self.rows.unwrap_or_default();
        let stack =
            |ty: &TensorType| TensorType::new(ty.dtype, Shape([std::slice::from_ref(&rows), ty.shape.dims()].concat()));
        let op = Loop {
            guarded: self.guarded,
            captures: self.read.len() + captures.len(),
            stacked: stacked.iter().map(stack).collect(),
        };
        let args = [&[self.count], &self.carried[..], &self.read, captures].concat();
        c.add_owning(Op::Loop(op), &args, vec![region])
    }
}

/// Inputs: the most rounds there are, whether there is one, then the carried values.
fn repeat(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let body = c.graph("body")?;
    let states = (2..c.count()).map(|i| c.input(i)).collect::<Result<Vec<Value>>>()?;
    if body.inputs.len() != states.len() + 2 || body.outputs.len() < states.len() + 1 {
        let (inputs, outputs) = (body.inputs.len(), body.outputs.len());
        return Err(c.refuse(format!("a graph of {inputs} inputs and {outputs} outputs for {} values", states.len())));
    }
    let scans = body.outputs.len() - 1 - states.len();
    let guarded = !goes_on(body);
    let mut count = if c.has(0) {
        let count = c.input(0)?;
        let count = c.cast(count, DType::I64)?;
        c.reshape(count, Shape::default())?
    } else {
        c.tensor(&Tensor::i64(&[], vec![i64::MAX])?)
    };
    let begins = if c.has(1) { c.truth(1)? } else { Some(true) };
    if begins != Some(true) {
        let none = c.number(0.0, DType::I64)?;
        count = match begins {
            Some(_) => none,
            None => {
                let condition = c.input(1)?;
                let condition = c.reshape(condition, Shape::default())?;
                c.select(condition, count, none)?
            }
        };
    }
    let followed = if c.has(0) && begins == Some(true) { c.dims_of(&c.item(0)?) } else { None };
    let rows = match (scans, followed.or_else(|| c.dims_of(&Item::Value(count)))) {
        (0, _) => None,
        (_, Some((dims, _))) => dims.into_iter().next().map(|n| match crate::onnx::import::number(&n) {
            Some(fixed) if fixed < 0 => Dim::from(0),
            Some(_) | None => n,
        }),
        (_, None) => {
            let none = c.number(0.0, DType::I64)?;
            let count = c.binary(B::Max, count, none)?;
            Some(c.bind_one(count)?)
        }
    };
    if rows.as_ref().is_some_and(|rows| crate::onnx::import::number(rows).is_some_and(|n| n >= 1 << 40)) {
        return Err(c.refuse("what the rounds of a loop give, whose number has no bound"));
    }
    let mut carried = Vec::new();
    if guarded {
        // Whether it begins is in the count.
        carried.push(truth(c, true)?);
        carried.push(c.number(0.0, DType::I64)?);
    }
    let own = carried.len();
    carried.extend(&states);
    let captures = c.captures(&[body])?;
    let types: Vec<TensorType> = std::iter::once(scalar(DType::I64)).chain(carried.iter().map(|v| c.ty(*v))).collect();
    let given = |c: &mut Call<'_, '_>, params: &[Value]| {
        let on = truth(c, true)?;
        let states = params[1 + own..].iter().copied();
        Ok([params[0], on].into_iter().chain(states).map(Item::Value).collect())
    };
    let region = c.region(body, &types, &captures, given, |c, items| {
        let given = values(c, &items)?;
        let mut out = Vec::new();
        if guarded {
            out.push(c.reshape(given[0], Shape::default())?);
            let so_far = c.param(1 + 1);
            let one = c.number(1.0, DType::I64)?;
            out.push(c.binary(B::Add, so_far, one)?);
        }
        // What a state begins as it stays: that its extents do is seen when it runs.
        for (i, new) in given[1..].iter().enumerate() {
            let begins = types.get(1 + own + i).filter(|ty| ty.shape.rank() == c.ty(*new).shape.rank());
            out.push(begins.map_or(Ok(*new), |ty| c.expect(*new, ty.shape.clone()))?);
        }
        Ok(out)
    })?;
    let rounds = Rounds { count, guarded, carried, read: Vec::new(), rows };
    let mut made = rounds.add(c, &body.name, captures.values(), region)?;
    let mut results = made.split_off(own);
    if guarded && scans > 0 {
        let ran = c.bind_one(made[1])?;
        for stacked in &mut results[states.len()..] {
            let run = Slice { axis: 0, start: Dim::from(0), len: ran.clone() };
            *stacked = c.add(Op::Slice(run), &[*stacked])?;
        }
    }
    Ok(results.into_iter().map(Item::Value).collect())
}

/// Axes or directions as an attribute: one a value, `default` where there is none.
fn each(c: &Call<'_, '_>, name: &str, count: usize) -> Result<Vec<i64>> {
    let list = c.int_list(name)?.unwrap_or_else(|| vec![0; count]);
    if list.len() == count {
        Ok(list)
    } else {
        Err(c.refuse(format!("`{name}` has {} numbers for {count}", list.len())))
    }
}

/// The place of the round `at` along an axis of `extent`, from its end where `backwards`.
pub(super) fn place(c: &mut Call<'_, '_>, at: Value, extent: &Dim, backwards: bool) -> Result<Value> {
    if !backwards {
        return Ok(at);
    }
    let last = c.number(-1.0, DType::I64)?;
    let extent = c.extent(extent, DType::I64)?;
    let last = c.binary(B::Add, extent, last)?;
    c.binary(B::Sub, last, at)
}

/// The `rows` rows of `x` from the last to the first.
pub(super) fn turned_round(c: &mut Call<'_, '_>, x: Value, rows: &Dim) -> Result<Value> {
    let forwards = c.counting(0, rows)?;
    let at = place(c, forwards, rows, true)?;
    c.add(Op::Gather(Gather { axis: 0 }), &[x, at])
}

/// What `Scan` reads and gives: axes and directions of tensors in parts.
struct Parts {
    axes: Vec<usize>,
    backwards: Vec<i64>,
}

/// Inputs: values that are carried, then tensors of which each round reads a part. In version 8 the first input says how long
/// sequences are, and all others are batches.
fn scan(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let body = c.graph("body")?;
    let batched = c.node.opset < 9;
    let first = usize::from(batched);
    let parts = c.optional_int("num_scan_inputs")?.and_then(|n| usize::try_from(n).ok());
    let parts = parts.filter(|n| (1..=c.count().saturating_sub(first)).contains(n));
    let parts = parts.ok_or_else(|| c.refuse("no number of parts to read"))?;
    let mut states = (first..c.count()).map(|i| c.input(i)).collect::<Result<Vec<Value>>>()?;
    let read = states.split_off(states.len() - parts);
    let stacks = body.outputs.len().checked_sub(states.len());
    let Some(stacks) = stacks.filter(|_| body.inputs.len() == states.len() + parts) else {
        return Err(c.refuse(format!("a graph of {} inputs for {} values", body.inputs.len(), states.len() + parts)));
    };
    if batched {
        if c.has(0) {
            return Err(c.refuse("sequences of their own lengths"));
        }
        let how = Parts { axes: vec![0; parts], backwards: each(c, "directions", parts)? };
        return batches(c, body, &states, &read, &how);
    }
    let stated = each(c, "scan_input_axes", parts)?;
    let backwards = each(c, "scan_input_directions", parts)?;
    let axes = stated.iter().zip(&read).map(|(a, x)| c.axis(*a, c.ty(*x).shape.rank(), false));
    let how = Parts { axes: axes.collect::<Result<Vec<usize>>>()?, backwards };
    let carried = states.len();
    let (mut made, rows) = scanned(c, body, states, read, &how)?;
    let (axes, backwards) = (each(c, "scan_output_axes", stacks)?, each(c, "scan_output_directions", stacks)?);
    for (i, y) in made[carried..].iter_mut().enumerate() {
        if backwards[i] != 0 {
            *y = turned_round(c, *y, &rows)?;
        }
        let rank = c.ty(*y).shape.rank();
        let axis = c.axis(axes[i], rank, false)?;
        let mut order: Vec<usize> = (1..rank).collect();
        order.insert(axis, 0);
        *y = ordered(c, *y, order)?;
    }
    Ok(made.into_iter().map(Item::Value).collect())
}

/// The sequences of a batch one behind the other: the first axis of all values is theirs.
fn batches<'m>(
    c: &mut Call<'_, 'm>,
    body: &'m Source,
    states: &[Value],
    read: &[Value],
    how: &Parts,
) -> Result<Vec<Item>> {
    let count = c.ty(read[0]).shape.dims().first().and_then(Dim::fixed).filter(|n| (1..=BATCH).contains(n));
    let count = count.ok_or_else(|| c.refuse(format!("a batch that is not one of 1 to {BATCH} sequences")))?;
    if let Some(x) = states.iter().chain(read).find(|x| c.ty(**x).shape.dims().first() != Some(&Dim::from(count))) {
        return Err(c.refuse(format!("{} is no batch of {count}", c.ty(*x).shape)));
    }
    let mut all: Vec<Vec<Value>> = Vec::new();
    for i in 0..count {
        let own = |c: &mut Call<'_, '_>, list: &[Value]| list.iter().map(|x| c.part(*x, i)).collect::<Result<Vec<_>>>();
        let (states, read) = (own(c, states)?, own(c, read)?);
        let (made, _) = scanned(c, body, states, read, how)?;
        all.resize(made.len(), Vec::new());
        for (list, y) in all.iter_mut().zip(made) {
            let shape = Shape([&[Dim::from(1)], c.ty(y).shape.dims()].concat());
            list.push(c.reshape(y, shape)?);
        }
    }
    let joined = |list: Vec<Value>| match list[..] {
        [one] => Ok(Item::Value(one)),
        _ => c.add(Op::Concat(Concat { axis: 0 }), &list).map(Item::Value),
    };
    all.into_iter().map(joined).collect()
}

/// The last states and what the rounds give, stacked, and how many rounds there are.
fn scanned<'m>(
    c: &mut Call<'_, 'm>,
    body: &'m Source,
    states: Vec<Value>,
    read: Vec<Value>,
    how: &Parts,
) -> Result<(Vec<Value>, Dim)> {
    let extent = |i: usize| c.ty(read[i]).shape.dims().get(how.axes[i]).cloned().unwrap_or_default();
    let rows = extent(0);
    if let Some(i) = (1..read.len()).find(|i| extent(*i) != rows) {
        return Err(c.refuse(format!("tensors of {rows} and {} parts", extent(i))));
    }
    let count = c.extent(&rows, DType::I64)?;
    let captures = c.captures(&[body])?;
    let outside = states.iter().chain(&read).map(|v| c.ty(*v));
    let types: Vec<TensorType> = std::iter::once(scalar(DType::I64)).chain(outside).collect();
    let carried = states.len();
    let given = |c: &mut Call<'_, '_>, params: &[Value]| {
        let mut items: Vec<Item> = params[1..=carried].iter().copied().map(Item::Value).collect();
        for (i, x) in params[1 + carried..].iter().enumerate() {
            let at = place(c, params[0], &rows, how.backwards[i] != 0)?;
            items.push(Item::Value(c.add(Op::Gather(Gather { axis: how.axes[i] }), &[*x, at])?));
        }
        Ok(items)
    };
    let region = c.region(body, &types, &captures, given, |c, items| values(c, &items))?;
    let rounds = Rounds { count, guarded: false, carried: states, read, rows: Some(rows.clone()) };
    Ok((rounds.add(c, &body.name, captures.values(), region)?, rows))
}
