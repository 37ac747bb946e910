//! Functions of a model, put in the place of their calls.

use crate::writer::*;
use actc_frontend::onnx::schema::*;
use actc_frontend::onnx::{AttributeKind, Model, Node};

fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: Vec<NodeProto>) -> FunctionProto {
    FunctionProto {
        name: Some(name.into()),
        domain: Some("f".into()),
        input: inputs.iter().map(|s| s.to_string()).collect(),
        output: outputs.iter().map(|s| s.to_string()).collect(),
        node: nodes,
        opset_import: vec![opset("", 18), opset("f", 1)],
        ..FunctionProto::default()
    }
}

fn with_functions(graph: GraphProto, functions: Vec<FunctionProto>) -> ModelProto {
    let mut m = model(graph);
    m.opset_import.push(opset("f", 1));
    m.functions = functions;
    m
}

fn call(name: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    of("f", node(name, inputs, outputs))
}

fn relu(from: &str, to: &str) -> NodeProto {
    node("Relu", &[from], &[to])
}

fn accepted(m: &ModelProto) -> Model {
    read(m).unwrap_or_else(|e| panic!("{e}"))
}

/// `op(inputs)->outputs`, a line for each node.
fn shown(nodes: &[Node]) -> Vec<String> {
    let list = |names: &[Option<String>]| {
        names.iter().map(|n| n.clone().unwrap_or_else(|| "-".into())).collect::<Vec<_>>().join(",")
    };
    nodes.iter().map(|n| format!("{}({})->{}", n.op, list(&n.inputs), list(&n.outputs))).collect()
}

#[test]
fn bodies_take_the_place_of_calls() {
    let f = function("F", &["a", "b"], &["r"], vec![node("Add", &["a", "b"], &["t"]), relu("t", "r")]);
    let nodes = vec![call("F", &["x", "x"], &["m"]), call("F", &["m", "x"], &["y"])];
    let m = accepted(&with_functions(graph(&["x"], &["y"], nodes), vec![f]));
    assert_eq!(
        shown(&m.graph.nodes),
        ["Add(x,x)->inlined1/t", "Relu(inlined1/t)->m", "Add(m,x)->inlined2/t", "Relu(inlined2/t)->y"]
    );
    assert!(m.graph.nodes.iter().all(|n| n.opset == 18 && n.domain.is_empty()), "the function's own versions");
}

#[test]
fn names_of_the_model_are_never_taken() {
    let f = function("F", &["a"], &["r"], vec![relu("a", "t"), relu("t", "r")]);
    let nodes = vec![relu("x", "inlined1/t"), call("F", &["inlined1/t"], &["y"])];
    let m = accepted(&with_functions(graph(&["x"], &["y"], nodes), vec![f]));
    assert_eq!(shown(&m.graph.nodes[1..]), ["Relu(inlined1/t)->inlined_1/t", "Relu(inlined_1/t)->y"]);
}

#[test]
fn a_body_sees_nothing_around_its_call() {
    let f = function("F", &[], &["r"], vec![relu("x", "r")]);
    assert_eq!(
        refused(&with_functions(graph(&["x"], &["y"], vec![call("F", &[], &["y"])]), vec![f])),
        "onnx-undefined"
    );
}

#[test]
fn attributes_of_the_call_and_defaults() {
    let mut leaf = node("Softmax", &["a"], &["r"]);
    leaf.attribute = vec![
        reference("axis", "ax", AttributeKind::Int),
        reference("left", "missing", AttributeKind::Int),
        reference("given", "with_default", AttributeKind::Int),
        int("own", 5),
    ];
    let mut inner = function("Inner", &["a"], &["r"], vec![leaf]);
    inner.attribute = vec!["ax".into(), "missing".into()];
    inner.attribute_proto = vec![int("with_default", 7)];
    // The outer function hands its own attribute on.
    let through = with(call("Inner", &["a"], &["r"]), vec![reference("ax", "axis", AttributeKind::Int)]);
    let mut outer = function("Outer", &["a"], &["r"], vec![through]);
    outer.attribute = vec!["axis".into()];
    let nodes = vec![
        with(call("Outer", &["x"], &["m"]), vec![int("axis", 2)]),
        with(call("Inner", &["m"], &["y"]), vec![int("with_default", 8)]),
    ];
    let proto = with_functions(graph(&["x"], &["y"], nodes), vec![outer, inner]);
    let m = accepted(&proto);
    assert_eq!(shown(&m.graph.nodes), ["Softmax(x)->m", "Softmax(m)->y"]);
    let of = |i: usize, name: &str| m.graph.nodes[i].attributes.int(name).unwrap();
    assert_eq!((of(0, "axis"), of(0, "left"), of(0, "given"), of(0, "own")), (Some(2), None, Some(7), Some(5)));
    assert_eq!((of(1, "axis"), of(1, "left"), of(1, "given"), of(1, "own")), (None, None, Some(8), Some(5)));
    // Another type, an attribute that the function has not, a reference to none.
    let change = |f: fn(&mut ModelProto)| {
        let mut m = proto.clone();
        f(&mut m);
        refused(&m)
    };
    assert_eq!(
        change(|m| {
            let a = &mut m.graph.as_mut().expect("a graph").node[0].attribute[0];
            *a = AttributeProto { f: Some(1.0), ..attribute("axis", AttributeKind::Float) };
        }),
        "onnx-attribute"
    );
    assert_eq!(change(|m| m.graph.as_mut().expect("a graph").node[0].attribute.push(int("z", 1))), "onnx-function");
    assert_eq!(change(|m| m.functions[1].attribute.clear()), "onnx-function");
}

