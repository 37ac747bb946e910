//! The instructions, one family a file: what they are, how they are decoded, what they do.

pub(crate) mod atomic;
pub(crate) mod barrier;
pub(crate) mod bits;
pub(crate) mod compare;
pub(crate) mod control;
pub(crate) mod convert;
pub(crate) mod copy;
pub(crate) mod descriptor;
pub(crate) mod float;
pub(crate) mod fragment;
pub(crate) mod group;
pub(crate) mod half;
pub(crate) mod integer;
pub(crate) mod matrix;
pub(crate) mod mbarrier;
pub(crate) mod memory;
pub(crate) mod moves;
pub(crate) mod phase;
pub(crate) mod warp;
pub(crate) mod wide;

use crate::cost::Family;
use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::ty::Type;

macro_rules! ops {
    ($($variant:ident($payload:ty) $family:ident,)*) => {
        /// An instruction, its operands resolved.
        pub(crate) enum Op { $($variant($payload),)* }

        impl Op {
            pub(crate) fn family(&self) -> Family {
                match self { $(Self::$variant(_) => Family::$family,)* }
            }

            pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
                match self { $(Self::$variant(op) => op.run(step),)* }
            }
        }
    };
}

ops! {
    Integer(integer::Integer) Integer,
    Wide(wide::Wide) Integer,
    Bits(bits::Bits) Bits,
    Float(float::Float) Float,
    Half(half::Half) Half,
    Convert(convert::Convert) Convert,
    Compare(compare::Compare) Compare,
    Move(moves::Move) Move,
    Memory(memory::Memory) Memory,
    Atomic(atomic::Atomic) Atomic,
    Warp(warp::Warp) Warp,
    Barrier(barrier::Barrier) Barrier,
    Phase(phase::Phase) Barrier,
    Copy(copy::Copy) Copy,
    Matrix(matrix::Matrix) Matrix,
    Group(group::Group) Matrix,
    Control(control::Control) Control,
}

/// What an instruction is, by its name and, where a name is shared, the type behind it.
pub(crate) fn decode(form: &mut Form<'_>) -> Result<Op, String> {
    let ty = form.peek_ty().ok();
    let floating = matches!(ty, Some(Type::F32 | Type::F64));
    let packed = matches!(ty, Some(Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2));
    match form.name() {
        "add" | "sub" | "mul" | "mad" | "fma" | "abs" | "neg" | "min" | "max" | "div" | "ex2" | "tanh" if packed => {
            half::decode(form).map(Op::Half)
        }
        "add" | "sub" | "mul" | "mad" | "fma" | "abs" | "neg" | "min" | "max" | "div" | "ex2" | "tanh" | "rcp"
        | "sqrt" | "rsqrt" | "lg2" | "sin" | "cos"
            if floating =>
        {
            float::decode(form).map(Op::Float)
        }
        "copysign" => float::decode(form).map(Op::Float),
        "addc" | "subc" | "madc" => wide::decode(form).map(Op::Wide),
        "add" | "sub" | "mad" if form.raw.opcode.iter().any(|p| p == "cc") => wide::decode(form).map(Op::Wide),
        "add" | "sub" | "mul" | "mad" | "mul24" | "mad24" | "div" | "rem" | "abs" | "neg" | "min" | "max" | "sad" => {
            integer::decode(form).map(Op::Integer)
        }
        "dp4a" | "dp2a" => wide::decode(form).map(Op::Wide),
        "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "shl" | "shr" | "shf" | "prmt" | "bfi" | "bfe" | "brev"
        | "clz" | "popc" | "bfind" | "bmsk" | "szext" | "fns" => bits::decode(form).map(Op::Bits),
        "cvt" => convert::decode(form).map(Op::Convert),
        "setp" | "set" | "selp" | "slct" | "testp" => compare::decode(form).map(Op::Compare),
        "mov" | "cvta" | "isspacep" | "mapa" | "getctarank" => moves::decode(form).map(Op::Move),
        "ld" | "ldu" | "st" | "prefetch" | "prefetchu" | "discard" | "applypriority" | "createpolicy" => {
            memory::decode(form).map(Op::Memory)
        }
        "atom" | "red" => atomic::decode(form).map(Op::Atomic),
        "shfl" | "vote" | "match" | "redux" | "activemask" | "elect" => warp::decode(form).map(Op::Warp),
        "bar" | "barrier" | "membar" | "fence" => barrier::decode(form).map(Op::Barrier),
        "mbarrier" => phase::decode(form).map(Op::Phase),
        "cp" => copy::decode(form).map(Op::Copy),
        "wgmma" => group::decode(form).map(Op::Group),
        "ldmatrix" | "stmatrix" | "movmatrix" | "mma" => matrix::decode(form).map(Op::Matrix),
        "exit" | "trap" | "brkpt" | "nanosleep" | "pmevent" | "griddepcontrol" | "setmaxnreg" => {
            control::decode(form).map(Op::Control)
        }
        _ => Err("the instruction is not supported".to_owned()),
    }
}
