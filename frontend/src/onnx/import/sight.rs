//! Which keys the queries of a decoder see, by a mask that depends on numbers of tokens alone.
//!
//! Exporters write the same mask in many ways, so it is not read but run: for several numbers of past and new tokens, and for
//! those around every number that it names, such as the width of a window. What it gives is piecewise and changes nowhere
//! else. A mask that is anything but all keys, those up to the query's own, or the last of these, is left as it is.

use actc_ir::extract::extract;
use actc_ir::{Evaluator, Graph, Interpreter, Op, Value};
use actc_types::dim::Bindings;
use actc_types::{DType, Result, Tensor, TensorData};
use std::collections::BTreeSet;

/// Numbers of past and of new tokens for which every mask runs.
const COUNTS: [(u64, u64); 5] = [(0, 1), (0, 4), (1, 1), (3, 4), (9, 2)];

/// Largest number of a mask that may be one of keys: up to it masks run at every one that they name.
const FARTHEST: i128 = 1 << 16;

/// Most such numbers.
const MOST: usize = 8;

/// What is added to a score is at most this where a key is hidden: behind it no other score counts in f32.
pub(super) const HIDDEN: f64 = -1e4;

/// What the elements of a mask say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Says {
    /// They are added to the scores.
    Added,
    /// The score counts where they are true.
    Seen,
    /// The score does not count where they are true.
    Unseen,
}

/// Which keys a mask lets queries see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// All.
    All,
    /// Those up to the query's own position, of these the last ones where it is limited.
    Causal(Option<u32>),
    /// Something else.
    Other,
}

/// What `mask`, which depends on no input's elements, lets see. `ports` are inputs whose shapes say how many tokens there are.
pub(super) fn of(graph: &Graph, mask: Value, says: Says, ports: &[Value]) -> Result<Sight> {
    let mut part = extract(graph, ports, &[mask])?;
    let Some(numbers) = numbers(&part.graph)? else { return Ok(Sight::Other) };
    part.graph.output("mask", part.values[&mask]);
    let mut prepared = Interpreter.prepare(&part.graph)?;
    let around = numbers.into_iter().map(|n| (n - 1, 3));
    let mut all = true;
    let mut seen = Seen::default();
    for (past, new) in COUNTS.into_iter().chain(around) {
        let counts = Bindings::from([(actc_ir::eval::past_tokens(), past), (actc_ir::eval::new_tokens(), new)]);
        let inputs =
            part.graph.inputs().map(|(_, v)| zeros(&part.graph, v, &counts)).collect::<Result<Vec<Tensor>>>()?;
        // What cannot be run for some numbers of tokens is no mask for any.
        let Ok(made) = prepared.run(inputs) else { return Ok(Sight::Other) };
        let Some(rows) = made.first().and_then(|mask| rows(mask, says, past, new)) else { return Ok(Sight::Other) };
        all &= rows.iter().flatten().all(|seen| *seen);
        rows.iter().zip(past..).for_each(|(row, own)| seen.look(row, own));
    }
    Ok(match seen.window() {
        _ if all => Sight::All,
        Some(window) => Sight::Causal(window),
        None => Sight::Other,
    })
}

fn zeros(graph: &Graph, value: Value, counts: &Bindings) -> Result<Tensor> {
    let ty = graph.ty(value);
    let dims = ty.shape.eval(counts)?;
    Tensor::new(&dims, TensorData::zeros(ty.dtype, dims.iter().product::<u64>() as usize))
}

/// The numbers of `graph` that may be numbers of keys; `None` where there are too many, or some are too large to be tried.
fn numbers(graph: &Graph) -> Result<Option<BTreeSet<u64>>> {
    let mut all: BTreeSet<i128> = BTreeSet::new();
    for (_, constant) in graph.constants() {
        // Tables of truth values are masks themselves.
        if constant.ty.dtype == DType::Bool {
            continue;
        }
        let tensor = constant.decode()?;
        if constant.ty.dtype.is_float() {
            let numbers = tensor.data().to_f64().into_iter().filter(|x| x.abs() <= FARTHEST as f64);
            all.extend(numbers.map(|x| x.abs().ceil() as i128));
        } else {
            all.extend(tensor.data().to_integers().into_iter().map(i128::abs).filter(|n| *n < 1 << 40));
        }
    }
    for node in graph.order() {
        let none: Result<Op, std::convert::Infallible> = graph.node(*node).op.with_dims(&mut |dim| {
            all.extend(dim.terms().filter(|(_, symbols)| symbols.is_empty()).map(|(n, _)| i128::from(n).abs()));
            Ok(dim.clone())
        });
        none.map_or_else(|never| match never {}, drop);
    }
    all.retain(|n| *n > 1);
    if all.len() > MOST || all.iter().any(|n| *n > FARTHEST) {
        return Ok(None);
    }
    Ok(Some(all.into_iter().map(|n| n as u64).collect()))
}

