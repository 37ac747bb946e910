//! How many windows lie over an image, by the attributes of convolutions and pooling, also where extents are symbols; and
//! which of them are refused.

use crate::writer::{attribute, graph, input, int, model, node, read, tensor, with};
use actc_frontend::onnx::schema::*;
use actc_frontend::onnx::{AttributeKind, ElementType, import};

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto { ints: values.to_vec(), ..attribute(name, AttributeKind::Ints) }
}

fn word(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.to_owned().into()), ..attribute(name, AttributeKind::Text) }
}

/// The shape of `op` of an input of `dims`, with a kernel of `w` where that has extents; or the code of its refusal.
fn shape(op: &str, dims: &[&str], w: &[i64], attributes: Vec<AttributeProto>) -> String {
    let inputs: &[&str] = if w.is_empty() { &["x"] } else { &["x", "w"] };
    let mut g = graph(&[], &["y"], vec![with(node(op, inputs, &["y"]), attributes)]);
    g.input = vec![input("x", dims)];
    if !w.is_empty() {
        let bytes = vec![0; 4 * w.iter().product::<i64>() as usize];
        g.initializer.push(TensorProto { raw_data: Some(bytes.into()), ..tensor("w", ElementType::Float32, w) });
    }
    match import(&read(&model(g)).expect("the model is read")) {
        Ok(graph) => graph.outputs().map(|(_, v)| graph.ty(v).shape.to_string()).collect(),
        Err(findings) => findings.told()[0].code.to_owned(),
    }
}

#[test]
fn convolutions() {
    let at = |dims: &[&str], attributes: Vec<AttributeProto>| shape("Conv", dims, &[5, 2, 3, 2], attributes);
    assert_eq!(at(&["N", "2", "7", "8"], vec![]), "[N, 5, 5, 7]");
    let more = || vec![ints("strides", &[2, 3]), ints("pads", &[1, 0, 2, 1]), ints("dilations", &[2, 1])];
    assert_eq!(at(&["1", "2", "7", "8"], more()), "[1, 5, 3, 3]");
    assert_eq!(
        at(&["1", "2", "7", "8"], vec![word("auto_pad", "SAME_UPPER"), ints("strides", &[2, 3])]),
        "[1, 5, 4, 3]"
    );
    assert_eq!(at(&["1", "2", "7", "8"], vec![word("auto_pad", "VALID"), ints("strides", &[2, 3])]), "[1, 5, 3, 3]");
    // Extents that are symbols, where the number of windows is a polynomial of them.
    assert_eq!(at(&["N", "2", "H", "W"], vec![ints("pads", &[1, 1, 1, 0])]), "[N, 5, H, W]");
    assert_eq!(at(&["N", "2", "H", "W"], vec![word("auto_pad", "SAME_LOWER")]), "[N, 5, H, W]");
    assert_eq!(at(&["N", "2", "H", "W"], vec![ints("strides", &[2, 1])]), "[N, 5, u + 1, W - 1]");
    assert_eq!(at(&["1", "2", "2", "8"], vec![]), "onnx-node");
    assert_eq!(at(&["1", "2", "7", "8"], vec![ints("pads", &[1, 1])]), "onnx-node");
    assert_eq!(at(&["1", "2", "7", "8"], vec![ints("pads", &[-1, 0, 0, 0])]), "onnx-node");
    assert_eq!(at(&["1", "2", "7", "8"], vec![ints("strides", &[0, 1])]), "onnx-node");
    assert_eq!(at(&["1", "2", "7", "8"], vec![ints("kernel_shape", &[3, 3])]), "onnx-node");
    assert_eq!(at(&["1", "2", "7", "8"], vec![word("auto_pad", "SAME")]), "onnx-node");
    let both = vec![word("auto_pad", "SAME_UPPER"), ints("pads", &[1, 1, 1, 1])];
    assert_eq!(at(&["1", "2", "7", "8"], both), "onnx-node");
    assert_eq!(at(&["1", "3", "7", "8"], vec![]), "ir-type");
    assert_eq!(at(&["1", "2", "7", "8"], vec![int("group", 2)]), "ir-type");
    assert_eq!(at(&["1", "2", "7", "8"], vec![int("group", 0)]), "onnx-node");
    assert_eq!(at(&["1", "2"], vec![]), "onnx-node");
    assert_eq!(at(&["1", "2", "7", "8"], vec![ints("strides", &[1 << 40, 1])]), "onnx-node");
}

#[test]
fn transposed_convolutions() {
    let at = |dims: &[&str], attributes: Vec<AttributeProto>| shape("ConvTranspose", dims, &[2, 5, 3, 3], attributes);
    assert_eq!(at(&["N", "2", "H", "3"], vec![ints("strides", &[2, 3])]), "[N, 5, 2*H + 1, 9]");
    let more = vec![ints("pads", &[1, 2, 1, 2]), ints("strides", &[3, 2])];
    assert_eq!(at(&["1", "2", "3", "3"], more), "[1, 5, 7, 3]");
    let more = vec![ints("output_shape", &[10, 8]), ints("strides", &[3, 2])];
    assert_eq!(at(&["1", "2", "3", "3"], more), "[1, 5, 10, 8]");
    let more = vec![word("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2])];
    assert_eq!(at(&["1", "2", "H", "3"], more), "[1, 5, 2*H, 6]");
    assert_eq!(at(&["1", "2", "H", "3"], vec![ints("output_shape", &[10, 8])]), "onnx-data-dependent");
    assert_eq!(at(&["1", "2", "3", "3"], vec![ints("output_shape", &[10])]), "onnx-node");
    assert_eq!(at(&["1", "2", "1", "1"], vec![ints("pads", &[2, 2, 2, 2])]), "onnx-node");
}

#[test]
fn pooling() {
    let at = |dims: &[&str], more: Vec<AttributeProto>| {
        shape("MaxPool", dims, &[], [vec![ints("kernel_shape", &[3])], more].concat())
    };
    let two = || ints("strides", &[2]);
    assert_eq!(at(&["N", "C", "4"], vec![two()]), "[N, C, 1]");
    assert_eq!(at(&["N", "C", "4"], vec![two(), int("ceil_mode", 1)]), "[N, C, 2]");
    // A last window that would begin behind the image is not there.
    let three = vec![ints("strides", &[3]), ints("pads", &[1, 1]), int("ceil_mode", 1)];
    assert_eq!(at(&["N", "C", "2"], three), "[N, C, 1]");
    assert_eq!(at(&["N", "C", "L"], vec![]), "[N, C, L - 2]");
    assert_eq!(at(&["N", "C", "L"], vec![two()]), "[N, C, u + 1]");
    assert_eq!(at(&["N", "C", "4"], vec![word("auto_pad", "SAME_UPPER"), two()]), "[N, C, 2]");
    assert_eq!(shape("MaxPool", &["1", "1", "4"], &[], vec![]), "onnx-node");
    assert_eq!(at(&["1", "1", "4"], vec![int("storage_order", 2)]), "onnx-node");
    let lp = vec![ints("kernel_shape", &[2]), int("p", 0)];
    assert_eq!(shape("LpPool", &["1", "1", "4"], &[], lp), "onnx-node");
}
