//! Messages become typed structures: graphs, nodes and attributes.
//!
//! Recursion over graphs in attributes is bounded by the depth of messages, which is checked before they are decoded.

use super::attributes::{Attribute, AttributeKind, Attributes, Reference};
use super::external::External;
use super::graph::{Graph, Node, label};
use super::opsets;
use super::schema::{AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, TypeProto};
use super::sparse::densify;
use super::tensor::Tensor;
use super::value::{ValueInfo, ValueType};
use actc_types::{Diagnostic, Place, Result};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Domain, name and overload of a function.
pub(super) type FunctionKey = (String, String, String);

/// What reading a graph needs to know and to count.
pub(super) struct Reader {
    /// Files beside the model.
    pub(super) external: External,
    /// Bytes that sparse tensors may still take when made dense.
    pub(super) budget: u64,
    /// The functions of the model.
    pub(super) functions: BTreeSet<FunctionKey>,
}

/// Where a graph stands.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    /// Versions of operators by domain.
    pub(super) opsets: &'a BTreeMap<String, u64>,
    /// Whether attributes may take their value from the call of a function.
    pub(super) in_function: bool,
}

impl Reader {
    pub(super) fn graph(&mut self, proto: GraphProto, scope: Scope<'_>) -> Result<Graph> {
        let name = proto.name.unwrap_or_default();
        let unnamed = |what: &str| {
            let headline = format!("{what} of the graph `{name}` has no name");
            Diagnostic::new("onnx-graph", headline)
        };
        let mut initialisers = Vec::with_capacity(proto.initializer.len() + proto.sparse_initializer.len());
        for tensor in proto.initializer {
            let mut tensor = Tensor::read(tensor, "an initialiser without a name", &mut self.external)?;
            initialisers.push((std::mem::take(&mut tensor.name), tensor));
        }
        for sparse in proto.sparse_initializer {
            let context = "a sparse initialiser without a name";
            let mut tensor = densify(sparse, context, &mut self.external, &mut self.budget)?;
            initialisers.push((std::mem::take(&mut tensor.name), tensor));
        }
        if initialisers.iter().any(|(name, _)| name.is_empty()) {
            return Err(unnamed("an initialiser"));
        }
        let mut inputs: Vec<ValueInfo> = proto.input.into_iter().map(ValueInfo::read).collect::<Result<_>>()?;
        let outputs: Vec<ValueInfo> = proto.output.into_iter().map(ValueInfo::read).collect::<Result<_>>()?;
        if inputs.iter().any(|v| v.name.is_empty()) {
            return Err(unnamed("an input"));
        }
        if outputs.iter().any(|v| v.name.is_empty()) {
            return Err(unnamed("an output"));
        }
        if !initialisers.is_empty() {
            let given: HashSet<&str> = initialisers.iter().map(|(name, _)| name.as_str()).collect();
            inputs.retain(|input| !given.contains(input.name.as_str()));
        }
        let mut values: Vec<ValueInfo> = proto.value_info.into_iter().map(ValueInfo::read).collect::<Result<_>>()?;
        values.retain(|v| !v.name.is_empty());
        let nodes = self.nodes(proto.node, scope)?;
        Ok(Graph { name, nodes, inputs, outputs, initialisers, values })
    }

    pub(super) fn nodes(&mut self, protos: Vec<NodeProto>, scope: Scope<'_>) -> Result<Vec<Node>> {
        protos.into_iter().enumerate().map(|(index, proto)| self.node(proto, index, scope)).collect()
    }

    fn node(&mut self, proto: NodeProto, index: usize, scope: Scope<'_>) -> Result<Node> {
        let name = proto.name.unwrap_or_default();
        let op = proto.op_type.unwrap_or_default();
        let domain = opsets::domain(proto.domain);
        let overload = proto.overload.unwrap_or_default();
        let shown = label(&name, &domain, &op, index);
        let place = || Place::Node(shown.clone());
        if op.is_empty() {
            return Err(Diagnostic::new("onnx-graph", format!("{shown} has no operator")).at(place()));
        }
        let opset = match scope.opsets.get(&domain) {
            Some(version) => *version,
            // The call of a function gives way to its body, whose nodes have versions of their own.
            None if self.functions.contains(&(domain.clone(), op.clone(), overload.clone())) => 0,
            None => {
                let whose = if domain.is_empty() { "the standard".to_owned() } else { format!("`{domain}`") };
                let headline = format!("{shown} uses an operator of {whose}, for which no version is imported");
                return Err(Diagnostic::new("onnx-opset", headline).at(place()));
            }
        };
        let attributes = self.attributes(proto.attribute, &shown, scope)?;
        let optional = |names: Vec<String>| names.into_iter().map(|n| (!n.is_empty()).then_some(n)).collect();
        let (inputs, outputs) = (optional(proto.input), optional(proto.output));
        Ok(Node { name, op, domain, opset, inputs, outputs, attributes, overload })
    }