#[test]
fn inputs_and_outputs_that_are_left_out() {
    let body = vec![node("Clip", &["a", "lo", "hi"], &["r"]), relu("r", "s")];
    let f = function("F", &["a", "lo", "hi"], &["r", "s"], body);
    let g = |inputs: &[&str], outputs: &[&str], given: &[&str]| {
        with_functions(graph(&["x", "l"], given, vec![call("F", inputs, outputs)]), vec![f.clone()])
    };
    let m = accepted(&g(&["x"], &["y"], &["y"]));
    assert_eq!(shown(&m.graph.nodes), ["Clip(x,-,-)->y", "Relu(y)->inlined1/s"]);
    let m = accepted(&g(&["x", "", "l"], &["", "y"], &["y"]));
    assert_eq!(shown(&m.graph.nodes), ["Clip(x,-,l)->inlined1/r", "Relu(inlined1/r)->y"]);
    assert!(read(&g(&["x", "l", "", ""], &["y"], &["y"])).is_ok(), "more names that are left out");
    assert_eq!(refused(&g(&["x", "l", "l", "l"], &["y"], &["y"])), "onnx-function");
    assert_eq!(refused(&g(&["x"], &["y", "z", "w"], &["y"])), "onnx-function");
}

#[test]
fn an_output_that_is_an_input_is_copied() {
    let f = function("F", &["a", "b"], &["b", "r", "r"], vec![relu("a", "r")]);
    let g = graph(&["x", "z"], &["p", "q", "s"], vec![call("F", &["x", "z"], &["p", "q", "s"])]);
    let m = accepted(&with_functions(g, vec![f.clone()]));
    assert_eq!(shown(&m.graph.nodes), ["Relu(x)->q", "Identity(z)->p", "Identity(q)->s"]);
    let g = graph(&["x"], &["p"], vec![call("F", &["x"], &["p"])]);
    assert_eq!(refused(&with_functions(g, vec![f])), "onnx-function");
}

#[test]
fn calls_in_graphs_and_graphs_in_functions() {
    // The branch in the function uses its input, a value of its body, and defines names, one of which hides its input.
    let then = graph(&[], &["v"], vec![node("Add", &["a", "t"], &["u"]), relu("u", "v")]);
    let other = graph(&["a"], &["v"], vec![call("Leaf", &["a"], &["v"])]);
    let branch = with(node("If", &["c"], &["r"]), vec![subgraph("then_branch", then), subgraph("else_branch", other)]);
    let f = function("F", &["a", "c"], &["r"], vec![relu("a", "t"), branch]);
    let leaf = function("Leaf", &["a"], &["r"], vec![node("Neg", &["a"], &["t"]), node("Exp", &["t"], &["r"])]);
    let outer = graph(&[], &["w"], vec![call("F", &["x", "c"], &["w"])]);
    let call_site = with(node("If", &["c"], &["y"]), vec![subgraph("then_branch", outer)]);
    let m = accepted(&with_functions(graph(&["x", "c"], &["y"], vec![call_site]), vec![f, leaf]));
    let inner = m.graph.nodes[0].attributes.graph("then_branch").unwrap().expect("a branch");
    assert_eq!(shown(&inner.nodes), ["Relu(x)->inlined1/t", "If(c)->w"]);
    let then = inner.nodes[1].attributes.graph("then_branch").unwrap().expect("a branch");
    assert_eq!(shown(&then.nodes), ["Add(x,inlined1/t)->inlined1/u", "Relu(inlined1/u)->inlined1/v"]);
    assert_eq!(then.outputs[0].name, "inlined1/v");
    let other = inner.nodes[1].attributes.graph("else_branch").unwrap().expect("a branch");
    assert_eq!(other.inputs[0].name, "inlined1/a");
    assert_eq!(shown(&other.nodes), ["Neg(inlined1/a)->inlined2/t", "Exp(inlined2/t)->inlined1/v"]);
}

