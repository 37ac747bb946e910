//! What each field of each message takes in memory, made from `onnx-ml.proto` by the test `onnx_schema`.
//!
//! A field that is not named here is unknown to the schema and takes nothing: decoding skips it.

use super::scan::{Field::*, Message};
use super::schema::*;

/// All messages; the first is the outermost one.
#[rustfmt::skip]
pub(super) static MESSAGES: &[Message] = &[
    // ModelProto
    Message { size: size_of::<ModelProto>(), fields: &[
        (1, Nothing), // ir_version
        (2, Text), // producer_name
        (3, Text), // producer_version
        (4, Text), // domain
        (5, Nothing), // model_version
        (7, Inline(5)), // graph
        (8, Messages(18)), // opset_import
        (14, Messages(4)), // metadata_props
        (25, Messages(19)), // functions
    ] },
    // AttributeProto
    Message { size: size_of::<AttributeProto>(), fields: &[
        (1, Text), // name
        (2, Nothing), // f
        (3, Nothing), // i
        (4, Nothing), // s
        (5, Boxed(7)), // t
        (6, Boxed(5)), // g
        (7, Fixed(4)), // floats
        (8, Varints(8)), // ints
        (9, Slices), // strings
        (10, Messages(7)), // tensors
        (11, Messages(5)), // graphs
        (14, Boxed(17)), // tp
        (15, Messages(17)), // type_protos
        (20, Nothing), // type
        (21, Text), // ref_attr_name
        (22, Boxed(8)), // sparse_tensor
        (23, Messages(8)), // sparse_tensors
    ] },
    // ValueInfoProto
    Message { size: size_of::<ValueInfoProto>(), fields: &[
        (1, Text), // name
        (2, Boxed(17)), // type
    ] },
    // NodeProto
    Message { size: size_of::<NodeProto>(), fields: &[
        (1, Texts), // input
        (2, Texts), // output
        (3, Text), // name
        (4, Text), // op_type
        (5, Messages(1)), // attribute
        (7, Text), // domain
        (8, Text), // overload
    ] },
    // StringStringEntryProto
    Message { size: size_of::<StringStringEntryProto>(), fields: &[
        (1, Text), // key
        (2, Text), // value
    ] },
    // GraphProto
    Message { size: size_of::<GraphProto>(), fields: &[
        (1, Messages(3)), // node
        (2, Text), // name
        (5, Messages(7)), // initializer
        (11, Messages(2)), // input
        (12, Messages(2)), // output
        (13, Messages(2)), // value_info
        (15, Messages(8)), // sparse_initializer
    ] },
    // TensorProto.Segment
    Message { size: size_of::<tensor_proto::Segment>(), fields: &[
        (1, Nothing), // begin
        (2, Nothing), // end
    ] },
    // TensorProto
    Message { size: size_of::<TensorProto>(), fields: &[
        (1, Varints(8)), // dims
        (2, Nothing), // data_type
        (3, Inline(6)), // segment
        (4, Fixed(4)), // float_data
        (5, Varints(4)), // int32_data
        (6, Slices), // string_data
        (7, Varints(8)), // int64_data
        (8, Text), // name
        (9, Nothing), // raw_data
        (10, Fixed(8)), // double_data
        (11, Varints(8)), // uint64_data
        (13, Messages(4)), // external_data
        (14, Nothing), // data_location
    ] },
    // SparseTensorProto
    Message { size: size_of::<SparseTensorProto>(), fields: &[
        (1, Boxed(7)), // values
        (2, Boxed(7)), // indices
        (3, Varints(8)), // dims
    ] },
    // TensorShapeProto.Dimension
    Message { size: size_of::<tensor_shape_proto::Dimension>(), fields: &[
        (1, Nothing), // dim_value
        (2, Text), // dim_param
        (3, Text), // denotation
    ] },
    // TensorShapeProto
    Message { size: size_of::<TensorShapeProto>(), fields: &[
        (1, Messages(9)), // dim
    ] },
    // TypeProto.Tensor
    Message { size: size_of::<type_proto::Tensor>(), fields: &[
        (1, Nothing), // elem_type
        (2, Boxed(10)), // shape
    ] },
    // TypeProto.Sequence
    Message { size: size_of::<type_proto::Sequence>(), fields: &[
        (1, Boxed(17)), // elem_type
    ] },
    // TypeProto.Map
    Message { size: size_of::<type_proto::Map>(), fields: &[
        (1, Nothing), // key_type
        (2, Boxed(17)), // value_type
    ] },
    // TypeProto.Optional
    Message { size: size_of::<type_proto::Optional>(), fields: &[
        (1, Boxed(17)), // elem_type
    ] },
    // TypeProto.SparseTensor
    Message { size: size_of::<type_proto::SparseTensor>(), fields: &[
        (1, Nothing), // elem_type
        (2, Boxed(10)), // shape
    ] },
    // TypeProto.Opaque
    Message { size: size_of::<type_proto::Opaque>(), fields: &[
        (1, Text), // domain
        (2, Text), // name
    ] },
    // TypeProto
    Message { size: size_of::<TypeProto>(), fields: &[
        (1, Inline(11)), // tensor_type
        (4, Inline(12)), // sequence_type
        (5, Inline(13)), // map_type
        (6, Text), // denotation
        (7, Inline(16)), // opaque_type
        (8, Inline(15)), // sparse_tensor_type
        (9, Inline(14)), // optional_type
    ] },
    // OperatorSetIdProto
    Message { size: size_of::<OperatorSetIdProto>(), fields: &[
        (1, Text), // domain
        (2, Nothing), // version
    ] },
    // FunctionProto
    Message { size: size_of::<FunctionProto>(), fields: &[
        (1, Text), // name
        (4, Texts), // input
        (5, Texts), // output
        (6, Texts), // attribute
        (7, Messages(3)), // node
        (9, Messages(18)), // opset_import
        (10, Text), // domain
        (11, Messages(1)), // attribute_proto
        (12, Messages(2)), // value_info
        (13, Text), // overload
    ] },
];
