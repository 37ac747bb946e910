//! An ONNX graph being written: nodes, initializers, names that are used once, and the values of symbols.

use crate::onnx::ElementType;
use crate::onnx::import::dtype;
use crate::onnx::schema::{
    AttributeProto, GraphProto, NodeProto, StringStringEntryProto, TensorProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_shape_proto, type_proto,
};
use actc_ir::{Const, Graph, TensorType, Value};
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Symbol};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Initializers of this many bytes and more are stored beside the model.
const APART: usize = 1 << 10;

/// What offsets of data beside the model are multiples of.
const ALIGNMENT: u64 = 64;

/// The domain of contributed operators.
pub(super) const MICROSOFT: &str = "com.microsoft";

/// The value of an attribute.
pub(super) enum Attr<'a> {
    Int(i64),
    Ints(Vec<i64>),
    Float(f64),
    Text(&'a str),
    Texts(Vec<&'a str>),
    Graph(Box<GraphProto>),
}

impl Attr<'_> {
    fn named(self, name: &str) -> AttributeProto {
        let mut proto = AttributeProto { name: Some(name.into()), ..Default::default() };
        let kind = match self {
            Attr::Float(f) => {
                proto.f = Some(f as f32);
                1
            }
            Attr::Int(i) => {
                proto.i = Some(i);
                2
            }
            Attr::Text(s) => {
                proto.s = Some(Bytes::copy_from_slice(s.as_bytes()));
                3
            }
            Attr::Graph(graph) => {
                proto.g = Some(graph);
                5
            }
            Attr::Ints(ints) => {
                proto.ints = ints;
                7
            }
            Attr::Texts(texts) => {
                proto.strings = texts.into_iter().map(|s| Bytes::copy_from_slice(s.as_bytes())).collect();
                8
            }
        };
        proto.r#type = Some(kind);
        proto
    }
}

/// A graph being written.
pub(super) struct Sheet<'g> {
    pub(super) graph: &'g Graph,
    pub(super) nodes: Vec<NodeProto>,
    pub(super) initializers: Vec<TensorProto>,
    /// Data that lies beside the model, with its place there.
    pub(super) apart: Vec<(u64, Bytes)>,
    /// What a reader of the file should know, each said once.
    pub(super) notes: BTreeSet<String>,
    /// What has no form, each with its place.
    pub(super) findings: Vec<Diagnostic>,
    /// Whether there is a contributed operator.
    pub(super) contributed: bool,
    /// The name of the file of data.
    location: String,
    values: BTreeMap<usize, String>,
    taken: BTreeMap<String, usize>,
    symbols: BTreeMap<Symbol, String>,
    dims: BTreeMap<String, String>,
}

