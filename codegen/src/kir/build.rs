//! The builder with which kernels are written before legalisation.
//!
//! Methods append to the innermost open loop and return the new value. Types are inferred; mixing a lane value with a
//! scalar broadcasts the scalar. Broken types are mistakes of the kernel's author and panic.

use super::{
    Acc, Axis, CodeSource, Elem, FloatOp, Fun, IntOp, Kernel, Logic, Mem, Node, Op, Test, Ty, Val, Var, VarDecl,
};

/// Writes a [`Kernel`].
pub struct Builder {
    kernel: Kernel,
    open: Vec<Vec<Node>>,
}

impl Builder {
    /// A kernel called `name` with these buffers and runtime dimensions.
    pub fn new(name: &str, buffers: &[impl AsRef<str>], dims: &[impl AsRef<str>]) -> Builder {
        let kernel = Kernel {
            name: name.to_owned(),
            buffers: buffers.iter().map(|b| b.as_ref().to_owned()).collect(),
            dims: dims.iter().map(|d| d.as_ref().to_owned()).collect(),
            vals: Vec::new(),
            vars: Vec::new(),
            stacks: Vec::new(),
            body: Vec::new(),
        };
        Builder { kernel, open: vec![Vec::new()] }
    }

    /// The finished kernel.
    pub fn finish(mut self) -> Kernel {
        assert_eq!(self.open.len(), 1, "a loop is still open");
        self.kernel.body = self.open.remove(0);
        self.kernel
    }

    fn push(&mut self, node: Node) {
        self.open.last_mut().expect("the body is open until `finish`").push(node);
    }

    fn ty(&self, v: Val) -> Ty {
        self.kernel.vals[v.0 as usize]
    }

    fn fresh(&mut self, ty: Ty) -> Val {
        self.kernel.vals.push(ty);
        Val(self.kernel.vals.len() as u32 - 1)
    }

    fn op(&mut self, ty: Ty, op: Op) -> Val {
        let v = self.fresh(ty);
        self.push(Node::Let(v, op));
        v
    }

    /// An integer.
    pub fn int(&mut self, n: i64) -> Val {
        self.op(Ty::I64, Op::Int(n))
    }

    /// A float.
    pub fn float(&mut self, x: f32) -> Val {
        self.op(Ty::F32, Op::Float(x))
    }

    /// A double.
    pub fn double(&mut self, x: f64) -> Val {
        self.op(Ty::F64, Op::Double(x))
    }

    /// Runtime dimension `n`.
    pub fn dim(&mut self, n: u8) -> Val {
        assert!((n as usize) < self.kernel.dims.len());
        self.op(Ty::I64, Op::Dim(n))
    }

    /// Address of buffer `n`.
    pub fn buffer(&mut self, n: usize) -> Val {
        assert!(n < self.kernel.buffers.len());
        self.op(Ty::I64, Op::Buffer(n as u8))
    }

    /// Address of a fresh stack area of `bytes`, 16-byte aligned.
    pub fn stack(&mut self, bytes: u32) -> Val {
        self.kernel.stacks.push(bytes);
        self.op(Ty::I64, Op::Stack(self.kernel.stacks.len() as u8 - 1))
    }

    /// Number of this part.
    pub fn part(&mut self) -> Val {
        self.op(Ty::I64, Op::Part)
    }

    /// Integer arithmetic.
    pub fn i(&mut self, op: IntOp, a: Val, b: Val) -> Val {
        assert!(self.ty(a) == Ty::I64 && self.ty(b) == Ty::I64, "integer arithmetic on {:?}", self.ty(a));
        self.op(Ty::I64, Op::I(op, a, b))
    }

    /// `a + b` on integers.
    pub fn iadd(&mut self, a: Val, b: Val) -> Val {
        self.i(IntOp::Add, a, b)
    }

    /// `a + n` on integers.
    pub fn iadd_n(&mut self, a: Val, n: i64) -> Val {
        if n == 0 {
            return a;
        }
        let n = self.int(n);
        self.iadd(a, n)
    }

