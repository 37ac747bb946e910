//! Clusters: the partition of a graph into what one step does.
//!
//! * linears that read the same tensor run together (q/k/v, gate/up);
//! * `silu(gate) * up` (or the tanh GELU) becomes their epilogue, a residual addition becomes a lone linear's;
//! * elementwise ops whose values nothing else uses become one chain with the op that uses them;
//! * reshapes are views of the same memory and belong to nobody.
//!
//! The order of clusters is an order in which they can run.

use crate::chain;
use actc_ir::ops::pointwise::{BinaryFunction, UnaryFunction};
use actc_ir::{Graph, Node, Op, Region, Value};
use actc_types::Dim;
use std::collections::{BTreeMap, BTreeSet};

/// What happens to the rows of a linear before they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// Nothing.
    None,
    /// `+ residual`.
    Residual(Value),
    /// Two linears, `silu(first) * second`.
    GatedSilu,
    /// Two linears, `gelu_tanh(first) * second`.
    GatedGeluTanh,
}

/// What one step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Cluster {
    /// Linears over one input.
    Linear {
        /// The `linear` nodes.
        nodes: Vec<Node>,
        /// Their input.
        x: Value,
        /// What follows.
        epilogue: Epilogue,
        /// What is written: one value per linear, or the epilogue's.
        outputs: Vec<Value>,
    },
    /// Elementwise nodes of which the last makes `output` and the others what it needs.
    Elementwise {
        /// The nodes in order.
        nodes: Vec<Node>,
        /// What is written.
        output: Value,
    },
    /// One node.
    Single(Node),
}

/// Whether `node` is free: its result is its argument's memory under another shape, or a constant's. Steps that only look at
/// their argument, `bind` and `expect`, are steps nonetheless.
pub fn is_view(graph: &Graph, node: Node) -> bool {
    matches!(graph.node(node).op, Op::Reshape(_) | Op::Const(_))
}

/// The value whose memory `value` is.
pub fn storage(graph: &Graph, mut value: Value) -> Value {
    while let Some(node) = graph.def_node(value) {
        match graph.node(node).op {
            Op::Reshape(_) | Op::Bind(_) | Op::Expect(_) => value = graph.node(node).args[0],
            _ => break,
        }
    }
    value
}

/// Most linears that run together.
const MOST: usize = 4;
/// Most nodes of a chain: as many as have fewer steps than a kernel may.
const MOST_NODES: usize = 40;
/// Most values that a chain reads, constants with it.
const MOST_INPUTS: usize = 24;

/// Partitions a region of `graph`. The linears of `fused` that share an input run together with their epilogues; each of
/// the others is a cluster of its own (library calls have no epilogue).
pub fn cluster(graph: &Graph, region: Region, fused: BTreeSet<Node>) -> Vec<Cluster> {
    let mut users = vec![Vec::new(); graph.value_count()];
    for node in graph.region_nodes(region) {
        for arg in &graph.node(*node).args {
            users[arg.index()].push(*node);
        }
    }
    let pinned: BTreeSet<Value> =
        graph.region_results(region).iter().copied().chain(graph.donated().iter().map(|(_, new)| *new)).collect();
    let order = graph.region_nodes(region);
    let place = order.iter().enumerate().map(|(i, n)| (*n, i)).collect();
    Clusterer { graph, order, users, pinned, fused, taken: BTreeSet::new(), place }.run()
}

struct Clusterer<'a> {
    graph: &'a Graph,
    order: &'a [Node],
    users: Vec<Vec<Node>>,
    pinned: BTreeSet<Value>,
    fused: BTreeSet<Node>,
    taken: BTreeSet<Node>,
    place: BTreeMap<Node, usize>,
}