impl<'g> Sheet<'g> {
    /// An empty sheet for `graph`; data beside the model is in the file `location`.
    pub(super) fn new(graph: &'g Graph, location: &str) -> Sheet<'g> {
        Sheet {
            graph,
            nodes: Vec::new(),
            initializers: Vec::new(),
            apart: Vec::new(),
            notes: BTreeSet::new(),
            findings: Vec::new(),
            contributed: false,
            location: location.into(),
            values: BTreeMap::new(),
            taken: BTreeMap::new(),
            symbols: BTreeMap::new(),
            dims: BTreeMap::new(),
        }
    }

    /// A name like `wish` that nothing has yet.
    pub(super) fn fresh(&mut self, wish: &str) -> String {
        let wish = if wish.is_empty() { "value" } else { wish };
        loop {
            let count = self.taken.entry(wish.into()).or_insert(0);
            *count += 1;
            if *count == 1 {
                return wish.into();
            }
            let name = format!("{wish}.{count}");
            if !self.taken.contains_key(&name) {
                self.taken.insert(name.clone(), 1);
                return name;
            }
        }
    }

    /// Says that `value` is called `name`.
    pub(super) fn name(&mut self, value: Value, name: String) {
        self.values.insert(value.index(), name);
    }

    /// What `value` is called; constants are written when they are first asked for.
    pub(super) fn value(&mut self, value: Value) -> Result<String> {
        if let Some(name) = self.values.get(&value.index()) {
            return Ok(name.clone());
        }
        let Some(id) = self.graph.as_const(value) else {
            return Err(Diagnostic::new("onnx-export", "a value that comes from a node which has no form in ONNX"));
        };
        let name = super::weights::whole(self, self.graph.const_data(id))?;
        self.values.insert(value.index(), name.clone());
        Ok(name)
    }

    /// Whether `value` has a name, or can have one.
    pub(super) fn is_written(&self, value: Value) -> bool {
        self.values.contains_key(&value.index()) || self.graph.as_const(value).is_some()
    }

    /// The element type that `value` has in the file.
    pub(super) fn stored(&self, value: Value) -> DType {
        let constant = self.graph.as_const(value).map(|id| super::weights::stored_type(self.graph.const_data(id)));
        constant.unwrap_or(self.graph.ty(value).dtype)
    }

    /// What `value` is called where it has the type that the graph says.
    pub(super) fn typed(&mut self, value: Value) -> Result<String> {
        let (name, from, to) = (self.value(value)?, self.stored(value), self.graph.ty(value).dtype);
        self.cast(&name, from, to)
    }

    /// What `write` gives, and the nodes that it adds, which are of a graph in this one: what they compute of symbols is not known
    /// outside of it.
    pub(super) fn inside<T>(&mut self, write: impl FnOnce(&mut Self) -> T) -> (T, Vec<NodeProto>) {
        let (symbols, dims) = (self.symbols.clone(), self.dims.clone());
        let around = std::mem::take(&mut self.nodes);
        let made = write(self);
        (self.symbols, self.dims) = (symbols, dims);
        (made, std::mem::replace(&mut self.nodes, around))
    }

    /// A node of several results, in `domain`, called after `origin`.
    pub(super) fn nodes(
        &mut self,
        (domain, op): (&str, &str),
        inputs: &[&str],
        attributes: Vec<(&str, Attr<'_>)>,
        results: usize,
        origin: &str,
    ) -> Vec<String> {
        let outputs: Vec<String> = (0..results).map(|_| self.fresh(origin)).collect();
        self.contributed |= domain == MICROSOFT;
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|i| (*i).to_owned()).collect(),
            output: outputs.clone(),
            name: Some(outputs[0].clone()),
            op_type: Some(op.into()),
            domain: (!domain.is_empty()).then(|| domain.into()),
            attribute: attributes.into_iter().map(|(name, value)| value.named(name)).collect(),
            ..Default::default()
        });
        outputs
    }

    /// A node of the standard with one result.
    pub(super) fn node(
        &mut self,
        op: &str,
        inputs: &[&str],
        attributes: Vec<(&str, Attr<'_>)>,
        origin: &str,
    ) -> String {
        self.nodes(("", op), inputs, attributes, 1, origin).swap_remove(0)
    }

    /// Gives `value` the name `name`, which is taken for it.
    pub(super) fn give(&mut self, value: &str, name: &str) {
        self.nodes.push(NodeProto {
            input: vec![value.into()],
            output: vec![name.into()],
            name: Some(name.into()),
            op_type: Some("Identity".into()),
            ..Default::default()
        });
    }

    /// An initializer of `element` and extents `dims` over `bytes`, which are as the standard stores them.
    pub(super) fn initializer(&mut self, wish: &str, element: ElementType, dims: &[u64], bytes: Bytes) -> String {
        let name = self.fresh(wish);
        let mut proto = TensorProto {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: Some(element.code()),
            name: Some(name.clone()),
            ..Default::default()
        };
        if bytes.len() < APART {
            proto.raw_data = Some(bytes);
        } else {
            let end = self.apart.last().map_or(0, |(at, b)| at + b.len() as u64);
            let at = end.next_multiple_of(ALIGNMENT);
            let entries =
                [("location", self.location.clone()), ("offset", at.to_string()), ("length", bytes.len().to_string())];
            let entry =
                |(key, value): (&str, String)| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
            proto.external_data = entries.into_iter().map(entry).collect();
            proto.data_location = Some(1);
            self.apart.push((at, bytes));
        }
        self.initializers.push(proto);
        name
    }

    /// Integers as a list.
    pub(super) fn ints(&mut self, ints: &[i64]) -> String {
        let bytes: Vec<u8> = ints.iter().flat_map(|i| i.to_le_bytes()).collect();
        self.initializer("ints", ElementType::Int64, &[ints.len() as u64], bytes.into())
    }

    /// One integer without axes.
    pub(super) fn int(&mut self, int: i64) -> String {
        self.initializer("int", ElementType::Int64, &[], Bytes::copy_from_slice(&int.to_le_bytes()))
    }

    /// A number of type `dtype` without axes.
    pub(super) fn number(&mut self, dtype: DType, number: f64) -> Result<String> {
        let bytes = actc_types::TensorData::from_f64(dtype, &[number]).to_le_bytes();
        let element = element(dtype)?;
        Ok(self.initializer("number", element, &[], bytes.into()))
    }

    /// `name` as elements of `to`.
    pub(super) fn cast(&mut self, name: &str, from: DType, to: DType) -> Result<String> {
        if from == to {
            return Ok(name.into());
        }
        let code = i64::from(element(to)?.code());
        Ok(self.node("Cast", &[name], vec![("to", Attr::Int(code))], name))
    }

    /// A constant that is stored densely.
    pub(super) fn dense(&mut self, constant: &Const) -> Result<String> {
        let element = element(constant.ty.dtype)?;
        let stored = constant.parts[0].1.clone();
        let bits = constant.ty.dtype.bits();
        let bytes = if bits < 8 && constant.ty.dtype.size() == 1 && constant.ty.dtype != DType::Bool {
            super::weights::few_bits(&stored, bits as usize).into()
        } else {
            stored
        };
        Ok(self.initializer(&constant.name, element, &constant.fixed_dims()?, bytes))
    }

    /// Says that `symbol` is the integer `name`, a list of one.
    pub(super) fn bind(&mut self, symbol: Symbol, name: String) {
        self.symbols.entry(symbol).or_insert(name);
    }

    /// Binds the symbols that the extents of `value` give: those that stand beside no other unknown one.
    pub(super) fn bind_extents(&mut self, value: Value, name: &str) {
        let dims = self.graph.ty(value).shape.dims().to_vec();
        for (axis, dim) in dims.iter().enumerate() {
            let unknown: Vec<Symbol> =
                dim.symbols().into_iter().filter(|s| !self.symbols.contains_key(s)).cloned().collect();
            let [symbol] = &unknown[..] else { continue };
            let (Some(alone), Some(rest)) = (Some(Dim::sym(symbol.as_str())), dim.substitute(symbol, &Dim::default()))
            else {
                continue;
            };
            // An extent `symbol + rest`: other factors would need a division that may leave a rest.
            if rest.checked_add(&alone).as_ref() != Some(dim) {
                continue;
            }
            let (from, to) = (axis as i64, axis as i64 + 1);
            let mut extent =
                self.node("Shape", &[name], vec![("start", Attr::Int(from)), ("end", Attr::Int(to))], symbol.as_str());
            if rest != Dim::default() {
                let Ok(rest) = self.dim(&rest) else { continue };
                extent = self.node("Sub", &[&extent, &rest], vec![], symbol.as_str());
            }
            self.bind(symbol.clone(), extent);
        }
    }

    /// The value of `dim`, a list of one integer.
    pub(super) fn dim(&mut self, dim: &Dim) -> Result<String> {
        let text = dim.to_string();
        if let Some(name) = self.dims.get(&text) {
            return Ok(name.clone());
        }
        let mut sum: Option<String> = None;
        for (factor, symbols) in dim.terms() {
            let mut product = (factor != 1 || symbols.is_empty()).then(|| self.ints(&[factor]));
            for symbol in symbols {
                let name = self.symbols.get(symbol).cloned().ok_or_else(|| {
                    Diagnostic::new(
                        "onnx-export",
                        format!("no extent or integer of the graph tells what `{symbol}` is"),
                    )
                })?;
                product = Some(match product {
                    None => name,
                    Some(p) => self.node("Mul", &[&p, &name], vec![], "extent"),
                });
            }
            let Some(product) = product else { continue };
            sum = Some(match sum {
                None => product,
                Some(s) => self.node("Add", &[&s, &product], vec![], "extent"),
            });
        }
        let name = sum.unwrap_or_else(|| self.ints(&[0]));
        self.dims.insert(text, name.clone());
        Ok(name)
    }

    /// The value of `dim` without axes.
    pub(super) fn scalar(&mut self, dim: &Dim) -> Result<String> {
        if let Some(n) = dim.fixed() {
            return Ok(self.int(n as i64));
        }
        let (list, axes) = (self.dim(dim)?, self.ints(&[0]));
        Ok(self.node("Squeeze", &[&list, &axes], vec![], "extent"))
    }

    /// Extents as a list of integers.
    pub(super) fn shape(&mut self, dims: &[Dim]) -> Result<String> {
        let fixed: Option<Vec<i64>> = dims.iter().map(|d| d.fixed().map(|n| n as i64)).collect();
        if let Some(fixed) = fixed {
            return Ok(self.ints(&fixed));
        }
        let parts: Vec<String> = dims.iter().map(|d| self.dim(d)).collect::<Result<_>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.node("Concat", &parts, vec![("axis", Attr::Int(0))], "shape"))
    }
}

