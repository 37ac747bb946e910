//! Loops in order over scalars, spread over the threads.

use super::{Lowered, Threads};
use crate::kir::{IntOp, Node, Op, Val};
use std::collections::HashSet;

impl Threads<'_> {
    /// Runs the turns `from..to` of such a loop, see [`super::order::Order::may_be_spread`]. Where turns hand variables on,
    /// all threads follow those and each does the rest of its turns.
    pub(super) fn spread(&mut self, index: Val, from: Val, to: Val, step: i64, body: &[Node]) {
        let threads = i64::from(self.team.threads());
        let shared = handed_on(body);
        if shared.is_empty() {
            let step_val = self.out.int(step);
            let ahead = self.out.i(IntOp::Mul, self.thread, step_val);
            let from = self.out.i(IntOp::Add, from, ahead);
            return self.seq(from, to, step * threads, |t, i| {
                t.values.insert(index, Lowered::Scalar(i));
                body.iter().for_each(|node| t.own(node));
            });
        }
        assert_eq!(step, 1, "turns that hand variables on are counted one by one");
        let (mask, one) = (self.out.int(threads - 1), self.out.int(1));
        self.seq(from, to, 1, |t, i| {
            t.values.insert(index, Lowered::Scalar(i));
            let (all, rest): (Vec<&Node>, Vec<&Node>) = body
                .iter()
                .filter(|node| !matches!(node, Node::Set(..)))
                .partition(|node| matches!(node, Node::Let(v, _) if shared.contains(v)));
            all.into_iter().for_each(|node| t.own(node));
            let apart = t.out.i(IntOp::Sub, i, t.thread);
            let apart = t.out.i(IntOp::And, apart, mask);
            t.if_less(apart, one, |t| rest.into_iter().for_each(|node| t.own(node)));
            body.iter().filter(|node| matches!(node, Node::Set(..))).for_each(|node| t.own(node));
        });
    }

    /// A node of a turn that this thread has to itself.
    fn own(&mut self, node: &Node) {
        match node {
            Node::Let(v, op) => {
                let lowered = self.lower(*v, op);
                self.values.insert(*v, lowered);
            }
            Node::Store { mem, value, addr, offset, .. } => {
                let (value, addr) = (self.scalar(*value), self.scalar(*addr));
                self.out.store(*mem, value, addr, *offset);
            }
            Node::Set(var, v) => self.set(*var, *v),
            Node::Prefetch { .. } => {}
            Node::Acc(..) | Node::Loop { .. } | Node::IfLess { .. } | Node::Team(_) => {
                panic!("only scalars are spread over threads")
            }
        }
    }
}

/// The values of a turn from which variables are set, and what those variables hold; none where none is set.
fn handed_on(body: &[Node]) -> HashSet<Val> {
    let mut shared: HashSet<Val> = HashSet::new();
    let sets = body.iter().filter_map(|node| if let Node::Set(_, v) = node { Some(*v) } else { None });
    shared.extend(sets);
    if shared.is_empty() {
        return shared;
    }
    for node in body.iter().rev() {
        if let Node::Let(v, op) = node
            && (shared.contains(v) || matches!(op, Op::Get(_)))
        {
            shared.insert(*v);
            shared.extend(operands(op));
        }
    }
    shared
}

/// What a scalar is made from.
fn operands(op: &Op) -> Vec<Val> {
    match *op {
        Op::I(_, a, b) => vec![a, b],
        Op::F(_, a, b) => vec![a, b],
        Op::MulAdd(a, b, c) => vec![a, b, c],
        Op::Fun(_, a) | Op::Convert(a) | Op::Load { addr: a, .. } => vec![a],
        Op::Int(_)
        | Op::Float(_)
        | Op::Double(_)
        | Op::Dim(_)
        | Op::Buffer(_)
        | Op::Stack(_)
        | Op::Part
        | Op::Parts
        | Op::Get(_) => Vec::new(),
        Op::Test(..)
        | Op::Logic(..)
        | Op::Choose(..)
        | Op::Fetch(..)
        | Op::Code { .. }
        | Op::Quad { .. }
        | Op::QuadFloat(..)
        | Op::Four(..)
        | Op::LaneSum(_)
        | Op::LaneMax(_)
        | Op::Sums(_)
        | Op::Each(_)
        | Op::V(_)
        | Op::Team(_) => panic!("{op} is no scalar of a loop that is spread"),
    }
}
