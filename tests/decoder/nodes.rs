//! Nodes as exporters write them: a list that grows, with names for what each gives.

use crate::writer::{attribute, int, node, of, raw, with};
use actc_frontend::onnx::schema::*;
use actc_frontend::onnx::{AttributeKind, ElementType};

/// Nodes and constants of a graph.
#[derive(Default)]
pub(crate) struct Nodes {
    pub(crate) nodes: Vec<NodeProto>,
    pub(crate) constants: Vec<TensorProto>,
    /// What the names of this list begin with.
    pub(crate) prefix: &'static str,
}

impl Nodes {
    /// A name that nothing else has.
    fn fresh(&self, op: &str) -> String {
        format!("{}/{op}_{}", self.prefix, self.nodes.len() + self.constants.len())
    }

    /// A node with one output; gives its name.
    pub(crate) fn put(&mut self, op: &str, inputs: &[&str], attributes: Vec<AttributeProto>) -> String {
        let name = self.fresh(op);
        self.named(op, inputs, &[&name], attributes);
        name
    }

    /// A node with these outputs.
    pub(crate) fn named(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) {
        self.nodes.push(with(node(op, inputs, outputs), attributes));
    }

    /// A node of onnxruntime's domain.
    pub(crate) fn microsoft(&mut self, op: &str, inputs: &[&str], outputs: &[&str], attributes: Vec<AttributeProto>) {
        self.nodes.push(of("com.microsoft", with(node(op, inputs, outputs), attributes)));
    }

    fn constant(&mut self, tensor: TensorProto) -> String {
        let name = self.fresh("constant");
        self.constants.push(TensorProto { name: Some(name.clone()), ..tensor });
        name
    }

    /// A list of integers, or one without an axis.
    pub(crate) fn ints(&mut self, dims: &[i64], values: &[i64]) -> String {
        let int64_data = values.to_vec();
        let data_type = Some(ElementType::Int64.code());
        self.constant(TensorProto { dims: dims.to_vec(), int64_data, data_type, ..TensorProto::default() })
    }

    pub(crate) fn floats(&mut self, dims: &[i64], values: Vec<f32>) -> String {
        let data_type = Some(ElementType::Float32.code());
        self.constant(TensorProto { dims: dims.to_vec(), float_data: values, data_type, ..TensorProto::default() })
    }

    /// Extent `axis` of `x`, a list of one.
    pub(crate) fn extent(&mut self, x: &str, axis: i64) -> String {
        let shape = self.put("Shape", &[x], Vec::new());
        let axis = self.ints(&[1], &[axis]);
        self.put("Gather", &[&shape, &axis], Vec::new())
    }

    /// Lists of integers one behind the other.
    pub(crate) fn list(&mut self, parts: &[&str]) -> String {
        self.put("Concat", parts, vec![int("axis", 0)])
    }

    pub(crate) fn unsqueeze(&mut self, x: &str, axes: &[i64]) -> String {
        let axes = self.ints(&[axes.len() as i64], axes);
        self.put("Unsqueeze", &[x, &axes], Vec::new())
    }

    pub(crate) fn transpose(&mut self, x: &str, order: &[i64]) -> String {
        self.put("Transpose", &[x], vec![int_list("perm", order)])
    }

    pub(crate) fn cast(&mut self, x: &str, to: ElementType) -> String {
        self.put("Cast", &[x], vec![int("to", to.code().into())])
    }

    /// Elements `start..end` of the last axis.
    pub(crate) fn part(&mut self, x: &str, start: i64, end: i64) -> String {
        let [start, end, axis] = [start, end, -1].map(|n| self.ints(&[1], &[n]));
        self.put("Slice", &[x, &start, &end, &axis], Vec::new())
    }
}

pub(crate) fn int_list(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeKind::Ints) }
}

pub(crate) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeKind::Float) }
}

pub(crate) fn tensor_attribute(name: &str, value: TensorProto) -> AttributeProto {
    AttributeProto { t: Some(Box::new(value)), ..attribute(name, AttributeKind::Tensor) }
}

/// A tensor of floats as a constant of a graph.
pub(crate) fn weight(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    raw(name, ElementType::Float32, dims, &bytes)
}
