//! Text for GPUs: kernels of which a thread runs its part, see [`crate::kir::to_threads`].
//!
//! All NVIDIA targets take the same text, that of sm_80 and of the oldest version of PTX that has it: nothing here is done
//! better with what later ones have. A kernel takes the addresses of its buffers, then its dimensions as 64-bit integers or the
//! address where these lie ([`SizesIn`]).
//! Products and sums are rounded one by one unless the kernel says `muladd`; quotients and roots are rounded correctly;
//! small numbers stay.

use super::{Emitter, Interface, Made, Wrong, internal};
use crate::emit::launch::{Launch, SizesIn};
use crate::kir::{Elem, Kernel, Mem, Peer, Team, TeamOp, TeamStep, Val};
use actc_types::Result;
use inkwell::attributes::{Attribute, AttributeLoc};
use inkwell::context::Context;
use inkwell::module::{Linkage, Module};
use inkwell::passes::PassBuilderOptions;
use inkwell::targets::{CodeModel, FileType, InitializationConfig, RelocMode, TargetMachine, TargetTriple};
use inkwell::types::BasicMetadataTypeEnum;
use inkwell::values::{BasicMetadataValueEnum, IntValue, PointerValue};
use inkwell::{AddressSpace, IntPredicate, OptimizationLevel};

/// Where buffers lie.
pub(super) const GLOBAL: u16 = 1;
/// Where the threads of a block share floats.
const SHARED: u16 = 3;

/// All threads of a warp.
const ALL: u64 = 0xffff_ffff;

/// Text of one kernel for GPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PtxKernel {
    /// Its symbol, the only entry of the text.
    pub symbol: String,
    /// The text.
    pub text: String,
    /// How it is launched.
    pub launch: Launch,
}

/// What a thread is given and knows of itself.
pub(super) struct Parameters<'c> {
    /// Addresses of the buffers.
    pub(super) buffers: Vec<IntValue<'c>>,
    /// The dimensions.
    pub(super) dims: Vec<IntValue<'c>>,
    /// Its number in its team.
    thread: IntValue<'c>,
    /// Floats that the team shares.
    slots: Option<PointerValue<'c>>,
}

/// Text of a kernel whose lanes are mapped to the threads of `team` and whose dimensions are in `sizes`, to be launched as
/// `launch` says.
pub fn compile(kernel: &Kernel, team: Team, sizes: SizesIn, launch: Launch) -> Result<PtxKernel> {
    let machine = machine()?;
    let context = Context::create();
    let module = context.create_module(&kernel.name);
    module.set_triple(&machine.get_triple());
    module.set_data_layout(&machine.get_target_data().get_data_layout());
    let at = |what: &str| format!("{}: {what}", kernel.name);
    emit(&context, &module, kernel, team, sizes, launch.threads).map_err(|e| internal(&kernel.name, e.0))?;
    module.verify().map_err(|e| internal(&at("not valid"), e.to_string()))?;
    let options = PassBuilderOptions::create();
    options.set_loop_unrolling(false);
    options.set_loop_vectorization(false);
    options.set_loop_slp_vectorization(false);
    module.run_passes("default<O2>", &machine, options).map_err(|e| internal(&at("passes"), e.to_string()))?;
    let text = machine
        .write_to_memory_buffer(&module, FileType::Assembly)
        .map_err(|e| internal(&at("text"), e.to_string()))?;
    // The buffer ends in a zero byte.
    let text = String::from_utf8_lossy(text.as_slice()).trim_end_matches('\0').to_owned();
    Ok(PtxKernel { symbol: kernel.name.clone(), text, launch })
}

fn machine() -> Result<TargetMachine> {
    inkwell::targets::Target::initialize_nvptx(&InitializationConfig::default());
    let triple = TargetTriple::create("nvptx64-nvidia-cuda");
    let known = inkwell::targets::Target::from_triple(&triple).map_err(|e| internal("target", e))?;
    // The assembler schedules anew; blocks stay in the order of the program, so that a warp's threads come together again
    // where it says, before they exchange anything.
    known
        .create_target_machine(&triple, "sm_80", "", OptimizationLevel::None, RelocMode::PIC, CodeModel::Default)
        .ok_or_else(|| internal("target", "LLVM has no machine for sm_80"))
}

