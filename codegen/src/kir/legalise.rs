//! Legalisation: from scalar bodies over `grid` and `lane` axes to loops over machine vectors.
//!
//! A grid loop becomes the loop over the units of this part. A lane loop is cut into blocks of 16 lanes, then of 4; the
//! last one of fewer lanes computes four and lets only the valid ones be accumulated or stored (inputs may be read past
//! their end, outputs never written). A lane value of a block is a list of vectors; a partial variable is one vector for
//! each of its ways, so results depend neither on the number of parts nor on the target's scheduling.
//!
//! Vectors of 32 bytes work as two halves side by side. Where a loop deals in bytes, a block has 32 lanes and its halves
//! are runs of 16 lanes, each treated as a block of vectors of 16 bytes is; elsewhere vectors hold neighbouring lanes. What
//! is left of a loop is done in halves.

use super::dot::Running;
use super::survey::{deals_in_bytes, deals_in_panels, deals_in_words, find_int, lane_operands, weight};
use super::vector::Out;
use super::{Axis, CodeSource, Elem, IntOp, Kernel, Node, Op, Ty, Val, Var};
use actc_types::packed::PANEL;
use std::collections::{HashMap, HashSet};

/// Lanes of a block, or of a half of one: float vectors of 16 lanes together with one vector of 16 bytes.
pub(super) const BLOCK: i64 = 16;

/// Nodes up to which the blocks of a lane loop are written out instead of run in a loop.
const UNROLLED: i64 = 48;

/// The vectors that lanes are mapped to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// Vectors of 16 bytes.
    Simd128,
    /// Vectors of 32 bytes.
    Simd256,
}

/// The form of integer dots that a machine is good at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dot {
    /// Two products summed to 16 bits.
    Pairs,
    /// Four products of signed bytes summed to 32 bits.
    Quads,
    /// Four products of unsigned and signed bytes summed to 32 bits.
    MixedQuads,
}

/// What a value of the source has become.
#[derive(Clone, Debug)]
pub(super) enum Lowered {
    /// A scalar.
    Scalar(Val),
    /// The vectors of a lane value.
    Pieces(Vec<Val>),
    /// Codes, not decoded yet: the dot that uses them chooses the form.
    Code { source: CodeSource, addr: Val, offset: i32, first: usize },
    /// The codes of a quad, not decoded yet.
    Quad { bits: u8, addr: Val, offset: i32, quad: u8 },
}

/// Where the lanes of the current block stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// First lane at run time, where it is not known.
    pub(super) index: Option<Val>,
    /// First lane, added to `index`.
    pub(super) base: i64,
    /// Lanes computed.
    pub(super) lanes: i64,
    /// Lanes that count.
    pub(super) valid: i64,
    /// Halves of its vectors.
    pub(super) halves: u8,
    /// Whether the halves of a vector are those of the block, and not neighbours.
    pub(super) split: bool,
}

impl Block {
    /// Float vectors of a lane value.
    pub(super) fn pieces(&self) -> usize {
        (self.lanes / (4 * i64::from(self.halves))) as usize
    }

    /// Lanes from a vector to the next.
    pub(super) fn next(&self) -> i64 {
        if self.halves == 2 && !self.split { 8 } else { 4 }
    }

    /// Lanes from the lower half of a vector to the upper one.
    pub(super) fn gap(&self) -> i64 {
        match (self.halves, self.split) {
            (1, _) => 0,
            (_, true) => self.lanes / 2,
            (_, false) => 4,
        }
    }
}

pub(super) struct Legaliser<'a> {
    pub(super) source: &'a Kernel,
    pub(super) out: Out,
    pub(super) values: HashMap<Val, Lowered>,
    vars: HashMap<Var, Vec<Var>>,
    local: HashMap<Var, Vec<Var>>,
    pub(super) block: Option<Block>,
    /// Scalars in every lane, with the halves that they were made for.
    splats: Vec<(Val, u8, Val)>,
    pub(super) decoded: HashMap<(Val, bool, i64), Vec<Val>>,
    pub(super) running: Vec<(Var, Running)>,
    /// Vectors that are zero here for certain: the first sum into one is an assignment.
    pub(super) zeroed: HashSet<Var>,
    /// Source values that are the float zero.
    zeros: HashSet<Val>,
}

/// What a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa {
    /// Its vectors.
    pub lanes: Lanes,
    /// Its form of integer dots.
    pub dot: Dot,
    /// Whether it converts vectors of half-precision floats.
    pub half: bool,
    /// Whether the emitter can ask for lines of memory ahead.
    pub prefetch: bool,
}

