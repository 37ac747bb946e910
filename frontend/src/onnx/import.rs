//! From an ONNX graph to the compiler's: types, symbols, constants, and each node by the table of [`ops`](super::ops).
//!
//! Nodes that are not in the table, and nodes that the table refuses, are reported all at once. Integers that describe
//! shapes are followed as dimensions ([`Item::Extents`]), so that a shape which a model computes is known when it is
//! compiled.

mod attended;
mod call;
mod elements;
mod extents;
mod shapes;
mod sight;
mod state;
mod subgraph;
mod types;

pub(super) use call::Call;
pub(super) use extents::{computed, dimension, natural, number, quotient};
pub(super) use types::{Symbols, dtype};

use super::decoder::{Names, Ports};
use super::ops;
use super::tensor::unpacked;
use super::{Findings, Graph as Source, Model, Node, Tensor, TensorBytes, ValueType};
use actc_ir::{Const, Graph, Op, Region, TensorType, Value};
use actc_types::{Diagnostic, Dim, Encoding, Place, Result, Role, Shape, TensorData};
use std::collections::{BTreeSet, HashMap};

/// Most elements of a constant that is computed while a model is read.
const FOLDED: u64 = 1 << 12;

/// Most elements of one whose elements are only moved: weights that exporters hold in another order than nodes take them in, as
/// long as all of those together take at most twice the bytes of the model. Larger ones stay bytes of the file, which take no
/// memory.
const MOVED: u64 = 1 << 18;

/// Whether an op only moves elements, each to one place at most.
fn moves(op: &Op) -> bool {
    matches!(op, Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) | Op::Concat(_))
}

/// What a name of the source stands for.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A value of the graph.
    Value(Value),
    /// 64-bit integers that are dimensions: a list, or one number without an axis.
    Extents {
        /// The numbers.
        dims: Vec<Dim>,
        /// Whether it has no axis.
        scalar: bool,
    },
    /// Truth values about dimensions: a list.
    Truths(Vec<bool>),
}

/// A graph under construction.
pub(super) struct Importer<'m> {
    pub(super) graph: Graph,
    /// Where nodes are added.
    region: Region,
    names: HashMap<&'m str, Item>,
    constants: BTreeSet<String>,
    findings: Findings,
    /// Names whose nodes were refused: what depends on them is not looked at.
    lost: BTreeSet<&'m str>,
    symbols: types::Symbols,
    /// Dimensions of values that were bound.
    bound: HashMap<Value, Vec<Dim>>,
    /// Dimensions of single integers of lists.
    elements: HashMap<(Value, usize), Dim>,
    /// Quotients of dimensions that are no polynomials.
    quotients: HashMap<(Dim, u64), Dim>,
    /// Bytes of constants that may yet be moved.
    movable: u64,
}

/// A model as a language model, where it is one.
#[derive(Clone, Debug)]
pub enum Decoded {
    /// A language model: the input `tokens: i64[S]`, the output `logits: f32[S, vocabulary]`, caches as state.
    Language(Graph),
    /// Another model, with the ports of the file. Where it has past keys and values among these, what keeps it from being a
    /// language model.
    Other(Graph, Option<Diagnostic>),
}

/// The graph of `model`, with the ports of the file. All findings are given at once.
pub fn import(model: &Model) -> Result<Graph, Findings> {
    supported(model)?;
    let mut importer = Importer::new(model);
    match importer.inputs(&model.graph) {
        Ok(()) => {
            importer.body(&model.graph);
            importer.outputs(&model.graph);
        }
        Err(e) => importer.findings.add(|| e),
    }
    if importer.findings.is_empty() { Ok(importer.graph.compact()) } else { Err(importer.findings) }
}

/// The graph of `model` as a language model where its ports, which are called `names`, are those of a decoder and its nodes
/// do with them what a decoder does; else as [`import`] gives it.
pub fn decode(model: &Model, names: &Names) -> Result<Decoded, Findings> {
    supported(model)?;
    let obstacle = match Ports::of(&model.graph, names) {
        Ok(None) => None,
        Ok(Some(ports)) => match decoder(model, &ports) {
            Ok(graph) => return Ok(Decoded::Language(graph)),
            Err(why) => Some(why),
        },
        Err(why) => Some(Diagnostic::new("onnx-decoder", why)),
    };
    import(model).map(|graph| Decoded::Other(graph, obstacle))
}

fn decoder(model: &Model, ports: &Ports) -> Result<Graph> {
    let mut importer = Importer::new(model);
    let states = importer.decoder_inputs(&model.graph, ports)?;
    importer.body(&model.graph);
    match importer.findings.told().first() {
        Some(finding) => Err(finding.clone()),
        None => importer.decoder_outputs(&model.graph, ports, &states),
    }
}

/// An error that lists all nodes of `model` that the table has not.
fn supported(model: &Model) -> Result<(), Findings> {
    let mut unknown = Findings::default();
    unsupported(&model.graph, &mut unknown);
    if unknown.is_empty() { Ok(()) } else { Err(unknown) }
}