    /// `a * n` on integers.
    pub fn imul_n(&mut self, a: Val, n: i64) -> Val {
        let (op, n) = if n > 0 && n & (n - 1) == 0 { (IntOp::Shl, n.trailing_zeros().into()) } else { (IntOp::Mul, n) };
        if op == IntOp::Shl && n == 0 {
            return a;
        }
        let n = self.int(n);
        self.i(op, a, n)
    }

    /// `a / n` on non-negative integers.
    pub fn idiv_n(&mut self, a: Val, n: i64) -> Val {
        let (op, n) = if n & (n - 1) == 0 { (IntOp::Shr, n.trailing_zeros().into()) } else { (IntOp::Div, n) };
        if op == IntOp::Shr && n == 0 {
            return a;
        }
        let n = self.int(n);
        self.i(op, a, n)
    }

    /// `a mod n` on non-negative integers.
    pub fn irem_n(&mut self, a: Val, n: i64) -> Val {
        let quotient = self.idiv_n(a, n);
        let whole = self.imul_n(quotient, n);
        self.i(IntOp::Sub, a, whole)
    }

    fn wide(&self, a: Val, b: Val) -> Ty {
        match (self.ty(a), self.ty(b)) {
            (Ty::F64, Ty::F64) => Ty::F64,
            (Ty::F32, Ty::F32) => Ty::F32,
            (Ty::Lane(Elem::F32) | Ty::F32, Ty::Lane(Elem::F32) | Ty::F32) => Ty::Lane(Elem::F32),
            (a, b) => panic!("float arithmetic on {a:?} and {b:?}"),
        }
    }

    /// Float arithmetic.
    pub fn f(&mut self, op: FloatOp, a: Val, b: Val) -> Val {
        let ty = self.wide(a, b);
        self.op(ty, Op::F(op, a, b))
    }

