//! The body of a function for one call: every name and every attribute made that of the call.

use super::attributes::{Attribute, Attributes};
use super::functions::{Function, MAX_NESTING, too_deep};
use super::graph::{Graph, Node};
use super::tensor::Tensor;
use super::value::ValueInfo;
use actc_types::{Diagnostic, Result};
use std::collections::HashMap;

/// What an attribute costs beyond its name; large values are shared.
const ATTRIBUTE: u64 = size_of::<(String, Attribute)>() as u64;

/// What a name costs beyond its text.
const NAME: u64 = size_of::<Option<String>>() as u64;

/// One call of a function.
pub(super) struct Body<'f> {
    function: &'f Function,
    call: &'f Node,
    /// What the names of inputs and outputs become; `None` for an input that the call leaves out.
    outer: HashMap<&'f str, Option<&'f str>>,
    /// Outputs that are what another name is already: that name, and the output's.
    copies: Vec<(&'f str, &'f str)>,
    prefix: String,
    /// How deep the graph is that is being copied; zero in the body itself.
    depth: usize,
    room: u64,
    spent: u64,
}

impl<'f> Body<'f> {
    /// The call `call` of `function`; nodes and names may take `room` bytes.
    pub(super) fn new(function: &'f Function, call: &'f Node, prefix: String, room: u64) -> Body<'f> {
        let mut outer: HashMap<&str, Option<&str>> = HashMap::new();
        for (i, name) in function.inputs.iter().enumerate() {
            outer.insert(name, call.inputs.get(i).and_then(Option::as_deref));
        }
        let mut copies = Vec::new();
        for (name, output) in function.outputs.iter().zip(&call.outputs) {
            let Some(output) = output else { continue };
            if outer.contains_key(name.as_str()) {
                copies.push((name.as_str(), output.as_str()));
            } else {
                outer.insert(name, Some(output));
            }
        }
        Body { function, call, outer, copies, prefix, depth: 0, room, spent: 0 }
    }

    /// Bytes that [`nodes`](Body::nodes) took.
    pub(super) fn spent(&self) -> u64 {
        self.spent
    }

    /// The nodes, in the order of the function.
    pub(super) fn nodes(&mut self) -> Result<Vec<Node>> {
        let function = self.function;
        // Looking at the names of a long list costs time at every call, however few of them the call gives.
        let names = (function.inputs.len() + function.outputs.len()) as u64;
        self.spend(names.saturating_mul(NAME))?;
        let mut out = Vec::new();
        for node in &function.nodes {
            out.push(self.node(node)?);
        }
        for (from, to) in std::mem::take(&mut self.copies) {
            let Some(from) = self.name(from)? else {
                let headline = format!("`{to}` is an input of {} that the call leaves out", function.shown);
                return Err(Diagnostic::new("onnx-function", headline));
            };
            self.spend(size_of::<Node>() as u64 + to.len() as u64)?;
            out.push(Node {
                op: "Identity".into(),
                opset: function.standard,
                inputs: vec![Some(from)],
                outputs: vec![Some(to.to_owned())],
                ..Node::default()
            });
        }
        Ok(out)
    }

    fn spend(&mut self, bytes: u64) -> Result<()> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > self.room {
            return Err(Diagnostic::new("onnx-bloat", "with its functions inlined the model takes too much memory"));
        }
        Ok(())
    }

    fn name(&mut self, name: &str) -> Result<Option<String>> {
        let (prefix, rest) = match self.outer.get(name) {
            Some(None) => return Ok(None),
            Some(Some(outer)) => ("", *outer),
            None => (self.prefix.as_str(), name),
        };
        let name = format!("{prefix}{rest}");
        self.spend(name.len() as u64)?;
        Ok(Some(name))
    }

    fn names(&mut self, names: &[Option<String>]) -> Result<Vec<Option<String>>> {
        self.spend((names.len() as u64).saturating_mul(NAME))?;
        names
            .iter()
            .map(|name| match name {
                Some(name) => self.name(name),
                None => Ok(None),
            })
            .collect()
    }

    fn node(&mut self, node: &Node) -> Result<Node> {
        let name = match (self.call.name.as_str(), node.name.as_str()) {
            ("", inner) => inner.to_owned(),
            (outer, "") => outer.to_owned(),
            (outer, inner) => format!("{outer}/{inner}"),
        };
        let texts = name.len() + node.op.len() + node.domain.len() + node.overload.len();
        self.spend((size_of::<Node>() + texts) as u64)?;
        let inputs = self.names(&node.inputs)?;
        let outputs = self.names(&node.outputs)?;
        let mut attributes = self.attributes(&node.attributes)?;
        let mut referred = Vec::new();
        for reference in &node.attributes.references {
            self.spend(ATTRIBUTE + reference.name.len() as u64)?;
            let (call, defaults) = (&self.call.attributes, &self.function.defaults);
            let Some(value) = call.get(&reference.of).or_else(|| defaults.get(&reference.of)) else {
                if self.function.plain.contains(&reference.of) {
                    continue;
                }
                let headline =
                    format!("{} has no attribute `{}`, a node of it refers to one", self.function.shown, reference.of);
                return Err(Diagnostic::new("onnx-function", headline));
            };
            if value.kind() != reference.kind {
                return Err(call.wrong_type(&reference.of, value.kind(), reference.kind));
            }
            referred.push((reference.name.clone(), self.copy(value)?));
        }
        if !referred.is_empty() {
            attributes.extend(referred);
        }
        let Node { op, domain, opset, overload, .. } = node;
        let (op, domain, overload) = (op.clone(), domain.clone(), overload.clone());
        Ok(Node { name, op, domain, opset: *opset, inputs, outputs, attributes, overload })
    }

    /// The attributes that have values of their own; names in their graphs are renamed too.
    fn attributes(&mut self, attributes: &Attributes) -> Result<Attributes> {
        let mut out = attributes.without_values();
        for (name, value) in attributes.iter() {
            self.spend(ATTRIBUTE + name.len() as u64)?;
            let value = match value {
                Attribute::Graph(graph) => Attribute::Graph(Box::new(self.graph(graph)?)),
                Attribute::Graphs(graphs) => {
                    Attribute::Graphs(graphs.iter().map(|graph| self.graph(graph)).collect::<Result<_>>()?)
                }
                Attribute::Float(_)
                | Attribute::Int(_)
                | Attribute::Text(_)
                | Attribute::Tensor(_)
                | Attribute::Floats(_)
                | Attribute::Ints(_)
                | Attribute::Texts(_)
                | Attribute::Tensors(_)
                | Attribute::Sparse(_)
                | Attribute::Sparses(_)
                | Attribute::Type(_)
                | Attribute::Types(_) => self.copy(value)?,
            };
            out.push_last(name, value);
        }
        Ok(out)
    }

    /// A value as it is: a graph that the call gives has names of where the call stands.
    fn copy(&mut self, value: &Attribute) -> Result<Attribute> {
        let nesting = value.graphs().iter().map(Graph::nesting).max().unwrap_or(0);
        if self.depth + nesting > MAX_NESTING {
            return Err(too_deep());
        }
        self.spend(value.copy_bytes())?;
        Ok(value.clone())
    }

    fn graph(&mut self, graph: &Graph) -> Result<Graph> {
        // A name that the graph defines itself hides an input or output of the function.
        let stated = graph.inputs.iter().map(|v| &v.name).chain(graph.initialisers.iter().map(|(name, _)| name));
        let defined = stated.chain(graph.nodes.iter().flat_map(|node| node.outputs.iter().flatten()));
        let hidden: Vec<(&'f str, Option<&'f str>)> =
            defined.filter_map(|name| self.outer.remove_entry(name.as_str())).collect();
        self.depth += 1;
        let renamed = if self.depth > MAX_NESTING { Err(too_deep()) } else { self.visible(graph) };
        self.depth -= 1;
        self.outer.extend(hidden);
        renamed
    }

    fn visible(&mut self, graph: &Graph) -> Result<Graph> {
        let mut nodes = Vec::with_capacity(graph.nodes.len());
        for node in &graph.nodes {
            nodes.push(self.node(node)?);
        }
        let inputs = self.values(&graph.inputs)?;
        let outputs = self.values(&graph.outputs)?;
        let values = self.values(&graph.values)?;
        let mut initialisers = Vec::with_capacity(graph.initialisers.len());
        for (name, tensor) in &graph.initialisers {
            self.spend(tensor.copy_bytes())?;
            initialisers.push((self.name(name)?.unwrap_or_default(), tensor.clone()));
        }
        self.spend(size_of::<Graph>() as u64 + graph.name.len() as u64)?;
        Ok(Graph { name: graph.name.clone(), nodes, inputs, outputs, initialisers, values })
    }

    fn values(&mut self, values: &[ValueInfo]) -> Result<Vec<ValueInfo>> {
        let mut out = Vec::with_capacity(values.len());
        for value in values {
            let Some(name) = self.name(&value.name)? else {
                let headline = format!(
                    "a graph gives `{}`, an input of {} that the call leaves out",
                    value.name, self.function.shown
                );
                return Err(Diagnostic::new("onnx-function", headline));
            };
            self.spend(value.copy_bytes())?;
            out.push(ValueInfo { name, ty: value.ty.clone() });
        }
        Ok(out)
    }
}

