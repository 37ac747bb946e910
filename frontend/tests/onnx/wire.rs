//! Bytes that are no model: cut off, nested too deep, or growing when they are decoded.

use crate::writer::*;
use actc_frontend::onnx::schema::{FunctionProto, ModelProto, TensorProto};
use actc_frontend::onnx::{AttributeKind, ElementType, Model};
use prost::Message;

fn varint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 127 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    [vec![tag << 3 | 2], varint(content.len()), content.to_vec()].concat()
}

#[test]
fn prefixes_of_a_model_are_no_models() {
    let g = graph(&["x"], &["y"], vec![node("Relu", &["x"], &["y"])]);
    let proto = ModelProto { producer_name: Some("p".into()), producer_version: Some("1".into()), ..model(g) };
    // In the order of field numbers the operator sets come last: only the whole is a model.
    let file = proto.encode_to_vec();
    for end in 0..file.len() {
        assert!(Model::from_bytes(file[..end].to_vec(), None).is_err(), "{end} of {} bytes", file.len());
    }
    // With fields behind it a prefix is one where a field ends, and only there.
    let behind = [field(2, b"producer"), field(3, b"v"), field(4, b""), field(6, b"documentation")].concat();
    let longer = [file.clone(), behind].concat();
    let ends: Vec<usize> =
        (0..=longer.len()).filter(|end| Model::from_bytes(longer[..*end].to_vec(), None).is_ok()).collect();
    assert!(ends.first() == Some(&file.len()) && ends.last() == Some(&longer.len()) && ends.len() == 5, "{ends:?}");
}

/// Bytes changed at random give a model or an error, never a panic.
#[test]
fn changed_bytes_are_read_or_refused() {
    let then = subgraph("then_branch", graph(&[], &["v"], vec![node("Relu", &["x"], &["v"])]));
    let call = of("f", with(node("F", &["x"], &["m"]), vec![int("axis", 1)]));
    let mut g = graph(&["x"], &["y"], vec![call, with(node("If", &["m"], &["y"]), vec![then])]);
    g.initializer.push(raw("w", ElementType::Int4, &[3], &[0x21, 0x03]));
    let values = raw("s", ElementType::Uint16, &[2], &[1, 2, 3, 4]);
    g.sparse_initializer.push(sparse(values, &[2, 2], &[2, 3], &[0, 1, 1, 2]));
    let mut proto = model(g);
    proto.opset_import.push(opset("f", 1));
    proto.functions.push(FunctionProto {
        name: Some("F".into()),
        domain: Some("f".into()),
        input: vec!["a".into()],
        output: vec!["r".into()],
        attribute: vec!["axis".into()],
        node: vec![with(node("Softmax", &["a"], &["r"]), vec![reference("axis", "axis", AttributeKind::Int)])],
        opset_import: vec![opset("", 21)],
        ..FunctionProto::default()
    });
    let file = proto.encode_to_vec();
    assert!(Model::from_bytes(file.clone(), None).is_ok());
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut changed = file.clone();
        for _ in 0..=random(3) {
            let at = random(changed.len());
            match random(3) {
                0 => changed[at] = random(256) as u8,
                1 => changed[at] ^= 1 << random(8),
                _ => drop(changed.remove(at)),
            }
        }
        accepted += usize::from(Model::from_bytes(changed, None).is_ok());
    }
    assert!((100..19_000).contains(&accepted), "{accepted} accepted");
}

#[test]
fn bytes_of_no_message_are_refused() {
    for bytes in [
        &b"\x0b"[..],
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"GGUF\x03\0\0\0",
        b"\xff",
        b"\x12\x01\xff",
        b"\x38\x01",
    ] {
        let error = Model::from_bytes(bytes.to_vec(), None).expect_err("no model");
        assert_eq!(error.code, "onnx-wire", "{bytes:?}: {error}");
    }
    assert_eq!(Model::from_bytes(Vec::new(), None).expect_err("empty").code, "onnx-version");
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| {
        let mut inner = graph(&[], &["v"], vec![node("Constant", &[], &["v"])]);
        for i in 0..depth {
            let out = format!("v{i}");
            let branch = with(node("If", &["c"], &[&out]), vec![subgraph("then_branch", inner)]);
            inner = graph(&[], &[&out], vec![branch]);
        }
        inner.input.push(value("c"));
        model(inner)
    };
    assert!(read(&nested(20)).is_ok());
    for depth in [22, 40, 200] {
        assert_eq!(refused(&nested(depth)), "onnx-depth");
    }
    // A hundred thousand levels must not even be encoded by recursion: graph in attribute in node.
    let mut bytes = Vec::new();
    for _ in 0..2000 {
        bytes = field(1, &field(5, &field(6, &bytes)));
    }
    assert_eq!(Model::from_bytes(field(7, &bytes), None).expect_err("deep").code, "onnx-depth");
    // Types nest too.
    let mut ty = Vec::new();
    for _ in 0..2000 {
        ty = field(4, &field(1, &ty));
    }
    let input = field(11, &[field(1, b"x"), field(2, &ty)].concat());
    assert_eq!(Model::from_bytes(field(7, &input), None).expect_err("deep").code, "onnx-depth");
}

#[test]
fn small_numbers_are_no_bomb() {
    // A mebibyte of one-byte numbers takes eight when decoded.
    let count = 1 << 20;
    let file = constant(TensorProto { int64_data: vec![1; count], ..tensor("w", ElementType::Int64, &[count as i64]) });
    let model = read(&file).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(model.graph.initialisers[0].1.elements(), count as u64);
}

#[test]
fn files_that_grow_are_refused() {
    let millions = 3_000_000;
    let inside_graph = [
        ("nodes", field(1, b"").repeat(millions)),
        ("initialisers", field(5, b"").repeat(millions)),
        ("attributes", field(1, &field(5, b"").repeat(millions))),
        ("names of inputs", field(1, &field(1, b"").repeat(millions))),
        ("values", field(11, b"").repeat(millions)),
        ("texts", field(5, &field(6, b"").repeat(millions))),
    ];
    for (what, bytes) in inside_graph {
        let error = Model::from_bytes(field(7, &bytes), None).expect_err(what);
        assert_eq!(error.code, "onnx-bloat", "{what}: {error}");
    }
    for (what, bytes) in [("opsets", field(8, b"")), ("properties", field(14, b""))] {
        let error = Model::from_bytes(bytes.repeat(millions), None).expect_err(what);
        assert_eq!(error.code, "onnx-bloat", "{what}: {error}");
    }
    let numbers = field(5, &field(7, &vec![1; 20 * millions]));
    assert_eq!(Model::from_bytes(field(7, &numbers), None).expect_err("numbers").code, "onnx-bloat");
}