/// The standard's type of elements of `dtype`.
pub(super) fn element(wanted: DType) -> Result<ElementType> {
    ElementType::ALL
        .iter()
        .copied()
        .find(|e| dtype(*e).is_ok_and(|d| d == wanted))
        .ok_or_else(|| Diagnostic::new("onnx-export", format!("the standard has no elements of {wanted}")))
}

/// The declaration of an input or an output.
pub(super) fn declared(name: &str, ty: &TensorType) -> Result<ValueInfoProto> {
    let value = type_proto::Value::TensorType(type_proto::Tensor {
        elem_type: Some(element(ty.dtype)?.code()),
        shape: Some(extents(&ty.shape)),
    });
    let r#type = Some(Box::new(TypeProto { denotation: None, value: Some(value) }));
    Ok(ValueInfoProto { name: Some(name.into()), r#type })
}

fn extents(shape: &Shape) -> TensorShapeProto {
    use tensor_shape_proto::{Dimension, dimension};
    let value = |d: &Dim| match d.fixed() {
        Some(n) => dimension::Value::DimValue(n as i64),
        None => dimension::Value::DimParam(d.to_string()),
    };
    let dim = shape.dims().iter().map(|d| Dimension { denotation: None, value: Some(value(d)) }).collect();
    TensorShapeProto { dim }
}
