//! The builder of legalised kernels: vector values and machine operations.
//!
//! Constants are defined once, at the kernel's entry, so that no loop makes them anew.

use super::{Elem, Fetch, FloatOp, Fun, IntOp, Kernel, Mem, Node, Op, Ty, Val, Var, VarDecl, VecOp};
use std::collections::HashMap;

/// Writes the legalised form of a kernel. Vectors have 16 bytes.
pub(super) struct Out {
    kernel: Kernel,
    open: Vec<Vec<Node>>,
    entry: Vec<Node>,
    constants: HashMap<(Ty, [u8; 16]), Val>,
    /// Bit planes read by the current lane loop, see [`super::codes`].
    pub(super) halves: HashMap<(Val, i32), Val>,
}

pub(super) const F32X4: Ty = Ty::Vec(Elem::F32, 4);
pub(super) const I32X4: Ty = Ty::Vec(Elem::I32, 4);
pub(super) const I16X8: Ty = Ty::Vec(Elem::I16, 8);
pub(super) const I8X16: Ty = Ty::Vec(Elem::I8, 16);

impl Out {
    /// An empty body with the interface of `source`.
    pub(super) fn new(source: &Kernel) -> Out {
        let kernel = Kernel { vals: Vec::new(), vars: Vec::new(), body: Vec::new(), ..source.clone() };
        Out { kernel, open: vec![Vec::new()], entry: Vec::new(), constants: HashMap::new(), halves: HashMap::new() }
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

    /// Four times the float `x`.
    pub(super) fn floats(&mut self, x: f32) -> Val {
        self.constant(F32X4, repeat(x.to_le_bytes()))
    }

    /// Four times the integer `n`.
    pub(super) fn ints(&mut self, n: u32) -> Val {
        self.constant(I32X4, repeat(n.to_le_bytes()))
    }

    /// Sixteen times the byte `n`.
    pub(super) fn bytes(&mut self, n: u8) -> Val {
        self.constant(I8X16, [n; 16])
    }

    pub(super) fn splat(&mut self, a: Val) -> Val {
        self.v(F32X4, VecOp::Splat(a))
    }

    pub(super) fn fetch(&mut self, ty: Ty, kind: Fetch, addr: Val, offset: i32) -> Val {
        self.op(ty, Op::Fetch(kind, addr, offset))
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

    pub(super) fn bits(&mut self, ty: Ty, a: Val) -> Val {
        if self.ty(a) == ty { a } else { self.v(ty, VecOp::Bits(a)) }
    }

    pub(super) fn and(&mut self, a: Val, b: Val) -> Val {
        self.v(self.ty(a), VecOp::And(a, b))
    }

    pub(super) fn or(&mut self, a: Val, b: Val) -> Val {
        self.v(self.ty(a), VecOp::Or(a, b))
    }

    /// Shifts lanes of `unit` by `left` bits, to the right where negative; the type stays.
    pub(super) fn shift(&mut self, unit: Ty, a: Val, left: i32) -> Val {
        if left == 0 {
            return a;
        }
        let ty = self.ty(a);
        let a = self.bits(unit, a);
        let n = left.unsigned_abs() as u8;
        let a = self.v(unit, if left > 0 { VecOp::Shl(a, n) } else { VecOp::Shr(a, n) });
        self.bits(ty, a)
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

    /// Sum of the four lanes, as `(0 + 2) + (1 + 3)`.
    pub(super) fn lane_sum(&mut self, a: Val) -> Val {
        self.fold(a, |out, a, b| out.add(a, b))
    }

    /// Maximum of the four lanes.
    pub(super) fn lane_max(&mut self, a: Val) -> Val {
        self.fold(a, |out, a, b| out.f(FloatOp::Max, a, b))
    }

    fn fold(&mut self, a: Val, join: impl Fn(&mut Out, Val, Val) -> Val) -> Val {
        let half = self.shuffle(a, a, [8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7]);
        let pairs = join(self, a, half);
        let quarter = self.shuffle(pairs, pairs, [4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11]);
        let all = join(self, pairs, quarter);
        self.v(Ty::F32, VecOp::Extract(all, 0))
    }

    /// Stores a scalar or a whole vector.
    pub(super) fn store(&mut self, mem: Mem, value: Val, addr: Val, offset: i32) {
        self.push(Node::Store { mem, value, addr, offset, step: 0 });
    }
}

fn repeat(four: [u8; 4]) -> [u8; 16] {
    std::array::from_fn(|i| four[i % 4])
}
