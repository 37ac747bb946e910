//! The builder of legalised kernels: vector values and machine operations.
//!
//! Constants are defined once, at the kernel's entry, so that no loop makes them anew. Vectors have 16 bytes or, made of
//! two such halves, 32; an operation's result is as wide as its operands, and what has none is as wide as [`Out::halves`]
//! says. For GPUs, see [`super::threads`], a half is a single lane of four bytes.

use super::{Elem, Fetch, FloatOp, Fun, IntOp, Isa, Kernel, Mem, Node, Op, Ty, Val, Var, VarDecl, VecOp};
use std::collections::HashMap;

/// Writes the legalised form of a kernel.
pub(super) struct Out {
    kernel: Kernel,
    open: Vec<Vec<Node>>,
    entry: Vec<Node>,
    constants: HashMap<(Ty, [u8; 16]), Val>,
    /// Planes of a panel's chunk in the current scope, by address, and what was made of them, see [`super::quad`].
    pub(super) fetched: HashMap<(Val, i32, usize), Val>,
    /// Halves of 16 bytes, one or two, of the vectors that are made from scalars, constants and memory.
    pub(super) halves: u8,
    /// What the machine has.
    pub(super) isa: Isa,
    /// Bytes of a half.
    half: usize,
}

impl Out {
    /// An empty body with the interface of `source`.
    pub(super) fn new(source: &Kernel, halves: u8, isa: Isa) -> Out {
        Out {
            kernel: Kernel { vals: Vec::new(), vars: Vec::new(), body: Vec::new(), ..source.clone() },
            open: vec![Vec::new()],
            entry: Vec::new(),
            constants: HashMap::new(),
            fetched: HashMap::new(),
            halves,
            isa,
            half: 16,
        }
    }

    /// An empty body whose vectors have a single lane.
    pub(super) fn single(source: &Kernel) -> Out {
        Out { half: 4, ..Out::new(source, 1, Isa::LEAST) }
    }

    fn lanes(&self, elem: Elem) -> u8 {
        (self.half / elem.size()) as u8
    }

    /// The vector type of `elem` that is made now.
    pub(super) fn of(&self, elem: Elem) -> Ty {
        Ty::Vec(elem, self.halves * self.lanes(elem))
    }

    /// The vector type of `elem` as wide as `v`.
    pub(super) fn like(&self, elem: Elem, v: Val) -> Ty {
        Ty::Vec(elem, self.halves_of(v) * self.lanes(elem))
    }

    /// Halves of a vector.
    pub(super) fn halves_of(&self, v: Val) -> u8 {
        let Ty::Vec(elem, n) = self.ty(v) else { panic!("{v} is no vector") };
        n / self.lanes(elem)
    }

    /// Halves of the vectors of a variable.
    pub(super) fn halves_of_var(&self, var: Var) -> u8 {
        let Ty::Vec(elem, n) = self.kernel.vars[var.0 as usize].ty else { panic!("{var} is no vector") };
        n / self.lanes(elem)
    }

    /// What `write` makes from scalars, constants and memory has `halves` halves.
    pub(super) fn with_halves<T>(&mut self, halves: u8, write: impl FnOnce(&mut Out) -> T) -> T {
        let before = std::mem::replace(&mut self.halves, halves);
        let made = write(self);
        self.halves = before;
        made
    }

    pub(super) fn finish(mut self) -> Kernel {
        self.kernel.body = self.entry;
        self.kernel.body.append(&mut self.open.remove(0));
        self.kernel
    }

    pub(super) fn ty(&self, v: Val) -> Ty {
        self.kernel.vals[v.0 as usize]
    }

    pub(super) fn push(&mut self, node: Node) {
        self.open.last_mut().expect("the body is open until `finish`").push(node);
    }

    pub(super) fn open(&mut self) {
        self.open.push(Vec::new());
    }

    pub(super) fn close(&mut self) -> Vec<Node> {
        self.open.pop().expect("closed as often as opened")
    }

    pub(super) fn fresh(&mut self, ty: Ty) -> Val {
        self.kernel.vals.push(ty);
        Val(self.kernel.vals.len() as u32 - 1)
    }

