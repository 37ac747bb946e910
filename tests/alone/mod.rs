//! An op in a graph of its own, and bits to make its inputs of.
#![allow(dead_code, reason = "each test uses a part of it")]

use actc::ir::{Graph, Op, TensorType};

/// Bits of a seeded generator (xorshift).
pub(crate) fn bits(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

/// The graph of `op` on inputs of `types`; its outputs are all of its results.
pub(crate) fn graph(op: &Op, types: impl IntoIterator<Item = TensorType>) -> Graph {
    let mut graph = Graph::new("g");
    let args: Vec<_> = types.into_iter().enumerate().map(|(i, ty)| graph.input(format!("x{i}"), ty)).collect();
    let results =
        graph.add_in(graph.body(), op.clone(), &args, Vec::new(), "y").unwrap_or_else(|e| panic!("{op:?}: {e}"));
    for (i, value) in results.into_iter().enumerate() {
        graph.output(format!("y{i}"), value);
    }
    graph
}
