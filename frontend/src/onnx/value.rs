//! Names of values with their types and shapes, as far as a file states them.

use super::element::ElementType;
use super::schema::type_proto::Value;
use super::schema::{TensorShapeProto, TypeProto, ValueInfoProto, tensor_shape_proto};
use actc_types::{Diagnostic, Place, Result};

/// A value and what the file says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueInfo {
    /// The name.
    pub name: String,
    /// The type, where the file states it.
    pub ty: Option<ValueType>,
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A tensor.
    Tensor {
        /// Type of its elements.
        dtype: ElementType,
        /// Its shape; `None` where even the rank is unknown.
        shape: Option<Vec<Dimension>>,
    },
    /// A tensor of which only some elements are stored.
    SparseTensor {
        /// Type of its elements.
        dtype: ElementType,
        /// Its shape; `None` where even the rank is unknown.
        shape: Option<Vec<Dimension>>,
    },
    /// A sequence of values of one type.
    Sequence(Box<ValueType>),
    /// A value or none.
    Optional(Box<ValueType>),
    /// A dictionary.
    Map {
        /// Type of the keys.
        key: ElementType,
        /// Type of the values.
        value: Box<ValueType>,
    },
    /// A type that only its domain knows.
    Opaque {
        /// Whose type it is.
        domain: String,
        /// Its name there.
        name: String,
    },
}

/// One extent of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// A number.
    Fixed(u64),
    /// A name; the same name in a graph is the same number.
    Named(String),
    /// Anything. Real files write -1 for it, so that every negative number is read as this.
    Unknown,
}

impl ValueInfo {
    pub(super) fn read(proto: ValueInfoProto) -> Result<ValueInfo> {
        let name = proto.name.unwrap_or_default();
        let ty = match proto.r#type {
            Some(ty) => ValueType::read(*ty, &name)?,
            None => None,
        };
        Ok(ValueInfo { name, ty })
    }
}

impl ValueType {
    /// `None` where the file leaves the type open, at the outside or anywhere within.
    pub(super) fn read(proto: TypeProto, of: &str) -> Result<Option<ValueType>> {
        let inner = |proto: Option<Box<TypeProto>>| match proto {
            Some(proto) => Ok::<_, Diagnostic>(ValueType::read(*proto, of)?.map(Box::new)),
            None => Ok(None),
        };
        Ok(match proto.value {
            None => None,
            Some(Value::TensorType(t)) => {
                let shape = shape(t.shape);
                element(t.elem_type, of)?.map(|dtype| ValueType::Tensor { dtype, shape })
            }
            Some(Value::SparseTensorType(t)) => {
                let shape = shape(t.shape);
                element(t.elem_type, of)?.map(|dtype| ValueType::SparseTensor { dtype, shape })
            }
            Some(Value::SequenceType(t)) => inner(t.elem_type)?.map(ValueType::Sequence),
            Some(Value::OptionalType(t)) => inner(t.elem_type)?.map(ValueType::Optional),
            Some(Value::MapType(t)) => match (element(t.key_type, of)?, inner(t.value_type)?) {
                (Some(key), Some(value)) => Some(ValueType::Map { key, value }),
                (Some(_) | None, Some(_) | None) => None,
            },
            Some(Value::OpaqueType(t)) => {
                Some(ValueType::Opaque { domain: t.domain.unwrap_or_default(), name: t.name.unwrap_or_default() })
            }
        })
    }
}

impl ValueType {
    /// What a copy takes beyond the struct itself.
    pub(super) fn heap_bytes(&self) -> u64 {
        let own = size_of::<ValueType>() as u64;
        match self {
            ValueType::Tensor { shape, .. } | ValueType::SparseTensor { shape, .. } => {
                let name = |d: &Dimension| match d {
                    Dimension::Named(name) => name.len(),
                    Dimension::Fixed(_) | Dimension::Unknown => 0,
                };
                shape.iter().flatten().map(|d| (size_of::<Dimension>() + name(d)) as u64).sum()
            }
            ValueType::Sequence(inner) | ValueType::Optional(inner) => own + inner.heap_bytes(),
            ValueType::Map { value, .. } => own + value.heap_bytes(),
            ValueType::Opaque { domain, name } => (domain.len() + name.len()) as u64,
        }
    }
}

fn element(code: Option<i32>, of: &str) -> Result<Option<ElementType>> {
    match code {
        None | Some(0) => Ok(None),
        Some(code) => match ElementType::from_code(code) {
            Some(element) => Ok(Some(element)),
            None => {
                Err(Diagnostic::new("onnx-type", format!("the type of `{of}` has elements of the unknown type {code}"))
                    .at(Place::Tensor(of.to_owned())))
            }
        },
    }
}

fn shape(proto: Option<TensorShapeProto>) -> Option<Vec<Dimension>> {
    use tensor_shape_proto::dimension::Value;
    let dimension = |d: tensor_shape_proto::Dimension| match d.value {
        Some(Value::DimValue(n)) => u64::try_from(n).map_or(Dimension::Unknown, Dimension::Fixed),
        Some(Value::DimParam(name)) if !name.is_empty() => Dimension::Named(name),
        Some(Value::DimParam(_)) | None => Dimension::Unknown,
    };
    proto.map(|p| p.dim.into_iter().map(dimension).collect())
}