impl Isa {
    /// What every machine has.
    pub const LEAST: Isa = Isa { lanes: Lanes::Simd128, dot: Dot::Pairs, half: false, prefetch: false };
}

/// Maps the lanes of `kernel` to vectors.
pub fn legalise(kernel: &Kernel, isa: Isa) -> Kernel {
    let halves = match isa.lanes {
        Lanes::Simd128 => 1,
        Lanes::Simd256 => 2,
    };
    let mut legaliser = Legaliser {
        source: kernel,
        out: Out::new(kernel, halves, isa),
        values: HashMap::new(),
        vars: HashMap::new(),
        local: HashMap::new(),
        block: None,
        splats: Vec::new(),
        decoded: HashMap::new(),
        running: Vec::new(),
        zeroed: HashSet::new(),
        zeros: HashSet::new(),
    };
    legaliser.nodes(&kernel.body);
    legaliser.out.finish()
}

impl Legaliser<'_> {
    pub(super) fn ty(&self, v: Val) -> Ty {
        self.source.vals[v.0 as usize]
    }

    pub(super) fn scalar(&self, v: Val) -> Val {
        match &self.values[&v] {
            Lowered::Scalar(v) => *v,
            Lowered::Pieces(_) | Lowered::Code { .. } | Lowered::Quad { .. } => {
                panic!("{v} is a lane value where a scalar is wanted")
            }
        }
    }

    /// The vectors of a float: those of a lane value, or `n` times the splat of a scalar.
    pub(super) fn pieces(&mut self, v: Val, n: usize) -> Vec<Val> {
        match &self.values[&v] {
            Lowered::Pieces(pieces) => pieces.clone(),
            Lowered::Scalar(scalar) => vec![self.splat(*scalar); n],
            Lowered::Code { .. } | Lowered::Quad { .. } => panic!("{v} is a code outside a dot"),
        }
    }

    fn splat(&mut self, scalar: Val) -> Val {
        let halves = self.out.halves;
        if let Some((.., splat)) = self.splats.iter().find(|(s, n, _)| *s == scalar && *n == halves) {
            return *splat;
        }
        let splat = self.out.splat(scalar);
        self.splats.push((scalar, halves, splat));
        splat
    }

    fn nodes(&mut self, nodes: &[Node]) {
        nodes.iter().for_each(|node| self.node(node));
    }

    /// Runs `write` with what it defines in scope only there.
    fn scope(&mut self, write: impl FnOnce(&mut Self)) -> Vec<Node> {
        let splats = self.splats.len();
        self.close_sums();
        self.zeroed.clear();
        let fetched = std::mem::take(&mut self.out.fetched);
        self.out.open();
        write(self);
        self.close_sums();
        self.splats.truncate(splats);
        self.zeroed.clear();
        self.out.fetched = fetched;
        self.out.close()
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Let(v, op) => {
                let lowered = self.lower(*v, op);
                if *op == Op::Float(0.0) {
                    self.zeros.insert(*v);
                }
                self.values.insert(*v, lowered);
            }
            Node::Set(var, v) => self.set(*var, *v),
            Node::Acc(var, acc) => self.accumulate(*var, *acc),
            Node::Store { mem, value, addr, offset, step } => self.store(*mem, *value, *addr, *offset, *step),
            Node::Prefetch { addr, offset } => {
                if self.out.isa.prefetch {
                    let addr = self.scalar(*addr);
                    self.out.push(Node::Prefetch { addr, offset: *offset });
                }
            }
            Node::Team(_) => panic!("teams before legalisation"),
            Node::IfLess { a, b, body } => {
                let (a, b) = (self.scalar(*a), self.scalar(*b));
                let body = self.scope(|l| l.nodes(body));
                self.out.push(Node::IfLess { a, b, body });
            }
            Node::Loop { axis, index, from, to, step, body } => match axis {
                Axis::Seq => {
                    let (from, to) = (self.scalar(*from), self.scalar(*to));
                    self.seq(from, to, *step, |l, i| {
                        l.values.insert(*index, Lowered::Scalar(i));
                        l.nodes(body);
                    });
                }
                Axis::Grid { first, total } => {
                    let (count, total) = (self.scalar(*to), self.scalar(*total));
                    let (low, high) = self.share(*first, count, total);
                    self.seq(low, high, 1, |l, i| {
                        l.values.insert(*index, Lowered::Scalar(i));
                        l.nodes(body);
                    });
                }
                Axis::Lane => self.lane_loop(*to, body, None),
                Axis::Narrow(vectors) => self.lane_loop(*to, body, Some(*vectors)),
            },
        }
    }

    fn seq(&mut self, from: Val, to: Val, step: i64, write: impl FnOnce(&mut Self, Val)) {
        let index = self.out.fresh(Ty::I64);
        let body = self.scope(|l| write(l, index));
        // What only asked for memory has nothing left where that cannot be asked for.
        if body.iter().all(|node| matches!(node, Node::Let(..))) {
            return;
        }
        self.out.push(Node::Loop { axis: Axis::Seq, index, from, to, step, body });
    }

    /// This part's units of a grid loop: `total part / parts` up to `total (part + 1) / parts`, cut to the loop.
    fn share(&mut self, first: i64, count: Val, total: Val) -> (Val, Val) {
        let out = &mut self.out;
        let part = out.op(Ty::I64, Op::Part);
        let parts = out.op(Ty::I64, Op::Parts);
        let one = out.int(1);
        let next = out.i(IntOp::Add, part, one);
        let zero = out.int(0);
        let first = out.int(first);
        let mut bound = |p| {
            let units = out.i(IntOp::Mul, total, p);
            let units = out.i(IntOp::Div, units, parts);
            let units = out.i(IntOp::Sub, units, first);
            let units = out.i(IntOp::Max, units, zero);
            out.i(IntOp::Min, units, count)
        };
        (bound(part), bound(next))
    }

    /// A loop over lanes, a narrow one in blocks of at most so many vectors.
    fn lane_loop(&mut self, to: Val, body: &[Node], narrow: Option<u8>) {
        assert!(self.block.is_none(), "lane loops do not nest");
        self.hoist_splats(body);
        let kinds = self.kinds(body, narrow);
        match self.constant(to) {
            Some(n) if deals_in_panels(body) => {
                assert!((1..=PANEL as i64).contains(&n), "a panel has up to {PANEL} rows, not {n}");
                let (lanes, halves) = (PANEL as i64, self.out.halves);
                self.run(Block { index: None, base: 0, lanes, valid: n, halves, split: false }, body);
            }
            Some(n) if body.iter().any(|node| matches!(node, Node::Let(_, Op::Code { .. }))) => {
                assert!(n % BLOCK == 0, "codes come in runs of 16 lanes, not {n}");
                let kind = *kinds.iter().find(|kind| n % kind.lanes == 0).expect("a kind has 16 lanes");
                (0..n / kind.lanes).for_each(|i| self.run(Block { base: i * kind.lanes, ..kind }, body));
                self.close_sums();
            }
            Some(n) => {
                let mut done = 0;
                for kind in kinds.into_iter().filter(|kind| kind.valid == kind.lanes) {
                    let blocks = (n - done) / kind.lanes;
                    let end = done + blocks * kind.lanes;
                    if blocks * weight(body) > UNROLLED {
                        let (from, to) = (self.out.int(done), self.out.int(end));
                        self.seq(from, to, kind.lanes, |l, i| l.run(Block { index: Some(i), ..kind }, body));
                    } else {
                        (0..blocks).for_each(|i| self.run(Block { base: done + i * kind.lanes, ..kind }, body));
                    }
                    done = end;
                }
                if done < n {
                    assert!(!deals_in_words(body), "16-bit integers are read in runs of 16 lanes, not {n}");
                    let rest = Block { index: None, base: done, lanes: 4, valid: n - done, halves: 1, split: false };
                    self.run(rest, body);
                }
            }
            None => {
                let to = self.scalar(to);
                let mut from = self.out.int(0);
                for kind in kinds {
                    let mask = self.out.int(!(kind.valid - 1));
                    let end = self.out.i(IntOp::And, to, mask);
                    self.seq(from, end, kind.valid, |l, i| l.run(Block { index: Some(i), ..kind }, body));
                    from = end;
                }
            }
        }
    }

    /// The blocks that a loop is cut into, widest first; the last holds a single lane.
    fn kinds(&self, body: &[Node], narrow: Option<u8>) -> Vec<Block> {
        if deals_in_words(body) {
            let (lanes, halves) = (BLOCK, self.out.halves);
            return vec![Block { index: None, base: 0, lanes, valid: lanes, halves, split: false }];
        }
        let split = deals_in_bytes(body);
        assert!(narrow.is_none() || !split, "blocks of bytes have 16 lanes");
        let most = narrow.map_or(i64::MAX, |vectors| 4 * i64::from(self.out.halves) * i64::from(vectors));
        let lanes: &[(i64, i64, u8)] = match (self.out.halves, split) {
            (1, _) if most < BLOCK => &[(8, 8, 1), (4, 4, 1), (4, 1, 1)],
            (2, false) if most < 2 * BLOCK => &[(BLOCK, BLOCK, 2), (8, 8, 2), (4, 4, 1), (4, 1, 1)],
            (1, _) => &[(BLOCK, BLOCK, 1), (4, 4, 1), (4, 1, 1)],
            (_, true) => &[(2 * BLOCK, 2 * BLOCK, 2), (BLOCK, BLOCK, 1), (4, 4, 1), (4, 1, 1)],
            (_, false) => &[(2 * BLOCK, 2 * BLOCK, 2), (8, 8, 2), (4, 4, 1), (4, 1, 1)],
        };
        let kind =
            |&(lanes, valid, halves): &(i64, i64, u8)| Block { index: None, base: 0, lanes, valid, halves, split };
        lanes.iter().filter(|(lanes, ..)| *lanes <= most).map(kind).collect()
    }

    fn run(&mut self, block: Block, body: &[Node]) {
        self.block = Some(block);
        self.decoded.clear();
        self.local.clear();
        let splats = self.splats.len();
        let halves = std::mem::replace(&mut self.out.halves, block.halves);
        self.nodes(body);
        self.out.halves = halves;
        self.splats.truncate(splats);
        self.block = None;
    }

    /// Splats the scalars that `body` mixes with lane values before the loop instead of in every block.
    fn hoist_splats(&mut self, body: &[Node]) {
        let mut used = Vec::new();
        lane_operands(self.source, body, &mut used);
        for v in used {
            if let Some(Lowered::Scalar(scalar)) = self.values.get(&v).cloned()
                && self.defined_outside(v, body)
            {
                self.splat(scalar);
            }
        }
    }

    fn defined_outside(&self, v: Val, body: &[Node]) -> bool {
        body.iter().all(|node| match node {
            Node::Let(w, _) => *w != v,
            Node::Loop { index, body, .. } => *index != v && self.defined_outside(v, body),
            Node::IfLess { body, .. } => self.defined_outside(v, body),
            Node::Set(..) | Node::Acc(..) | Node::Store { .. } | Node::Prefetch { .. } | Node::Team(_) => true,
        })
    }

    fn is_zero(&self, v: Val) -> bool {
        self.zeros.contains(&v)
    }

    fn constant(&self, v: Val) -> Option<i64> {
        find_int(&self.source.body, v)
    }

    /// The vectors behind a variable: one a way for partial ones, one for each four lanes for those of a block.
    pub(super) fn vectors(&self, var: Var) -> &[Var] {
        self.vars.get(&var).or_else(|| self.local.get(&var)).expect("a variable is set before it is used")
    }

    fn set(&mut self, var: Var, v: Val) {
        let decl = self.source.vars[var.0 as usize];
        let known = self.vars.contains_key(&var) || self.local.contains_key(&var);
        let Ty::Lane(elem) = decl.ty else {
            if !known {
                let new = self.out.var(decl.ty);
                self.vars.insert(var, vec![new]);
            }
            let v = self.scalar(v);
            self.out.set(self.vars[&var][0], v);
            return;
        };
        let ty = match elem {
            Elem::F32 | Elem::I32 => self.out.of(elem),
            Elem::I8 | Elem::I16 => panic!("variables of bytes are not needed"),
        };
        if !known {
            let n = self.block.map_or(decl.ways.into(), |b| b.pieces());
            let vectors = (0..n).map(|_| self.out.var(ty)).collect();
            if self.block.is_some() { &mut self.local } else { &mut self.vars }.insert(var, vectors);
        }
        let vectors = self.vectors(var).to_vec();
        let pieces = match self.ty(v) {
            Ty::I64 => vec![self.out.ints(0); vectors.len()],
            Ty::F32 | Ty::F64 | Ty::Lane(_) | Ty::Vec(..) => self.pieces(v, vectors.len()),
        };
        vectors.iter().zip(pieces).for_each(|(var, piece)| self.out.set(*var, piece));
        if self.ty(v) == Ty::I64 || self.is_zero(v) {
            self.zeroed.extend(vectors);
        }
    }
}