    /// `a + b` on floats.
    pub fn fadd(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Add, a, b)
    }

    /// `a - b` on floats.
    pub fn fsub(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Sub, a, b)
    }

    /// `a * b` on floats.
    pub fn fmul(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Mul, a, b)
    }

    /// `a / b` on floats.
    pub fn fdiv(&mut self, a: Val, b: Val) -> Val {
        self.f(FloatOp::Div, a, b)
    }

    /// `a * b + c`.
    pub fn muladd(&mut self, a: Val, b: Val, c: Val) -> Val {
        let ty = self.wide(a, b);
        let ty = if self.wide(c, c) == Ty::Lane(Elem::F32) { Ty::Lane(Elem::F32) } else { ty };
        self.op(ty, Op::MulAdd(a, b, c))
    }

    /// A function of a float.
    pub fn fun(&mut self, fun: Fun, a: Val) -> Val {
        let ty = self.wide(a, a);
        self.op(ty, Op::Fun(fun, a))
    }

    /// In the lanes of the current loop, all ones where the answer is yes, zeros elsewhere: a mask.
    pub fn test(&mut self, test: Test, a: Val, b: Val) -> Val {
        self.op(Ty::Lane(Elem::F32), Op::Test(test, a, b))
    }

    /// A bitwise operation on lanes: of masks what their answers make, of a mask and a float the float or zero.
    pub fn logic(&mut self, logic: Logic, a: Val, b: Val) -> Val {
        self.op(Ty::Lane(Elem::F32), Op::Logic(logic, a, b))
    }

    /// `a` in the lanes where the mask has ones, `b` elsewhere.
    pub fn choose(&mut self, mask: Val, a: Val, b: Val) -> Val {
        self.op(Ty::Lane(Elem::F32), Op::Choose(mask, a, b))
    }

    /// `a` as another scalar type, or integer lanes as float lanes.
    pub fn convert(&mut self, to: Ty, a: Val) -> Val {
        self.op(to, Op::Convert(a))
    }

    /// The scalar at `addr + offset`: a float, or an integer zero- or sign-extended.
    pub fn load(&mut self, mem: Mem, addr: Val, offset: i32) -> Val {
        let ty = match mem {
            Mem::F32 | Mem::F16 | Mem::Bf16 => Ty::F32,
            Mem::I8 | Mem::U8 | Mem::U16 | Mem::I32 | Mem::U32 => Ty::I64,
            Mem::Q8 | Mem::S8 | Mem::I16 => panic!("such integers are loaded in lanes"),
            Mem::U4 => panic!("a nibble has no address"),
        };
        self.op(ty, Op::Load { mem, addr, offset, step: 0 })
    }

    /// Consecutive elements, one a lane.
    pub fn load_lane(&mut self, mem: Mem, addr: Val, offset: i32) -> Val {
        let elem = match mem {
            Mem::F32 | Mem::F16 | Mem::Bf16 | Mem::Q8 | Mem::U8 | Mem::U4 | Mem::I32 => Elem::F32,
            Mem::I8 => Elem::I8,
            Mem::S8 | Mem::I16 => Elem::I16,
            Mem::U16 | Mem::U32 => panic!("integers are loaded one by one"),
        };
        self.op(Ty::Lane(elem), Op::Load { mem, addr, offset, step: 1 })
    }

    /// Every second f32 element, one a lane.
    pub fn load_pair(&mut self, addr: Val, offset: i32) -> Val {
        self.op(Ty::Lane(Elem::F32), Op::Load { mem: Mem::F32, addr, offset, step: 2 })
    }

    /// Stores a scalar.
    pub fn store(&mut self, mem: Mem, value: Val, addr: Val, offset: i32) {
        self.push(Node::Store { mem, value, addr, offset, step: 0 });
    }

    /// Stores consecutive elements, one a lane.
    pub fn store_lane(&mut self, mem: Mem, value: Val, addr: Val, offset: i32) {
        self.push(Node::Store { mem, value, addr, offset, step: 1 });
    }

    /// Stores every second f32 element, one a lane.
    pub fn store_pair(&mut self, value: Val, addr: Val, offset: i32) {
        self.push(Node::Store { mem: Mem::F32, value, addr, offset, step: 2 });
    }

    /// The codes of columns `first..` of the chunk at `addr + offset`, one a lane.
    pub fn code(&mut self, source: CodeSource, addr: Val, offset: i32, first: u16) -> Val {
        self.op(Ty::Lane(Elem::I8), Op::Code { source, addr, offset, first })
    }

    /// The codes of columns `4 * quad..` of the chunk of a panel at `addr + offset`, those of a row in each lane.
    pub fn quad(&mut self, bits: u8, addr: Val, offset: i32, quad: u8) -> Val {
        self.op(Ty::Lane(Elem::I8), Op::Quad { bits, addr, offset, quad })
    }

    /// The codes of column `n` of a quad as floats `(code + bias) / gain`.
    pub fn quad_float(&mut self, quad: Val, n: u8) -> Val {
        self.op(Ty::Lane(Elem::F32), Op::QuadFloat(quad, n))
    }

    /// The four rounded activations at `addr + offset`, the same in every lane.
    pub fn four(&mut self, addr: Val, offset: i32) -> Val {
        self.op(Ty::Lane(Elem::I8), Op::Four(addr, offset))
    }

    /// A variable that starts as `value`.
    pub fn var(&mut self, value: Val) -> Var {
        let var = self.declare(self.ty(value), 1);
        self.set(var, value);
        var
    }

    fn declare(&mut self, ty: Ty, ways: u8) -> Var {
        self.kernel.vars.push(VarDecl { ty, ways });
        Var(self.kernel.vars.len() as u32 - 1)
    }

    /// A running value a lane, `ways` independent chains of them, all starting as `value`.
    pub fn partial(&mut self, elem: Elem, ways: u8, value: Val) -> Var {
        let var = self.declare(Ty::Lane(elem), ways);
        self.set(var, value);
        var
    }

    /// Gives a variable a value; scalars are broadcast into lane variables, the integer 0 into integer lanes.
    pub fn set(&mut self, var: Var, value: Val) {
        self.push(Node::Set(var, value));
    }

    /// The value of a variable.
    pub fn get(&mut self, var: Var) -> Val {
        self.op(self.kernel.vars[var.0 as usize].ty, Op::Get(var))
    }

    /// Accumulates into a variable.
    pub fn acc(&mut self, var: Var, acc: Acc) {
        self.push(Node::Acc(var, acc));
    }

    /// Sum over the lanes of a partial float variable.
    pub fn lane_sum(&mut self, var: Var) -> Val {
        self.op(Ty::F32, Op::LaneSum(var))
    }

    /// Maximum over the lanes of a partial float variable.
    pub fn lane_max(&mut self, var: Var) -> Val {
        self.op(Ty::F32, Op::LaneMax(var))
    }

    /// In a loop of four lanes: in lane l, the sum of partial float variable l over its lanes.
    pub fn sums(&mut self, vars: [Var; 4]) -> Val {
        self.op(Ty::Lane(Elem::F32), Op::Sums(vars))
    }

    /// In a loop of four lanes: in lane l, float l.
    pub fn each(&mut self, floats: [Val; 4]) -> Val {
        self.op(Ty::Lane(Elem::F32), Op::Each(floats))
    }

    fn run(&mut self, axis: Axis, from: Val, to: Val, step: i64, body: impl FnOnce(&mut Builder, Val)) {
        let index = self.fresh(Ty::I64);
        self.open.push(Vec::new());
        body(self, index);
        let body = self.open.pop().expect("pushed above");
        self.push(Node::Loop { axis, index, from, to, step, body });
    }

    /// Units `0..count`, which are the units `first..` of `total` that the parts share.
    pub fn grid(&mut self, first: i64, count: Val, total: Val, body: impl FnOnce(&mut Builder, Val)) {
        let zero = self.int(0);
        self.run(Axis::Grid { first, total }, zero, count, 1, body);
    }

    /// The first of units `first..first + count` of `total` that this part runs in a grid loop over them, counted from 0;
    /// where it runs none of them, one of the ends.
    pub fn first_unit(&mut self, first: i64, count: i64, total: Val) -> Val {
        let (part, parts) = (self.part(), self.op(Ty::I64, Op::Parts));
        let units = self.i(IntOp::Mul, total, part);
        let units = self.i(IntOp::Div, units, parts);
        let units = self.iadd_n(units, -first);
        let (zero, count) = (self.int(0), self.int(count));
        let units = self.i(IntOp::Max, units, zero);
        self.i(IntOp::Min, units, count)
    }

    /// `from..to` in order.
    pub fn seq(&mut self, from: Val, to: Val, step: i64, body: impl FnOnce(&mut Builder, Val)) {
        self.run(Axis::Seq, from, to, step, body);
    }

    /// Lanes `0..to`. Lane loads and stores inside it move with the lane; `body` must not use the index for them.
    pub fn lane(&mut self, to: Val, body: impl FnOnce(&mut Builder)) {
        let zero = self.int(0);
        self.run(Axis::Lane, zero, to, 1, |k, _| body(k));
    }

    /// Lanes `0..n` in blocks of at most `vectors` vectors.
    pub fn narrow_n(&mut self, n: usize, vectors: u8, body: impl FnOnce(&mut Builder)) {
        let (zero, n) = (self.int(0), self.int(n as i64));
        self.run(Axis::Narrow(vectors), zero, n, 1, |k, _| body(k));
    }

    /// Lanes `0..n`.
    pub fn lane_n(&mut self, n: usize, body: impl FnOnce(&mut Builder)) {
        let n = self.int(n as i64);
        self.lane(n, body);
    }

    /// Asks for the line of memory at `addr + offset`.
    pub fn prefetch(&mut self, addr: Val, offset: i32) {
        self.push(Node::Prefetch { addr, offset });
    }

    /// Runs `body` where `a < b`.
    pub fn if_less(&mut self, a: Val, b: Val, body: impl FnOnce(&mut Builder)) {
        self.open.push(Vec::new());
        body(self);
        let body = self.open.pop().expect("pushed above");
        self.push(Node::IfLess { a, b, body });
    }
}
