//! Every way in which a tensor is stored, and every way in which its data can be wrong.

use crate::writer::*;
use actc_frontend::onnx::schema::{SparseTensorProto, TensorProto, tensor_proto};
use actc_frontend::onnx::{AttributeKind, ElementType, Tensor, TensorBytes};
use bytes::Bytes;
use prost::Message;

fn only(tensor: TensorProto) -> Tensor {
    let model = read(&constant(tensor)).unwrap_or_else(|e| panic!("{e}"));
    model.graph.initialisers.into_iter().next().expect("an initialiser").1
}

fn bytes(tensor: &Tensor) -> &[u8] {
    match &tensor.data {
        TensorBytes::Raw(bytes) => bytes,
        TensorBytes::Texts(_) => panic!("texts"),
    }
}

#[test]
fn raw_data_is_a_slice_of_the_file() {
    let file = Bytes::from(constant(raw("w", ElementType::Float32, &[2, 2], &[7; 16])).encode_to_vec());
    let model = actc_frontend::onnx::Model::from_bytes(file.clone(), None).expect("a model");
    let tensor = &model.graph.initialisers[0].1;
    assert_eq!((tensor.dims.as_slice(), tensor.elements(), tensor.element), (&[2, 2][..], 4, ElementType::Float32));
    let inside = file.as_ptr() as usize..file.as_ptr() as usize + file.len();
    assert!(inside.contains(&(bytes(tensor).as_ptr() as usize)), "no copy");
}

#[test]
fn typed_fields_become_raw_bytes() {
    use ElementType as E;
    let t = |element, dims: &[i64]| tensor("w", element, dims);
    let small = |element, dims: &[i64], n: &[i32]| TensorProto { int32_data: n.to_vec(), ..t(element, dims) };
    let cases: Vec<(TensorProto, Vec<u8>)> = vec![
        (
            TensorProto { float_data: vec![1.5, -2.0], ..t(E::Float32, &[2]) },
            [1.5f32.to_le_bytes(), (-2f32).to_le_bytes()].concat(),
        ),
        (
            TensorProto { float_data: vec![1.0, 2.0], ..t(E::Complex64, &[1]) },
            [1f32.to_le_bytes(), 2f32.to_le_bytes()].concat(),
        ),
        (TensorProto { double_data: vec![0.1], ..t(E::Float64, &[]) }, 0.1f64.to_le_bytes().to_vec()),
        (
            TensorProto { double_data: vec![0.1, 3.0], ..t(E::Complex128, &[1]) },
            [0.1f64.to_le_bytes(), 3f64.to_le_bytes()].concat(),
        ),
        (
            TensorProto { int64_data: vec![-1, 5], ..t(E::Int64, &[2]) },
            [(-1i64).to_le_bytes(), 5i64.to_le_bytes()].concat(),
        ),
        (TensorProto { uint64_data: vec![u64::MAX], ..t(E::Uint64, &[1]) }, vec![255; 8]),
        (
            TensorProto { uint64_data: vec![u64::from(u32::MAX), 1], ..t(E::Uint32, &[2]) },
            vec![255, 255, 255, 255, 1, 0, 0, 0],
        ),
        (small(E::Int32, &[1], &[-2]), (-2i32).to_le_bytes().to_vec()),
        (small(E::Int16, &[2], &[-2, 300]), vec![254, 255, 44, 1]),
        (small(E::Uint16, &[1], &[65535]), vec![255, 255]),
        (small(E::Int8, &[2], &[-128, 127]), vec![128, 127]),
        (small(E::Uint8, &[2], &[0, 255]), vec![0, 255]),
        (small(E::Bool, &[2], &[1, 0]), vec![1, 0]),
        (small(E::Float16, &[1], &[0x3c00]), vec![0, 0x3c]),
        (small(E::Bfloat16, &[1], &[0xbf80]), vec![0x80, 0xbf]),
        (small(E::Float8E4M3Fn, &[1], &[0x7e]), vec![0x7e]),
        (small(E::Float8E4M3Fnuz, &[1], &[1]), vec![1]),
        (small(E::Float8E5M2, &[1], &[2]), vec![2]),
        (small(E::Float8E5M2Fnuz, &[1], &[3]), vec![3]),
        (small(E::Float8E8M0, &[1], &[127]), vec![127]),
        (small(E::Int4, &[3], &[0x21, 0x0f]), vec![0x21, 0x0f]),
        (small(E::Uint4, &[2], &[0xf0]), vec![0xf0]),
        (small(E::Float4E2M1, &[1], &[0x07]), vec![7]),
        (small(E::Int2, &[5], &[0xe4, 1]), vec![0xe4, 1]),
        (small(E::Uint2, &[4], &[0xe4]), vec![0xe4]),
        // Four six-bit codes 1, 2, 3, 63 in three bytes; a fifth in a byte of its own.
        (small(E::Float6E2M3, &[5], &[1, 2, 3, 63, 32]), vec![0x81, 0x30, 0xfc, 32]),
        (small(E::Float6E3M2, &[2], &[63, 63]), vec![0xff, 0x0f]),
    ];
    for (proto, wanted) in cases {
        let element = proto.data_type();
        let found = only(proto.clone());
        assert_eq!(bytes(&found), wanted, "element type {element}");
        // The same bytes as `raw_data` are the same tensor.
        let plain = raw("w", found.element, &proto.dims, &wanted);
        assert_eq!(only(plain), found);
    }
    let tested = ElementType::ALL.iter().filter(|e| e.bits().is_some()).count();
    assert_eq!(tested, 27, "a new type needs a case above");
}

