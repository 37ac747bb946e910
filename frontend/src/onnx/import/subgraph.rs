//! Graphs in attributes on their way into the graph: in the place of their node, or as regions of it.
//!
//! A graph sees the names of the graphs around it. A region sees its parameters and constants alone: names that stand for other
//! values become parameters behind those of the graph, its captures.

use super::{Call, Importer, Item};
use crate::onnx::Graph as Source;
use crate::onnx::{Dimension, ValueType};
use actc_ir::{Op, Region, TensorType, Value};
use actc_types::{Dim, Result, Symbol};
use std::collections::BTreeSet;

/// The values outside that the graphs of a node read.
pub(in crate::onnx) struct Captures<'m> {
    /// Names and what they stand for outside.
    names: Vec<(&'m str, Value)>,
    values: Vec<Value>,
}

impl Captures<'_> {
    /// The values, each once.
    pub(in crate::onnx) fn values(&self) -> &[Value] {
        &self.values
    }
}

/// Names that `graph` and the graphs in it use and do not define.
fn free(graph: &Source) -> BTreeSet<&str> {
    let inputs = graph.inputs.iter().map(|v| v.name.as_str());
    let mut defined: BTreeSet<&str> = inputs.chain(graph.initialisers.iter().map(|(n, _)| n.as_str())).collect();
    let mut free = BTreeSet::new();
    for node in &graph.nodes {
        let used = node.inputs.iter().flatten().map(String::as_str);
        free.extend(used.chain(node.attributes.graphs().flat_map(self::free)).filter(|n| !defined.contains(n)));
        defined.extend(node.outputs.iter().flatten().map(String::as_str));
    }
    free.extend(graph.outputs.iter().map(|v| v.name.as_str()).filter(|n| !defined.contains(n)));
    free
}

/// Names that `graph` itself defines.
fn defined(graph: &Source) -> impl Iterator<Item = &str> {
    let inputs = graph.inputs.iter().map(|v| v.name.as_str());
    let outputs = graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten().map(String::as_str));
    inputs.chain(graph.initialisers.iter().map(|(n, _)| n.as_str())).chain(outputs)
}