    pub(super) fn op(&mut self, ty: Ty, op: Op) -> Val {
        let v = self.fresh(ty);
        self.push(Node::Let(v, op));
        v
    }

    pub(super) fn v(&mut self, ty: Ty, op: VecOp) -> Val {
        self.op(ty, Op::V(op))
    }

    pub(super) fn var(&mut self, ty: Ty) -> Var {
        self.kernel.vars.push(VarDecl { ty, ways: 1 });
        Var(self.kernel.vars.len() as u32 - 1)
    }

    pub(super) fn get(&mut self, var: Var) -> Val {
        self.op(self.kernel.vars[var.0 as usize].ty, Op::Get(var))
    }

    pub(super) fn set(&mut self, var: Var, v: Val) {
        self.push(Node::Set(var, v));
    }

    pub(super) fn int(&mut self, n: i64) -> Val {
        self.op(Ty::I64, Op::Int(n))
    }

    pub(super) fn i(&mut self, op: IntOp, a: Val, b: Val) -> Val {
        self.op(Ty::I64, Op::I(op, a, b))
    }

    /// A constant of type `ty`.
    pub(super) fn constant(&mut self, ty: Ty, bytes: [u8; 16]) -> Val {
        if let Some(v) = self.constants.get(&(ty, bytes)) {
            return *v;
        }
        let v = self.fresh(ty);
        self.entry.push(Node::Let(v, Op::V(VecOp::Const(bytes))));
        self.constants.insert((ty, bytes), v);
        v
    }

    /// A constant of bytes, the same in each half.
    pub(super) fn pattern(&mut self, elem: Elem, bytes: [u8; 16]) -> Val {
        self.constant(self.of(elem), bytes)
    }

    /// The float `x` in every lane.
    pub(super) fn floats(&mut self, x: f32) -> Val {
        self.pattern(Elem::F32, repeat(x.to_le_bytes()))
    }

    /// The integer `n` in every lane.
    pub(super) fn ints(&mut self, n: u32) -> Val {
        self.pattern(Elem::I32, repeat(n.to_le_bytes()))
    }

    /// The byte `n` in every lane.
    pub(super) fn bytes(&mut self, n: u8) -> Val {
        self.pattern(Elem::I8, [n; 16])
    }

    pub(super) fn splat(&mut self, a: Val) -> Val {
        self.v(self.of(Elem::F32), VecOp::Splat(a))
    }

    /// A vector from memory; its upper half, if it has one, lies `gap` bytes on.
    pub(super) fn fetch(&mut self, elem: Elem, kind: Fetch, addr: Val, offset: i32, gap: i32) -> Val {
        let gap = if self.halves == 1 { 0 } else { gap };
        self.op(self.of(elem), Op::Fetch(kind, addr, offset, gap))
    }

    pub(super) fn f(&mut self, op: FloatOp, a: Val, b: Val) -> Val {
        self.op(self.ty(a), Op::F(op, a, b))
    }