#[test]
fn texts_and_empty_tensors() {
    let texts =
        TensorProto { string_data: vec!["a".into(), vec![255, 0].into()], ..tensor("w", ElementType::Text, &[2]) };
    assert_eq!(only(texts).data, TensorBytes::Texts([Bytes::from("a"), vec![255, 0].into()].into()));
    assert_eq!(only(tensor("w", ElementType::Text, &[0])).data, TensorBytes::Texts([].into()));
    assert!(bytes(&only(tensor("w", ElementType::Float32, &[3, 0]))).is_empty());
    assert!(bytes(&only(raw("w", ElementType::Int4, &[0], &[]))).is_empty());
}

#[test]
fn sizes_and_places_that_do_not_fit_are_refused() {
    use ElementType as E;
    let t = |element, dims: &[i64]| tensor("w", element, dims);
    let small = |element, dims: &[i64], n: &[i32]| TensorProto { int32_data: n.to_vec(), ..t(element, dims) };
    let cases = vec![
        ("too short", raw("w", E::Float32, &[2], &[0; 7])),
        ("too long", raw("w", E::Float32, &[2], &[0; 9])),
        ("none", t(E::Float32, &[1])),
        ("none for a scalar", t(E::Float32, &[])),
        ("half a byte too long", raw("w", E::Int4, &[2], &[0; 2])),
        ("negative", raw("w", E::Float32, &[-1], &[])),
        ("two negatives", raw("w", E::Float32, &[-1, -1], &[0; 4])),
        ("count overflows", raw("w", E::Uint8, &[i64::MAX, 4], &[0; 4])),
        ("bytes overflow", raw("w", E::Complex128, &[i64::MAX], &[0; 4])),
        ("overflow to the right number", raw("w", E::Uint8, &[1 << 32, 1 << 32], &[])),
        ("unknown type", TensorProto { data_type: Some(99), ..raw("w", E::Uint8, &[1], &[0]) }),
        ("no type", TensorProto { data_type: None, ..raw("w", E::Uint8, &[1], &[0]) }),
        ("two fields", TensorProto { float_data: vec![1.0], ..raw("w", E::Float32, &[1], &[0; 4]) }),
        ("two typed fields", TensorProto { int64_data: vec![1], ..small(E::Int32, &[1], &[1]) }),
        ("another field", TensorProto { int64_data: vec![1], ..t(E::Float32, &[2]) }),
        ("texts as raw bytes", raw("w", E::Text, &[1], b"a")),
        ("too many texts", TensorProto { string_data: vec!["a".into(), "b".into()], ..t(E::Text, &[1]) }),
        ("too many numbers", small(E::Int8, &[1], &[1, 2])),
        ("int8 out of range", small(E::Int8, &[1], &[128])),
        ("uint8 out of range", small(E::Uint8, &[1], &[-1])),
        ("half out of range", small(E::Float16, &[1], &[65536])),
        ("six bits out of range", small(E::Float6E2M3, &[1], &[64])),
        ("uint32 out of range", TensorProto { uint64_data: vec![1 << 32], ..t(E::Uint32, &[1]) }),
        ("bool out of range", small(E::Bool, &[1], &[2])),
        ("raw bool out of range", raw("w", E::Bool, &[1], &[2])),
        ("segment", TensorProto { segment: Some(tensor_proto::Segment::default()), ..raw("w", E::Uint8, &[1], &[0]) }),
        ("unknown place", TensorProto { data_location: Some(2), ..raw("w", E::Uint8, &[1], &[0]) }),
    ];
    for (what, proto) in cases {
        assert_eq!(refused(&constant(proto)), "onnx-tensor", "{what}");
    }
}

