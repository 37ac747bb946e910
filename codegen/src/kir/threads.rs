//! Legalisation for GPUs: from scalar bodies over `grid` and `lane` axes to what one thread does.
//!
//! A *team*, a warp or a block, runs a unit of a grid loop: unit u is that of team u modulo the number of teams, so that
//! any number of blocks makes the same bits. Grid loops stay, and mean that. Lane l of a lane loop is run by thread l
//! modulo the number of threads, a *turn* of lanes at once and up to four turns side by side, so that their loads come
//! before what is made of them. Lanes that no thread has are not run: nothing is read or written past an end.
//!
//! A partial variable is one register of each thread; its sum or maximum is exchanged across the warp, bit after bit of
//! the threads' numbers, then through shared slots across the warps of a block: an order that depends on nothing but the
//! team. Scalars are computed by all threads alike and stored by the first. A loop in order over scalars alone, whose
//! stores are of buffers that it does not read, is spread over the threads, a turn a thread: such turns store to different
//! places. Where threads read what others stored, or store over what others read, they meet first ([`order`]).

mod lower;
mod order;
mod spread;

use super::survey::{find_int, weight};
use super::vector::Out;
use super::{Acc, Axis, FloatOp, IntOp, Kernel, Node, Op, Peer, TeamOp, TeamStep, Ty, Val, Var, VecOp};
use order::{Order, Touch};
use std::collections::HashMap;

/// Threads of a warp.
const WARP: u32 = 32;

/// Most warps of a team.
const MOST_WARPS: u32 = 16;

/// Turns that are run side by side.
const TURNS: i64 = 4;

/// Nodes up to which the turns of a lane loop are written out instead of run in a loop.
const UNROLLED: i64 = 160;

/// The threads that run a unit of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Team {
    /// A warp; blocks hold several.
    Warp,
    /// A block of this many warps, 2, 4, 8 or 16.
    Block(u32),
}

impl Team {
    /// Warps of a block whose teams are warps.
    const TOGETHER: u32 = 4;

    /// The team for units of `lanes` lanes: about eight lanes a thread.
    pub fn of(lanes: usize) -> Team {
        let threads = u32::try_from(lanes.div_ceil(8)).unwrap_or(u32::MAX).min(MOST_WARPS * WARP);
        match threads.next_power_of_two() / WARP {
            0 | 1 => Team::Warp,
            warps => Team::Block(warps),
        }
    }

    /// Its threads.
    pub fn threads(self) -> u32 {
        match self {
            Team::Warp => WARP,
            Team::Block(warps) => WARP * warps,
        }
    }

    /// Teams of a block.
    pub fn in_block(self) -> u32 {
        match self {
            Team::Warp => Team::TOGETHER,
            Team::Block(_) => 1,
        }
    }

    /// Floats that its threads share.
    pub fn slots(self) -> u32 {
        match self {
            Team::Warp => 0,
            Team::Block(warps) => warps,
        }
    }
}

/// Maps the lanes of `kernel` to the threads of teams. Packed codes, stack areas, and four sums side by side are not
/// mapped: kernels that have them panic.
pub fn to_threads(kernel: &Kernel, team: Team) -> Kernel {
    if let Team::Block(warps) = team {
        assert!(warps.is_power_of_two() && (2..=MOST_WARPS).contains(&warps), "no block has {warps} warps");
    }
    let mut out = Out::single(kernel);
    let thread = out.op(Ty::I64, Op::Team(TeamOp::Thread));
    let mut threads = Threads {
        source: kernel,
        out,
        team,
        thread,
        values: HashMap::new(),
        vars: HashMap::new(),
        local: HashMap::new(),
        turns: None,
        order: Order::new(kernel),
    };
    threads.nodes(&kernel.body);
    threads.out.finish()
}

