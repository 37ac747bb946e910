//! The Cranelift emitter: 128-bit vectors, no optimisation passes, so that machine code keeps the order of the kernel.

use super::CompiledKernel;
use crate::kir::{Axis, Elem, Fetch, FloatOp, Fun, IntOp, Kernel, Mem, Node, Op, Test, Ty, Val, Var, VecOp};
use actc_types::target::{Arch, Family};
use actc_types::{Diagnostic, Result, Target};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::immediates::V128Imm;
use cranelift_codegen::ir::{
    AbiParam, Block, ConstantData, Function, InstBuilder, MemFlagsData, Signature, StackSlotData, StackSlotKind, Type,
    UserFuncName, Value, types,
};
use cranelift_codegen::isa::{self, TargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, control::ControlPlane};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext, Variable};
use std::sync::Arc;

fn internal(what: &str, error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new("cranelift", format!("{what}: {error}"))
}

/// The code generator for a CPU target; refuses GPUs. Features change nothing: it has no instructions for them.
pub fn isa(target: &Target) -> Result<Arc<dyn TargetIsa>> {
    let v2 = ["has_sse3", "has_ssse3", "has_cmpxchg16b", "has_sse41", "has_sse42", "has_popcnt"];
    let v3 = ["has_avx", "has_avx2", "has_fma", "has_bmi1", "has_bmi2", "has_lzcnt"];
    let (arch, features): (&str, Vec<&str>) = match target.arch.family() {
        Family::X86 if target.arch == Arch::X86V2 => ("x86_64", v2.to_vec()),
        // 512-bit levels change nothing here: vectors have 128 bits.
        Family::X86 => ("x86_64", [&v2[..], &v3[..]].concat()),
        Family::Aarch64 => ("aarch64", Vec::new()),
        Family::Nvidia => {
            return Err(Diagnostic::request("kernel-target", format!("cranelift makes no code for {target}")));
        }
    };
    let triple = format!("{arch}-unknown-linux-gnu").parse().map_err(|e| internal("target triple", e))?;
    let mut builder = isa::lookup(triple).map_err(|e| internal("target", e))?;
    for feature in features {
        builder.enable(feature).map_err(|e| internal(feature, e))?;
    }
    let mut flags = settings::builder();
    for (name, value) in [
        ("opt_level", "none"),
        ("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" }),
        ("enable_probestack", "false"),
        ("unwind_info", "false"),
    ] {
        flags.set(name, value).map_err(|e| internal(name, e))?;
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| internal("settings", e))
}

/// The CLIF text of a legalised kernel.
pub fn clif(kernel: &Kernel, target: &Target) -> Result<String> {
    let isa = isa(target)?;
    Ok(function(kernel, &*isa, target).display().to_string())
}

/// Machine code of a legalised kernel.
pub fn compile(kernel: &Kernel, target: &Target, isa: &dyn TargetIsa) -> Result<CompiledKernel> {
    let function = function(kernel, isa, target);
    let text = function.display().to_string();
    let mut context = Context::for_function(function);
    let compiled = context
        .compile(isa, &mut ControlPlane::default())
        .map_err(|e| internal(&kernel.name, format!("{:?}", e.inner)))?;
    if !compiled.buffer.relocs().is_empty() {
        return Err(internal(&kernel.name, "the code has relocations"));
    }
    Ok(CompiledKernel { symbol: kernel.name.clone(), code: compiled.code_buffer().to_vec(), text })
}

fn function(kernel: &Kernel, isa: &dyn TargetIsa, target: &Target) -> Function {
    let mut signature = Signature::new(isa.default_call_conv());
    signature.params = [types::I64, types::I64, types::I32, types::I32].map(AbiParam::new).to_vec();
    let mut function = Function::with_name_signature(UserFuncName::testcase(kernel.name.as_bytes()), signature);
    let mut context = FunctionBuilderContext::new();
    let mut builder = FunctionBuilder::new(&mut function, &mut context);
    let entry = builder.create_block();
    builder.append_block_params_for_function_params(entry);
    builder.switch_to_block(entry);
    builder.seal_block(entry);
    let params = builder.block_params(entry).to_vec();
    let vars = kernel.vars.iter().map(|v| builder.declare_var(machine(v.ty))).collect();
    let stacks = kernel
        .stacks
        .iter()
        .map(|bytes| builder.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, *bytes, 4)))
        .collect::<Vec<_>>();
    let part = builder.ins().uextend(types::I64, params[2]);
    let parts = builder.ins().uextend(types::I64, params[3]);
    let mut emitter = Emitter {
        kernel,
        vals: vec![None; kernel.vals.len()],
        vars,
        buffers: params[0],
        dims: params[1],
        part,
        parts,
        fused: target.arch != Arch::X86V2,
        x86: target.arch.family() == Family::X86,
        stacks,
        b: builder,
    };
    emitter.nodes(&kernel.body);
    emitter.b.ins().return_(&[]);
    emitter.b.finalize(isa.frontend_config());
    function
}

