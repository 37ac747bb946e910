//! Attributes of nodes: typed values, and getters that refuse a value of another type.

use super::graph::Graph;
use super::tensor::Tensor;
use super::value::ValueType;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::sync::Arc;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident($payload:ty) $code:literal $name:literal;)*) => {
        /// The value of an attribute.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Attribute { $($(#[$doc])* $variant($payload)),* }

        /// The type of an attribute.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum AttributeKind { $($(#[$doc])* $variant),* }

        impl Attribute {
            /// Its type.
            pub fn kind(&self) -> AttributeKind {
                match self { $(Attribute::$variant(_) => AttributeKind::$variant),* }
            }
        }

        impl AttributeKind {
            /// The type with this number in the standard.
            pub fn from_code(code: i32) -> Option<AttributeKind> {
                match code { $($code => Some(AttributeKind::$variant),)* _ => None }
            }

            /// Its number in the standard.
            pub fn code(self) -> i32 { match self { $(AttributeKind::$variant => $code),* } }

            /// Its name, as messages show it.
            pub fn name(self) -> &'static str { match self { $(AttributeKind::$variant => $name),* } }
        }
    };
}

kinds! {
    /// A number of single precision.
    Float(f32) 1 "float";
    /// An integer.
    Int(i64) 2 "int";
    /// A text; any bytes.
    Text(Bytes) 3 "string";
    /// A tensor.
    Tensor(Tensor) 4 "tensor";
    /// A graph that sees the values around its node.
    Graph(Box<Graph>) 5 "graph";
    /// Numbers of single precision.
    Floats(Arc<[f32]>) 6 "floats";
    /// Integers.
    Ints(Arc<[i64]>) 7 "ints";
    /// Texts; any bytes.
    Texts(Arc<[Bytes]>) 8 "strings";
    /// Tensors.
    Tensors(Vec<Tensor>) 9 "tensors";
    /// Graphs.
    Graphs(Vec<Graph>) 10 "graphs";
    /// A sparse tensor, made dense.
    Sparse(Tensor) 11 "sparse_tensor";
    /// Sparse tensors, made dense.
    Sparses(Vec<Tensor>) 12 "sparse_tensors";
    /// A type.
    Type(ValueType) 13 "type_proto";
    /// Types.
    Types(Vec<ValueType>) 14 "type_protos";
}

/// The attributes of one node, by name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attributes {
    /// What messages call the node.
    owner: Arc<str>,
    /// Sorted by name.
    list: Vec<(String, Attribute)>,
    /// Attributes that take their value from the call of the function that the node is in; none once it is inlined.
    pub(super) references: Vec<Reference>,
}

/// An attribute of a node in a function whose value is that of an attribute of the call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reference {
    pub(super) name: String,
    pub(super) of: String,
    pub(super) kind: AttributeKind,
}

