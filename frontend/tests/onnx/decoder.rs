//! The same bytes read by an independent decoder.

use crate::writer::*;
use actc_frontend::onnx::schema::ModelProto;
use actc_frontend::onnx::{ElementType, Model, TensorBytes};
use onnx_protobuf as other;
use prost::Message as _;
use protobuf::Message as _;

/// Compares what both find in `bytes`, which hold no function and no sparse tensor.
pub(crate) fn agree(bytes: &[u8]) {
    let ours = Model::from_bytes(bytes.to_vec(), None).unwrap_or_else(|e| panic!("{e}"));
    let theirs = other::ModelProto::parse_from_bytes(bytes).expect("the other decoder reads it");
    assert_eq!((ours.ir_version as i64, &ours.producer), (theirs.ir_version, &theirs.producer_name));
    let graph = theirs.graph.as_ref().expect("a graph");
    assert_eq!(ours.graph.name, graph.name);
    assert_eq!(ours.graph.nodes.len(), graph.node.len());
    for (a, b) in ours.graph.nodes.iter().zip(&graph.node) {
        assert_eq!((&a.name, &a.op), (&b.name, &b.op_type));
        let names = |list: &[Option<String>]| list.iter().map(|n| n.clone().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!((names(&a.inputs), names(&a.outputs)), (b.input.clone(), b.output.clone()));
        assert_eq!(a.attributes.len(), b.attribute.len());
        for attribute in &b.attribute {
            let found = a.attributes.get(&attribute.name).expect("the attribute");
            assert_eq!(found.kind().code(), attribute.type_.value());
        }
    }
    assert_eq!(ours.graph.initialisers.len(), graph.initializer.len());
    for ((name, a), b) in ours.graph.initialisers.iter().zip(&graph.initializer) {
        assert_eq!((name, a.element.code()), (&b.name, b.data_type));
        assert_eq!(a.dims, b.dims.iter().map(|d| *d as u64).collect::<Vec<_>>());
        match &a.data {
            TensorBytes::Raw(bytes) if !b.raw_data.is_empty() => assert_eq!(&bytes[..], b.raw_data.as_slice()),
            TensorBytes::Raw(_) | TensorBytes::Texts(_) => {}
        }
    }
    let given = |list: &[other::ValueInfoProto]| list.iter().map(|v| v.name.clone()).collect::<Vec<_>>();
    let names: Vec<String> = ours.graph.outputs.iter().map(|v| v.name.clone()).collect();
    assert_eq!(names, given(&graph.output));
    let inputs = given(&graph.input);
    assert!(ours.graph.inputs.iter().all(|v| inputs.contains(&v.name)));
}

#[test]
fn two_decoders_agree() {
    let conv = with(node("Conv", &["x", "w", ""], &["m"]), vec![int("group", 1)]);
    let mut g = graph(&["x", "w"], &["y"], vec![conv, node("Relu", &["m"], &["y"])]);
    g.initializer.push(raw("w", ElementType::Float32, &[1, 2], &[1, 2, 3, 4, 5, 6, 7, 8]));
    let proto = ModelProto { producer_name: Some("writer".into()), ..model(g) };
    agree(&proto.encode_to_vec());
}

#[test]
fn what_the_other_one_writes_is_read() {
    let mut model = other::ModelProto::new();
    model.ir_version = 8;
    model.opset_import.push(other::OperatorSetIdProto { version: 17, ..Default::default() });
    let mut graph = other::GraphProto::new();
    graph.name = "g".into();
    let named = |name: &str| other::ValueInfoProto { name: name.into(), ..Default::default() };
    graph.input.push(named("x"));
    graph.output.push(named("y"));
    let (input, output) = (vec!["x".to_owned(), "w".to_owned()], vec!["y".to_owned()]);
    graph.node.push(other::NodeProto { op_type: "Add".into(), input, output, ..Default::default() });
    let tensor = other::TensorProto {
        name: "w".into(),
        data_type: 1,
        float_data: vec![1.5],
        dims: vec![1],
        ..Default::default()
    };
    graph.initializer.push(tensor);
    model.graph = protobuf::MessageField::some(graph);
    let bytes = model.write_to_bytes().expect("written");
    agree(&bytes);
    let ours = Model::from_bytes(bytes, None).expect("read");
    assert_eq!(ours.graph.initialisers[0].1.data, TensorBytes::Raw(1.5f32.to_le_bytes().to_vec().into()));
}