fn machine(ty: Ty) -> Type {
    match ty {
        Ty::I64 => types::I64,
        Ty::F32 => types::F32,
        Ty::F64 => types::F64,
        Ty::Vec(Elem::F32, 4) => types::F32X4,
        Ty::Vec(Elem::I32, 4) => types::I32X4,
        Ty::Vec(Elem::I16, 8) => types::I16X8,
        Ty::Vec(Elem::I8, 16) => types::I8X16,
        Ty::Vec(..) | Ty::Lane(_) => panic!("{ty} is no type of this machine"),
    }
}

/// Addresses are the caller's promise: no access traps, none is aligned.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

struct Emitter<'a> {
    kernel: &'a Kernel,
    vals: Vec<Option<Value>>,
    vars: Vec<Variable>,
    buffers: Value,
    dims: Value,
    part: Value,
    parts: Value,
    fused: bool,
    x86: bool,
    stacks: Vec<cranelift_codegen::ir::StackSlot>,
    b: FunctionBuilder<'a>,
}

impl Emitter<'_> {
    fn val(&self, v: Val) -> Value {
        self.vals[v.0 as usize].unwrap_or_else(|| panic!("{v} is used before it is defined"))
    }

    fn var(&self, v: Var) -> Variable {
        self.vars[v.0 as usize]
    }

    fn nodes(&mut self, nodes: &[Node]) {
        nodes.iter().for_each(|node| self.node(node));
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Let(v, op) => {
                let ty = self.kernel.vals[v.0 as usize];
                self.vals[v.0 as usize] = Some(self.op(ty, op));
            }
            Node::Set(var, v) => {
                let v = self.val(*v);
                self.b.def_var(self.var(*var), v);
            }
            Node::Store { mem, value, addr, offset, step: 0 } => {
                let ty = self.kernel.vals[value.0 as usize];
                let (value, addr) = (self.val(*value), self.val(*addr));
                match (mem, ty) {
                    (Mem::F32, Ty::F32 | Ty::Vec(..)) | (Mem::I8 | Mem::I16, Ty::Vec(..)) => {
                        self.b.ins().store(flags(), value, addr, *offset);
                    }
                    (Mem::I8 | Mem::U8, Ty::F32) => {
                        let bits = self.bits(types::I32, value);
                        self.b.ins().istore8(flags(), bits, addr, *offset);
                    }
                    (Mem::U32, Ty::I64) => {
                        self.b.ins().istore32(flags(), value, addr, *offset);
                    }
                    (mem, ty) => panic!("{ty} is not stored as {mem:?}"),
                }
            }
            Node::Loop { axis: Axis::Seq, index, from, to, step, body } => self.seq(*index, *from, *to, *step, body),
            Node::IfLess { a, b, body } => {
                let (a, b) = (self.val(*a), self.val(*b));
                let (then, after) = (self.b.create_block(), self.b.create_block());
                let less = self.b.ins().icmp(IntCC::SignedLessThan, a, b);
                self.b.ins().brif(less, then, &[], after, &[]);
                self.enter(then);
                self.nodes(body);
                self.b.ins().jump(after, &[]);
                self.enter(after);
            }
            Node::Acc(..) | Node::Store { .. } | Node::Loop { .. } | Node::Prefetch { .. } | Node::Team(_) => {
                panic!("the kernel is not legalised")
            }
        }
    }

    fn enter(&mut self, block: Block) {
        self.b.switch_to_block(block);
        self.b.seal_block(block);
    }

    /// The test stands at the bottom, so that a turn has one branch.
    fn seq(&mut self, index: Val, from: Val, to: Val, step: i64, body: &[Node]) {
        let (from, to) = (self.val(from), self.val(to));
        let running = self.b.declare_var(types::I64);
        self.b.def_var(running, from);
        let (turn, after) = (self.b.create_block(), self.b.create_block());
        let any = self.b.ins().icmp(IntCC::SignedLessThan, from, to);
        self.b.ins().brif(any, turn, &[], after, &[]);
        self.b.switch_to_block(turn);
        let i = self.b.use_var(running);
        self.vals[index.0 as usize] = Some(i);
        self.nodes(body);
        let i = self.b.use_var(running);
        let next = self.b.ins().iadd_imm_s(i, step);
        self.b.def_var(running, next);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, to);
        self.b.ins().brif(more, turn, &[], after, &[]);
        self.b.seal_block(turn);
        self.enter(after);
    }

    fn op(&mut self, ty: Ty, op: &Op) -> Value {
        match *op {
            Op::Int(n) => self.b.ins().iconst(types::I64, n),
            Op::Float(x) => self.b.ins().f32const(x),
            Op::Double(x) => self.b.ins().f64const(x),
            Op::Dim(n) => self.b.ins().load(types::I64, flags(), self.dims, 8 * i32::from(n)),
            Op::Buffer(n) => self.b.ins().load(types::I64, flags(), self.buffers, 8 * i32::from(n)),
            Op::Stack(n) => self.b.ins().stack_addr(types::I64, self.stacks[n as usize], 0),
            Op::Part => self.part,
            Op::Parts => self.parts,
            Op::I(op, a, b) => self.int(op, a, b),
            Op::F(op, a, b) => self.float(op, a, b),
            Op::MulAdd(a, b, c) => {
                let (a, b, c) = (self.val(a), self.val(b), self.val(c));
                if self.fused {
                    return self.b.ins().fma(a, b, c);
                }
                let product = self.b.ins().fmul(a, b);
                self.b.ins().fadd(product, c)
            }
            Op::Fun(fun, a) => {
                let a = self.val(a);
                match fun {
                    Fun::Neg => self.b.ins().fneg(a),
                    Fun::Abs => self.b.ins().fabs(a),
                    Fun::Sqrt => self.b.ins().sqrt(a),
                    Fun::Nearest => self.b.ins().nearest(a),
                    Fun::Floor => self.b.ins().floor(a),
                    Fun::Ceil => self.b.ins().ceil(a),
                    Fun::Trunc => self.b.ins().trunc(a),
                    Fun::Relu
                    | Fun::Exp
                    | Fun::Tanh
                    | Fun::Sigmoid
                    | Fun::Silu
                    | Fun::GeluTanh
                    | Fun::GeluErf
                    | Fun::Log
                    | Fun::Erf
                    | Fun::Softplus
                    | Fun::Sign => panic!("{fun:?} is expanded by legalisation"),
                }
            }
            Op::Convert(a) => {
                let from = self.kernel.vals[a.0 as usize];
                let a = self.val(a);
                match (from, ty) {
                    (Ty::I64, Ty::F32 | Ty::F64) => self.b.ins().fcvt_from_sint(machine(ty), a),
                    (Ty::F32, Ty::F64) => self.b.ins().fpromote(types::F64, a),
                    (Ty::F64, Ty::F32) => self.b.ins().fdemote(types::F32, a),
                    (from, to) => panic!("no conversion from {from} to {to}"),
                }
            }
            Op::Load { mem, addr, offset, step: 0 } => {
                let addr = self.val(addr);
                match mem {
                    Mem::F32 => self.b.ins().load(types::F32, flags(), addr, offset),
                    Mem::I8 => self.b.ins().sload8(types::I64, flags(), addr, offset),
                    Mem::U8 => self.b.ins().uload8(types::I64, flags(), addr, offset),
                    Mem::U16 => self.b.ins().uload16(types::I64, flags(), addr, offset),
                    Mem::I32 => self.b.ins().sload32(flags(), addr, offset),
                    Mem::U32 => self.b.ins().uload32(flags(), addr, offset),
                    Mem::F16 | Mem::Bf16 | Mem::Q8 | Mem::S8 | Mem::I16 | Mem::U4 => {
                        panic!("{mem:?} is converted by legalisation")
                    }
                }
            }
            Op::Fetch(kind, addr, offset, 0) => self.fetch(ty, kind, addr, offset),
            Op::Fetch(..) => panic!("vectors have 16 bytes here"),
            Op::Get(var) => self.b.use_var(self.var(var)),
            Op::V(op) => self.vector(ty, op),
            Op::Test(..)
            | Op::Logic(..)
            | Op::Choose(..)
            | Op::Load { .. }
            | Op::Code { .. }
            | Op::Quad { .. }
            | Op::QuadFloat(..)
            | Op::Four(..)
            | Op::LaneSum(_)
            | Op::LaneMax(_)
            | Op::Sums(_)
            | Op::Each(_)
            | Op::Team(_) => {
                panic!("the kernel is not legalised")
            }
        }
    }

    fn int(&mut self, op: IntOp, a: Val, b: Val) -> Value {
        let (a, b) = (self.val(a), self.val(b));
        let ins = self.b.ins();
        match op {
            IntOp::Add => ins.iadd(a, b),
            IntOp::Sub => ins.isub(a, b),
            IntOp::Mul => ins.imul(a, b),
            IntOp::Div => ins.udiv(a, b),
            IntOp::And => ins.band(a, b),
            IntOp::Or => ins.bor(a, b),
            IntOp::Shl => ins.ishl(a, b),
            IntOp::Shr => ins.ushr(a, b),
            IntOp::Min => ins.smin(a, b),
            IntOp::Max => ins.smax(a, b),
        }
    }

    fn float(&mut self, op: FloatOp, a: Val, b: Val) -> Value {
        let scalar = self.kernel.vals[a.0 as usize] == Ty::F32;
        let (a, b) = (self.val(a), self.val(b));
        match op {
            FloatOp::Add => self.b.ins().fadd(a, b),
            FloatOp::Sub => self.b.ins().fsub(a, b),
            FloatOp::Mul => self.b.ins().fmul(a, b),
            FloatOp::Div => self.b.ins().fdiv(a, b),
            FloatOp::Min | FloatOp::Max => {
                let (x, y) = if op == FloatOp::Min { (a, b) } else { (b, a) };
                let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
                if scalar {
                    return self.b.ins().select(less, a, b);
                }
                let mask = self.bits(types::F32X4, less);
                self.b.ins().bitselect(mask, a, b)
            }
        }
    }

    fn bits(&mut self, ty: Type, v: Value) -> Value {
        if self.b.func.dfg.value_type(v) == ty {
            return v;
        }
        let little = MemFlagsData::new().with_endianness(cranelift_codegen::ir::Endianness::Little);
        self.b.ins().bitcast(ty, little, v)
    }

    fn fetch(&mut self, ty: Ty, kind: Fetch, addr: Val, offset: i32) -> Value {
        let addr = self.val(addr);
        let v = match kind {
            Fetch::Full => self.b.ins().load(machine(ty), flags(), addr, offset),
            Fetch::Low4 => {
                let v = self.b.ins().load(types::I32, flags(), addr, offset);
                self.b.ins().scalar_to_vector(types::I32X4, v)
            }
            Fetch::Low2 => {
                let v = self.b.ins().uload16(types::I32, flags(), addr, offset);
                self.b.ins().scalar_to_vector(types::I32X4, v)
            }
            Fetch::Same4 => {
                let v = self.b.ins().load(types::I32, flags(), addr, offset);
                self.b.ins().splat(types::I32X4, v)
            }
            Fetch::Unsigned16 => self.b.ins().uload16x4(flags(), addr, offset),
            Fetch::Signed16 => self.b.ins().sload16x4(flags(), addr, offset),
            Fetch::Signed8 => {
                let v = self.b.ins().sload8x8(flags(), addr, offset);
                self.b.ins().swiden_low(v)
            }
            Fetch::Words8 => self.b.ins().sload8x8(flags(), addr, offset),
        };
        self.bits(machine(ty), v)
    }

    fn vector(&mut self, ty: Ty, op: VecOp) -> Value {
        let out = machine(ty);
        let v = match op {
            VecOp::Const(bytes) => {
                let constant = self.b.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
                self.b.ins().vconst(out, constant)
            }
            VecOp::Splat(a) => {
                let a = self.val(a);
                self.b.ins().splat(out, a)
            }
            VecOp::Extract(a, lane) => {
                let a = self.val(a);
                self.b.ins().extractlane(a, lane)
            }
            VecOp::Shuffle(a, b, mask) => {
                let (a, b) = (self.val(a), self.val(b));
                let (a, b) = (self.bits(types::I8X16, a), self.bits(types::I8X16, b));
                let mask = self.b.func.dfg.immediates.push(ConstantData::from(V128Imm(mask).0.as_slice()));
                self.b.ins().shuffle(a, b, mask)
            }
            VecOp::Bits(a) => self.val(a),
            VecOp::And(a, b) => {
                let (a, b) = self.alike(a, b);
                self.b.ins().band(a, b)
            }
            VecOp::Or(a, b) => {
                let (a, b) = self.alike(a, b);
                self.b.ins().bor(a, b)
            }
            VecOp::Xor(a, b) => {
                let (a, b) = self.alike(a, b);
                self.b.ins().bxor(a, b)
            }
            VecOp::Add(a, b) => {
                let (a, b) = (self.val(a), self.val(b));
                self.b.ins().iadd(a, b)
            }
            VecOp::Sub(a, b) => {
                let (a, b) = (self.val(a), self.val(b));
                self.b.ins().isub(a, b)
            }
            VecOp::Shl(a, n) => {
                let a = self.val(a);
                let n = self.b.ins().iconst(types::I32, i64::from(n));
                self.b.ins().ishl(a, n)
            }
            VecOp::Shr(a, n) => {
                let a = self.val(a);
                let n = self.b.ins().iconst(types::I32, i64::from(n));
                self.b.ins().ushr(a, n)
            }
            VecOp::Sar(a, n) => {
                let a = self.val(a);
                let n = self.b.ins().iconst(types::I32, i64::from(n));
                self.b.ins().sshr(a, n)
            }
            VecOp::Equal(a, b) => {
                let (a, b) = (self.val(a), self.val(b));
                self.b.ins().icmp(IntCC::Equal, a, b)
            }
            VecOp::Test(test, a, b) => {
                let (a, b) = (self.val(a), self.val(b));
                let question = match test {
                    Test::Equal => FloatCC::Equal,
                    Test::Less => FloatCC::LessThan,
                    Test::LessEqual => FloatCC::LessThanOrEqual,
                };
                self.b.ins().fcmp(question, a, b)
            }
            VecOp::Select(mask, a, b) => {
                let (mask, a, b) = (self.val(mask), self.val(a), self.val(b));
                let mask = self.bits(out, mask);
                self.b.ins().bitselect(mask, a, b)
            }
            VecOp::DotPairs(codes, q) => {
                let (codes, q) = (self.val(codes), self.val(q));
                self.dot_pairs(codes, q)
            }
            VecOp::WidenPairs(a) => {
                let a = self.val(a);
                let low = self.b.ins().swiden_low(a);
                let high = self.b.ins().swiden_high(a);
                self.b.ins().iadd_pairwise(low, high)
            }
            VecOp::DotWords(a, b) => {
                let (a, b) = (self.val(a), self.val(b));
                let low = (self.b.ins().swiden_low(a), self.b.ins().swiden_low(b));
                let high = (self.b.ins().swiden_high(a), self.b.ins().swiden_high(b));
                let (low, high) = (self.b.ins().imul(low.0, low.1), self.b.ins().imul(high.0, high.1));
                self.b.ins().iadd_pairwise(low, high)
            }
            VecOp::ToFloat(a) => {
                let a = self.val(a);
                self.b.ins().fcvt_from_sint(types::F32X4, a)
            }
            VecOp::Narrow(a, b) => {
                let (a, b) = (self.val(a), self.val(b));
                self.b.ins().snarrow(a, b)
            }
            VecOp::Half(..) | VecOp::Lower(..) | VecOp::ShrEach(..) => panic!("vectors have 16 bytes here"),
            VecOp::DotQuads(..) | VecOp::FromHalf(..) => panic!("made of smaller operations here"),
        };
        self.bits_or_scalar(out, v)
    }

    /// Two vectors, the second as the type of the first.
    fn alike(&mut self, a: Val, b: Val) -> (Value, Value) {
        let (a, b) = (self.val(a), self.val(b));
        let ty = self.b.func.dfg.value_type(a);
        (a, self.bits(ty, b))
    }

    fn bits_or_scalar(&mut self, out: Type, v: Value) -> Value {
        if out.is_vector() { self.bits(out, v) } else { v }
    }

    fn dot_pairs(&mut self, codes: Value, q: Value) -> Value {
        if self.x86 {
            // The signed operand comes first.
            return self.b.ins().x86_pmaddubsw(q, codes);
        }
        let (c0, c1) = (self.b.ins().uwiden_low(codes), self.b.ins().uwiden_high(codes));
        let (q0, q1) = (self.b.ins().swiden_low(q), self.b.ins().swiden_high(q));
        let low = self.b.ins().imul(c0, q0);
        let high = self.b.ins().imul(c1, q1);
        self.b.ins().iadd_pairwise(low, high)
    }
}
