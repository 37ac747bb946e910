//! Legalisation of single operations: what a thread does for its lane of each turn.

use super::{Lowered, Threads, Turns};
use crate::kir::vector::Out;
use crate::kir::{Elem, FloatOp, IntOp, Logic, Mem, Node, Op, Ty, Val, VecOp};

impl Threads<'_> {
    pub(super) fn lower(&mut self, v: Val, op: &Op) -> Lowered {
        let ty = self.ty(v);
        let lane = matches!(ty, Ty::Lane(_));
        match *op {
            Op::Int(_) | Op::Float(_) | Op::Double(_) | Op::Dim(_) | Op::Buffer(_) => {
                Lowered::Scalar(self.out.op(ty, *op))
            }
            Op::I(op, a, b) => {
                let (a, b) = (self.scalar(a), self.scalar(b));
                Lowered::Scalar(self.out.i(op, a, b))
            }
            Op::F(op, a, b) if lane => self.each([a, b], |out, [a, b]| out.f(op, a, b)),
            Op::F(op, a, b) => {
                let (a, b) = (self.scalar(a), self.scalar(b));
                Lowered::Scalar(self.out.f(op, a, b))
            }
            Op::MulAdd(a, b, c) if lane => self.each([a, b, c], |out, [a, b, c]| out.muladd(a, b, c)),
            Op::MulAdd(a, b, c) => {
                let (a, b, c) = (self.scalar(a), self.scalar(b), self.scalar(c));
                Lowered::Scalar(self.out.muladd(a, b, c))
            }
            Op::Fun(fun, a) if lane => self.each([a], |out, [a]| out.expand(fun, a)),
            Op::Fun(fun, a) => {
                let a = self.scalar(a);
                Lowered::Scalar(self.out.expand_scalar(fun, a))
            }
            Op::Test(test, a, b) => self.each([a, b], |out, [a, b]| out.v(out.ty(a), VecOp::Test(test, a, b))),
            Op::Logic(logic, a, b) => self.each([a, b], |out, [a, b]| match logic {
                Logic::And => out.and(a, b),
                Logic::Or => out.or(a, b),
                Logic::Xor => out.v(out.ty(a), VecOp::Xor(a, b)),
            }),
            Op::Choose(mask, a, b) => {
                self.each([mask, a, b], |out, [mask, a, b]| out.v(out.ty(a), VecOp::Select(mask, a, b)))
            }
            Op::Convert(a) if lane => self.each([a], |out, [a]| out.to_float(a)),
            Op::Convert(a) => {
                let a = self.scalar(a);
                Lowered::Scalar(self.out.op(ty, Op::Convert(a)))
            }
            Op::Load { mem, addr, offset, step: 0 } => {
                let addr = self.scalar(addr);
                Lowered::Scalar(self.out.op(ty, Op::Load { mem, addr, offset, step: 0 }))
            }
            Op::Load { mem, addr, offset, step } => self.load_lanes(mem, addr, offset, step),
            Op::Get(var) => {
                let registers = self.registers(var).to_vec();
                let values: Vec<Val> = registers.into_iter().map(|register| self.out.get(register)).collect();
                if lane { Lowered::Turns(values) } else { Lowered::Scalar(values[0]) }
            }
            Op::LaneSum(var) => Lowered::Scalar(self.fold(var, FloatOp::Add)),
            Op::LaneMax(var) => Lowered::Scalar(self.fold(var, FloatOp::Max)),
            Op::Stack(_)
            | Op::Part
            | Op::Parts
            | Op::Fetch(..)
            | Op::Code { .. }
            | Op::Quad { .. }
            | Op::QuadFloat(..)
            | Op::Four(..)
            | Op::Sums(_)
            | Op::Each(_)
            | Op::V(_)
            | Op::Team(_) => panic!("{op} is not mapped to threads"),
        }
    }

    fn turns(&self) -> Turns {
        self.turns.expect("lane loads and stores stand in lane loops")
    }

    /// An operation on floats of the current turns, of which all may be scalars.
    fn each<const N: usize>(&mut self, args: [Val; N], join: impl Fn(&mut Out, [Val; N]) -> Val) -> Lowered {
        let n = self.turns().count;
        let args = args.map(|v| self.lanes(v, n));
        Lowered::Turns((0..n).map(|i| join(&mut self.out, std::array::from_fn(|k| args[k][i]))).collect())
    }

    /// Address and offset of this thread's lane of the first turn, and the bytes from a turn to the next.
    fn place(&mut self, mem: Mem, addr: Val, offset: i32, step: u8) -> (Val, i32, i32) {
        let turns = self.turns();
        let bytes = mem.span(1) * i64::from(step);
        assert!(bytes > 0, "{mem:?} has no address");
        let (addr, bytes_val) = (self.scalar(addr), self.out.int(bytes));
        let ahead = self.out.i(IntOp::Mul, turns.lane, bytes_val);
        let first = self.out.i(IntOp::Add, addr, ahead);
        let offset = i64::from(offset) + turns.base * bytes;
        (first, offset as i32, (i64::from(self.team.threads()) * bytes) as i32)
    }

    fn load_lanes(&mut self, mem: Mem, addr: Val, offset: i32, step: u8) -> Lowered {
        let elem = match mem {
            Mem::F32 => Elem::F32,
            Mem::I32 | Mem::U8 | Mem::Q8 => Elem::I32,
            Mem::F16 | Mem::Bf16 | Mem::I8 | Mem::S8 | Mem::I16 | Mem::U4 | Mem::U16 | Mem::U32 => {
                panic!("lanes of {mem:?} are not mapped to threads")
            }
        };
        let (addr, offset, next) = self.place(mem, addr, offset, step);
        let ty = self.out.of(elem);
        let lanes = (0..self.turns().count as i32).map(|i| {
            let v = self.out.op(ty, Op::Load { mem, addr, offset: offset + next * i, step: 0 });
            if elem == Elem::F32 { v } else { self.out.to_float(v) }
        });
        Lowered::Turns(lanes.collect())
    }

    pub(super) fn store_lanes(&mut self, mem: Mem, value: Val, addr: Val, offset: i32, step: u8) {
        let lanes = self.lanes(value, self.turns().count);
        let (addr, offset, next) = self.place(mem, addr, offset, step);
        for (i, lane) in lanes.into_iter().enumerate() {
            let value = match mem {
                Mem::F32 => lane,
                Mem::I8 | Mem::U8 => self.out.whole(lane),
                Mem::F16 | Mem::Bf16 | Mem::Q8 | Mem::S8 | Mem::I16 | Mem::I32 | Mem::U4 | Mem::U16 | Mem::U32 => {
                    panic!("lanes of {mem:?} are not mapped to threads")
                }
            };
            self.out.push(Node::Store { mem, value, addr, offset: offset + next * i as i32, step: 0 });
        }
    }
}