/// What copies take beyond the struct itself.
trait CopyBytes {
    fn copy_bytes(&self) -> u64;
}

impl CopyBytes for Tensor {
    fn copy_bytes(&self) -> u64 {
        (size_of::<Tensor>() + self.name.len() + self.dims.len() * size_of::<u64>()) as u64
    }
}

impl CopyBytes for ValueInfo {
    fn copy_bytes(&self) -> u64 {
        size_of::<ValueInfo>() as u64 + self.ty.as_ref().map_or(0, |ty| ty.heap_bytes())
    }
}

impl CopyBytes for Attribute {
    fn copy_bytes(&self) -> u64 {
        match self {
            // Shared, or within the struct.
            Attribute::Float(_)
            | Attribute::Int(_)
            | Attribute::Text(_)
            | Attribute::Floats(_)
            | Attribute::Ints(_)
            | Attribute::Texts(_) => 0,
            Attribute::Tensor(tensor) | Attribute::Sparse(tensor) => tensor.copy_bytes(),
            Attribute::Tensors(tensors) | Attribute::Sparses(tensors) => tensors.iter().map(Tensor::copy_bytes).sum(),
            Attribute::Type(ty) => ty.heap_bytes(),
            Attribute::Types(types) => types.iter().map(|ty| ty.heap_bytes()).sum(),
            Attribute::Graph(graph) => graph.copy_bytes(),
            Attribute::Graphs(graphs) => graphs.iter().map(Graph::copy_bytes).sum(),
        }
    }
}

impl CopyBytes for Graph {
    fn copy_bytes(&self) -> u64 {
        let values = self.inputs.iter().chain(&self.outputs).chain(&self.values);
        let values: u64 = values.map(|v| v.copy_bytes() + v.name.len() as u64).sum();
        let tensors: u64 = self.initialisers.iter().map(|(name, t)| t.copy_bytes() + name.len() as u64).sum();
        let names =
            |list: &[Option<String>]| list.iter().map(|n| n.as_ref().map_or(0, String::len) + 24).sum::<usize>();
        let nodes: u64 = self
            .nodes
            .iter()
            .map(|node| {
                let texts = node.name.len() + node.op.len() + node.domain.len() + node.overload.len();
                let own = size_of::<Node>() + texts + names(&node.inputs) + names(&node.outputs);
                let values = node.attributes.iter();
                own as u64 + values.map(|(name, v)| ATTRIBUTE + name.len() as u64 + v.copy_bytes()).sum::<u64>()
            })
            .sum();
        (size_of::<Graph>() + self.name.len()) as u64 + values + tensors + nodes
    }
}