impl<'m> Importer<'m> {
    /// Gives each of `names` what it stood for before.
    fn restore(&mut self, names: Vec<(&'m str, Option<Item>)>) {
        for (name, item) in names.into_iter().rev() {
            match item {
                Some(item) => drop(self.names.insert(name, item)),
                None => drop(self.names.remove(name)),
            }
        }
    }
}

impl<'m> Call<'_, 'm> {
    /// The graph attribute `name`.
    pub(in crate::onnx) fn graph(&self, name: &str) -> Result<&'m Source> {
        self.asked(name).graph(name)?.ok_or_else(|| self.refuse(format!("it has no graph `{name}`")))
    }

    /// What the outputs of `graph` are where its inputs are `given`; its nodes are added where this node is.
    pub(in crate::onnx) fn inside(&mut self, graph: &'m Source, given: Vec<Item>) -> Result<Vec<Item>> {
        if graph.inputs.len() != given.len() {
            let count = graph.inputs.len();
            return Err(self.refuse(format!(
                "the graph `{}` has {count} inputs, {} are given",
                graph.name,
                given.len()
            )));
        }
        let importer = &mut *self.importer;
        let before = defined(graph).map(|name| (name, importer.names.remove(name))).collect();
        importer.names.extend(graph.inputs.iter().map(|v| v.name.as_str()).zip(given));
        let made = importer.graph_of(graph);
        importer.restore(before);
        made.ok_or_else(|| self.refuse(format!("the graph `{}` of `{}` is not supported", graph.name, self.node.op)))
    }

    /// What `graphs` read of the values around them, constants aside.
    pub(in crate::onnx) fn captures(&mut self, graphs: &[&'m Source]) -> Result<Captures<'m>> {
        let all: BTreeSet<&'m str> = graphs.iter().flat_map(|graph| free(graph)).collect();
        let mut names = Vec::new();
        for name in all {
            if let Some(Item::Value(value)) = self.importer.names.get(name) {
                names.push((name, *value));
            }
        }
        let values = self.outer(names.iter().map(|(_, value)| *value));
        Ok(Captures { names, values })
    }

    /// Those of `values` that are no constants, each once.
    fn outer(&self, values: impl Iterator<Item = Value>) -> Vec<Value> {
        let mut outer = Vec::new();
        for value in values {
            if self.importer.graph.as_const(value).is_none() && !outer.contains(&value) {
                outer.push(value);
            }
        }
        outer
    }

    /// A region of `graph` with parameters of `types` and those of `captures`. In it `given` makes the inputs of `graph` of its
    /// parameters, and `give` what it gives of the outputs.
    pub(in crate::onnx) fn region(
        &mut self,
        graph: &'m Source,
        types: &[TensorType],
        captures: &Captures<'m>,
        given: impl FnOnce(&mut Self, &[Value]) -> Result<Vec<Item>>,
        give: impl FnOnce(&mut Self, Vec<Item>) -> Result<Vec<Value>>,
    ) -> Result<Region> {
        let outside: Vec<Value> = captures.names.iter().map(|(_, value)| *value).collect();
        let (region, _) = self.body(types, &outside, |c, own, here| {
            let named = captures.names.iter().zip(here);
            let before =
                named.map(|((name, _), here)| (*name, c.importer.names.insert(name, Item::Value(*here)))).collect();
            let made =
                given(c, own).and_then(|items| c.inside(graph, items)).and_then(|items| c.declared(graph, items));
            let made = made.and_then(|items| give(c, items));
            c.importer.restore(before);
            made
        })?;
        Ok(region)
    }

    /// `items`, which `graph` gives, with extents that its own nodes tell as the file declares them, where it does: what they tell is
    /// not known outside of the region.
    fn declared(&mut self, graph: &Source, items: Vec<Item>) -> Result<Vec<Item>> {
        let importer = &self.importer;
        let ops = importer.graph.region_nodes(importer.region).iter().map(|n| &importer.graph.node(*n).op);
        let binds = ops.filter_map(|op| if let Op::Bind(bind) = op { Some(&bind.symbols) } else { None });
        let told: BTreeSet<Symbol> = binds.flatten().cloned().collect();
        let mut as_declared = Vec::with_capacity(items.len());
        for (item, output) in items.into_iter().zip(&graph.outputs) {
            let (Item::Value(value), Some(ValueType::Tensor { shape: Some(stated), .. })) = (&item, &output.ty) else {
                as_declared.push(item);
                continue;
            };
            let mut shape = self.ty(*value).shape;
            if shape.rank() == stated.len() {
                for (dim, stated) in shape.0.iter_mut().zip(stated) {
                    match stated {
                        Dimension::Fixed(n) if dim.symbols().iter().any(|s| told.contains(*s)) => *dim = Dim::from(*n),
                        Dimension::Fixed(_) | Dimension::Named(_) | Dimension::Unknown => {}
                    }
                }
            }
            as_declared.push(Item::Value(self.expect(*value, shape)?));
        }
        Ok(as_declared)
    }

    /// A region with parameters of `types` and, behind them, one for each of `outside` that is no constant; those are given
    /// too, each once. `make` makes its results of the parameters of `types` and of what `outside` are in it.
    pub(in crate::onnx) fn body(
        &mut self,
        types: &[TensorType],
        outside: &[Value],
        make: impl FnOnce(&mut Self, &[Value], &[Value]) -> Result<Vec<Value>>,
    ) -> Result<(Region, Vec<Value>)> {
        let captured = self.outer(outside.iter().copied());
        let all: Vec<TensorType> = types.iter().cloned().chain(captured.iter().map(|v| self.ty(*v))).collect();
        let (region, params) = self.importer.graph.add_region(&all);
        let (own, inner) = params.split_at(types.len());
        let mut here = Vec::with_capacity(outside.len());
        for value in outside {
            here.push(match self.importer.graph.as_const(*value) {
                Some(id) => self.importer.graph.const_node(region, id),
                None => captured.iter().position(|v| v == value).map_or(*value, |i| inner[i]),
            });
        }
        let around = std::mem::replace(&mut self.importer.region, region);
        let quotients = self.importer.quotients.clone();
        let made = make(self, own, &here);
        self.importer.quotients = quotients;
        self.importer.region = around;
        self.importer.graph.set_region_results(region, made?);
        Ok((region, captured))
    }

    /// Parameter `i` of the region that is being made.
    pub(in crate::onnx) fn param(&self, i: usize) -> Value {
        self.importer.graph.region_params(self.importer.region)[i]
    }

    /// The types of what `region` gives.
    pub(in crate::onnx) fn results(&self, region: Region) -> Vec<TensorType> {
        self.importer.graph.region_results(region).iter().map(|v| self.ty(*v)).collect()
    }

    /// Adds `op`, which owns `regions`.
    pub(in crate::onnx) fn add_owning(&mut self, op: Op, args: &[Value], regions: Vec<Region>) -> Result<Vec<Value>> {
        self.importer.add_many(op, args, regions, self.label)
    }

    /// The value of `item`.
    pub(in crate::onnx) fn value(&mut self, item: &Item) -> Result<Value> {
        self.importer.value(item, self.label)
    }

    /// The truth value that input `i` is, where it is known.
    pub(in crate::onnx) fn truth(&self, i: usize) -> Result<Option<bool>> {
        Ok(match self.item(i)? {
            Item::Truths(truths) if truths.len() == 1 => Some(truths[0]),
            Item::Truths(_) | Item::Extents { .. } => None,
            Item::Value(value) => {
                let tensor = self.constant(value).and_then(|constant| constant.decode().ok());
                tensor.and_then(|t| match t.data().to_integers()[..] {
                    [truth] => Some(truth != 0),
                    _ => None,
                })
            }
        })
    }
}
