//! Graphs and nodes as the rest of the front end sees them: typed, checked, and free of functions.

use super::attributes::Attributes;
use super::tensor::Tensor;
use super::value::ValueInfo;

/// A graph: the model's own, or one in an attribute of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// The name.
    pub name: String,
    /// The nodes; each comes after the ones whose outputs it uses.
    pub nodes: Vec<Node>,
    /// What is given to the graph; without the inputs that an initialiser gives already.
    pub inputs: Vec<ValueInfo>,
    /// What the graph gives.
    pub outputs: Vec<ValueInfo>,
    /// Constants by name; sparse ones are made dense.
    pub initialisers: Vec<(String, Tensor)>,
    /// What the file says about values in between.
    pub values: Vec<ValueInfo>,
}

/// An operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    /// The name; may be empty, and need not be unique.
    pub name: String,
    /// The operator.
    pub op: String,
    /// The domain of the operator; empty for the standard's own, which files also call `ai.onnx`.
    pub domain: String,
    /// The version of the operator set of this domain that the node is written for.
    pub opset: u64,
    /// Names of inputs; `None` for one that is left out.
    pub inputs: Vec<Option<String>>,
    /// Names of outputs; `None` for one that is not wanted.
    pub outputs: Vec<Option<String>>,
    /// The attributes.
    pub attributes: Attributes,
    /// Which of several functions of one name is meant; of no use once functions are inlined.
    pub(super) overload: String,
}

impl Graph {
    /// How deep graphs lie in each other, this one included.
    pub(super) fn nesting(&self) -> usize {
        let inner = self.nodes.iter().flat_map(|node| node.attributes.graphs());
        1 + inner.map(Graph::nesting).max().unwrap_or(0)
    }
}

impl Node {
    /// What messages call the node that is number `index` of its graph.
    pub fn label(&self, index: usize) -> String {
        label(&self.name, &self.domain, &self.op, index)
    }
}

/// Most characters of a name that a message shows: a name may be as long as a file, and is told for every attribute.
const SHOWN: usize = 120;

/// What messages call a node.
pub(super) fn label(name: &str, domain: &str, op: &str, index: usize) -> String {
    let short = |text: &str| match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let op = if domain.is_empty() { short(op) } else { format!("{}.{}", short(domain), short(op)) };
    if name.is_empty() { format!("node {index} ({op})") } else { format!("`{}` ({op}, node {index})", short(name)) }
}
