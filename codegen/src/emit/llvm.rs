//! The LLVM emitter: vectors of any width, scheduled and allocated by LLVM's back ends.
//!
//! Kernels come with their loops and vectors as they shall be, so loop unrolling and vectorising are off. Addresses are
//! integers made into pointers. What comes out for CPUs is an object file, which [`flat`] makes code without relocations,
//! and for GPUs text, see [`ptx`].

mod fetch;
mod flat;
pub mod ptx;
mod vector;

use super::CompiledKernel;
use crate::kir::{Axis, Elem, FloatOp, Fun, IntOp, Kernel, Mem, Node, Op, Ty, Val, Var};
use actc_types::target::{Arch, Family};
use actc_types::{Diagnostic, Result, Target};
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::basic_block::BasicBlock;
use inkwell::builder::{Builder, BuilderError};
use inkwell::context::Context;
use inkwell::intrinsics::Intrinsic;
use inkwell::module::Module;
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, TargetMachine, TargetTriple};
use inkwell::types::{BasicType, BasicTypeEnum, VectorType};
use inkwell::values::{
    BasicMetadataValueEnum, BasicValue, BasicValueEnum, CallSiteValue, FloatMathValue, FunctionValue, IntValue,
    PointerValue,
};
use inkwell::{AddressSpace, FloatPredicate, IntPredicate, OptimizationLevel};

fn internal(what: &str, error: impl std::fmt::Display) -> Diagnostic {
    Diagnostic::new("llvm", format!("{what}: {error}"))
}

impl From<BuilderError> for Wrong {
    fn from(error: BuilderError) -> Wrong {
        Wrong(error.to_string())
    }
}

/// The version of the library that this process runs with.
pub fn version() -> String {
    let (major, minor, patch) = inkwell::support::get_llvm_version();
    format!("{major}.{minor}.{patch}")
}

/// Why a kernel could not be printed; a mistake in a kernel or in this table.
#[derive(Debug)]
struct Wrong(String);

type Made<'c> = Result<BasicValueEnum<'c>, Wrong>;

/// LLVM's code generator for one target.
#[derive(Debug)]
pub struct Machine {
    target: Target,
    machine: TargetMachine,
}

impl Machine {
    /// The code generator for a CPU target; refuses GPUs.
    pub fn new(target: &Target) -> Result<Machine> {
        let config = InitializationConfig::default();
        // LLVM takes an unknown processor with no more than a line on stderr, so names come from this table alone.
        let (triple, cpu) = match target.arch.family() {
            Family::X86 => {
                inkwell::targets::Target::initialize_x86(&config);
                ("x86_64-unknown-linux-gnu", target.arch.name())
            }
            Family::Aarch64 => {
                inkwell::targets::Target::initialize_aarch64(&config);
                ("aarch64-unknown-linux-gnu", "generic")
            }
            Family::Nvidia => {
                return Err(Diagnostic::request("kernel-target", format!("no CPU code is made for {target}")));
            }
        };
        let triple = TargetTriple::create(triple);
        let known = inkwell::targets::Target::from_triple(&triple).map_err(|e| internal("target", e))?;
        let features: Vec<String> = target.features.iter().map(|f| format!("+{f}")).collect();
        let machine = known
            .create_target_machine(
                &triple,
                cpu,
                &features.join(","),
                OptimizationLevel::Default,
                RelocMode::PIC,
                CodeModel::Small,
            )
            .ok_or_else(|| internal("target", format!("LLVM has no machine for {target}")))?;
        Ok(Machine { target: target.clone(), machine })
    }

