//! Graphs, nodes, attributes, types and versions.

use crate::writer::*;
use actc_frontend::onnx::schema::*;
use actc_frontend::onnx::{AttributeKind, Dimension, ElementType, ValueType, import};
use actc_types::Tensor;
use bytes::Bytes;

fn simple() -> GraphProto {
    graph(&["x"], &["y"], vec![node("Relu", &["x"], &["y"])])
}

#[test]
fn versions() {
    for ir in [3, 10, 14] {
        let read = read(&ModelProto { ir_version: Some(ir), ..model(simple()) }).expect("known");
        assert_eq!(read.ir_version, ir as u64);
    }
    for ir in [None, Some(-1), Some(0), Some(2), Some(15), Some(i64::MAX)] {
        assert_eq!(refused(&ModelProto { ir_version: ir, ..model(simple()) }), "onnx-version");
    }
    let imports = |list: &[(&str, i64)]| ModelProto {
        opset_import: list.iter().map(|(d, v)| opset(d, *v)).collect(),
        ..model(simple())
    };
    let kept = read(&imports(&[("ai.onnx", 28), ("com.microsoft", 1), ("unknown.domain", 77)])).expect("known");
    let kept: Vec<(&str, u64)> = kept.opsets.iter().map(|(d, v)| (d.as_str(), *v)).collect();
    assert_eq!(kept, [("", 28), ("com.microsoft", 1), ("unknown.domain", 77)]);
    assert_eq!(read(&imports(&[("", 1)])).expect("known").graph.nodes[0].opset, 1);
    assert!(read(&imports(&[("", 17), ("ai.onnx", 17)])).is_ok());
    for list in
        [&[("", 29)][..], &[("", 0)], &[("", -1)], &[("", 17), ("ai.onnx", 18)], &[("x", 1)], &[], &[("", 1), ("x", 0)]]
    {
        assert_eq!(refused(&imports(list)), "onnx-opset", "{list:?}");
    }
}

/// Before version 7 the second tensor's axes are those of the first from `axis` on, and slopes are those of channels.
#[test]
fn version_6_says_where_the_second_tensor_lies() {
    let sums = |op: &str, dims: &[&str], attributes: Vec<AttributeProto>| {
        let mut g = graph(&[], &["y"], vec![with(node(op, &["x", "b"], &["y"]), attributes)]);
        g.input = vec![input("x", &["2", "2"]), input("b", dims)];
        let proto = ModelProto { opset_import: vec![opset("", 6)], ..model(g) };
        let graph = import(&read(&proto).expect("a model")).map_err(|f| f.told()[0].code.to_owned())?;
        let tensor = |dims: &[u64], first: f32| {
            let count = dims.iter().product::<u64>();
            Tensor::f32(dims, (0..count).map(|i| first * (1 + i) as f32).collect()).unwrap()
        };
        let dims: Vec<u64> = dims.iter().map(|d| d.parse().unwrap()).collect();
        let found = actc_ir::eval::evaluate(&graph, vec![tensor(&[2, 2], -1.0), tensor(&dims, 10.0)]).unwrap();
        Ok::<_, String>(found[0].as_f32().unwrap().to_vec())
    };
    let at = |axis| vec![int("broadcast", 1), int("axis", axis)];
    assert_eq!(sums("Add", &["2"], at(0)).unwrap(), [9.0, 8.0, 17.0, 16.0]);
    assert_eq!(sums("Add", &["2"], at(1)).unwrap(), [9.0, 18.0, 7.0, 16.0]);
    assert_eq!(sums("Add", &["2"], vec![int("broadcast", 1)]).unwrap(), [9.0, 18.0, 7.0, 16.0]);
    assert_eq!(sums("Add", &["2", "1"], at(1)).unwrap_err(), "onnx-node");
    assert_eq!(sums("Add", &["2"], at(2)).unwrap_err(), "onnx-node");
    assert_eq!(sums("PRelu", &["2"], vec![]).unwrap(), [-10.0, -40.0, -30.0, -80.0]);
}

#[test]
fn what_is_kept_of_the_file() {
    let pair = |k: &str, v: &str| StringStringEntryProto { key: Some(k.into()), value: Some(v.into()) };
    let mut proto = model(simple());
    proto.producer_name = Some("p".into());
    proto.metadata_props = vec![pair("b", "1"), pair("a", "2")];
    let read = read(&proto).expect("a model");
    assert_eq!((read.producer.as_str(), read.metadata[0].0.as_str(), read.metadata[1].1.as_str()), ("p", "b", "2"));
    assert_eq!(read.files.len(), 1);
}

#[test]
fn names_left_out_and_initialisers_among_inputs() {
    let mut g = graph(&["x", "w"], &["y"], vec![node("Clip", &["x", "", "w"], &["y", ""])]);
    g.initializer.push(raw("w", ElementType::Float32, &[], &[0; 4]));
    let model = read(&model(g)).expect("a model");
    let node = &model.graph.nodes[0];
    assert_eq!(node.inputs, [Some("x".into()), None, Some("w".into())]);
    assert_eq!(node.outputs, [Some("y".into()), None]);
    let inputs: Vec<&str> = model.graph.inputs.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(inputs, ["x"]);
}