    /// The attributes of the node that messages call `owner`.
    pub(super) fn attributes(
        &mut self,
        protos: Vec<AttributeProto>,
        owner: &str,
        scope: Scope<'_>,
    ) -> Result<Attributes> {
        let (mut list, mut references) = (Vec::new(), Vec::new());
        for mut proto in protos {
            let name = proto.name.take().unwrap_or_default();
            let wrong =
                |headline: String| Diagnostic::new("onnx-attribute", headline).at(Place::Node(owner.to_owned()));
            if name.is_empty() {
                return Err(wrong(format!("an attribute of {owner} has no name")));
            }
            let shown = format!("the attribute `{name}` of {owner}");
            let held = held(&proto);
            if let Some(of) = proto.ref_attr_name.take().filter(|of| !of.is_empty()) {
                if !scope.in_function {
                    return Err(wrong(format!("{shown} refers to `{of}` of a function, and is in none")));
                }
                let kind = AttributeKind::from_code(proto.r#type.unwrap_or(0));
                let (Some(kind), []) = (kind, &held[..]) else {
                    return Err(wrong(format!("{shown} refers to `{of}` without a type, or has a value too")));
                };
                references.push(Reference { name, of, kind });
                continue;
            }
            let kind = kind(&proto, &held).map_err(|why| wrong(format!("{shown} {why}")))?;
            let value = self.value(proto, kind, &shown, scope)?;
            let value = value.ok_or_else(|| wrong(format!("{shown} has the type {} and no value", kind.name())))?;
            list.push((name, value));
        }
        list.shrink_to_fit();
        Attributes::new(owner, list, references)
    }

    /// `None` where there is no value, and none can be meant.
    fn value(
        &mut self,
        proto: AttributeProto,
        kind: AttributeKind,
        shown: &str,
        scope: Scope<'_>,
    ) -> Result<Option<Attribute>> {
        Ok(match kind {
            // Some writers leave zeros and empty texts out.
            AttributeKind::Float => Some(Attribute::Float(proto.f.unwrap_or(0.0))),
            AttributeKind::Int => Some(Attribute::Int(proto.i.unwrap_or(0))),
            AttributeKind::Text => Some(Attribute::Text(proto.s.unwrap_or_default())),
            AttributeKind::Floats => Some(Attribute::Floats(proto.floats.into())),
            AttributeKind::Ints => Some(Attribute::Ints(proto.ints.into())),
            AttributeKind::Texts => Some(Attribute::Texts(proto.strings.into())),
            AttributeKind::Tensor => proto.t.map(|t| self.tensor(*t, shown)).transpose()?.map(Attribute::Tensor),
            AttributeKind::Sparse => {
                proto.sparse_tensor.map(|t| self.sparse(*t, shown)).transpose()?.map(Attribute::Sparse)
            }
            AttributeKind::Graph => {
                proto.g.map(|g| self.graph(*g, scope)).transpose()?.map(|g| Attribute::Graph(Box::new(g)))
            }
            AttributeKind::Type => match proto.tp {
                Some(ty) => ValueType::read(*ty, shown)?.map(Attribute::Type),
                None => None,
            },
            AttributeKind::Tensors => {
                let tensors = proto.tensors.into_iter().map(|t| self.tensor(t, shown));
                Some(Attribute::Tensors(tensors.collect::<Result<_>>()?))
            }
            AttributeKind::Sparses => {
                let tensors = proto.sparse_tensors.into_iter().map(|t| self.sparse(t, shown));
                Some(Attribute::Sparses(tensors.collect::<Result<_>>()?))
            }
            AttributeKind::Graphs => {
                let graphs = proto.graphs.into_iter().map(|g| self.graph(g, scope));
                Some(Attribute::Graphs(graphs.collect::<Result<_>>()?))
            }
            AttributeKind::Types => {
                let read = |ty: TypeProto| ValueType::read(ty, shown);
                let types: Option<Vec<ValueType>> =
                    proto.type_protos.into_iter().map(read).collect::<Result<Vec<_>>>()?.into_iter().collect();
                types.map(Attribute::Types)
            }
        })
    }

    fn tensor(&mut self, proto: TensorProto, shown: &str) -> Result<Tensor> {
        Tensor::read(proto, shown, &mut self.external)
    }

    fn sparse(&mut self, proto: SparseTensorProto, shown: &str) -> Result<Tensor> {
        densify(proto, shown, &mut self.external, &mut self.budget)
    }
}

/// The types of the values that an attribute holds; empty lists are not to be told from none.
fn held(proto: &AttributeProto) -> Vec<AttributeKind> {
    [
        (AttributeKind::Float, proto.f.is_some()),
        (AttributeKind::Int, proto.i.is_some()),
        (AttributeKind::Text, proto.s.is_some()),
        (AttributeKind::Tensor, proto.t.is_some()),
        (AttributeKind::Graph, proto.g.is_some()),
        (AttributeKind::Sparse, proto.sparse_tensor.is_some()),
        (AttributeKind::Type, proto.tp.is_some()),
        (AttributeKind::Floats, !proto.floats.is_empty()),
        (AttributeKind::Ints, !proto.ints.is_empty()),
        (AttributeKind::Texts, !proto.strings.is_empty()),
        (AttributeKind::Tensors, !proto.tensors.is_empty()),
        (AttributeKind::Graphs, !proto.graphs.is_empty()),
        (AttributeKind::Sparses, !proto.sparse_tensors.is_empty()),
        (AttributeKind::Types, !proto.type_protos.is_empty()),
    ]
    .into_iter()
    .filter_map(|(kind, held)| held.then_some(kind))
    .collect()
}

/// The type that the attribute states, or that of its only value where it states none.
fn kind(proto: &AttributeProto, held: &[AttributeKind]) -> Result<AttributeKind, String> {
    let stated = proto.r#type.unwrap_or(0);
    let kind = match (stated, held) {
        (0, [only]) => *only,
        (0, _) => return Err(format!("states no type and has {} values", held.len())),
        (code, _) => AttributeKind::from_code(code).ok_or_else(|| format!("has the unknown type {code}"))?,
    };
    match held.iter().find(|other| **other != kind) {
        Some(other) => Err(format!("has the type {} and a value of type {}", kind.name(), other.name())),
        None => Ok(kind),
    }
}
