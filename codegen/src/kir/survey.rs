//! What legalisation asks of nodes before it maps them: what a lane loop deals in, how much it does, what it reads.

use super::{Acc, Kernel, Mem, Node, Op, Ty, Val};

/// Whether the lanes of a loop are the rows of a panel.
pub(super) fn deals_in_panels(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Let(_, Op::Quad { .. } | Op::Load { mem: Mem::U4, .. }) => true,
        Node::Loop { body, .. } | Node::IfLess { body, .. } => deals_in_panels(body),
        Node::Let(..) | Node::Set(..) | Node::Acc(..) | Node::Store { .. } | Node::Prefetch { .. } | Node::Team(_) => {
            false
        }
    })
}

/// Whether values of bytes occur in a loop.
pub(super) fn deals_in_bytes(nodes: &[Node]) -> bool {
    let bytes = |mem: &Mem| match mem {
        Mem::I8 | Mem::U8 | Mem::U4 => true,
        Mem::F32 | Mem::F16 | Mem::Bf16 | Mem::Q8 | Mem::S8 | Mem::I16 | Mem::I32 | Mem::U16 | Mem::U32 => false,
    };
    nodes.iter().any(|node| match node {
        Node::Let(_, Op::Code { .. }) => true,
        Node::Let(_, Op::Load { mem, step, .. }) => *step > 0 && bytes(mem),
        Node::Store { mem, step, .. } => *step > 0 && (bytes(mem) || *mem == Mem::I16),
        Node::Loop { body, .. } | Node::IfLess { body, .. } => deals_in_bytes(body),
        Node::Let(..) | Node::Set(..) | Node::Acc(..) | Node::Prefetch { .. } | Node::Team(_) => false,
    })
}

/// Whether 16-bit integers are read in a loop.
pub(super) fn deals_in_words(nodes: &[Node]) -> bool {
    nodes.iter().any(|node| match node {
        Node::Let(_, Op::Load { mem: Mem::S8 | Mem::I16, .. }) => true,
        Node::Loop { body, .. } | Node::IfLess { body, .. } => deals_in_words(body),
        Node::Let(..) | Node::Set(..) | Node::Acc(..) | Node::Store { .. } | Node::Prefetch { .. } | Node::Team(_) => {
            false
        }
    })
}

pub(super) fn weight(nodes: &[Node]) -> i64 {
    let one = |node: &Node| match node {
        Node::Let(_, Op::Fun(..)) => 16,
        Node::Loop { body, .. } | Node::IfLess { body, .. } => 2 + weight(body),
        Node::Let(..) | Node::Set(..) | Node::Acc(..) | Node::Store { .. } | Node::Prefetch { .. } | Node::Team(_) => 1,
    };
    nodes.iter().map(one).sum()
}

/// The float scalars that nodes combine with lane values, in order.
pub(super) fn lane_operands(kernel: &Kernel, nodes: &[Node], used: &mut Vec<Val>) {
    let lane = |v: &Val| matches!(kernel.vals[v.0 as usize], Ty::Lane(_));
    let scalar = |v: &Val| kernel.vals[v.0 as usize] == Ty::F32;
    for node in nodes {
        let operands: Vec<Val> = match node {
            Node::Let(v, Op::F(_, a, b) | Op::Test(_, a, b) | Op::Logic(_, a, b)) if lane(v) => vec![*a, *b],
            Node::Let(v, Op::MulAdd(a, b, c) | Op::Choose(a, b, c)) if lane(v) => vec![*a, *b, *c],
            Node::Store { value, step, .. } if *step > 0 => vec![*value],
            Node::Acc(var, Acc::Dot(a, b)) if matches!(kernel.vars[var.0 as usize].ty, Ty::Lane(_)) => vec![*a, *b],
            Node::Loop { body, .. } | Node::IfLess { body, .. } => {
                lane_operands(kernel, body, used);
                continue;
            }
            Node::Let(..)
            | Node::Set(..)
            | Node::Acc(..)
            | Node::Store { .. }
            | Node::Prefetch { .. }
            | Node::Team(_) => continue,
        };
        used.extend(operands.iter().filter(|v| scalar(v)));
    }
}

pub(super) fn find_int(nodes: &[Node], v: Val) -> Option<i64> {
    nodes.iter().find_map(|node| match node {
        Node::Let(w, Op::Int(n)) if *w == v => Some(*n),
        Node::Loop { body, .. } | Node::IfLess { body, .. } => find_int(body, v),
        Node::Let(..) | Node::Set(..) | Node::Acc(..) | Node::Store { .. } | Node::Prefetch { .. } | Node::Team(_) => {
            None
        }
    })
}
