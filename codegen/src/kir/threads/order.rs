//! Which threads touch which memory, and when they have to meet.
//!
//! Touches since the threads last met are kept. Two of them may be of the same place in different threads unless they are
//! of different buffers, both read, or have the same lanes: lane l is always that of the same thread. Buffers that a launch
//! is given twice are no matter: such kernels read an element before they store it, in the same lane.

use crate::kir::{IntOp, Kernel, Node, Op, Val};
use std::collections::HashMap;

/// An access of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touch {
    /// The buffer, where it is known.
    buffer: Option<u8>,
    store: bool,
    who: Who,
}

/// Which thread touches what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    /// Each its lanes of this address, offset and step.
    Lanes(Val, i32, u8),
    /// The first thread a scalar that it stores, or all one that they read.
    One,
    /// Nobody knows.
    Any,
}

impl Touch {
    /// The same, of a place that cannot be compared with others.
    pub(super) fn anywhere(&self) -> Touch {
        Touch { who: Who::Any, ..*self }
    }

    fn disturbs(&self, other: &Touch) -> bool {
        let apart = matches!((self.buffer, other.buffer), (Some(a), Some(b)) if a != b);
        let same = match (self.who, other.who) {
            (Who::Lanes(..), Who::Lanes(..)) => self.who == other.who,
            (Who::One, Who::One) => self.store && other.store,
            _ => false,
        };
        (self.store || other.store) && !apart && !same
    }
}

/// What was touched since the threads last met.
#[derive(Clone, Debug)]
pub(super) struct Order {
    /// The buffer that each address of the kernel is in.
    buffers: HashMap<Val, u8>,
    touched: Vec<Touch>,
}

impl Order {
    pub(super) fn new(kernel: &Kernel) -> Order {
        let mut order = Order { buffers: HashMap::new(), touched: Vec::new() };
        order.follow(&kernel.body);
        order
    }

    fn follow(&mut self, nodes: &[Node]) {
        for node in nodes {
            let (v, buffer) = match node {
                Node::Let(v, Op::Buffer(n)) => (v, Some(*n)),
                Node::Let(v, Op::I(IntOp::Add | IntOp::Sub, a, b)) => {
                    (v, self.buffers.get(a).or_else(|| self.buffers.get(b)).copied())
                }
                Node::Loop { body, .. } | Node::IfLess { body, .. } => {
                    self.follow(body);
                    continue;
                }
                Node::Let(..)
                | Node::Set(..)
                | Node::Acc(..)
                | Node::Store { .. }
                | Node::Prefetch { .. }
                | Node::Team(_) => continue,
            };
            if let Some(buffer) = buffer {
                self.buffers.insert(*v, buffer);
            }
        }
    }

    /// What `nodes` touch, in a lane loop if `lanes`.
    pub(super) fn touches(&self, nodes: &[Node], lanes: bool) -> Vec<Touch> {
        let mut touches = Vec::new();
        self.collect(nodes, lanes, &mut touches);
        touches
    }

    fn collect(&self, nodes: &[Node], lanes: bool, touches: &mut Vec<Touch>) {
        for node in nodes {
            let (addr, offset, step, store) = match node {
                Node::Let(_, Op::Load { addr, offset, step, .. }) => (addr, offset, step, false),
                Node::Store { addr, offset, step, .. } => (addr, offset, step, true),
                Node::Loop { body, .. } | Node::IfLess { body, .. } => {
                    self.collect(body, lanes, touches);
                    continue;
                }
                Node::Let(..) | Node::Set(..) | Node::Acc(..) | Node::Prefetch { .. } | Node::Team(_) => continue,
            };
            let who = match (step, lanes) {
                (0, false) => Who::One,
                (0, true) => Who::Any,
                _ => Who::Lanes(*addr, *offset, *step),
            };
            touches.push(Touch { buffer: self.buffers.get(addr).copied(), store, who });
        }
    }

    pub(super) fn disturbs(&self, touches: &[Touch]) -> bool {
        touches.iter().any(|touch| self.touched.iter().any(|before| before.disturbs(touch)))
    }

    pub(super) fn add(&mut self, touches: Vec<Touch>) {
        self.touched.extend(touches);
    }

    pub(super) fn met(&mut self) {
        self.touched.clear();
    }

    /// What was touched here or on the way around, which is `other`.
    pub(super) fn or(&mut self, other: Order) {
        self.touched.extend(other.touched);
    }

    /// Whether the turns of a loop in order are scalars alone, of which some are stored, and read no buffer that they
    /// store to; variables are read before they are set.
    pub(super) fn may_be_spread(&self, body: &[Node]) -> bool {
        let plain = body.iter().all(|node| match node {
            Node::Let(_, Op::Load { step, .. }) | Node::Store { step, .. } => *step == 0,
            Node::Let(_, Op::LaneSum(_) | Op::LaneMax(_)) => false,
            Node::Let(..) | Node::Set(..) | Node::Prefetch { .. } => true,
            Node::Acc(..) | Node::Loop { .. } | Node::IfLess { .. } | Node::Team(_) => false,
        });
        let gets = body.iter().rposition(|node| matches!(node, Node::Let(_, Op::Get(_))));
        let sets = body.iter().position(|node| matches!(node, Node::Set(..)));
        let touches = self.touches(body, false);
        let (stores, loads): (Vec<Touch>, Vec<Touch>) = touches.into_iter().partition(|touch| touch.store);
        let apart = |load: &Touch| stores.iter().all(|store| !store.disturbs(load));
        let in_order = gets.zip(sets).is_none_or(|(get, set)| get < set);
        plain && in_order && !stores.is_empty() && loads.iter().all(apart)
    }
}