fn emit<'c>(
    context: &'c Context,
    module: &Module<'c>,
    kernel: &Kernel,
    team: Team,
    sizes: SizesIn,
    threads: u32,
) -> Result<(), Wrong> {
    let (pointer, int, word) = (context.ptr_type(AddressSpace::from(GLOBAL)), context.i64_type(), context.i32_type());
    let mut types: Vec<BasicMetadataTypeEnum> = vec![pointer.into(); kernel.buffers.len()];
    match sizes {
        SizesIn::Parameters => types.resize(kernel.buffers.len() + kernel.dims.len(), int.into()),
        SizesIn::Memory => types.push(pointer.into()),
    }
    let function = module.add_function(&kernel.name, context.void_type().fn_type(&types, false), None);
    let enumerated = |name: &str| {
        let kind = Attribute::get_named_enum_kind_id(name);
        function.add_attribute(AttributeLoc::Function, context.create_enum_attribute(kind, 0));
    };
    enumerated("nounwind");
    // Threads that meet are not sent there one by one.
    enumerated("convergent");
    let address = function.as_global_value().as_pointer_value();
    for (what, value) in [("kernel", 1), ("reqntidx", threads)] {
        let value = word.const_int(value.into(), false).into();
        let note = context.metadata_node(&[address.into(), context.metadata_string(what).into(), value]);
        module.add_global_metadata("nvvm.annotations", &note).map_err(|e| Wrong(e.to_string()))?;
    }
    let slots = (team.slots() > 0).then(|| {
        let ty = context.f32_type().array_type(team.slots());
        let slots = module.add_global(ty, Some(AddressSpace::from(SHARED)), &format!("{}_slots", kernel.name));
        slots.set_linkage(Linkage::Internal);
        slots.set_initializer(&ty.get_undef());
        slots.set_alignment(4);
        slots.as_pointer_value()
    });
    let builder = context.create_builder();
    builder.position_at_end(context.append_basic_block(function, "entry"));
    let zero = int.const_zero();
    let mut emitter = Emitter {
        context,
        module,
        kernel,
        x86: false,
        fused: true,
        i8mm: false,
        function,
        interface: Interface::Parameters(Parameters { buffers: Vec::new(), dims: Vec::new(), thread: zero, slots }),
        part: zero,
        parts: zero,
        vals: vec![None; kernel.vals.len()],
        vars: Vec::new(),
        stacks: Vec::new(),
        b: builder,
    };
    let (mut buffers, mut dims) = (Vec::new(), Vec::new());
    for param in function.get_param_iter().take(kernel.buffers.len()) {
        buffers.push(emitter.b.build_ptr_to_int(param.into_pointer_value(), int, "")?);
    }
    let behind = function.get_param_iter().skip(kernel.buffers.len());
    match sizes {
        SizesIn::Parameters => dims.extend(behind.map(|param| param.into_int_value())),
        SizesIn::Memory => {
            for table in behind {
                let table = emitter.b.build_ptr_to_int(table.into_pointer_value(), int, "sizes")?;
                for n in 0..kernel.dims.len() {
                    dims.push(emitter.load(int, table, 8 * n as i32)?.into_int_value());
                }
            }
        }
    }
    let [own, block, blocks] = ["tid", "ctaid", "nctaid"].map(|name| emitter.register(name));
    let (own, block, blocks) = (own?, block?, blocks?);
    let n = |n: u32| int.const_int(n.into(), false);
    let thread = match team {
        Team::Warp => {
            let first = emitter.b.build_int_mul(block, n(team.in_block()), "")?;
            let warp = emitter.b.build_right_shift(own, n(5), false, "")?;
            emitter.part = emitter.b.build_int_add(first, warp, "team")?;
            emitter.parts = emitter.b.build_int_mul(blocks, n(team.in_block()), "teams")?;
            emitter.b.build_and(own, n(31), "thread")?
        }
        Team::Block(_) => {
            (emitter.part, emitter.parts) = (block, blocks);
            own
        }
    };
    emitter.interface = Interface::Parameters(Parameters { buffers, dims, thread, slots });
    emitter.declare()?;
    emitter.nodes(&kernel.body)?;
    emitter.b.build_return(None)?;
    Ok(())
}

