//! Functions that a model brings along, put into the graph in the place of their calls.
//!
//! Names of values in a body become new ones, `inlined<number>/<name>`, that no other value of the model has; inputs and
//! outputs become those of the call. Attributes that refer to the call take its value, else the function's default, else
//! they are left out. Functions that call themselves are refused, as is a model that grows beyond [`MAX_NODES`] or beyond
//! what decoding it may take, or whose calls and graphs nest deeper than [`MAX_NESTING`].

use super::attributes::{Attribute, Attributes};
use super::graph::{Graph, Node};
use super::opsets;
use super::read::{FunctionKey, Reader, Scope};
use super::rename::Body;
use super::scan;
use super::schema::FunctionProto;
use actc_types::{Diagnostic, Place, Result};
use std::collections::{BTreeMap, BTreeSet};

/// Most nodes of a model once its functions are inlined.
const MAX_NODES: u64 = 1_000_000;
/// Deepest nesting of calls and graphs in each other.
pub(super) const MAX_NESTING: usize = 64;
/// Bytes that names and nodes may take beyond what decoding the model may, once functions are inlined.
const ROOM: u64 = 192 << 20;

/// A function, read.
pub(super) struct Function {
    /// What messages call it.
    pub(super) shown: String,
    pub(super) inputs: Vec<String>,
    pub(super) outputs: Vec<String>,
    /// Attributes without a default.
    pub(super) plain: BTreeSet<String>,
    /// Attributes with theirs.
    pub(super) defaults: Attributes,
    pub(super) nodes: Vec<Node>,
    /// The version of the standard's operators in it.
    pub(super) standard: u64,
}

/// The functions of a model.
pub(super) struct Functions(BTreeMap<FunctionKey, Function>);

/// Domain, name and overload of `proto`.
pub(super) fn key(proto: &FunctionProto) -> FunctionKey {
    (opsets::domain(proto.domain.clone()), proto.name().to_owned(), proto.overload().to_owned())
}

fn show(key: &FunctionKey) -> String {
    let (domain, name, overload) = key;
    let mark = if overload.is_empty() { "" } else { ":" };
    if domain.is_empty() { format!("`{name}{mark}{overload}`") } else { format!("`{domain}.{name}{mark}{overload}`") }
}

impl Functions {
    /// Reads the functions; `reader` knows their keys already.
    pub(super) fn read(protos: Vec<FunctionProto>, reader: &mut Reader) -> Result<Functions> {
        let mut functions = BTreeMap::new();
        for proto in protos {
            let key = key(&proto);
            let shown = format!("the function {}", show(&key));
            let wrong = |what: &str| Diagnostic::new("onnx-function", format!("{shown} {what}"));
            let imports = opsets::read(proto.opset_import)?;
            let scope = Scope { opsets: &imports, in_function: true };
            let defaults = reader.attributes(proto.attribute_proto, &shown, Scope { in_function: false, ..scope })?;
            let nodes = reader.nodes(proto.node, scope)?;
            let inputs: BTreeSet<&String> = proto.input.iter().collect();
            if inputs.len() != proto.input.len() || proto.input.iter().chain(&proto.output).any(String::is_empty) {
                return Err(wrong("has an input twice, or an input or output without a name"));
            }
            let standard = imports.get("").copied().unwrap_or(1);
            let plain = proto.attribute.into_iter().collect();
            let (inputs, outputs) = (proto.input, proto.output);
            let function = Function { shown: shown.clone(), inputs, outputs, plain, defaults, nodes, standard };
            if functions.insert(key, function).is_some() {
                return Err(wrong("is there twice"));
            }
        }
        let functions = Functions(functions);
        functions.refuse_cycles()?;
        Ok(functions)
    }

    /// The function that `node` calls.
    fn called(&self, node: &Node) -> Option<(&FunctionKey, &Function)> {
        self.0.get_key_value(&(node.domain.clone(), node.op.clone(), node.overload.clone()))
    }

