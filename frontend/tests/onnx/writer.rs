//! Writers of ONNX messages, for models that are right and for models that are not.

use actc_frontend::onnx::schema::*;
use actc_frontend::onnx::{AttributeKind, ElementType, Model};
use actc_types::Result;
use bytes::Bytes;
use prost::Message;

/// A node without a name; an empty name among inputs and outputs is one that is left out.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(op.into()),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        ..NodeProto::default()
    }
}

/// The node with these attributes.
pub(crate) fn with(mut node: NodeProto, attributes: Vec<AttributeProto>) -> NodeProto {
    node.attribute = attributes;
    node
}

/// The node in this domain.
pub(crate) fn of(domain: &str, mut node: NodeProto) -> NodeProto {
    node.domain = Some(domain.into());
    node
}

/// An attribute of this type without a value.
pub(crate) fn attribute(name: &str, kind: AttributeKind) -> AttributeProto {
    AttributeProto { name: Some(name.into()), r#type: Some(kind.code()), ..AttributeProto::default() }
}

pub(crate) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeKind::Int) }
}

pub(crate) fn subgraph(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto { g: Some(Box::new(graph)), ..attribute(name, AttributeKind::Graph) }
}

/// An attribute that takes its value from `of` of the call.
pub(crate) fn reference(name: &str, of: &str, kind: AttributeKind) -> AttributeProto {
    AttributeProto { ref_attr_name: Some(of.into()), ..attribute(name, kind) }
}

/// A value without a type.
pub(crate) fn value(name: &str) -> ValueInfoProto {
    ValueInfoProto { name: Some(name.into()), ..ValueInfoProto::default() }
}

/// An input of f32 whose extents are numbers or names.
pub(crate) fn input(name: &str, dims: &[&str]) -> ValueInfoProto {
    typed(name, ElementType::Float32, dims)
}

/// An input or output whose extents are numbers or names.
pub(crate) fn typed(name: &str, element: ElementType, dims: &[&str]) -> ValueInfoProto {
    use tensor_shape_proto::dimension::Value as Extent;
    let dim = |d: &&str| {
        let value = d.parse().map_or_else(|_| Extent::DimParam(d.to_string()), Extent::DimValue);
        tensor_shape_proto::Dimension { value: Some(value), ..Default::default() }
    };
    let shape = Some(TensorShapeProto { dim: dims.iter().map(dim).collect() });
    let tensor = type_proto::Tensor { elem_type: Some(element.code()), shape };
    let ty = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { r#type: Some(Box::new(ty)), ..value(name) }
}

pub(crate) fn graph(inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> GraphProto {
    GraphProto {
        name: Some("g".into()),
        node: nodes,
        input: inputs.iter().map(|n| value(n)).collect(),
        output: outputs.iter().map(|n| value(n)).collect(),
        ..GraphProto::default()
    }
}

pub(crate) fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) }
}

pub(crate) fn model(graph: GraphProto) -> ModelProto {
    ModelProto { ir_version: Some(10), opset_import: vec![opset("", 21)], graph: Some(graph), ..ModelProto::default() }
}

/// A tensor without data.
pub(crate) fn tensor(name: &str, element: ElementType, dims: &[i64]) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(element.code()),
        dims: dims.to_vec(),
        ..TensorProto::default()
    }
}

/// A tensor with `raw_data`.
pub(crate) fn raw(name: &str, element: ElementType, dims: &[i64], bytes: &[u8]) -> TensorProto {
    TensorProto { raw_data: Some(Bytes::copy_from_slice(bytes)), ..tensor(name, element, dims) }
}

/// A tensor whose data lies where `entries` say.
pub(crate) fn external(name: &str, element: ElementType, dims: &[i64], entries: &[(&str, &str)]) -> TensorProto {
    let pair = |(k, v): &(&str, &str)| StringStringEntryProto { key: Some(k.to_string()), value: Some(v.to_string()) };
    TensorProto {
        data_location: Some(1),
        external_data: entries.iter().map(pair).collect(),
        ..tensor(name, element, dims)
    }
}

/// A model whose graph gives the initialiser `tensor` away.
pub(crate) fn constant(tensor: TensorProto) -> ModelProto {
    let name = tensor.name().to_owned();
    let mut graph = graph(&[], &[&name], Vec::new());
    graph.initializer.push(tensor);
    model(graph)
}

/// A sparse tensor of int64 indices.
pub(crate) fn sparse(values: TensorProto, dims: &[i64], shape: &[i64], indices: &[i64]) -> SparseTensorProto {
    let indices = TensorProto { int64_data: indices.to_vec(), ..tensor("", ElementType::Int64, dims) };
    SparseTensorProto { values: Some(Box::new(values)), indices: Some(Box::new(indices)), dims: shape.to_vec() }
}

/// What the reader makes of `model` without a folder.
pub(crate) fn read(model: &ModelProto) -> Result<Model> {
    Model::from_bytes(model.encode_to_vec(), None)
}

/// The code with which the reader refuses `model`.
pub(crate) fn refused(model: &ModelProto) -> &'static str {
    read(model).expect_err("the model is refused").code
}
