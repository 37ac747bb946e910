//! Which elementwise nodes become one chain, and the axes of chains.

use actc_codegen::chain::{self, Chain};
use actc_codegen::cluster::{Cluster, cluster};
use actc_ir::ops::pointwise::{Binary, BinaryFunction};
use actc_ir::{Graph, Node, Op, TensorType, Value, text};
use actc_types::{DType, Dim, Shape};
use std::collections::BTreeSet;

/// How many nodes each cluster of a graph has.
fn sizes(body: &str) -> Vec<usize> {
    let source = format!("air 1\ngraph @g(%x: f32[N, 8], %n: i32[N, 8]) {{\n{body}\n}}\n");
    let graph = text::parse(&source, &text::unbound).unwrap();
    let size = |c: &Cluster| match c {
        Cluster::Linear { nodes, .. } | Cluster::Elementwise { nodes, .. } => nodes.len(),
        Cluster::Single(_) => 1,
    };
    cluster(&graph, graph.body(), BTreeSet::new()).iter().map(size).collect()
}

#[test]
fn a_value_that_is_used_twice_stays_inside() {
    let sizes = sizes(
        "  %three = const @three = [3] : f32[]
  %zero = const @zero = [0] : f32[]
  %0 = neg %x : f32[N, 8]
  %1 = add %0, %three : f32[N, 8]
  %2 = max %1, %zero : f32[N, 8]
  %3 = mul %0, %2 : f32[N, 8]
  return y=%3",
    );
    assert_eq!(sizes, [4]);
}

/// Each linear is followed by what uses it, as passes leave them.
#[test]
fn linears_over_one_input_run_together_wherever_they_stand() {
    let source = "air 1\ngraph @g(%x: f32[1, 8]) {
  %a = const @a = rng{seed=1, scale=1} : f16[8, 8]
  %b = const @b = rng{seed=2, scale=1} : f16[8, 8]
  %c = const @c = rng{seed=3, scale=1} : f16[8, 8]
  %0 = linear %x, %a : f32[1, 8]
  %1 = reshape{shape=\"2, 4\"} %0 : f32[2, 4]
  %2 = softmax %1 : f32[2, 4]
  %3 = linear %x, %b : f32[1, 8]
  %4 = silu %3 : f32[1, 8]
  %5 = linear %x, %c : f32[1, 8]
  %6 = mul %4, %5 : f32[1, 8]
  return p=%2, q=%6\n}\n";
    let graph = text::parse(source, &text::unbound).unwrap();
    let linears: BTreeSet<Node> =
        graph.order().iter().copied().filter(|n| matches!(graph.node(*n).op, Op::Linear(_))).collect();
    let clusters = cluster(&graph, graph.body(), linears);
    let together = |c: &Cluster| match c {
        Cluster::Linear { nodes, .. } => Some(nodes.len()),
        Cluster::Elementwise { .. } | Cluster::Single(_) => None,
    };
    assert_eq!(clusters.iter().filter_map(together).collect::<Vec<_>>(), [3]);
    assert!(together(&clusters[0]).is_some(), "it comes before all that uses it");
}

#[test]
fn rounding_to_bytes_and_back_is_one_chain() {
    let sizes = sizes(
        "  %scale = const @scale = [0.5] : f32[]
  %zero = const @zero = [65] : i32[]
  %0 = div %x, %scale : f32[N, 8]
  %1 = round %0 : f32[N, 8]
  %2 = cast{to=u8} %1 : u8[N, 8]
  %3 = cast{to=i32} %2 : i32[N, 8]
  %4 = sub %3, %zero : i32[N, 8]
  %5 = cast{to=f32} %4 : f32[N, 8]
  %6 = mul %5, %scale : f32[N, 8]
  return y=%6",
    );
    assert_eq!(sizes, [7]);
}

#[test]
fn what_is_seen_outside_and_integers_of_any_size_end_chains() {
    let sizes = sizes(
        "  %0 = neg %x : f32[N, 8]
  %1 = exp %0 : f32[N, 8]
  %2 = softmax %0 : f32[N, 8]
  %3 = add %n, %n : i32[N, 8]
  %4 = cast{to=f32} %3 : f32[N, 8]
  return a=%1, b=%2, c=%4",
    );
    assert_eq!(sizes, [1, 1, 1, 1, 1]);
}

/// Extents and repetitions of the sum of tensors of two shapes.
fn axes(a: &[&str], b: &[&str]) -> (String, Vec<String>) {
    let mut graph = Graph::new("axes");
    let mut input = |name: &str, dims: &[&str]| -> Value {
        let shape = Shape(dims.iter().map(|d| Dim::parse(d).unwrap()).collect());
        graph.input(name, TensorType::new(DType::F32, shape))
    };
    let args = [input("a", a), input("b", b)];
    graph.add(Op::Binary(Binary { function: BinaryFunction::Add }), &args, "sum").unwrap();
    let Chain { spec, extents, .. } = chain::of(&graph, graph.order()).unwrap();
    let text = |along: &[bool]| along.iter().map(|moves| if *moves { '*' } else { '1' }).collect();
    let extents: Vec<String> = extents.iter().map(ToString::to_string).collect();
    (extents.join(", "), spec.inputs.iter().map(|input| text(&input.along)).collect())
}

#[test]
fn neighbours_that_do_the_same_are_one_axis() {
    let is = |found: (String, Vec<String>), extents: &str, along: [&str; 2]| {
        assert_eq!((found.0.as_str(), [found.1[0].as_str(), found.1[1].as_str()]), (extents, along));
    };
    is(axes(&["B", "3", "H", "W"], &[]), "3*B*H*W", ["*", "1"]);
    is(axes(&["B", "3", "H", "W"], &["3", "1", "1"]), "B, 3, H*W", ["***", "1*1"]);
    is(axes(&["2", "1", "4"], &["1", "4"]), "2, 4", ["**", "1*"]);
    is(axes(&["2", "1", "4"], &["5", "1"]), "2, 5, 4", ["*1*", "1*1"]);
    is(axes(&[], &["1"]), "1", ["*", "*"]);
}