    /// Functions that `nodes` call, those in graphs of their attributes included.
    fn calls<'f>(&'f self, nodes: &[Node], out: &mut BTreeSet<&'f FunctionKey>) {
        for node in nodes {
            out.extend(self.called(node).map(|(key, _)| key));
            node.attributes.graphs().for_each(|graph| self.calls(&graph.nodes, out));
        }
    }

    /// Takes away functions that call no other one that is left, until none is left.
    fn refuse_cycles(&self) -> Result<()> {
        let mut waiting: BTreeMap<&FunctionKey, usize> = BTreeMap::new();
        let mut callers: BTreeMap<&FunctionKey, Vec<&FunctionKey>> = BTreeMap::new();
        let mut done: Vec<&FunctionKey> = Vec::new();
        for (key, function) in &self.0 {
            let mut calls = BTreeSet::new();
            self.calls(&function.nodes, &mut calls);
            function.defaults.graphs().for_each(|graph| self.calls(&graph.nodes, &mut calls));
            if calls.is_empty() {
                done.push(key);
            } else {
                waiting.insert(key, calls.len());
            }
            calls.into_iter().for_each(|called| callers.entry(called).or_default().push(key));
        }
        while let Some(key) = done.pop() {
            for caller in callers.remove(key).unwrap_or_default() {
                if let Some(left) = waiting.get_mut(caller) {
                    *left -= 1;
                    if *left == 0 {
                        waiting.remove(caller);
                        done.push(caller);
                    }
                }
            }
        }
        match waiting.keys().next() {
            None => Ok(()),
            Some(_) => {
                let names: Vec<String> = waiting.keys().take(4).map(|key| show(key)).collect();
                let headline = format!("functions call themselves, directly or by way of others: {}", names.join(", "));
                Err(Diagnostic::new("onnx-function-cycle", headline))
            }
        }
    }

    /// Puts bodies in the place of all calls in `graph`, for a file of `length` bytes.
    pub(super) fn inline(&self, graph: &mut Graph, length: usize) -> Result<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        let room = scan::limit(length).saturating_add(ROOM);
        let mut inliner = Inliner { functions: self, mark: free_mark(graph), calls: 0, nodes: 0, bytes: 0, room };
        inliner.graph(graph, 0)
    }
}

/// A beginning that no name in `graph` has.
fn free_mark(graph: &Graph) -> String {
    let mut mark = "inlined".to_owned();
    while begins(graph, &mark) {
        mark.push('_');
    }
    mark
}

fn begins(graph: &Graph, mark: &str) -> bool {
    let stated = graph.inputs.iter().chain(&graph.outputs).map(|v| &v.name);
    let named = stated.chain(graph.initialisers.iter().map(|(name, _)| name)).any(|name| name.starts_with(mark));
    named
        || graph.nodes.iter().any(|node| {
            node.inputs.iter().chain(&node.outputs).flatten().any(|name| name.starts_with(mark))
                || node.attributes.graphs().any(|graph| begins(graph, mark))
        })
}

/// The error for more than [`MAX_NESTING`].
pub(super) fn too_deep() -> Diagnostic {
    Diagnostic::new("onnx-depth", format!("calls of functions and graphs nest deeper than {MAX_NESTING}"))
}

struct Inliner<'f> {
    functions: &'f Functions,
    mark: String,
    /// Calls so far.
    calls: u64,
    /// Nodes so far, those of the model and those put in.
    nodes: u64,
    /// Bytes of what was put in.
    bytes: u64,
    room: u64,
}

impl Inliner<'_> {
    fn graph(&mut self, graph: &mut Graph, depth: usize) -> Result<()> {
        let nodes = std::mem::take(&mut graph.nodes);
        graph.nodes = Vec::with_capacity(nodes.len());
        self.nodes(nodes, &mut graph.nodes, depth)
    }

    fn nodes(&mut self, nodes: Vec<Node>, out: &mut Vec<Node>, depth: usize) -> Result<()> {
        if depth > MAX_NESTING {
            return Err(too_deep());
        }
        for (index, mut node) in nodes.into_iter().enumerate() {
            self.nodes += 1;
            if self.nodes > MAX_NODES {
                let headline = format!("with its functions inlined the model has more than {MAX_NODES} nodes");
                return Err(Diagnostic::new("onnx-bloat", headline));
            }
            let Some((_, function)) = self.functions.called(&node) else {
                for graph in node.attributes.parts_mut().flat_map(Attribute::graphs_mut) {
                    self.graph(graph, depth + 1)?;
                }
                out.push(node);
                continue;
            };
            let body = self.body(function, &node, index)?;
            self.nodes(body, out, depth + 1)?;
        }
        Ok(())
    }

    /// The nodes of one call, with names and attributes of the call.
    fn body(&mut self, function: &Function, call: &Node, index: usize) -> Result<Vec<Node>> {
        let shown = call.label(index);
        let wrong = |headline: String| Diagnostic::new("onnx-function", headline).at(Place::Node(shown.clone()));
        let many = |list: &[Option<String>]| list.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        let (given, wanted) = (many(&call.inputs), many(&call.outputs));
        if given > function.inputs.len() || wanted > function.outputs.len() {
            let (inputs, outputs) = (function.inputs.len(), function.outputs.len());
            return Err(wrong(format!(
                "{shown} gives {given} inputs and wants {wanted} outputs, {} has {inputs} and {outputs}",
                function.shown
            )));
        }
        let unknown = |name: &&str| !function.plain.contains(*name) && function.defaults.get(name).is_none();
        if let Some(name) = call.attributes.names().find(unknown) {
            return Err(wrong(format!("{shown} has the attribute `{name}`, {} has none of this name", function.shown)));
        }
        self.calls += 1;
        let prefix = format!("{}{}/", self.mark, self.calls);
        let mut body = Body::new(function, call, prefix, self.room.saturating_sub(self.bytes));
        let nodes =
            body.nodes().map_err(|e| if e.place == Place::Request { e.at(Place::Node(shown.clone())) } else { e });
        self.bytes = self.bytes.saturating_add(body.spent());
        nodes
    }
}