    /// Machine code of a legalised kernel, and its text in LLVM's language.
    pub fn compile(&self, kernel: &Kernel) -> Result<CompiledKernel> {
        let context = Context::create();
        let module = context.create_module(&kernel.name);
        module.set_triple(&self.machine.get_triple());
        module.set_data_layout(&self.machine.get_target_data().get_data_layout());
        let at = |what: &str| format!("{}: {what}", kernel.name);
        emit(&context, &module, kernel, &self.target).map_err(|e| internal(&kernel.name, e.0))?;
        module.verify().map_err(|e| internal(&at("not valid"), e.to_string()))?;
        let options = PassBuilderOptions::create();
        options.set_loop_unrolling(false);
        options.set_loop_vectorization(false);
        options.set_loop_slp_vectorization(false);
        options.set_loop_interleaving(false);
        module.run_passes("default<O2>", &self.machine, options).map_err(|e| internal(&at("passes"), e.to_string()))?;
        let text = module.print_to_string().to_string();
        let object = self
            .machine
            .write_to_memory_buffer(&module, FileType::Object)
            .map_err(|e| internal(&at("object"), e.to_string()))?;
        let code = flat::flatten(object.as_slice(), &kernel.name)?;
        Ok(CompiledKernel { symbol: kernel.name.clone(), code, text })
    }
}

fn emit<'c>(context: &'c Context, module: &Module<'c>, kernel: &Kernel, target: &Target) -> Result<(), Wrong> {
    let pointer = context.ptr_type(AddressSpace::default());
    let (int, word) = (context.i64_type(), context.i32_type());
    let ty = context.void_type().fn_type(&[pointer.into(), pointer.into(), word.into(), word.into()], false);
    let function = module.add_function(&kernel.name, ty, None);
    let enumerated = |name: &str| {
        let kind = Attribute::get_named_enum_kind_id(name);
        function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
    };
    enumerated("nounwind");
    // No loop may become a call: there is nothing to call.
    function.add_attribute(AttributeLoc::Function, context.create_string_attribute("no-builtins", ""));
    let builder = context.create_builder();
    let entry = context.append_basic_block(function, "entry");
    builder.position_at_end(entry);
    let param = |n: u32| function.get_nth_param(n).ok_or_else(|| Wrong("a parameter is missing".into()));
    let part = builder.build_int_z_extend(param(2)?.into_int_value(), int, "part")?;
    let parts = builder.build_int_z_extend(param(3)?.into_int_value(), int, "parts")?;
    let mut emitter = Emitter {
        context,
        module,
        kernel,
        x86: target.arch.family() == Family::X86,
        fused: target.arch != Arch::X86V2,
        i8mm: target.features.contains(&"i8mm"),
        function,
        interface: Interface::Tables { buffers: param(0)?.into_pointer_value(), dims: param(1)?.into_pointer_value() },
        part,
        parts,
        vals: vec![None; kernel.vals.len()],
        vars: Vec::new(),
        stacks: Vec::new(),
        b: builder,
    };
    emitter.declare()?;
    for bytes in &kernel.stacks {
        let area = emitter.b.build_alloca(context.i8_type().array_type(*bytes), "stack")?;
        if let Some(instruction) = area.as_instruction() {
            instruction.set_alignment(64).map_err(|e| Wrong(e.to_string()))?;
        }
        emitter.stacks.push(emitter.b.build_ptr_to_int(area, int, "stack")?);
    }
    emitter.nodes(&kernel.body)?;
    emitter.b.build_return(None)?;
    Ok(())
}

/// How a kernel gets what it is called with.
enum Interface<'c> {
    /// On CPUs two tables, of addresses and of dimensions.
    Tables { buffers: PointerValue<'c>, dims: PointerValue<'c> },
    /// On GPUs parameters, and what each thread knows of itself.
    Parameters(ptx::Parameters<'c>),
}

struct Emitter<'a, 'c> {
    context: &'c Context,
    module: &'a Module<'c>,
    kernel: &'a Kernel,
    x86: bool,
    fused: bool,
    i8mm: bool,
    function: FunctionValue<'c>,
    interface: Interface<'c>,
    part: IntValue<'c>,
    parts: IntValue<'c>,
    vals: Vec<Option<BasicValueEnum<'c>>>,
    vars: Vec<(PointerValue<'c>, BasicTypeEnum<'c>)>,
    stacks: Vec<IntValue<'c>>,
    b: Builder<'c>,
}