#[test]
fn a_graph_as_an_attribute_of_a_call() {
    let branch = with(node("If", &["c"], &["r"]), vec![reference("then_branch", "body", AttributeKind::Graph)]);
    let mut f = function("F", &["c"], &["r"], vec![branch]);
    f.attribute = vec!["body".into()];
    let body = subgraph("body", graph(&[], &["v"], vec![relu("x", "v")]));
    let g = graph(&["x", "c"], &["y"], vec![with(call("F", &["c"], &["y"]), vec![body])]);
    let m = accepted(&with_functions(g, vec![f]));
    let body = m.graph.nodes[0].attributes.graph("then_branch").unwrap().expect("a branch");
    assert_eq!(shown(&body.nodes), ["Relu(x)->v"]);
}

#[test]
fn functions_that_call_themselves_are_refused() {
    let call_of = |name: &str, called: &str| function(name, &["a"], &["r"], vec![call(called, &["a"], &["r"])]);
    let g = || graph(&["x"], &["y"], vec![relu("x", "y")]);
    for functions in [
        vec![call_of("A", "A")],
        vec![call_of("A", "B"), call_of("B", "C"), call_of("C", "A")],
        vec![{
            let inner = graph(&[], &["v"], vec![call("A", &["a"], &["v"])]);
            function("A", &["a"], &["r"], vec![with(node("If", &["a"], &["r"]), vec![subgraph("then_branch", inner)])])
        }],
    ] {
        assert_eq!(refused(&with_functions(g(), functions)), "onnx-function-cycle");
    }
    // A long chain is no cycle; called, it nests too deep.
    let mut chain: Vec<FunctionProto> = (0..5000).map(|i| call_of(&format!("F{i}"), &format!("F{}", i + 1))).collect();
    chain.push(function("F5000", &["a"], &["r"], vec![relu("a", "r")]));
    assert!(read(&with_functions(g(), chain.clone())).is_ok());
    let called = |name: &str| graph(&["x"], &["y"], vec![call(name, &["x"], &["y"])]);
    assert!(read(&with_functions(called("F4950"), chain.clone())).is_ok());
    assert_eq!(refused(&with_functions(called("F0"), chain.clone())), "onnx-depth");
    chain.push(function("F5000", &["a"], &["r"], vec![relu("a", "r")]));
    assert_eq!(refused(&with_functions(g(), chain)), "onnx-function");
}

#[test]
fn models_that_grow_when_inlined_are_refused() {
    // Thirty functions, each of which calls the next one twice.
    let twice = |i: usize| {
        let next = format!("F{}", i + 1);
        function(&format!("F{i}"), &["a"], &["r"], vec![call(&next, &["a"], &["t"]), call(&next, &["t"], &["r"])])
    };
    let mut functions: Vec<FunctionProto> = (0..30).map(twice).collect();
    functions.push(function("F30", &["a"], &["r"], vec![relu("a", "r")]));
    let m = with_functions(graph(&["x"], &["y"], vec![call("F0", &["x"], &["y"])]), functions);
    assert_eq!(refused(&m), "onnx-bloat");
    // Few nodes with long names.
    let long = "n".repeat(1 << 20);
    let body = function("F", &["a"], &["r"], vec![relu("a", &long), relu(&long, "r")]);
    let nodes = (0..500).map(|i| call("F", &["x"], &[&format!("y{i}")])).collect();
    assert_eq!(refused(&with_functions(graph(&["x"], &[], nodes), vec![body])), "onnx-bloat");
}