#[test]
fn types_of_values() {
    use type_proto::{Optional, Sequence, Value};
    let dim = |value| tensor_shape_proto::Dimension { value, ..Default::default() };
    use tensor_shape_proto::dimension::Value as Dim;
    let dims = vec![
        dim(Some(Dim::DimValue(3))),
        dim(Some(Dim::DimParam("batch".into()))),
        dim(Some(Dim::DimValue(-1))),
        dim(Some(Dim::DimParam(String::new()))),
        dim(None),
        dim(Some(Dim::DimValue(0))),
    ];
    let of = |value| TypeProto { value: Some(value), ..TypeProto::default() };
    let shape = Some(TensorShapeProto { dim: dims });
    let tensor = of(Value::TensorType(type_proto::Tensor { elem_type: Some(1), shape }));
    let sequence = of(Value::SequenceType(Box::new(Sequence { elem_type: Some(Box::new(tensor)) })));
    let optional = of(Value::OptionalType(Box::new(Optional { elem_type: Some(Box::new(sequence)) })));
    let with_type = |ty: TypeProto| {
        let mut g = simple();
        g.input[0].r#type = Some(Box::new(ty));
        read(&model(g)).map(|m| m.graph.inputs[0].ty.clone())
    };
    let (f, u) = (Dimension::Fixed, || Dimension::Unknown);
    let shape = Some(vec![f(3), Dimension::Named("batch".into()), u(), u(), u(), f(0)]);
    let tensor = ValueType::Tensor { dtype: ElementType::Float32, shape };
    let wanted = ValueType::Optional(Box::new(ValueType::Sequence(Box::new(tensor))));
    assert_eq!(with_type(optional).expect("known"), Some(wanted));
    let plain = |code| of(Value::TensorType(type_proto::Tensor { elem_type: Some(code), shape: None }));
    assert_eq!(with_type(plain(7)).expect("known"), Some(ValueType::Tensor { dtype: ElementType::Int64, shape: None }));
    assert_eq!(with_type(plain(0)).expect("left open"), None);
    assert_eq!(with_type(TypeProto::default()).expect("left open"), None);
    assert_eq!(with_type(plain(99)).expect_err("unknown").code, "onnx-type");
}

#[test]
fn attributes_by_type() {
    use AttributeKind as K;
    let list = vec![
        int("i", -3),
        AttributeProto { f: Some(0.5), ..attribute("f", K::Float) },
        AttributeProto { s: Some("word".into()), ..attribute("s", K::Text) },
        AttributeProto { s: Some(Bytes::from_static(b"\xff")), ..attribute("bytes", K::Text) },
        AttributeProto { ints: vec![1, 2], ..attribute("ints", K::Ints) },
        AttributeProto { floats: vec![1.0], ..attribute("floats", K::Floats) },
        AttributeProto { strings: vec!["a".into(), "b".into()], ..attribute("strings", K::Texts) },
        AttributeProto { t: Some(Box::new(raw("", ElementType::Uint8, &[], &[9]))), ..attribute("t", K::Tensor) },
        subgraph("g", graph(&[], &["x"], Vec::new())),
        // Without a type, as very old files are; and zeros left out, as some writers do.
        AttributeProto { name: Some("old".into()), i: Some(8), ..AttributeProto::default() },
        attribute("zero", K::Int),
        attribute("none", K::Ints),
    ];
    let mut g = simple();
    g.node[0].attribute = list;
    g.node[0].name = Some("n".into());
    let model = read(&model(g)).unwrap_or_else(|e| panic!("{e}"));
    let a = &model.graph.nodes[0].attributes;
    assert_eq!(a.names().collect::<Vec<_>>().len(), a.len());
    assert_eq!((a.int("i").unwrap(), a.int("old").unwrap(), a.int("zero").unwrap()), (Some(-3), Some(8), Some(0)));
    assert_eq!((a.float("f").unwrap(), a.text("s").unwrap()), (Some(0.5), Some("word")));
    assert_eq!((a.ints("ints").unwrap(), a.ints("none").unwrap()), (Some(&[1, 2][..]), Some(&[][..])));
    assert_eq!((a.floats("floats").unwrap(), a.texts("strings").unwrap()), (Some(&[1.0][..]), Some(vec!["a", "b"])));
    assert_eq!(a.tensor("t").unwrap().map(|t| t.elements()), Some(1));
    assert_eq!(a.graph("g").unwrap().map(|g| g.outputs.len()), Some(1));
    assert_eq!((a.int("missing").unwrap(), a.texts("missing").unwrap()), (None, None));
    let error = a.int("f").expect_err("another type");
    assert_eq!(error.code, "onnx-attribute");
    assert_eq!(error.headline, "the attribute `f` of `n` (Relu, node 0) has the type float, it must have int");
    assert_eq!(a.texts("s").expect_err("another type").code, "onnx-attribute");
    assert_eq!(a.text("bytes").expect_err("no UTF-8").code, "onnx-attribute");
    assert_eq!(a.bytes("bytes").unwrap().map(|b| b.len()), Some(1));
}