impl<'c> Emitter<'_, 'c> {
    /// Makes the variables.
    fn declare(&mut self) -> Result<(), Wrong> {
        for var in &self.kernel.vars {
            let ty = self.machine(var.ty);
            let slot = self.b.build_alloca(ty, "var")?;
            self.vars.push((slot, ty));
        }
        Ok(())
    }

    fn vector_ty(&self, elem: Elem, n: u32) -> VectorType<'c> {
        match elem {
            Elem::I8 => self.context.i8_type().vec_type(n),
            Elem::I16 => self.context.i16_type().vec_type(n),
            Elem::I32 => self.context.i32_type().vec_type(n),
            Elem::F32 => self.context.f32_type().vec_type(n),
        }
    }

    fn machine(&self, ty: Ty) -> BasicTypeEnum<'c> {
        match ty {
            Ty::I64 => self.context.i64_type().into(),
            Ty::F32 => self.context.f32_type().into(),
            Ty::F64 => self.context.f64_type().into(),
            Ty::Vec(elem, n) => self.vector_ty(elem, n.into()).into(),
            Ty::Lane(_) => panic!("{ty} is no type of this machine"),
        }
    }

    fn ty(&self, v: Val) -> Ty {
        self.kernel.vals[v.0 as usize]
    }

    fn val(&self, v: Val) -> BasicValueEnum<'c> {
        self.vals[v.0 as usize].unwrap_or_else(|| panic!("{v} is used before it is defined"))
    }

    fn int(&self, v: Val) -> IntValue<'c> {
        self.val(v).into_int_value()
    }

    fn var(&self, v: Var) -> (PointerValue<'c>, BasicTypeEnum<'c>) {
        self.vars[v.0 as usize]
    }

    fn constant(&self, n: i64) -> IntValue<'c> {
        self.context.i64_type().const_int(n as u64, true)
    }

    fn intrinsic(
        &self,
        name: &str,
        overloads: &[BasicTypeEnum<'c>],
        args: &[BasicMetadataValueEnum<'c>],
    ) -> Result<CallSiteValue<'c>, Wrong> {
        let missing = || Wrong(format!("LLVM has no {name}"));
        let intrinsic = Intrinsic::find(name).ok_or_else(missing)?;
        let function = intrinsic.get_declaration(self.module, overloads).ok_or_else(missing)?;
        Ok(self.b.build_call(function, args, "")?)
    }

    fn call(&self, name: &str, overloads: &[BasicTypeEnum<'c>], args: &[BasicMetadataValueEnum<'c>]) -> Made<'c> {
        let call = self.intrinsic(name, overloads, args)?;
        call.try_as_basic_value().basic().ok_or_else(|| Wrong(format!("{name} gives nothing")))
    }

    /// The pointer `addr + offset`.
    fn pointer(&self, addr: IntValue<'c>, offset: i32) -> Result<PointerValue<'c>, Wrong> {
        let addr = match offset {
            0 => addr,
            _ => self.b.build_int_add(addr, self.constant(offset.into()), "")?,
        };
        let space = match self.interface {
            Interface::Tables { .. } => AddressSpace::default(),
            Interface::Parameters(_) => AddressSpace::from(ptx::GLOBAL),
        };
        Ok(self.b.build_int_to_ptr(addr, self.context.ptr_type(space), "")?)
    }

    /// Bytes to which an element of so many is aligned: CPUs take any address.
    fn alignment(&self, bytes: u32) -> u32 {
        match self.interface {
            Interface::Tables { .. } => 1,
            Interface::Parameters(_) => bytes,
        }
    }

    /// Loads `ty` from any address; on GPUs from one that is aligned as `ty` is.
    fn load(&self, ty: impl BasicType<'c>, addr: IntValue<'c>, offset: i32) -> Made<'c> {
        let v = self.b.build_load(ty, self.pointer(addr, offset)?, "")?;
        if let (Some(instruction), Interface::Tables { .. }) = (v.as_instruction_value(), &self.interface) {
            instruction.set_alignment(1).map_err(|e| Wrong(e.to_string()))?;
        }
        Ok(v)
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<(), Wrong> {
        nodes.iter().try_for_each(|node| self.node(node))
    }

    fn node(&mut self, node: &Node) -> Result<(), Wrong> {
        match node {
            Node::Let(v, op) => {
                let made = self.op(self.ty(*v), op)?;
                self.vals[v.0 as usize] = Some(made);
            }
            Node::Set(var, v) => {
                self.b.build_store(self.var(*var).0, self.val(*v))?;
            }
            Node::Store { mem, value, addr, offset, step: 0 } => {
                let v = match (mem, self.ty(*value)) {
                    (Mem::I8 | Mem::U8, Ty::Vec(Elem::I32, 1)) => self.low_byte(*value)?,
                    (Mem::F32, Ty::F32 | Ty::Vec(..)) | (Mem::I8 | Mem::I16, Ty::Vec(..)) => self.val(*value),
                    (Mem::I8 | Mem::U8, Ty::F32) => {
                        let bits = self.b.build_bit_cast(self.val(*value), self.context.i32_type(), "")?;
                        self.b.build_int_truncate(bits.into_int_value(), self.context.i8_type(), "")?.into()
                    }
                    (Mem::U32, Ty::I64) => {
                        self.b.build_int_truncate(self.int(*value), self.context.i32_type(), "")?.into()
                    }
                    (mem, ty) => panic!("{ty} is not stored as {mem:?}"),
                };
                let store = self.b.build_store(self.pointer(self.int(*addr), *offset)?, v)?;
                store.set_alignment(self.alignment(mem.span(1) as u32)).map_err(|e| Wrong(e.to_string()))?;
            }
            Node::Loop { axis: Axis::Seq, index, from, to, step, body } => {
                self.seq(*index, self.int(*from), *to, self.constant(*step), body)?;
            }
            // What is left of it on GPUs: units from this team's number on, in steps of all teams.
            Node::Loop { axis: Axis::Grid { .. }, index, to, body, .. } => {
                self.seq(*index, self.part, *to, self.parts, body)?;
            }
            Node::Team(step) => self.team_step(*step)?,
            Node::Prefetch { addr, offset } => {
                let place = self.pointer(self.int(*addr), *offset)?;
                // To read, to be kept, data.
                let how = [0, 3, 1].map(|n| self.context.i32_type().const_int(n, false).into());
                self.intrinsic("llvm.prefetch", &[place.get_type().into()], &[&[place.into()], &how[..]].concat())?;
            }
            Node::IfLess { a, b, body } => {
                let [then, after] = self.blocks();
                let less = self.b.build_int_compare(IntPredicate::SLT, self.int(*a), self.int(*b), "")?;
                self.b.build_conditional_branch(less, then, after)?;
                self.b.position_at_end(then);
                self.nodes(body)?;
                self.b.build_unconditional_branch(after)?;
                self.b.position_at_end(after);
            }
            Node::Acc(..) | Node::Store { .. } | Node::Loop { .. } => panic!("the kernel is not legalised"),
        }
        Ok(())
    }

    fn blocks(&self) -> [BasicBlock<'c>; 2] {
        ["turn", "after"].map(|name| self.context.append_basic_block(self.function, name))
    }

    /// The test stands at the bottom, so that a turn has one branch.
    fn seq(&mut self, index: Val, from: IntValue<'c>, to: Val, step: IntValue<'c>, body: &[Node]) -> Result<(), Wrong> {
        let to = self.int(to);
        let [turn, after] = self.blocks();
        let before = self.b.get_insert_block().ok_or_else(|| Wrong("no block".into()))?;
        let any = self.b.build_int_compare(IntPredicate::SLT, from, to, "")?;
        self.b.build_conditional_branch(any, turn, after)?;
        self.b.position_at_end(turn);
        let running = self.b.build_phi(self.context.i64_type(), "")?;
        let i = running.as_basic_value().into_int_value();
        self.vals[index.0 as usize] = Some(i.into());
        self.nodes(body)?;
        let next = self.b.build_int_nsw_add(i, step, "")?;
        let end = self.b.get_insert_block().ok_or_else(|| Wrong("no block".into()))?;
        running.add_incoming(&[(&from, before), (&next, end)]);
        let more = self.b.build_int_compare(IntPredicate::SLT, next, to, "")?;
        self.b.build_conditional_branch(more, turn, after)?;
        self.b.position_at_end(after);
        Ok(())
    }

    fn op(&mut self, ty: Ty, op: &Op) -> Made<'c> {
        let table = |table: PointerValue<'c>, n: u8| {
            let addr = self.b.build_ptr_to_int(table, self.context.i64_type(), "")?;
            self.load(self.context.i64_type(), addr, 8 * i32::from(n))
        };
        Ok(match *op {
            Op::Int(n) => self.constant(n).into(),
            Op::Float(x) => self.context.f32_type().const_float(x.into()).into(),
            Op::Double(x) => self.context.f64_type().const_float(x).into(),
            Op::Dim(n) => match &self.interface {
                Interface::Tables { dims, .. } => table(*dims, n)?,
                Interface::Parameters(given) => given.dims[n as usize].into(),
            },
            Op::Buffer(n) => match &self.interface {
                Interface::Tables { buffers, .. } => table(*buffers, n)?,
                Interface::Parameters(given) => given.buffers[n as usize].into(),
            },
            Op::Stack(n) => self.stacks[n as usize].into(),
            Op::Part => self.part.into(),
            Op::Parts => self.parts.into(),
            Op::I(op, a, b) => self.integer(op, self.int(a), self.int(b))?.into(),
            Op::F(op, a, b) => self.float(op, self.val(a), self.val(b))?,
            Op::MulAdd(a, b, c) => self.muladd(ty, a, b, c)?,
            Op::Fun(fun, a) => self.function(ty, fun, self.val(a))?,
            Op::Convert(a) => match (self.ty(a), ty) {
                (Ty::I64, Ty::F32 | Ty::F64) => {
                    self.b.build_signed_int_to_float(self.int(a), self.machine(ty).into_float_type(), "")?.into()
                }
                (Ty::F32, Ty::F64) => {
                    self.b.build_float_ext(self.val(a).into_float_value(), self.context.f64_type(), "")?.into()
                }
                (Ty::F64, Ty::F32) => {
                    self.b.build_float_trunc(self.val(a).into_float_value(), self.context.f32_type(), "")?.into()
                }
                (from, to) => panic!("no conversion from {from} to {to}"),
            },
            Op::Load { mem, addr, offset, step: 0 } => match ty {
                Ty::Vec(elem, _) => self.load_lane(mem, elem, self.int(addr), offset)?,
                Ty::I64 | Ty::F32 | Ty::F64 | Ty::Lane(_) => self.load_scalar(mem, self.int(addr), offset)?,
            },
            Op::Fetch(kind, addr, offset, gap) => self.fetch(ty, kind, self.int(addr), offset, gap)?,
            Op::Get(var) => {
                let (slot, ty) = self.var(var);
                self.b.build_load(ty, slot, "")?
            }
            Op::V(op) => self.vector(ty, op)?,
            Op::Team(op) => self.team_op(op)?,
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
            | Op::Each(_) => {
                panic!("the kernel is not legalised")
            }
        })
    }

    fn load_scalar(&self, mem: Mem, addr: IntValue<'c>, offset: i32) -> Made<'c> {
        let wide = self.context.i64_type();
        let narrow = match mem {
            Mem::F32 => return self.load(self.context.f32_type(), addr, offset),
            Mem::I8 | Mem::U8 => self.context.i8_type(),
            Mem::U16 => self.context.i16_type(),
            Mem::I32 | Mem::U32 => self.context.i32_type(),
            Mem::F16 | Mem::Bf16 | Mem::Q8 | Mem::S8 | Mem::I16 | Mem::U4 => {
                panic!("{mem:?} is converted by legalisation")
            }
        };
        let v = self.load(narrow, addr, offset)?.into_int_value();
        Ok(if matches!(mem, Mem::I8 | Mem::I32) {
            self.b.build_int_s_extend(v, wide, "")?.into()
        } else {
            self.b.build_int_z_extend(v, wide, "")?.into()
        })
    }

    fn integer(&self, op: IntOp, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>, Wrong> {
        let select = |less: IntPredicate| -> Result<IntValue<'c>, Wrong> {
            let test = self.b.build_int_compare(less, a, b, "")?;
            Ok(self.b.build_select(test, a, b, "")?.into_int_value())
        };
        Ok(match op {
            IntOp::Add => self.b.build_int_add(a, b, "")?,
            IntOp::Sub => self.b.build_int_sub(a, b, "")?,
            IntOp::Mul => self.b.build_int_mul(a, b, "")?,
            IntOp::Div => match self.interface {
                Interface::Tables { .. } => self.b.build_int_unsigned_div(a, b, "")?,
                Interface::Parameters(_) => self.quotient(a, b)?,
            },
            IntOp::And => self.b.build_and(a, b, "")?,
            IntOp::Or => self.b.build_or(a, b, "")?,
            IntOp::Shl => self.b.build_left_shift(a, b, "")?,
            IntOp::Shr => self.b.build_right_shift(a, b, false, "")?,
            IntOp::Min => select(IntPredicate::SLT)?,
            IntOp::Max => select(IntPredicate::SGT)?,
        })
    }

    fn float(&self, op: FloatOp, a: BasicValueEnum<'c>, b: BasicValueEnum<'c>) -> Made<'c> {
        match (a, b) {
            (BasicValueEnum::VectorValue(a), BasicValueEnum::VectorValue(b)) => self.float_of(op, a, b),
            (a, b) => self.float_of(op, a.into_float_value(), b.into_float_value()),
        }
    }

    /// An operation on floats or on vectors of them.
    fn float_of<T: FloatMathValue<'c> + Copy>(&self, op: FloatOp, a: T, b: T) -> Made<'c> {
        let select = |less: FloatPredicate| -> Made<'c> {
            let test = self.b.build_float_compare(less, a, b, "")?;
            Ok(self.b.build_select(test, a, b, "")?)
        };
        Ok(match op {
            FloatOp::Add => self.b.build_float_add(a, b, "")?.as_basic_value_enum(),
            FloatOp::Sub => self.b.build_float_sub(a, b, "")?.as_basic_value_enum(),
            FloatOp::Mul => self.b.build_float_mul(a, b, "")?.as_basic_value_enum(),
            FloatOp::Div => self.b.build_float_div(a, b, "")?.as_basic_value_enum(),
            FloatOp::Min => select(FloatPredicate::OLT)?,
            FloatOp::Max => select(FloatPredicate::OGT)?,
        })
    }

    fn muladd(&self, ty: Ty, a: Val, b: Val, c: Val) -> Made<'c> {
        let (a, b, c) = (self.val(a), self.val(b), self.val(c));
        if self.fused {
            return self.call("llvm.fma", &[self.machine(ty)], &[a.into(), b.into(), c.into()]);
        }
        let product = self.float(FloatOp::Mul, a, b)?;
        self.float(FloatOp::Add, product, c)
    }

    fn function(&self, ty: Ty, fun: Fun, a: BasicValueEnum<'c>) -> Made<'c> {
        let name = match fun {
            Fun::Neg => {
                return Ok(match a {
                    BasicValueEnum::VectorValue(a) => self.b.build_float_neg(a, "")?.into(),
                    a => self.b.build_float_neg(a.into_float_value(), "")?.into(),
                });
            }
            Fun::Abs => "llvm.fabs",
            Fun::Sqrt => "llvm.sqrt",
            Fun::Nearest => "llvm.roundeven",
            Fun::Floor => "llvm.floor",
            Fun::Ceil => "llvm.ceil",
            Fun::Trunc => "llvm.trunc",
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
        };
        self.call(name, &[self.machine(ty)], &[a.into()])
    }
}