impl Attributes {
    /// The attributes `list` of the node that messages call `owner`; no name may be there twice.
    pub(super) fn new(
        owner: &str,
        mut list: Vec<(String, Attribute)>,
        references: Vec<Reference>,
    ) -> Result<Attributes> {
        list.sort_by(|a, b| a.0.cmp(&b.0));
        let mut names: Vec<&str> = list.iter().map(|(n, _)| &**n).chain(references.iter().map(|r| &*r.name)).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            let headline = format!("{owner} has the attribute `{}` twice", pair[0]);
            return Err(Diagnostic::new("onnx-attribute", headline).at(Place::Node(owner.to_owned())));
        }
        let owner = if list.is_empty() && references.is_empty() { Arc::default() } else { owner.into() };
        Ok(Attributes { owner, list, references })
    }

    /// The value of `name`, of whatever type.
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        let index = self.list.binary_search_by(|(n, _)| n.as_str().cmp(name)).ok()?;
        self.list.get(index).map(|(_, value)| value)
    }

    /// All names, ascending.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|(name, _)| name.as_str())
    }

    /// All names with their values, ascending by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.list.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of attributes.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The value of `name` as `pick` takes it out; an error where it has another type than `wanted`.
    fn typed<'a, T>(
        &'a self,
        name: &str,
        wanted: AttributeKind,
        pick: impl FnOnce(&'a Attribute) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        match pick(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.wrong_type(name, value.kind(), wanted)),
        }
    }

    pub(super) fn wrong_type(&self, name: &str, found: AttributeKind, wanted: AttributeKind) -> Diagnostic {
        let (owner, found, wanted) = (&self.owner, found.name(), wanted.name());
        let headline = format!("the attribute `{name}` of {owner} has the type {found}, it must have {wanted}");
        Diagnostic::new("onnx-attribute", headline).at(Place::Node(owner.to_string()))
    }

    fn utf8<'a>(&self, name: &str, bytes: &'a Bytes) -> Result<&'a str> {
        std::str::from_utf8(bytes).map_err(|_| {
            let headline = format!("the attribute `{name}` of {} is no UTF-8", self.owner);
            Diagnostic::new("onnx-attribute", headline).at(Place::Node(self.owner.to_string()))
        })
    }

    pub(super) fn parts_mut(&mut self) -> impl Iterator<Item = &mut Attribute> {
        self.list.iter_mut().map(|(_, value)| value)
    }

    /// Adds values under names that are not there yet.
    pub(super) fn extend(&mut self, values: Vec<(String, Attribute)>) {
        self.list.extend(values);
        self.list.sort_by(|a, b| a.0.cmp(&b.0));
    }

    /// The same node's, with no values and no references yet.
    pub(super) fn without_values(&self) -> Attributes {
        Attributes { owner: self.owner.clone(), list: Vec::with_capacity(self.list.len()), references: Vec::new() }
    }

    /// Adds a value whose name comes after all others.
    pub(super) fn push_last(&mut self, name: &str, value: Attribute) {
        self.list.push((name.to_owned(), value));
    }

    /// All graphs among the values.
    pub fn graphs(&self) -> impl Iterator<Item = &Graph> {
        self.list.iter().flat_map(|(_, value)| value.graphs())
    }
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident -> $result:ty, $kind:ident: $pattern:pat => $value:expr;)*) => {
        impl Attributes {
            $($(#[$doc])* pub fn $name(&self, name: &str) -> Result<Option<$result>> {
                self.typed(name, AttributeKind::$kind, |a| match a { $pattern => Some($value), _ => None })
            })*
        }
    };
}

getters! {
    /// The integer `name`.
    int -> i64, Int: Attribute::Int(n) => *n;
    /// The number `name`.
    float -> f32, Float: Attribute::Float(n) => *n;
    /// The bytes of the text `name`.
    bytes -> &Bytes, Text: Attribute::Text(b) => b;
    /// The integers `name`.
    ints -> &[i64], Ints: Attribute::Ints(n) => &**n;
    /// The numbers `name`.
    floats -> &[f32], Floats: Attribute::Floats(n) => &**n;
    /// The tensor `name`, which may have been sparse.
    tensor -> &Tensor, Tensor: Attribute::Tensor(t) | Attribute::Sparse(t) => t;
    /// The graph `name`.
    graph -> &Graph, Graph: Attribute::Graph(g) => &**g;
    /// The type `name`.
    value_type -> &ValueType, Type: Attribute::Type(t) => t;
}

impl Attributes {
    /// The text `name`; an error where it is no UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        self.bytes(name)?.map(|bytes| self.utf8(name, bytes)).transpose()
    }

    /// The texts `name`; an error where one is no UTF-8.
    pub fn texts(&self, name: &str) -> Result<Option<Vec<&str>>> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "one type is wanted, every other is the error")]
        let found = self.typed(name, AttributeKind::Texts, |a| match a {
            Attribute::Texts(texts) => Some(texts),
            _ => None,
        })?;
        found.map(|texts| texts.iter().map(|bytes| self.utf8(name, bytes)).collect()).transpose()
    }
}

impl Attribute {
    /// The graphs in this value.
    pub fn graphs(&self) -> &[Graph] {
        match self {
            Attribute::Graph(graph) => std::slice::from_ref(&**graph),
            Attribute::Graphs(graphs) => graphs,
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
            | Attribute::Types(_) => &[],
        }
    }

    /// The same, to change.
    pub(super) fn graphs_mut(&mut self) -> &mut [Graph] {
        match self {
            Attribute::Graph(graph) => std::slice::from_mut(&mut **graph),
            Attribute::Graphs(graphs) => graphs,
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
            | Attribute::Types(_) => &mut [],
        }
    }
}