    pub(super) fn add(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Add, a, b)
    }

    pub(super) fn sub(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Sub, a, b)
    }

    pub(super) fn mul(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Mul, a, b)
    }

    pub(super) fn div(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Div, a, b)
    }

    pub(super) fn muladd(&mut self, a: Val, b: Val, c: Val) -> Val {
        self.op(self.ty(a), Op::MulAdd(a, b, c))
    }

    pub(super) fn fun(&mut self, fun: Fun, a: Val) -> Val {
        self.op(self.ty(a), Op::Fun(fun, a))
    }

    /// The same bits as lanes of `elem`.
    pub(super) fn bits(&mut self, elem: Elem, a: Val) -> Val {
        let ty = self.like(elem, a);
        if self.ty(a) == ty { a } else { self.v(ty, VecOp::Bits(a)) }
    }

    pub(super) fn and(&mut self, a: Val, b: Val) -> Val {
        self.v(self.ty(a), VecOp::And(a, b))
    }

    pub(super) fn or(&mut self, a: Val, b: Val) -> Val {
        self.v(self.ty(a), VecOp::Or(a, b))
    }

    /// Shifts lanes of `unit` by `left` bits, to the right where negative; the type stays.
    pub(super) fn shift(&mut self, unit: Elem, a: Val, left: i32) -> Val {
        if left == 0 {
            return a;
        }
        let Ty::Vec(elem, _) = self.ty(a) else { panic!("{a} is no vector") };
        let a = self.bits(unit, a);
        let n = left.unsigned_abs() as u8;
        let a = self.v(self.ty(a), if left > 0 { VecOp::Shl(a, n) } else { VecOp::Shr(a, n) });
        self.bits(elem, a)
    }

    /// Integers as floats.
    pub(super) fn to_float(&mut self, a: Val) -> Val {
        self.v(self.like(Elem::F32, a), VecOp::ToFloat(a))
    }

    /// A vector as wide as `base`: `a`, and where it is narrower the upper half of `base`.
    pub(super) fn over(&mut self, base: Val, a: Val) -> Val {
        if self.halves_of(base) == self.halves_of(a) { a } else { self.v(self.ty(base), VecOp::Lower(base, a)) }
    }

    pub(super) fn shuffle(&mut self, a: Val, b: Val, mask: [u8; 16]) -> Val {
        self.v(self.ty(a), VecOp::Shuffle(a, b, mask))
    }

    /// Elements of `size` bytes of `a` and `b` in turn, from their lower or upper halves.
    pub(super) fn interleave(&mut self, a: Val, b: Val, size: usize, upper: bool) -> Val {
        let mask = std::array::from_fn(|i| {
            let (element, byte) = (i / size, i % size);
            let side = if element % 2 == 0 { 0 } else { 16 };
            let start = if upper { 8 } else { 0 };
            (side + start + element / 2 * size + byte) as u8
        });
        self.shuffle(a, b, mask)
    }

    /// Sum of the lanes: of four as `(0 + 2) + (1 + 3)`, halves first.
    pub(super) fn lane_sum(&mut self, a: Val) -> Val {
        self.fold(a, |out, a, b| out.add(a, b))
    }

    /// The sums of four vectors in the lanes of one of 16 bytes: their lanes change places while they are added.
    pub(super) fn lane_sums(&mut self, vectors: [Val; 4]) -> Val {
        let [a, b, c, d] = vectors;
        let mut join = |a: Val, b: Val, size: usize| {
            let [low, high] = [false, true].map(|upper| self.interleave(a, b, size, upper));
            self.add(low, high)
        };
        let (ab, cd) = (join(a, b, 4), join(c, d, 4));
        let all = join(ab, cd, 8);
        if self.halves_of(all) == 1 {
            return all;
        }
        let [low, high] = self.both(all);
        self.add(low, high)
    }

    /// The lowest lanes of four vectors in one.
    pub(super) fn lowest(&mut self, vectors: [Val; 4]) -> Val {
        let [a, b, c, d] = vectors;
        let ab = self.interleave(a, b, 4, false);
        let cd = self.interleave(c, d, 4, false);
        self.interleave(ab, cd, 8, false)
    }

    /// Maximum of the lanes.
    pub(super) fn lane_max(&mut self, a: Val) -> Val {
        self.fold(a, |out, a, b| out.f(FloatOp::Max, a, b))
    }

    fn fold(&mut self, mut a: Val, join: impl Fn(&mut Out, Val, Val) -> Val) -> Val {
        if self.halves_of(a) == 2 {
            let [low, high] = self.both(a);
            a = join(self, low, high);
        }
        let half = self.shuffle(a, a, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]);
        let pairs = join(self, a, half);
        let quarter = self.shuffle(pairs, pairs, [4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11]);
        let all = join(self, pairs, quarter);
        self.v(Ty::F32, VecOp::Extract(all, 0))
    }

    /// The halves of a vector of two.
    pub(super) fn both(&mut self, a: Val) -> [Val; 2] {
        let Ty::Vec(elem, n) = self.ty(a) else { panic!("{a} is no vector") };
        [false, true].map(|upper| self.v(Ty::Vec(elem, n / 2), VecOp::Half(a, upper)))
    }

    /// Stores a scalar or a whole vector.
    pub(super) fn store(&mut self, mem: Mem, value: Val, addr: Val, offset: i32) {
        self.push(Node::Store { mem, value, addr, offset, step: 0 });
    }
}

fn repeat(four: [u8; 4]) -> [u8; 16] {
    std::array::from_fn(|i| four[i % 4])
}
