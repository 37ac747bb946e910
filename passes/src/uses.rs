//! Who reads the values and constants of a graph, and whether nobody else does.

use actc_ir::{Graph, Node, Value};

/// Who reads what, in all regions.
pub(crate) struct Uses {
    users: Vec<Vec<Node>>,
    counts: Vec<u32>,
    constants: Vec<u32>,
}

impl Uses {
    pub(crate) fn of(graph: &Graph) -> Uses {
        let mut counts = vec![0u32; graph.value_count()];
        let mut constants = vec![0u32; graph.constants().len()];
        let mut count = |value: Value| {
            counts[value.index()] += 1;
            if let Some(id) = graph.as_const(value) {
                constants[id.index()] += 1;
            }
        };
        let mut regions = vec![graph.body()];
        while let Some(region) = regions.pop() {
            graph.region_results(region).iter().copied().for_each(&mut count);
            for node in graph.region_nodes(region) {
                graph.node(*node).args.iter().copied().for_each(&mut count);
                regions.extend(&graph.node(*node).regions);
            }
        }
        for (old, new) in graph.donated() {
            count(*old);
            count(*new);
        }
        Uses { users: graph.users(), counts, constants }
    }

    /// The node that reads `value`, where there is one, once, and nobody else does.
    pub(crate) fn sole(&self, value: Value) -> Option<Node> {
        match self.users[value.index()][..] {
            [user] if self.counts[value.index()] == 1 => Some(user),
            _ => None,
        }
    }

    /// The nodes that read `value`, where there are two, once each, and nobody else does.
    pub(crate) fn pair(&self, value: Value) -> Option<[Node; 2]> {
        <[Node; 2]>::try_from(&self.users[value.index()][..]).ok().filter(|_| self.counts[value.index()] == 2)
    }

    /// Whether the constant that `value` is, is read once in all.
    pub(crate) fn owned(&self, graph: &Graph, value: Value) -> bool {
        graph.as_const(value).is_some_and(|id| self.constants[id.index()] == 1)
    }
}