/// Which keys each of `new` queries behind `past` keys sees by `mask`, whose last axes are queries and keys or repeat over
/// them; `None` where it is no such mask.
fn rows(mask: &Tensor, says: Says, past: u64, new: u64) -> Option<Vec<Vec<bool>>> {
    let keys = past + new;
    let (outer, own) = mask.dims().split_at(mask.dims().len().saturating_sub(2));
    let extents: Vec<u64> = std::iter::repeat_n(1, 2 - own.len()).chain(own.iter().copied()).collect();
    let fits = |extent: u64, whole: u64| extent == 1 || extent == whole;
    if outer.iter().any(|n| *n != 1) || !fits(extents[0], new) || !fits(extents[1], keys) {
        return None;
    }
    let data = mask.data().to_f64();
    let element = |i: u64, j: u64| data[(i.min(extents[0] - 1) * extents[1] + j.min(extents[1] - 1)) as usize];
    let seen = |x: f64| match says {
        Says::Added if x == 0.0 => Some(true),
        Says::Added if x <= HIDDEN => Some(false),
        Says::Added => None,
        Says::Seen => Some(x != 0.0),
        Says::Unseen => Some(x == 0.0),
    };
    (0..new).map(|i| (0..keys).map(|j| seen(element(i, j))).collect()).collect()
}

/// What was seen so far, of queries that see the last keys up to their own.
#[derive(Default)]
struct Seen {
    /// Keys that queries see which do not see all up to their own.
    limited: BTreeSet<u64>,
    /// Most keys that a query sees which sees all up to its own.
    whole: u64,
    other: bool,
}

impl Seen {
    /// Takes in the row of the query at position `own`.
    fn look(&mut self, row: &[bool], own: u64) {
        let count = row.iter().filter(|seen| **seen).count() as u64;
        let first = (own + 1).saturating_sub(count);
        let run = row.iter().zip(0..).all(|(seen, j)| *seen == (first..=own).contains(&j));
        if !run || count == 0 {
            self.other = true;
        } else if count == own + 1 {
            self.whole = self.whole.max(count);
        } else {
            self.limited.insert(count);
        }
    }

    /// The window; `None` where queries do not all see the last keys up to their own.
    fn window(&self) -> Option<Option<u32>> {
        let mut limited = self.limited.iter();
        match (limited.next(), limited.next()) {
            _ if self.other => None,
            (None, _) => Some(None),
            (Some(n), None) if self.whole <= *n => u32::try_from(*n).ok().map(Some),
            (Some(_), _) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::text;

    fn sight(body: &str, says: Says) -> Sight {
        let source = format!(
            "air 1\ngraph @g(%tokens: i64[S], %k0: f32[P, 1, 4]) {{\n  \
             %own = range{{start=P, len=S}} : i64[S]\n  %rows = reshape{{shape=\"S,1\"}} %own : i64[S, 1]\n  \
             %keys = range{{start=0, len=\"P + S\"}} : i64[P + S]\n{body}  return mask=%mask\n}}\n"
        );
        let graph = text::parse(&source, &text::unbound).unwrap_or_else(|e| panic!("{e}\n{source}"));
        let ports: Vec<Value> = graph.inputs().map(|(_, v)| v).collect();
        let (_, mask) = graph.outputs().next().unwrap();
        of(&graph, mask, says, &ports).unwrap()
    }

    #[test]
    fn masks_are_told_by_what_they_hide() {
        let seen = "  %mask = less_equal %keys, %rows : bool[S, P + S]\n";
        assert_eq!(sight(seen, Says::Seen), Sight::Causal(None));
        assert_eq!(sight(seen, Says::Unseen), Sight::Other);
        let unseen = "  %mask = less %rows, %keys : bool[S, P + S]\n";
        assert_eq!(sight(unseen, Says::Unseen), Sight::Causal(None));
        let added = |low: &str| {
            format!(
                "  %none = const @none = [0] : f32[]\n  %low = const @low = [{low}] : f32[]\n\
                 {}  %mask = select %seen, %none, %low : f32[S, P + S]\n",
                seen.replace("%mask", "%seen")
            )
        };
        assert_eq!(sight(&added("-1e9"), Says::Added), Sight::Causal(None));
        assert_eq!(sight(&added("-1"), Says::Added), Sight::Other);
        assert_eq!(sight(&added("0"), Says::Added), Sight::All);
    }

    #[test]
    fn windows_are_found_at_the_numbers_that_masks_name() {
        let window = |n: &str| {
            let body = format!(
                "  %n = const @n = [{n}] : i64[]\n  %first = sub %rows, %n : i64[S, 1]\n  \
                 %near = less %first, %keys : bool[S, P + S]\n  \
                 %early = less_equal %keys, %rows : bool[S, P + S]\n  \
                 %mask = and %early, %near : bool[S, P + S]\n"
            );
            sight(&body, Says::Seen)
        };
        assert_eq!(window("1000"), Sight::Causal(Some(1000)));
        assert_eq!(window("3"), Sight::Causal(Some(3)));
        // Too far to be tried.
        assert_eq!(window("1000000"), Sight::Other);
    }
}