fn sparse_model(sparse: SparseTensorProto) -> actc_frontend::onnx::schema::ModelProto {
    let mut g = graph(&[], &["w"], Vec::new());
    g.sparse_initializer.push(sparse);
    model(g)
}

#[test]
fn sparse_tensors_become_dense() {
    let values = || raw("w", ElementType::Uint16, &[2], &[1, 2, 3, 4]);
    let wanted = [0, 0, 1, 2, 0, 0, 0, 0, 3, 4, 0, 0];
    for (dims, indices) in [(&[2][..], &[1, 4][..]), (&[2, 2], &[0, 1, 1, 1])] {
        let proto = sparse(values(), dims, &[2, 3], indices);
        let model = read(&sparse_model(proto.clone())).unwrap_or_else(|e| panic!("{e}"));
        let (name, tensor) = &model.graph.initialisers[0];
        assert_eq!((name.as_str(), tensor.dims.as_slice(), bytes(tensor)), ("w", &[2, 3][..], &wanted[..]));
        // And in an attribute.
        let mut value = attribute("sparse_value", AttributeKind::Sparse);
        value.sparse_tensor = Some(Box::new(proto));
        let model = read(&self::model(graph(&[], &["w"], vec![with(node("Constant", &[], &["w"]), vec![value])])));
        let model = model.unwrap_or_else(|e| panic!("{e}"));
        let tensor = model.graph.nodes[0].attributes.tensor("sparse_value").expect("a tensor").expect("there");
        assert_eq!(bytes(tensor), wanted);
    }
}

#[test]
fn sparse_tensors_that_are_wrong_are_refused() {
    let values = || raw("w", ElementType::Uint8, &[2], &[1, 2]);
    let cases = [
        ("out of order", sparse(values(), &[2], &[9], &[4, 1])),
        ("twice", sparse(values(), &[2], &[9], &[4, 4])),
        ("outside", sparse(values(), &[2], &[9], &[4, 9])),
        ("negative", sparse(values(), &[2], &[9], &[-1, 4])),
        ("coordinate outside", sparse(values(), &[2, 2], &[3, 3], &[0, 3, 1, 0])),
        ("too few", sparse(values(), &[1], &[9], &[4])),
        ("wrong rank", sparse(values(), &[2, 1], &[3, 3], &[0, 1])),
        ("values in two dimensions", sparse(raw("w", ElementType::Uint8, &[1, 1], &[1]), &[1], &[9], &[4])),
        ("packed", sparse(raw("w", ElementType::Int4, &[2], &[1]), &[2], &[9], &[1, 4])),
        ("no values", SparseTensorProto { values: None, ..sparse(values(), &[2], &[9], &[1, 4]) }),
        ("negative extent", sparse(values(), &[2], &[-9], &[1, 4])),
    ];
    for (what, proto) in cases {
        assert_eq!(refused(&sparse_model(proto)), "onnx-sparse", "{what}");
    }
    for shape in [&[1 << 40][..], &[i64::MAX], &[129 << 20]] {
        assert_eq!(refused(&sparse_model(sparse(values(), &[2], shape, &[1, 4]))), "onnx-bloat", "{shape:?}");
    }
    // Each fits, all together do not.
    let mut g = graph(&[], &[], Vec::new());
    for i in 0..3 {
        let values = raw(&format!("w{i}"), ElementType::Uint8, &[2], &[1, 2]);
        g.sparse_initializer.push(sparse(values, &[2], &[50 << 20], &[1, 4]));
    }
    assert_eq!(refused(&model(g)), "onnx-bloat");
}