#[test]
fn overloads_and_domains() {
    let mut one = function("F", &["a"], &["r"], vec![relu("a", "r")]);
    let mut two = function("F", &["a"], &["r"], vec![node("Neg", &["a"], &["r"])]);
    one.overload = Some("1".into());
    two.overload = Some("2".into());
    let mut c = call("F", &["x"], &["y"]);
    c.overload = Some("2".into());
    let m = accepted(&with_functions(graph(&["x"], &["y"], vec![c.clone()]), vec![one.clone(), two.clone()]));
    assert_eq!(shown(&m.graph.nodes), ["Neg(x)->y"]);
    // Another overload is another operator, which stays.
    c.overload = None;
    let m = accepted(&with_functions(graph(&["x"], &["y"], vec![c]), vec![one, two]));
    assert_eq!(shown(&m.graph.nodes), ["F(x)->y"]);
    assert_eq!((m.graph.nodes[0].domain.as_str(), m.graph.nodes[0].opset), ("f", 1));
    // A function may stand for one of the standard's operators, under either name of its domain.
    let mut own = function("Relu", &["a"], &["r"], vec![node("Neg", &["a"], &["r"])]);
    own.domain = Some("ai.onnx".into());
    let m = accepted(&with_functions(graph(&["x"], &["y"], vec![relu("x", "y")]), vec![own]));
    assert_eq!(shown(&m.graph.nodes), ["Neg(x)->y"]);
    // A body needs a version of what it uses.
    let mut bare = function("F", &["a"], &["r"], vec![relu("a", "r")]);
    bare.opset_import.clear();
    assert_eq!(refused(&with_functions(graph(&["x"], &["y"], vec![relu("x", "y")]), vec![bare])), "onnx-opset");
}

/// What costs time at every call counts, even where it leaves nothing behind.
#[test]
fn work_for_nothing_is_bounded() {
    let calls = |inputs: &[&str]| graph(&["x"], &[], vec![call("F", inputs, &[]); 20_000]);
    let names: Vec<String> = (0..20_000).map(|i| format!("a{i}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let many_inputs = function("F", &names, &[], vec![]);
    assert_eq!(refused(&with_functions(calls(&[]), vec![many_inputs])), "onnx-bloat");
    let empty = function("F", &[], &[], vec![node("Max", &[""; 20_000], &["r"])]);
    assert_eq!(refused(&with_functions(calls(&[]), vec![empty])), "onnx-bloat");
    let mut unset = function("F", &["a"], &[], vec![relu("a", "r")]);
    unset.attribute = vec!["none".into()];
    unset.node[0].attribute = names[..5000].iter().map(|n| reference(n, "none", AttributeKind::Int)).collect();
    assert_eq!(refused(&with_functions(calls(&["x"]), vec![unset])), "onnx-bloat");
    // As many references in one node are put in at once, and a long name is not told for each of them.
    let mut set = function("F", &["a"], &["r"], vec![relu("a", "r")]);
    set.attribute = vec!["v".into()];
    set.node[0].attribute = names.iter().map(|n| reference(n, "v", AttributeKind::Int)).collect();
    set.node[0].name = Some("n".repeat(1 << 20));
    let g = graph(&["x"], &["y"], vec![with(call("F", &["x"], &["y"]), vec![int("v", 3)])]);
    let m = accepted(&with_functions(g, vec![set]));
    assert_eq!(m.graph.nodes[0].attributes.len(), 20_000);
    assert_eq!(m.graph.nodes[0].attributes.int("a19999").unwrap(), Some(3));
}

/// Graphs that are handed on from call to call, each time within a deeper one.
#[test]
fn graphs_that_grow_in_depth_are_refused() {
    let wrap = |mut inner: GraphProto, levels: usize| {
        for i in 0..levels {
            let name = format!("w{i}");
            inner =
                graph(&[], &[&name], vec![with(node("If", &["a"], &[&name]), vec![subgraph("then_branch", inner)])]);
        }
        inner
    };
    let used = with(node("If", &["a"], &["u"]), vec![reference("then_branch", "body", AttributeKind::Graph)]);
    let deeper = |i: usize| {
        let next = with(
            call(&format!("F{}", i + 1), &["a"], &["r"]),
            vec![subgraph("body", wrap(graph(&[], &["u"], vec![used.clone()]), 15))],
        );
        let mut f = function(&format!("F{i}"), &["a"], &["r"], vec![next]);
        f.attribute = vec!["body".into()];
        f
    };
    let mut functions: Vec<FunctionProto> = (0..50).map(deeper).collect();
    let mut last = function("F50", &["a"], &["r"], vec![relu("a", "r")]);
    last.attribute = vec!["body".into()];
    functions.push(last);
    let start = |i: usize| {
        let body = subgraph("body", graph(&[], &["v"], vec![relu("x", "v")]));
        graph(&["x"], &["y"], vec![with(call(&format!("F{i}"), &["x"], &["y"]), vec![body])])
    };
    assert!(read(&with_functions(start(48), functions.clone())).is_ok());
    assert_eq!(refused(&with_functions(start(0), functions)), "onnx-depth");
}