impl<'c> Emitter<'_, 'c> {
    /// A special register along x.
    fn register(&self, name: &str) -> Result<IntValue<'c>, Wrong> {
        let v = self.call(&format!("llvm.nvvm.read.ptx.sreg.{name}.x"), &[], &[])?.into_int_value();
        Ok(self.b.build_int_z_extend(v, self.context.i64_type(), name)?)
    }

    fn parameters(&self) -> &Parameters<'c> {
        match &self.interface {
            Interface::Parameters(given) => given,
            Interface::Tables { .. } => panic!("only threads of GPUs have teams"),
        }
    }

    fn slot(&self, number: IntValue<'c>) -> Result<PointerValue<'c>, Wrong> {
        let slots = self.parameters().slots.ok_or_else(|| Wrong("this team shares nothing".into()))?;
        let bytes = self.b.build_int_mul(number, self.constant(4), "")?;
        let at = self.b.build_ptr_to_int(slots, self.context.i64_type(), "")?;
        let at = self.b.build_int_add(at, bytes, "")?;
        Ok(self.b.build_int_to_ptr(at, self.context.ptr_type(AddressSpace::from(SHARED)), "")?)
    }

    pub(super) fn team_op(&self, op: TeamOp) -> Made<'c> {
        let word = self.context.i32_type();
        let n = |n: u64| BasicMetadataValueEnum::from(word.const_int(n, false));
        match op {
            TeamOp::Thread => Ok(self.parameters().thread.into()),
            TeamOp::Exchange(v, peer) => {
                let (name, by) = match peer {
                    Peer::Across(bit) => ("llvm.nvvm.shfl.sync.bfly.f32", bit),
                    Peer::First => ("llvm.nvvm.shfl.sync.idx.f32", 0),
                };
                self.call(name, &[], &[n(ALL), self.val(v).into(), n(by.into()), n(31)])
            }
            TeamOp::Shared(number) => {
                let at = self.slot(self.constant(number.into()))?;
                Ok(self.b.build_load(self.context.f32_type(), at, "")?)
            }
        }
    }

    pub(super) fn team_step(&self, step: TeamStep) -> Result<(), Wrong> {
        match step {
            TeamStep::Share { slot, value } => {
                self.b.build_store(self.slot(self.int(slot))?, self.val(value))?;
            }
            TeamStep::Meet if self.parameters().slots.is_some() => {
                self.intrinsic("llvm.nvvm.barrier0", &[], &[])?;
            }
            TeamStep::Meet => {
                let all = self.context.i32_type().const_int(ALL, false);
                self.intrinsic("llvm.nvvm.bar.warp.sync", &[], &[all.into()])?;
            }
        }
        Ok(())
    }

    /// `a / b`. GPUs divide by a program, which is short where both have 32 bits.
    pub(super) fn quotient(&self, a: IntValue<'c>, b: IntValue<'c>) -> Result<IntValue<'c>, Wrong> {
        let (int, word) = (self.context.i64_type(), self.context.i32_type());
        let [short, long, after] =
            ["short", "long", "after"].map(|name| self.context.append_basic_block(self.function, name));
        let high = self.b.build_right_shift(self.b.build_or(a, b, "")?, self.constant(32), false, "")?;
        let small = self.b.build_int_compare(IntPredicate::EQ, high, int.const_zero(), "")?;
        self.b.build_conditional_branch(small, short, long)?;
        self.b.position_at_end(short);
        let [low_a, low_b] = [a, b].map(|v| self.b.build_int_truncate(v, word, ""));
        let low = self.b.build_int_z_extend(self.b.build_int_unsigned_div(low_a?, low_b?, "")?, int, "")?;
        self.b.build_unconditional_branch(after)?;
        self.b.position_at_end(long);
        let whole = self.b.build_int_unsigned_div(a, b, "")?;
        self.b.build_unconditional_branch(after)?;
        self.b.position_at_end(after);
        let quotient = self.b.build_phi(int, "")?;
        quotient.add_incoming(&[(&low, short), (&whole, long)]);
        Ok(quotient.as_basic_value().into_int_value())
    }

    /// The element of this thread's lane.
    pub(super) fn load_lane(&self, mem: Mem, elem: Elem, addr: IntValue<'c>, offset: i32) -> Made<'c> {
        let word = self.context.i32_type();
        let v = match mem {
            Mem::F32 => self.load(self.context.f32_type(), addr, offset)?,
            Mem::I32 => self.load(word, addr, offset)?,
            Mem::U8 | Mem::Q8 => {
                let v = self.load(self.context.i8_type(), addr, offset)?.into_int_value();
                if mem == Mem::U8 {
                    self.b.build_int_z_extend(v, word, "")?.into()
                } else {
                    self.b.build_int_s_extend(v, word, "")?.into()
                }
            }
            Mem::F16 | Mem::Bf16 | Mem::I8 | Mem::S8 | Mem::I16 | Mem::U4 | Mem::U16 | Mem::U32 => {
                panic!("{mem:?} is no lane of a thread")
            }
        };
        Ok(self.b.build_bit_cast(v, self.vector_ty(elem, 1), "")?)
    }

    /// The lowest byte of a lane.
    pub(super) fn low_byte(&self, v: Val) -> Made<'c> {
        let word = self.b.build_bit_cast(self.val(v), self.context.i32_type(), "")?.into_int_value();
        Ok(self.b.build_int_truncate(word, self.context.i8_type(), "")?.into())
    }
}
