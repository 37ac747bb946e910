//! Weights that a model holds in another order than its nodes take them in: moved while it is read, as far as memory allows.

use crate::writer::*;
use actc_frontend::onnx::schema::*;
use actc_frontend::onnx::{ElementType, import};
use actc_ir::{Graph, Op};

fn integers(name: &str, numbers: &[i64], dims: &[i64]) -> TensorProto {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    raw(name, ElementType::Int64, dims, &bytes)
}

/// `w [rows, 16]` with its halves exchanged and the other way round, `times` times under different names.
fn swapped(rows: i64, times: usize) -> (Graph, Vec<i64>) {
    let numbers: Vec<i64> = (0..rows * 16).map(|i| i * 7 - 3).collect();
    let names: Vec<[String; 4]> = (0..times).map(|i| ["a", "b", "c", "y"].map(|n| format!("{n}{i}"))).collect();
    let mut nodes = Vec::new();
    for names in &names {
        let [a, b, c, y] = names.each_ref().map(String::as_str);
        nodes.push(node("Slice", &["w", "half", "end", "first"], &[a]));
        nodes.push(node("Slice", &["w", "zero", "half", "first"], &[b]));
        nodes.push(with(node("Concat", &[a, b], &[c]), vec![int("axis", 0)]));
        nodes.push(node("Transpose", &[c], &[y]));
    }
    let outputs: Vec<&str> = names.iter().map(|n| n[3].as_str()).collect();
    let mut g = graph(&[], &outputs, nodes);
    g.initializer = vec![
        integers("w", &numbers, &[rows, 16]),
        integers("zero", &[0], &[1]),
        integers("half", &[rows / 2], &[1]),
        integers("end", &[rows], &[1]),
        integers("first", &[0], &[1]),
    ];
    (import(&read(&model(g)).expect("a model")).expect("a graph"), numbers)
}

fn moves(graph: &Graph) -> usize {
    let moved = |op: &Op| matches!(op, Op::Slice(_) | Op::Concat(_) | Op::Transpose(_));
    graph.order().iter().filter(|n| moved(&graph.node(**n).op)).count()
}

#[test]
fn weights_are_moved_while_a_model_is_read() {
    for rows in [2, 200] {
        let (graph, numbers) = swapped(rows, 1);
        assert_eq!(moves(&graph), 0, "{rows} rows");
        let (_, y) = graph.outputs().next().expect("an output");
        let constant = graph.const_data(graph.as_const(y).expect("a constant"));
        let row = |r: i64| ((r + rows / 2) % rows) as usize;
        let expected: Vec<i64> =
            (0..16).flat_map(|c| (0..rows).map(move |r| (row(r), c))).map(|(r, c)| numbers[r * 16 + c]).collect();
        assert_eq!(constant.decode().expect("elements").as_i64().expect("integers"), expected);
    }
    assert!(moves(&swapped(16386, 1).0) > 0, "larger ones stay where they are");
}

#[test]
fn not_more_than_memory_allows() {
    let (graph, _) = swapped(8192, 60);
    // Each makes three times as many bytes as the file has, and twice as many are allowed.
    let left = moves(&graph);
    assert!((230..240).contains(&left), "{left} of 240 nodes are left");
}
