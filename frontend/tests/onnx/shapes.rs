//! Extents that models compute from integers which only the running model knows: what the importer makes of them.

use crate::writer::*;
use actc_frontend::onnx::schema::*;
use actc_frontend::onnx::{ElementType, import};
use actc_types::{Diagnostic, Shape, Symbol};

fn numbers(name: &str, numbers: &[i64]) -> TensorProto {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    raw(name, ElementType::Int64, &[numbers.len() as i64], &bytes)
}

/// The shapes of the outputs of `nodes` over the inputs `x f32[12]`, `a i64[1]` and `b i64[1]`, and constants.
fn shapes(nodes: Vec<NodeProto>, constants: Vec<TensorProto>, outputs: &[&str]) -> Vec<Shape> {
    let mut g = graph(&[], outputs, nodes);
    g.input = vec![
        typed("x", ElementType::Float32, &["12"]),
        typed("a", ElementType::Int64, &["1"]),
        typed("b", ElementType::Int64, &["1"]),
    ];
    g.initializer = constants;
    let graph = import(&read(&model(g)).expect("a model")).expect("a graph");
    assert_eq!(actc_ir::verify(&graph), []);
    graph.outputs().map(|(_, v)| graph.ty(v).shape.clone()).collect()
}

#[test]
fn extents_that_are_known_beside_others_stay_fixed() {
    let nodes = vec![
        with(node("Concat", &["a", "three"], &["wanted"]), vec![int("axis", 0)]),
        node("Reshape", &["x", "wanted"], &["y"]),
        with(node("Concat", &["two", "a", "b"], &["other"]), vec![int("axis", 0)]),
        node("Reshape", &["x", "other"], &["z"]),
    ];
    let found = shapes(nodes, vec![numbers("two", &[2]), numbers("three", &[3])], &["y", "z"]);
    let fixed: Vec<Vec<Option<u64>>> = found.iter().map(|s| s.dims().iter().map(|d| d.fixed()).collect()).collect();
    assert_eq!(fixed, [vec![None, Some(3)], vec![Some(2), None, None]]);
}

#[test]
fn pads_that_are_known_in_part_leave_other_axes_as_they_are() {
    let nodes = vec![
        node("Reshape", &["x", "square"], &["y"]),
        with(node("Concat", &["zero", "a", "zero", "b"], &["pads"]), vec![int("axis", 0)]),
        node("Pad", &["y", "pads"], &["z"]),
    ];
    let found = shapes(nodes, vec![numbers("square", &[3, 4]), numbers("zero", &[0])], &["z"]);
    let fixed: Vec<Option<u64>> = found[0].dims().iter().map(|d| d.fixed()).collect();
    assert_eq!(fixed, [Some(3), None]);
}

#[test]
fn a_tree_that_leads_back_to_itself_is_refused() {
    let list = |name: &str, numbers: &[i64]| AttributeProto {
        ints: numbers.to_vec(),
        ..attribute(name, actc_frontend::onnx::AttributeKind::Ints)
    };
    let tensor = |name: &str, tensor: TensorProto| AttributeProto {
        t: Some(Box::new(tensor)),
        ..attribute(name, actc_frontend::onnx::AttributeKind::Tensor)
    };
    let floats = |x: f32| raw("t", ElementType::Float32, &[1], &x.to_le_bytes());
    let tree = |next: i64| {
        let attributes = vec![
            int("n_targets", 1),
            tensor("nodes_splits", floats(0.5)),
            tensor("nodes_modes", raw("m", ElementType::Uint8, &[1], &[0])),
            tensor("leaf_weights", floats(2.0)),
            list("nodes_featureids", &[0]),
            list("nodes_truenodeids", &[next]),
            list("nodes_falsenodeids", &[0]),
            list("nodes_trueleafs", &[0]),
            list("nodes_falseleafs", &[1]),
            list("leaf_targetids", &[0]),
            list("tree_roots", &[0]),
        ];
        let mut g = graph(&[], &["y"], vec![with(of("ai.onnx.ml", node("TreeEnsemble", &["x"], &["y"])), attributes)]);
        g.input = vec![typed("x", ElementType::Float32, &["3", "2"])];
        let mut m = model(g);
        m.opset_import.push(opset("ai.onnx.ml", 5));
        import(&read(&m).expect("a model")).expect_err("a tree without an end")
    };
    for next in [0, 1, -1] {
        assert_eq!(tree(next).told()[0].code, "onnx-node");
    }
}

#[test]
fn extents_get_values_before_the_graph_is_made() {
    let mut g = graph(&[], &["s", "t"], vec![node("Relu", &["x"], &["s"]), node("Relu", &["y"], &["t"])]);
    g.input = vec![input("x", &["N", "?", "3"]), input("y", &["text length", "N"])];
    let proto = model(g);
    let fixed = |extents: &[(&str, u64)]| -> Result<Vec<String>, Diagnostic> {
        let mut model = read(&proto).expect("a model");
        let extents = extents.iter().map(|(name, n)| (Symbol::new(name).expect("a symbol"), *n)).collect();
        model.fix(&extents)?;
        let graph = import(&model).expect("a graph");
        Ok(graph.outputs().map(|(_, v)| graph.ty(v).shape.to_string()).collect())
    };
    assert_eq!(fixed(&[]), Ok(vec!["[N, x_1, 3]".into(), "[text_length, N]".into()]));
    assert_eq!(fixed(&[("N", 4)]), Ok(vec!["[4, x_1, 3]".into(), "[text_length, 4]".into()]));
    assert_eq!(fixed(&[("x_1", 0), ("text_length", 7)]), Ok(vec!["[N, 0, 3]".into(), "[7, N]".into()]));
    let error = fixed(&[("N", 4), ("M", 2)]).expect_err("an unknown name");
    assert_eq!(
        (error.code, error.help.as_deref()),
        ("unknown-dim", Some("those that are not fixed: N, text_length, x_1"))
    );
}

#[test]
fn of_many_findings_the_first_are_told() {
    let nodes = (0..250).map(|i| node("Sgimoid", &["x"], &[&format!("y{i}")])).collect();
    let model = read(&model(graph(&["x"], &["y0"], nodes))).expect("a model");
    let findings = import(&model).expect_err("unknown operators");
    assert_eq!(findings.told().len(), 100);
    let error = findings.together("m.onnx");
    assert!(
        error.headline.starts_with("250 nodes or outputs") && error.headline.ends_with("\nand 150 more"),
        "{error}"
    );
}