/// What a value of the source has become.
#[derive(Clone, Debug)]
enum Lowered {
    /// A scalar, equal in all threads.
    Scalar(Val),
    /// This thread's lane of each turn.
    Turns(Vec<Val>),
}

/// The turns that are run now.
#[derive(Clone, Copy, Debug)]
struct Turns {
    /// This thread's lane of the first of them, less `base`.
    lane: Val,
    /// Lanes before them that are known.
    base: i64,
    /// How many there are.
    count: usize,
}

struct Threads<'a> {
    source: &'a Kernel,
    out: Out,
    team: Team,
    thread: Val,
    values: HashMap<Val, Lowered>,
    vars: HashMap<Var, Vec<Var>>,
    local: HashMap<Var, Vec<Var>>,
    turns: Option<Turns>,
    order: Order,
}

impl Threads<'_> {
    fn ty(&self, v: Val) -> Ty {
        self.source.vals[v.0 as usize]
    }

    fn scalar(&self, v: Val) -> Val {
        match &self.values[&v] {
            Lowered::Scalar(v) => *v,
            Lowered::Turns(_) => panic!("{v} is a lane value where a scalar is wanted"),
        }
    }

    /// This thread's lanes of a float, or `n` times a scalar.
    fn lanes(&mut self, v: Val, n: usize) -> Vec<Val> {
        match self.values[&v].clone() {
            Lowered::Turns(lanes) => lanes,
            Lowered::Scalar(scalar) => vec![self.out.splat(scalar); n],
        }
    }

    fn nodes(&mut self, nodes: &[Node]) {
        nodes.iter().for_each(|node| self.node(node));
    }

    fn scope(&mut self, write: impl FnOnce(&mut Self)) -> Vec<Node> {
        self.out.open();
        write(self);
        self.out.close()
    }

    /// Runs `write` where `a < b`.
    fn if_less(&mut self, a: Val, b: Val, write: impl FnOnce(&mut Self)) {
        let body = self.scope(write);
        self.out.push(Node::IfLess { a, b, body });
    }

    fn seq(&mut self, from: Val, to: Val, step: i64, write: impl FnOnce(&mut Self, Val)) {
        let index = self.out.fresh(Ty::I64);
        let body = self.scope(|t| write(t, index));
        self.out.push(Node::Loop { axis: Axis::Seq, index, from, to, step, body });
    }

    fn meet(&mut self) {
        self.out.push(Node::Team(TeamStep::Meet));
        self.order.met();
    }

    /// Lets the threads meet where these touches may not come before others have done theirs.
    fn touch(&mut self, touches: Vec<Touch>) {
        // Lanes of a loop touch nothing that others do: the whole loop was looked at.
        if self.turns.is_some() {
            return;
        }
        if self.order.disturbs(&touches) {
            self.meet();
        }
        self.order.add(touches);
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Let(v, op) => {
                let touches = self.order.touches(std::slice::from_ref(node), false);
                self.touch(touches);
                let lowered = self.lower(*v, op);
                self.values.insert(*v, lowered);
            }
            Node::Set(var, v) => self.set(*var, *v),
            Node::Acc(var, acc) => self.accumulate(*var, *acc),
            Node::Store { mem, value, addr, offset, step: 0 } => {
                assert!(self.turns.is_none(), "scalars are stored outside of lane loops");
                let touches = self.order.touches(std::slice::from_ref(node), false);
                self.touch(touches);
                let (value, addr, one) = (self.scalar(*value), self.scalar(*addr), self.out.int(1));
                self.if_less(self.thread, one, |t| t.out.store(*mem, value, addr, *offset));
            }
            Node::Store { mem, value, addr, offset, step } => self.store_lanes(*mem, *value, *addr, *offset, *step),
            Node::Prefetch { .. } => {}
            Node::Team(_) => panic!("teams before legalisation"),
            Node::IfLess { a, b, body } => {
                let (a, b) = (self.scalar(*a), self.scalar(*b));
                let before = self.order.clone();
                self.if_less(a, b, |t| t.nodes(body));
                self.order.or(before);
            }
            Node::Loop { axis, index, from, to, step, body } => match axis {
                Axis::Seq if self.turns.is_none() && self.order.may_be_spread(body) => {
                    let touches = self.order.touches(body, false);
                    self.touch(touches.iter().map(Touch::anywhere).collect());
                    let (from, to) = (self.scalar(*from), self.scalar(*to));
                    self.spread(*index, from, to, *step, body);
                }
                Axis::Seq => {
                    let (from, to) = (self.scalar(*from), self.scalar(*to));
                    let before = self.order.clone();
                    // What the turn before this one touched.
                    let touches = self.order.touches(body, false);
                    self.order.add(touches.iter().map(Touch::anywhere).collect());
                    self.seq(from, to, *step, |t, i| {
                        t.values.insert(*index, Lowered::Scalar(i));
                        t.nodes(body);
                    });
                    self.order.or(before);
                }
                Axis::Grid { first, total } => self.grid(*index, *first, *to, *total, body),
                Axis::Lane | Axis::Narrow(_) => self.lane_loop(*to, body),
            },
        }
    }

    /// Units of a launch share nothing, so that nothing is waited for between them.
    fn grid(&mut self, index: Val, first: i64, count: Val, total: Val, body: &[Node]) {
        assert_eq!(first, 0, "the grid loops of a launch run over the same units");
        let (to, total, from) = (self.scalar(count), self.scalar(total), self.out.int(0));
        let unit = self.out.fresh(Ty::I64);
        self.values.insert(index, Lowered::Scalar(unit));
        let body = self.scope(|t| t.nodes(body));
        self.out.push(Node::Loop { axis: Axis::Grid { first, total }, index: unit, from, to, step: 1, body });
    }

    fn lane_loop(&mut self, to: Val, body: &[Node]) {
        assert!(self.turns.is_none(), "lane loops do not nest");
        let touches = self.order.touches(body, true);
        self.touch(touches);
        let threads = i64::from(self.team.threads());
        let thread = self.thread;
        let Some(n) = find_int(&self.source.body, to) else {
            let to = self.scalar(to);
            let (zero, mask) = (self.out.int(0), self.out.int(-(TURNS * threads)));
            let end = self.out.i(IntOp::And, to, mask);
            self.seq(zero, end, TURNS * threads, |t, i| {
                let lane = t.out.i(IntOp::Add, i, thread);
                t.run(Turns { lane, base: 0, count: TURNS as usize }, body);
            });
            let from = self.out.i(IntOp::Add, end, thread);
            return self.seq(from, to, threads, |t, lane| t.run(Turns { lane, base: 0, count: 1 }, body));
        };
        let whole = n / threads;
        let mut done = whole - whole % TURNS;
        if done * weight(body) > UNROLLED {
            let (zero, end) = (self.out.int(0), self.out.int(done * threads));
            self.seq(zero, end, TURNS * threads, |t, i| {
                let lane = t.out.i(IntOp::Add, i, thread);
                t.run(Turns { lane, base: 0, count: TURNS as usize }, body);
            });
        } else {
            done = 0;
        }
        while done < whole {
            let count = TURNS.min(whole - done);
            self.run(Turns { lane: thread, base: done * threads, count: count as usize }, body);
            done += count;
        }
        let rest = n - whole * threads;
        if rest > 0 {
            let end = self.out.int(rest);
            let last = Turns { lane: thread, base: whole * threads, count: 1 };
            self.if_less(thread, end, |t| t.run(last, body));
        }
    }

    fn run(&mut self, turns: Turns, body: &[Node]) {
        self.turns = Some(turns);
        self.local.clear();
        self.nodes(body);
        self.turns = None;
    }

    /// The registers behind a variable: one of a partial one, one a turn of those of a lane loop.
    fn registers(&self, var: Var) -> &[Var] {
        self.vars.get(&var).or_else(|| self.local.get(&var)).expect("a variable is set before it is used")
    }

    fn set(&mut self, var: Var, v: Val) {
        let decl = self.source.vars[var.0 as usize];
        if !self.vars.contains_key(&var) && !self.local.contains_key(&var) {
            let (ty, n) = match decl.ty {
                Ty::Lane(elem) => (self.out.of(elem), self.turns.map_or(1, |t| t.count)),
                ty => (ty, 1),
            };
            let registers = (0..n).map(|_| self.out.var(ty)).collect();
            if self.turns.is_some() { &mut self.local } else { &mut self.vars }.insert(var, registers);
        }
        let registers = self.registers(var).to_vec();
        let values = match (decl.ty, self.ty(v)) {
            (Ty::Lane(_), Ty::I64) => vec![self.out.ints(0); registers.len()],
            (Ty::Lane(_), _) => self.lanes(v, registers.len()),
            _ => vec![self.scalar(v)],
        };
        registers.iter().zip(values).for_each(|(register, value)| self.out.set(*register, value));
    }

    fn accumulate(&mut self, var: Var, acc: Acc) {
        let registers = self.registers(var).to_vec();
        let lane = matches!(self.source.vars[var.0 as usize].ty, Ty::Lane(_));
        let n = self.turns.map_or(1, |t| t.count);
        let mut values = |v: Val| if lane { self.lanes(v, n) } else { vec![self.scalar(v)] };
        let (a, b) = match acc {
            Acc::Sum(a) | Acc::Max(a) => (values(a), None),
            Acc::Dot(a, b) => (values(a), Some(values(b))),
            Acc::Quad(..) => panic!("quads are not mapped to threads"),
        };
        for (i, x) in a.into_iter().enumerate() {
            let register = registers[i % registers.len()];
            let old = self.out.get(register);
            let new = match (&b, acc) {
                (Some(b), _) => self.out.muladd(x, b[i], old),
                (None, Acc::Max(_)) => self.out.f(FloatOp::Max, old, x),
                (None, _) => self.out.add(old, x),
            };
            self.out.set(register, new);
        }
    }

    /// The float that `join` makes of those of all threads, the same in all.
    fn fold(&mut self, var: Var, op: FloatOp) -> Val {
        assert!(self.turns.is_none(), "lanes are folded outside of lane loops");
        let own = self.out.get(self.registers(var)[0]);
        let mut v = self.out.v(Ty::F32, VecOp::Extract(own, 0));
        for bit in [16, 8, 4, 2, 1] {
            let other = self.exchange(v, Peer::Across(bit));
            v = self.out.f(op, v, other);
        }
        if op != FloatOp::Add {
            // Of a number and what is not one, a maximum depends on which comes first.
            v = self.exchange(v, Peer::First);
        }
        let Team::Block(warps) = self.team else { return v };
        let (five, last, one) = (self.out.int(5), self.out.int(i64::from(WARP) - 1), self.out.int(1));
        let slot = self.out.i(IntOp::Shr, self.thread, five);
        let own = self.out.i(IntOp::And, self.thread, last);
        self.if_less(own, one, |t| t.out.push(Node::Team(TeamStep::Share { slot, value: v })));
        self.meet();
        let shared = |n: u32| Op::Team(TeamOp::Shared(n as u8));
        let mut values: Vec<Val> = (0..warps).map(|n| self.out.op(Ty::F32, shared(n))).collect();
        // The slots are free again when all have read them.
        self.meet();
        while values.len() > 1 {
            values = values.chunks(2).map(|pair| self.out.f(op, pair[0], pair[1])).collect();
        }
        values[0]
    }

    fn exchange(&mut self, v: Val, peer: Peer) -> Val {
        self.out.op(Ty::F32, Op::Team(TeamOp::Exchange(v, peer)))
    }
}
