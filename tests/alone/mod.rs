//! An op in a graph of its own.

use actc::ir::{Graph, Op, TensorType};

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
