//! `kv`: the cache of keys and values in 8 or 16 bits.
//!
//! Each `cache_append` to a donated state that only attentions read takes its new rows through `round_rows`, and the state
//! gets the type of such rows; attentions read them as they are. Keys are rounded as they stand, turned by their positions.
//! Weights, names of states and everything else stay. Costs a rounding of each new row and saves 2 or 4 times the memory of
//! the cache and the time of reading it.
//!
//! In a pipeline that `compile` puts in order it comes behind the passes that quantise: those observe activations computed
//! with keys and values as the model has them. Placed before them by hand, they observe what the rounded cache gives.

use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::PassReport;
use actc_ir::ops::rows::RoundRows;
use actc_ir::{Graph, Node, Op, Region, TensorType, Value};
use actc_types::{DType, Diagnostic, Result, RowForm, Shape};
use std::collections::{BTreeMap, BTreeSet};

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "kv",
    summary: "keep the cache of keys and values in 8 or 16 bits",
    phase: Phase::Pack,
    options: &[OptionDoc {
        name: "bits",
        default: "8",
        doc: "8: signed bytes and a scale for each head's row; 16: half precision",
    }],
    needs: Facts::NONE,
    gives: Facts::NONE,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| {
        let to = fields.with("bits", "8 or 16", |v| match v {
            "8" => Some(RowForm::Int8),
            "16" => Some(RowForm::F16),
            _ => None,
        })?;
        Ok(Box::new(Kv { to: to.unwrap_or(RowForm::Int8) }))
    },
};

struct Kv {
    to: RowForm,
}

impl Pass for Kv {
    fn options(&self) -> Vec<(&'static str, String)> {
        vec![("bits", self.to.bits().to_string())]
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, _cx: &mut PassCx<'_>) -> Result<PassReport> {
        let caches = caches(graph);
        if caches.is_empty() {
            let all: Vec<&Node> =
                graph.order().iter().filter(|n| matches!(graph.node(**n).op, Op::Attention(_))).collect();
            let headline = format!("none of {} attentions reads a cache in f32 of its own", all.len());
            return Err(Diagnostic::new("nothing-to-quantise", headline));
        }
        let before = bytes(graph, &caches.keys().copied().collect());
        let new = Rebuild::new(graph, &caches, self.to).run()?;
        let states: BTreeSet<Value> = new
            .inputs()
            .zip(graph.inputs())
            .filter(|(_, (_, old))| caches.contains_key(old))
            .map(|((_, new), _)| new)
            .collect();
        let after = bytes(&new, &states);
        *graph = new;
        let form = self.to;
        let line = format!("{} caches in {form}: {after} bytes a position instead of {before}", caches.len());
        Ok(PassReport::line(line))
    }
}

/// Bytes that a position takes in `states`.
fn bytes(graph: &Graph, states: &BTreeSet<Value>) -> u64 {
    let row = |v: &Value| {
        let ty = graph.ty(*v);
        let row = ty.shape.dims()[1..].iter().map(|d| d.fixed().unwrap_or(0)).fold(1, u64::saturating_mul);
        row.saturating_mul(ty.dtype.size() as u64)
    };
    states.iter().map(row).fold(0, u64::saturating_add)
}

/// The states that can be rounded, with the node that appends to each: f32 rows that attentions read as keys and values,
/// both of one form, and nothing else reads.
fn caches(graph: &Graph) -> BTreeMap<Value, Node> {
    let users = graph.users();
    let outputs: BTreeSet<Value> = graph.outputs().map(|(_, v)| v).collect();
    let mut found: BTreeMap<Value, (Value, Node)> = BTreeMap::new();
    for (old, new) in graph.donated() {
        let Some(node) = graph.def_node(*new) else { continue };
        let data = graph.node(node);
        let ty = graph.ty(*old);
        let appended = matches!(data.op, Op::CacheAppend(_)) && data.args[0] == *old && users[old.index()] == [node];
        let rows = ty.dtype == DType::F32 && ty.shape.rank() == 3;
        let read = !users[new.index()].is_empty()
            && users[new.index()].iter().all(|user| {
                let data = graph.node(*user);
                matches!(data.op, Op::Attention(_)) && data.args[0] != *new
            });
        if appended && rows && read && !outputs.contains(new) {
            found.insert(*old, (*new, node));
        }
    }
    // An attention whose other rows stay as they are keeps both.
    loop {
        let news: BTreeSet<Value> = found.values().map(|(new, _)| *new).collect();
        let whole = |new: Value| {
            users[new.index()].iter().all(|user| graph.node(*user).args[1..].iter().all(|arg| news.contains(arg)))
        };
        let count = found.len();
        found.retain(|_, (new, _)| whole(*new));
        if found.len() == count {
            return found.into_iter().map(|(old, (_, node))| (old, node)).collect();
        }
    }
}

/// Copies a graph with its caches in another form.
struct Rebuild<'a> {
    from: &'a Graph,
    to: Graph,
    caches: &'a BTreeMap<Value, Node>,
    form: RowForm,
    values: BTreeMap<Value, Value>,
    /// Roundings that are there already, by what they round.
    rounded: BTreeMap<Value, Value>,
}