/// A finding for each node that the table has not, in the order of the model; those of graphs in attributes behind their node's.
fn unsupported(graph: &Source, findings: &mut Findings) {
    for (index, node) in graph.nodes.iter().enumerate() {
        if ops::find(node).is_none() {
            findings.add(|| {
                let headline = format!("no operator `{}` of version {}", ops::full_name(node), node.opset);
                let error = Diagnostic::new("onnx-unsupported", headline).at(Place::Node(node.label(index)));
                match ops::nearest(node) {
                    Some(word) => error.help(format!("the nearest that is supported is `{word}`")),
                    None => error,
                }
            });
        }
        node.attributes.graphs().for_each(|graph| unsupported(graph, findings));
    }
}

impl<'m> Importer<'m> {
    fn new(model: &Model) -> Importer<'m> {
        let bytes: u64 = model.files.values().map(|bytes| bytes.len() as u64).sum();
        let target = Graph::new("main");
        Importer {
            region: target.body(),
            graph: target,
            names: HashMap::new(),
            constants: BTreeSet::new(),
            findings: Findings::default(),
            lost: BTreeSet::new(),
            symbols: types::Symbols::default(),
            bound: HashMap::new(),
            elements: HashMap::new(),
            quotients: HashMap::new(),
            movable: bytes.saturating_mul(2),
        }
    }

    fn inputs(&mut self, source: &'m Source) -> Result<()> {
        for input in &source.inputs {
            let ty = input.ty.as_ref().ok_or_else(|| {
                Diagnostic::new("onnx-input", "the file does not say what type the input has")
                    .at(Place::Tensor(input.name.clone()))
            })?;
            let ty = types::tensor_type(ty, &input.name, &mut self.symbols)?;
            let value = self.graph.input(&*input.name, ty);
            self.names.insert(&input.name, Item::Value(value));
        }
        Ok(())
    }

    /// The constants and nodes of `source`.
    fn body(&mut self, source: &'m Source) {
        for (name, tensor) in &source.initialisers {
            match self.tensor(name, tensor) {
                Ok(value) => drop(self.names.insert(name, Item::Value(value))),
                Err(e) => {
                    self.findings.add(|| e);
                    self.lost.insert(name);
                }
            }
        }
        for (index, node) in source.nodes.iter().enumerate() {
            self.node(index, node);
        }
    }

    /// Adds constants and nodes of `source`; what its outputs are, or `None` where one of them is not there.
    fn graph_of(&mut self, source: &'m Source) -> Option<Vec<Item>> {
        self.body(source);
        let found = |name: &str| if self.lost.contains(name) { None } else { self.names.get(name).cloned() };
        source.outputs.iter().map(|output| found(&output.name)).collect()
    }

    fn node(&mut self, index: usize, node: &'m Node) {
        let needed = node.inputs.iter().flatten();
        if needed.clone().any(|name| self.lost.contains(name.as_str())) {
            self.lost.extend(node.outputs.iter().flatten().map(String::as_str));
            return;
        }
        let label = node.label(index);
        let Some(op) = ops::find(node) else { return };
        let inputs: Option<Vec<Option<Item>>> = node
            .inputs
            .iter()
            .map(|name| match name {
                None => Some(None),
                Some(name) => self.names.get(name.as_str()).cloned().map(Some),
            })
            .collect();
        let made = match inputs {
            Some(inputs) => {
                let mut call = Call::new(self, node, &label, inputs);
                (op.import)(&mut call).and_then(|items| call.all_read().map(|()| items))
            }
            None => Err(Diagnostic::new("onnx-order", "an input is used before it is defined")),
        };
        match made {
            Ok(items) => {
                for (name, item) in node.outputs.iter().zip(items) {
                    if let Some(name) = name {
                        self.names.insert(name, item);
                    }
                }
                for name in node.outputs.iter().flatten().filter(|n| !self.names.contains_key(n.as_str())) {
                    self.lost.insert(name);
                    let headline = format!("`{name}`, an output that is not made here");
                    let place = Place::Node(label.clone());
                    self.findings.add(|| Diagnostic::new("onnx-unsupported", headline).at(place));
                }
            }
            Err(e) => {
                let placed = if e.place == Place::Request { e.at(Place::Node(label)) } else { e };
                self.findings.add(|| placed);
                self.lost.extend(node.outputs.iter().flatten().map(String::as_str));
            }
        }
    }

    fn outputs(&mut self, source: &'m Source) {
        for output in &source.outputs {
            if self.lost.contains(output.name.as_str()) {
                continue;
            }
            let made = match self.names.get(output.name.as_str()).cloned() {
                Some(item) => {
                    self.value(&item, &output.name).and_then(|v| self.agrees(v, output.ty.as_ref()).map(|()| v))
                }
                None => Err(Diagnostic::new("onnx-output", "an output that no node gives")),
            };
            match made {
                Ok(value) => self.graph.output(&*output.name, value),
                Err(e) => self.findings.add(|| e.at(Place::Tensor(output.name.clone()))),
            }
        }
    }

    /// An error where the stated element type of an output is not what was made. Stated shapes are not believed: files state
    /// wrong ones, and what is made follows from the nodes.
    fn agrees(&self, value: Value, stated: Option<&ValueType>) -> Result<()> {
        let Some(ValueType::Tensor { dtype: element, .. }) = stated else { return Ok(()) };
        let found = self.graph.ty(value);
        if dtype(*element)? == found.dtype {
            return Ok(());
        }
        Err(Diagnostic::new("onnx-output", format!("the output is {found}, the file says {element}")))
    }

    /// A constant of the graph over the bytes of `tensor`; only elements of fewer than eight bits are copied, one to a byte.
    pub(super) fn tensor(&mut self, name: &str, tensor: &Tensor) -> Result<Value> {
        let at = |d: Diagnostic| d.at(Place::Tensor(name.to_owned()));
        let dtype = dtype(tensor.element).map_err(at)?;
        let TensorBytes::Raw(bytes) = &tensor.data else {
            return Err(at(Diagnostic::new("onnx-type", "texts are not supported")));
        };
        let ty = TensorType::new(dtype, Shape::fixed(&tensor.dims));
        let parts = vec![(Role::Data, unpacked(tensor.element, tensor.elements(), bytes))];
        let constant = Const::new(self.fresh(name), ty, Encoding::Dense, parts).map_err(at)?;
        Ok(self.constant(constant))
    }

    /// `constant` as a value of the region that is being made.
    pub(super) fn constant(&mut self, constant: Const) -> Value {
        let id = self.graph.add_const(constant);
        self.graph.const_node(self.region, id)
    }

    /// A name that no constant has yet.
    pub(super) fn fresh(&mut self, name: &str) -> String {
        let name = if name.is_empty() { "constant" } else { name };
        let free = |n: &String| !self.constants.contains(n);
        let numbered = (1..).map(|i| format!("{name}.{i}"));
        let name = std::iter::once(name.to_owned()).chain(numbered).find(free).expect("numbers do not end");
        self.constants.insert(name.clone());
        name
    }

    /// The constant `tensor`, called `name` or after it.
    pub(super) fn dense(&mut self, name: &str, tensor: &actc_types::Tensor) -> Value {
        let name = self.fresh(name);
        self.constant(Const::dense(name, tensor))
    }

    /// The value of `item`; dimensions become a tensor of the integers that they are when the graph runs.
    pub(super) fn value(&mut self, item: &Item, origin: &str) -> Result<Value> {
        let (dims, scalar) = match item {
            Item::Value(value) => return Ok(*value),
            Item::Extents { dims, scalar } => (dims, *scalar),
            Item::Truths(truths) => {
                let bytes = truths.iter().map(|t| u8::from(*t)).collect();
                let tensor = actc_types::Tensor::new(&[truths.len() as u64], TensorData::Bool(bytes))?;
                return Ok(self.dense(origin, &tensor));
            }
        };
        extents::value(self, dims, scalar, origin)
    }

    /// Adds `op`; small constants of it are computed here, so that shapes which a model computes are known.
    pub(super) fn add(&mut self, op: Op, args: &[Value], origin: &str) -> Result<Value> {
        if let Some(tensor) = self.folded(&op, args)? {
            return Ok(self.dense(origin, &tensor));
        }
        match self.add_many(op, args, Vec::new(), origin)?[..] {
            [value] => Ok(value),
            ref many => Err(Diagnostic::new("onnx-node", format!("{} results where one is wanted", many.len()))),
        }
    }

    /// Adds `op`, which owns `regions`, to the region that is being made.
    pub(super) fn add_many(
        &mut self,
        op: Op,
        args: &[Value],
        regions: Vec<Region>,
        origin: &str,
    ) -> Result<Vec<Value>> {
        self.graph.add_in(self.region, op, args, regions, origin)
    }

    /// What `op` gives, where all of `args` are constants that are small enough and so is that.
    fn folded(&mut self, op: &Op, args: &[Value]) -> Result<Option<actc_types::Tensor>> {
        let mut constants = Vec::with_capacity(args.len());
        for arg in args {
            let Some(id) = self.graph.as_const(*arg) else { return Ok(None) };
            constants.push(self.graph.const_data(id));
        }
        // No element has more than eight bytes.
        let most = if moves(op) { MOVED.min(self.movable / 8).max(FOLDED) } else { FOLDED };
        let made = actc_ir::eval::of_constants(op, &constants, most)?;
        let size = |tensor: &actc_types::Tensor| (tensor.data().len() * tensor.dtype().size()) as u64;
        let large = made.as_ref().map(size).filter(|bytes| *bytes > FOLDED);
        self.movable = self.movable.saturating_sub(large.unwrap_or(0));
        Ok(made)
    }
}