impl Clusterer<'_> {
    fn run(&mut self) -> Vec<Cluster> {
        // A cluster stands where its last node stood: all arguments are ready there, and no user came before it, since
        // only values without users in between are merged. Linears that nothing follows stand where the first of them did.
        let mut placed: BTreeMap<usize, Cluster> = BTreeMap::new();
        for node in self.order {
            if matches!(self.graph.node(*node).op, Op::Linear(_)) && !self.taken.contains(node) {
                let (at, cluster) = self.linear(*node);
                placed.insert(at, cluster);
            }
        }
        // From the end, so that a chain is found by what it is for. Linears have taken their epilogues.
        for node in self.order.iter().rev() {
            if self.taken.contains(node) || is_view(self.graph, *node) {
                continue;
            }
            let is_chain = chain::takes(self.graph, *node) && chain::ends_in(self.graph, *node);
            let (at, cluster) = if is_chain { self.chain(*node) } else { (self.place[node], Cluster::Single(*node)) };
            placed.insert(at, cluster);
        }
        placed.into_values().collect()
    }

    fn result(&self, node: Node) -> Value {
        self.graph.node(node).results[0]
    }

    /// The only user of `value`, if there is exactly one and nobody outside sees the value.
    fn sole_user(&self, value: Value) -> Option<Node> {
        match self.users[value.index()][..] {
            [user] if !self.pinned.contains(&value) => Some(user),
            _ => None,
        }
    }

    fn linear(&mut self, node: Node) -> (usize, Cluster) {
        let graph = self.graph;
        let fuse = self.fused.contains(&node);
        let x = graph.node(node).args[0];
        let mut nodes = vec![node];
        if fuse {
            for other in &self.users[x.index()] {
                let data = graph.node(*other);
                let same = matches!(data.op, Op::Linear(_)) && data.args[0] == x && data.op == graph.node(node).op;
                let free = self.fused.contains(other) && !nodes.contains(other) && !self.taken.contains(other);
                // Merged linears run where the first of them stood: there is all that they read but a bias that is computed.
                let ready = data.args[1..].iter().all(|arg| graph.as_const(storage(graph, *arg)).is_some());
                if same && free && ready && nodes.len() < MOST {
                    nodes.push(*other);
                }
            }
        }
        nodes.sort_by_key(|n| self.place[n]);
        self.taken.extend(&nodes);
        let mut at = self.place[&nodes[0]];
        let mut outputs: Vec<Value> = nodes.iter().map(|n| self.result(*n)).collect();
        let mut epilogue = Epilogue::None;
        if fuse && let Some((found, covered)) = self.epilogue(&nodes) {
            epilogue = found;
            let last = *covered.last().expect("an epilogue has a node");
            at = self.place[&last];
            outputs = vec![self.result(last)];
            self.taken.extend(covered);
            if let (Epilogue::GatedSilu | Epilogue::GatedGeluTanh, true) = (epilogue, self.up_first(&nodes, last)) {
                nodes.reverse();
            }
        }
        (at, Cluster::Linear { nodes, x, epilogue, outputs })
    }

    /// The epilogue of `nodes` and the nodes it covers, in order.
    fn epilogue(&self, nodes: &[Node]) -> Option<(Epilogue, Vec<Node>)> {
        let graph = self.graph;
        match nodes {
            [only] => {
                let y = self.result(*only);
                let add = self.sole_user(y)?;
                let data = graph.node(add);
                let Op::Binary(b) = &data.op else { return None };
                let other = if data.args[0] == y { data.args[1] } else { data.args[0] };
                let plain = b.function == BinaryFunction::Add && other != y && graph.as_const(other).is_none();
                let same = graph.ty(other) == graph.ty(y);
                // The residual must exist before the linear's place: it is defined before `add`, where the cluster runs.
                (plain && same && !self.taken.contains(&add)).then_some((Epilogue::Residual(other), vec![add]))
            }
            [a, b] => {
                let gated = |gate: Node, up: Node| -> Option<(Epilogue, Vec<Node>)> {
                    let act = self.sole_user(self.result(gate))?;
                    let Op::Unary(u) = &graph.node(act).op else { return None };
                    let epilogue = match u.function {
                        UnaryFunction::Silu => Epilogue::GatedSilu,
                        UnaryFunction::GeluTanh => Epilogue::GatedGeluTanh,
                        _ => return None,
                    };
                    let mul = self.sole_user(self.result(act))?;
                    let Op::Binary(m) = &graph.node(mul).op else { return None };
                    let fits = m.function == BinaryFunction::Mul && self.sole_user(self.result(up)) == Some(mul);
                    let same = graph.ty(self.result(gate)) == graph.ty(self.result(up));
                    (fits && same).then_some((epilogue, vec![act, mul]))
                };
                gated(*a, *b).or_else(|| gated(*b, *a))
            }
            _ => None,
        }
    }

    /// Whether the second of two gated linears is the gate.
    fn up_first(&self, nodes: &[Node], mul: Node) -> bool {
        self.sole_user(self.result(nodes[0])) == Some(mul)
    }

    /// The chain that ends in `node`: of the nodes before it all that it alone uses, directly or through each other, that
    /// chains take and that have its shape.
    fn chain(&mut self, node: Node) -> (usize, Cluster) {
        let graph = self.graph;
        let core = |n: Node| graph.ty(graph.node(n).results[0]).shape.dims().iter().skip_while(|d| **d == Dim::from(1));
        let mut nodes = vec![node];
        let mut waiting: BTreeSet<(usize, Node)> = self.makers(node).collect();
        // Users stand behind what they use: when a node's turn comes, all that are taken are known.
        while let Some((_, next)) = waiting.pop_last() {
            let result = self.result(next);
            let inside = !self.pinned.contains(&result) && self.users[result.index()].iter().all(|u| nodes.contains(u));
            let free = !self.taken.contains(&next) && core(next).eq(core(node));
            // What chains take is looked into last: it is asked of the graph around a node.
            if !inside || !free || !chain::takes(graph, next) {
                continue;
            }
            nodes.push(next);
            if self.inputs(&nodes) > MOST_INPUTS || nodes.len() > MOST_NODES {
                nodes.pop();
                continue;
            }
            waiting.extend(self.makers(next));
        }
        self.taken.extend(&nodes);
        // The last came first.
        nodes.reverse();
        (self.place[&node], Cluster::Elementwise { nodes, output: self.result(node) })
    }

    /// The nodes of this region that make the arguments of `node`, with their places.
    fn makers(&self, node: Node) -> impl Iterator<Item = (usize, Node)> {
        let makers = self.graph.node(node).args.iter().filter_map(|arg| self.graph.def_node(*arg));
        makers.filter_map(|maker| Some((*self.place.get(&maker)?, maker)))
    }

    /// How many values `nodes` read that none of them makes.
    fn inputs(&self, nodes: &[Node]) -> usize {
        let args: BTreeSet<Value> = nodes.iter().flat_map(|n| &self.graph.node(*n).args).copied().collect();
        args.iter().filter(|arg| self.graph.def_node(**arg).is_none_or(|maker| !nodes.contains(&maker))).count()
    }
}