impl<'a> Rebuild<'a> {
    fn new(from: &'a Graph, caches: &'a BTreeMap<Value, Node>, form: RowForm) -> Rebuild<'a> {
        let to = Graph::new(from.name());
        Rebuild { from, to, caches, form, values: BTreeMap::new(), rounded: BTreeMap::new() }
    }

    fn run(mut self) -> Result<Graph> {
        // Constants keep their handles.
        for (_, constant) in self.from.constants() {
            self.to.add_const(constant.clone());
        }
        for (name, value) in self.from.inputs() {
            let mut ty = self.from.ty(value).clone();
            if self.caches.contains_key(&value) {
                ty = rounded(&ty, self.form)?;
            }
            let new = self.to.input(name, ty);
            self.values.insert(value, new);
        }
        self.nodes(self.from.body(), self.to.body())?;
        for (name, value) in self.from.outputs() {
            self.to.output(name, self.values[&value]);
        }
        for (old, new) in self.from.donated() {
            self.to.donate(self.values[old], self.values[new]);
        }
        Ok(self.to)
    }

    fn nodes(&mut self, from: Region, to: Region) -> Result<()> {
        for node in self.from.region_nodes(from) {
            let data = self.from.node(*node);
            let mut args: Vec<Value> = data.args.iter().map(|v| self.values[v]).collect();
            if data.args.first().and_then(|state| self.caches.get(state)) == Some(node) {
                args[1] = self.round(to, args[1], &data.origin)?;
            }
            let results = match &data.op {
                Op::Const(id) => vec![self.to.const_node(to, *id)],
                op => {
                    let regions = data.regions.iter().map(|r| self.region(*r)).collect::<Result<_>>()?;
                    self.to.add_in(to, op.clone(), &args, regions, data.origin.clone())?
                }
            };
            self.values.extend(data.results.iter().copied().zip(results));
        }
        Ok(())
    }

    fn round(&mut self, to: Region, x: Value, origin: &str) -> Result<Value> {
        if let Some(known) = self.rounded.get(&x) {
            return Ok(*known);
        }
        let results = self.to.add_in(to, Op::RoundRows(RoundRows { to: self.form }), &[x], Vec::new(), origin)?;
        self.rounded.insert(x, results[0]);
        Ok(results[0])
    }

    fn region(&mut self, region: Region) -> Result<Region> {
        let params = self.from.region_params(region);
        let types: Vec<TensorType> = params.iter().map(|v| self.from.ty(*v).clone()).collect();
        let (new, copies) = self.to.add_region(&types);
        self.values.extend(params.iter().copied().zip(copies));
        self.nodes(region, new)?;
        let results = self.from.region_results(region).iter().map(|v| self.values[v]).collect();
        self.to.set_region_results(new, results);
        Ok(new)
    }
}

/// The type of rows of type `ty`, rounded to `form`.
fn rounded(ty: &TensorType, form: RowForm) -> Result<TensorType> {
    let mut dims = ty.shape.dims().to_vec();
    if let Some(last) = dims.last_mut() {
        *last = last
            .checked_add(&form.extra().into())
            .ok_or_else(|| Diagnostic::new("dim-overflow", "a row of the cache exceeds 63 bits"))?;
    }
    Ok(TensorType::new(form.dtype(), Shape(dims)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::{Evaluator, Interpreter, text, verify};
    use actc_types::{Tensor, TensorData};

    const SOURCE: &str = "air 1
graph @a(%q: f32[S, 1, 2], %k: f32[S, 1, 2], %v: f32[S, 1, 2], %k0: f32[P, 1, 2], %v0: f32[P, 1, 2]) {
  %k1 = cache_append %k0, %k : f32[P + S, 1, 2]
  %v1 = cache_append %v0, %v : f32[P + S, 1, 2]
  %0 = attention{scale=1, causal} %q, %k1, %v1 : f32[S, 1, 2]
  return y=%0, donate %k0 -> %k1, donate %v0 -> %v1
}
";

    /// Output and new states of one token after an empty past.
    fn one_token(to: RowForm) -> Vec<Tensor> {
        let mut graph = text::parse(SOURCE, &text::unbound).unwrap();
        let mut quiet = |_: crate::Progress<'_>| {};
        Kv { to }.run(&mut graph, &mut PassCx::new(&Interpreter, &mut quiet)).unwrap();
        assert_eq!(verify(&graph), []);
        let rows = |x: [f32; 2]| Tensor::f32(&[1, 1, 2], x.to_vec()).unwrap();
        let empty = || Tensor::new(&[0, 1, 2 + to.extra()], TensorData::zeros(to.dtype(), 0)).unwrap();
        let inputs = vec![rows([3.0, 1.0]), rows([1.0, 0.0]), rows([-127.0, 63.4]), empty(), empty()];
        Interpreter.prepare(&graph).unwrap().run(inputs).unwrap()
    }

    #[test]
    fn bytes_by_hand() {
        let out = one_token(RowForm::Int8);
        // A single position has the weight 1: what comes out is the value as it is stored.
        assert_eq!(out[0].as_f32().unwrap(), [-127.0, 63.0]);
        let scale = (1.0f32 / 127.0).to_le_bytes();
        assert_eq!(out[1].data().to_le_bytes(), [&[127, 0][..], &scale].concat());
        assert_eq!(out[2].data().to_le_bytes(), [&[129, 63][..], &1.0f32.to_le_bytes()].concat());
    }

    #[test]
    fn halves_by_hand() {
        let out = one_token(RowForm::F16);
        assert_eq!(out[0].as_f32().unwrap(), [-127.0, 63.40625]);
        assert_eq!(out[1].data().to_le_bytes(), [0x00, 0x3c, 0, 0]);
    }

    #[test]
    fn a_second_time_nothing_is_left() {
        let mut graph = text::parse(SOURCE, &text::unbound).unwrap();
        let mut quiet = |_: crate::Progress<'_>| {};
        let mut cx = PassCx::new(&Interpreter, &mut quiet);
        let report = Kv { to: RowForm::Int8 }.run(&mut graph, &mut cx).unwrap();
        assert_eq!(report.summary, "2 caches in int8: 12 bytes a position instead of 16");
        let again = Kv { to: RowForm::F16 }.run(&mut graph, &mut cx).unwrap_err();
        assert_eq!(again.code, "nothing-to-quantise");
    }
}