#[test]
fn attributes_that_are_wrong_are_refused() {
    use AttributeKind as K;
    let cases = [
        ("no name", vec![AttributeProto { name: None, ..int("i", 1) }]),
        ("twice", vec![int("i", 1), int("i", 2)]),
        ("value of another type", vec![AttributeProto { f: Some(1.0), ..attribute("i", K::Int) }]),
        ("two values", vec![AttributeProto { f: Some(1.0), ..int("i", 1) }]),
        ("no type, two values", vec![AttributeProto { f: Some(1.0), r#type: None, ..int("i", 1) }]),
        ("no type, no value", vec![AttributeProto { name: Some("i".into()), ..AttributeProto::default() }]),
        ("unknown type", vec![AttributeProto { r#type: Some(15), ..int("i", 1) }]),
        ("no tensor", vec![attribute("t", K::Tensor)]),
        ("no graph", vec![attribute("g", K::Graph)]),
        ("outside of functions", vec![reference("i", "j", K::Int)]),
    ];
    for (what, list) in cases {
        let mut g = simple();
        g.node[0].attribute = list;
        assert_eq!(refused(&model(g)), "onnx-attribute", "{what}");
    }
}

#[test]
fn names_that_are_missing_are_refused() {
    let change = |f: fn(&mut GraphProto)| {
        let mut g = simple();
        f(&mut g);
        refused(&model(g))
    };
    assert_eq!(change(|g| g.input[0].name = None), "onnx-graph");
    assert_eq!(change(|g| g.output[0].name = None), "onnx-graph");
    assert_eq!(change(|g| g.node[0].op_type = None), "onnx-graph");
    assert_eq!(change(|g| g.initializer.push(raw("", ElementType::Uint8, &[], &[1]))), "onnx-graph");
    assert_eq!(refused(&ModelProto { graph: None, ..model(simple()) }), "onnx-graph");
}

#[test]
fn every_value_is_defined_once_and_before_its_use() {
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to]);
    let cases = [
        ("onnx-ssa", graph(&["x"], &["y"], vec![relu("x", "y"), relu("x", "y")])),
        ("onnx-ssa", graph(&["x"], &["x"], vec![relu("x", "x")])),
        ("onnx-ssa", graph(&["x", "x"], &["x"], vec![])),
        ("onnx-ssa", graph(&["x"], &["y", "y"], vec![relu("x", "y")])),
        ("onnx-undefined", graph(&["x"], &["y"], vec![relu("a", "y"), relu("x", "a")])),
        ("onnx-undefined", graph(&["x"], &["y"], vec![relu("y", "y")])),
        ("onnx-undefined", graph(&["x"], &["z"], vec![relu("x", "y")])),
    ];
    for (code, g) in cases {
        assert_eq!(refused(&model(g.clone())), code, "{g:?}");
    }
    let many = (0..20).map(|i| relu(&format!("a{i}"), &format!("b{i}"))).collect();
    let error = read(&model(graph(&[], &[], many))).expect_err("undefined");
    assert!(error.headline.lines().count() == 9 && error.headline.ends_with("and 12 more"), "{error}");
    let mut g = graph(&[], &["w"], Vec::new());
    g.initializer = vec![raw("w", ElementType::Uint8, &[], &[1]), raw("w", ElementType::Uint8, &[], &[2])];
    assert_eq!(refused(&model(g)), "onnx-ssa");
}

#[test]
fn graphs_in_attributes_see_what_is_around_them() {
    let relu = |from: &str, to: &str| node("Relu", &[from], &[to]);
    let branches = |then: GraphProto, other: GraphProto| {
        let attributes = vec![subgraph("then_branch", then), subgraph("else_branch", other)];
        let branch = with(node("If", &["c"], &["y"]), attributes);
        model(graph(&["x", "c"], &["z"], vec![relu("x", "a"), branch, relu("y", "z")]))
    };
    let inner = |inputs: &[&str], from: &str, to: &str| graph(inputs, &[to], vec![relu(from, to)]);
    // The same name in both branches, values of the outer graph, an input that hides one, an outer value as the result.
    assert!(read(&branches(inner(&[], "a", "t"), inner(&[], "x", "t"))).is_ok());
    assert!(read(&branches(inner(&["a"], "a", "t"), graph(&[], &["a"], vec![]))).is_ok());
    let ok = || inner(&[], "a", "t");
    assert_eq!(refused(&branches(inner(&[], "a", "x"), ok())), "onnx-ssa");
    assert_eq!(refused(&branches(inner(&[], "z", "t"), ok())), "onnx-undefined");
    assert_eq!(refused(&branches(ok(), inner(&[], "y", "t"))), "onnx-undefined");
    assert_eq!(refused(&branches(ok(), inner(&[], "nowhere", "t"))), "onnx-undefined");
    // What a branch defines does not leave it.
    let mut leaking = branches(ok(), ok());
    leaking.graph.as_mut().expect("a graph").node[2].input[0] = "t".into();
    assert_eq!(refused(&leaking), "onnx-undefined");
}
