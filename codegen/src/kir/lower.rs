//! Legalisation of single operations: loads, stores, conversions and arithmetic on the vectors of a lane value.

use super::legalise::{BLOCK, Block, Legaliser, Lowered};
use super::vector::Out;
use super::{Elem, Fetch, FloatOp, IntOp, Logic, Mem, Op, Ty, Val, VecOp, dot};
use actc_types::packed::PANEL;

/// Two to the 112th: what an f16's bits, moved into an f32, must be multiplied by.
const HALF_SCALE: f32 = f32::from_bits((127 + 112) << 23);

impl Legaliser<'_> {
    pub(super) fn lower(&mut self, v: Val, op: &Op) -> Lowered {
        let ty = self.ty(v);
        let lane = matches!(ty, Ty::Lane(_));
        match *op {
            Op::Int(_)
            | Op::Float(_)
            | Op::Double(_)
            | Op::Dim(_)
            | Op::Buffer(_)
            | Op::Stack(_)
            | Op::Part
            | Op::Parts => Lowered::Scalar(self.out.op(ty, *op)),
            Op::I(op, a, b) => {
                let (a, b) = (self.scalar(a), self.scalar(b));
                Lowered::Scalar(self.out.i(op, a, b))
            }
            Op::F(op, a, b) if lane => self.zip(a, b, |l, a, b| l.out.f(op, a, b)),
            Op::F(op, a, b) => {
                let (a, b) = (self.scalar(a), self.scalar(b));
                Lowered::Scalar(self.out.f(op, a, b))
            }
            Op::MulAdd(a, b, c) if lane => {
                let n = [a, b, c].into_iter().find(|v| matches!(self.ty(*v), Ty::Lane(_))).unwrap_or(a);
                let n = self.pieces(n, 1).len();
                let (a, b, c) = (self.pieces(a, n), self.pieces(b, n), self.pieces(c, n));
                Lowered::Pieces((0..n).map(|i| self.out.muladd(a[i], b[i], c[i])).collect())
            }
            Op::MulAdd(a, b, c) => {
                let (a, b, c) = (self.scalar(a), self.scalar(b), self.scalar(c));
                Lowered::Scalar(self.out.muladd(a, b, c))
            }
            Op::Fun(fun, a) if lane => {
                let a = self.pieces(a, 1);
                Lowered::Pieces(a.into_iter().map(|a| self.out.expand(fun, a)).collect())
            }
            Op::Fun(fun, a) => {
                let a = self.scalar(a);
                Lowered::Scalar(self.out.expand_scalar(fun, a))
            }
            Op::Test(test, a, b) => self.each_piece([a, b], |out, [a, b]| out.v(out.ty(a), VecOp::Test(test, a, b))),
            Op::Logic(logic, a, b) => self.each_piece([a, b], |out, [a, b]| match logic {
                Logic::And => out.and(a, b),
                Logic::Or => out.or(a, b),
                Logic::Xor => out.v(out.ty(a), VecOp::Xor(a, b)),
            }),
            Op::Choose(mask, a, b) => {
                self.each_piece([mask, a, b], |out, [mask, a, b]| out.v(out.ty(a), VecOp::Select(mask, a, b)))
            }
            Op::Convert(a) if lane => {
                let a = self.pieces(a, 1);
                Lowered::Pieces(a.into_iter().map(|a| self.out.to_float(a)).collect())
            }
            Op::Convert(a) => {
                let a = self.scalar(a);
                Lowered::Scalar(self.out.op(ty, Op::Convert(a)))
            }
            Op::Load { mem, addr, offset, step: 0 } => self.load_scalar(ty, mem, addr, offset),
            Op::Load { mem, addr, offset, step } => self.load_lanes(mem, addr, offset, step),
            Op::Quad { bits, addr, offset, quad } => {
                let addr = self.scalar(addr);
                Lowered::Quad { bits, addr, offset, quad }
            }
            Op::QuadFloat(codes, n) => Lowered::Pieces(self.quad_floats(codes, n)),
            Op::Four(addr, offset) => {
                let addr = self.scalar(addr);
                Lowered::Pieces(vec![self.out.same4(Elem::I8, addr, offset)])
            }
            Op::Get(var) if lane => {
                self.close_sums();
                let vectors = self.vectors(var).to_vec();
                Lowered::Pieces(vectors.into_iter().map(|v| self.out.get(v)).collect())
            }
            Op::Get(var) => {
                let var = self.vectors(var)[0];
                Lowered::Scalar(self.out.get(var))
            }
            Op::Code { source, addr, offset, first } => {
                let block = self.current();
                let addr = self.scalar(addr);
                Lowered::Code { source, addr, offset, first: first as usize + block.base as usize }
            }
            Op::LaneSum(var) => {
                let whole = self.ways(var, |l, a, b| l.out.add(a, b));
                Lowered::Scalar(self.out.lane_sum(whole))
            }
            Op::LaneMax(var) => {
                let whole = self.ways(var, |l, a, b| l.out.f(FloatOp::Max, a, b));
                Lowered::Scalar(self.out.lane_max(whole))
            }
            Op::Sums(vars) => {
                assert_eq!(self.current().lanes, 4, "four sums stand in four lanes");
                let sums = vars.map(|var| self.ways(var, |l, a, b| l.out.add(a, b)));
                Lowered::Pieces(vec![self.out.lane_sums(sums)])
            }
            Op::Each(floats) => {
                assert_eq!(self.current().lanes, 4, "four floats stand in four lanes");
                let splats = floats.map(|v| self.pieces(v, 1)[0]);
                Lowered::Pieces(vec![self.out.lowest(splats)])
            }
            Op::Fetch(..) | Op::V(_) | Op::Team(_) => panic!("vectors and teams before legalisation"),
        }
    }

    fn current(&self) -> Block {
        self.block.expect("lane loads, stores and codes stand in lane loops")
    }

    fn zip(&mut self, a: Val, b: Val, join: impl Fn(&mut Self, Val, Val) -> Val) -> Lowered {
        let lane = if matches!(self.ty(a), Ty::Lane(_)) { a } else { b };
        let n = self.pieces(lane, 1).len();
        let (a, b) = (self.pieces(a, n), self.pieces(b, n));
        Lowered::Pieces(a.into_iter().zip(b).map(|(a, b)| join(self, a, b)).collect())
    }

    /// An operation on floats of the current block, of which all may be scalars.
    fn each_piece<const N: usize>(&mut self, args: [Val; N], join: impl Fn(&mut Out, [Val; N]) -> Val) -> Lowered {
        let n = self.current().pieces();
        let args = args.map(|v| self.pieces(v, n));
        Lowered::Pieces((0..n).map(|i| join(&mut self.out, std::array::from_fn(|k| args[k][i]))).collect())
    }

    /// The ways of a partial variable joined as a balanced tree.
    fn ways(&mut self, var: super::Var, join: impl Fn(&mut Self, Val, Val) -> Val) -> Val {
        let mut values: Vec<Val> = self.vectors(var).to_vec().into_iter().map(|v| self.out.get(v)).collect();
        while values.len() > 1 {
            values = values.chunks(2).map(|c| if c.len() == 2 { join(self, c[0], c[1]) } else { c[0] }).collect();
        }
        values[0]
    }

    /// Address and offset of the current block's first lane.
    fn place(&mut self, mem: Mem, addr: Val, offset: i32, step: u8) -> (Val, i32) {
        let block = self.current();
        let addr = self.scalar(addr);
        let offset = offset + mem.span(block.base * i64::from(step)) as i32;
        let Some(index) = block.index else { return (addr, offset) };
        let (op, by) = match mem.span(2) * i64::from(step) {
            1 => (IntOp::Shr, 1),
            2 => return (self.out.i(IntOp::Add, addr, index), offset),
            bytes => (IntOp::Mul, bytes / 2),
        };
        let by = if op == IntOp::Mul { (IntOp::Shl, i64::from(by.ilog2())) } else { (op, by) };
        let n = self.out.int(by.1);
        let bytes = self.out.i(by.0, index, n);
        (self.out.i(IntOp::Add, addr, bytes), offset)
    }

    fn load_scalar(&mut self, ty: Ty, mem: Mem, addr: Val, offset: i32) -> Lowered {
        let addr = self.scalar(addr);
        let float = self.out.with_halves(1, |out| match mem {
            Mem::F16 => {
                let v = out.fetch(Elem::I32, Fetch::Signed16, addr, offset, 0);
                out.halves_to_floats(v)
            }
            Mem::Bf16 => {
                let v = out.fetch(Elem::I32, Fetch::Low2, addr, offset, 0);
                let v = out.shift(Elem::I32, v, 16);
                out.bits(Elem::F32, v)
            }
            Mem::F32 | Mem::I8 | Mem::Q8 | Mem::S8 | Mem::U8 | Mem::I16 | Mem::U16 | Mem::I32 | Mem::U32 | Mem::U4 => {
                out.op(ty, Op::Load { mem, addr, offset, step: 0 })
            }
        });
        match self.out.ty(float) {
            Ty::Vec(..) => Lowered::Scalar(self.out.v(Ty::F32, VecOp::Extract(float, 0))),
            Ty::I64 | Ty::F32 | Ty::F64 | Ty::Lane(_) => Lowered::Scalar(float),
        }
    }

    fn load_lanes(&mut self, mem: Mem, addr: Val, offset: i32, step: u8) -> Lowered {
        let (addr, offset) = self.place(mem, addr, offset, step);
        let block = self.current();
        let bytes = |lanes: i64| mem.span(lanes * i64::from(step)) as i32;
        let (next, gap) = (bytes(block.next()), bytes(block.gap()));
        let count = block.pieces() as i32;
        let out = &mut self.out;
        let each = |load: &mut dyn FnMut(i32) -> Val| (0..count).map(|i| load(offset + next * i)).collect();
        let pieces: Vec<Val> = match mem {
            Mem::F32 if step == 2 => each(&mut |at| {
                let a = out.fetch(Elem::F32, Fetch::Full, addr, at, gap);
                let b = out.fetch(Elem::F32, Fetch::Full, addr, at + 16, gap);
                out.shuffle(a, b, [0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27])
            }),
            Mem::F32 => each(&mut |at| out.fetch(Elem::F32, Fetch::Full, addr, at, gap)),
            Mem::F16 => each(&mut |at| {
                let v = out.fetch(Elem::I32, Fetch::Signed16, addr, at, gap);
                out.halves_to_floats(v)
            }),
            Mem::Bf16 => each(&mut |at| {
                let v = out.fetch(Elem::I32, Fetch::Unsigned16, addr, at, gap);
                let v = out.shift(Elem::I32, v, 16);
                out.bits(Elem::F32, v)
            }),
            Mem::Q8 => each(&mut |at| {
                let v = out.fetch(Elem::I32, Fetch::Signed8, addr, at, gap);
                out.to_float(v)
            }),
            Mem::I32 => each(&mut |at| {
                let v = out.fetch(Elem::I32, Fetch::Full, addr, at, gap);
                out.to_float(v)
            }),
            Mem::I8 => {
                assert_eq!(i64::from(count) * 4, BLOCK, "rounded activations come in runs of 16 lanes");
                vec![out.fetch(Elem::I8, Fetch::Full, addr, offset, gap)]
            }
            Mem::S8 | Mem::I16 => {
                let kind = if mem == Mem::S8 { Fetch::Words8 } else { Fetch::Full };
                let half = mem.span(8) as i32;
                let size = half * i32::from(block.halves);
                (0..count / 2).map(|i| out.fetch(Elem::I16, kind, addr, offset + size * i, half)).collect()
            }
            Mem::U8 if block.lanes == PANEL as i64 => each(&mut |at| {
                let v = out.fetch(Elem::I8, Fetch::Low4, addr, at, gap);
                let zero = out.bytes(0);
                let v = out.interleave(v, zero, 1, false);
                let v = out.interleave(v, zero, 2, false);
                let v = out.bits(Elem::I32, v);
                out.to_float(v)
            }),
            Mem::U8 => {
                let kind = if count == 4 { Fetch::Full } else { Fetch::Low4 };
                let v = out.fetch(Elem::I8, kind, addr, offset, gap);
                self.bytes_to_floats(v, count)
            }
            Mem::U4 => each(&mut |at| out.nibbles_of_rows(addr, at)),
            Mem::U16 | Mem::U32 => panic!("such integers are loaded one by one"),
        };
        Lowered::Pieces(pieces)
    }

    fn bytes_to_floats(&mut self, v: Val, count: i32) -> Vec<Val> {
        let zero = self.out.bytes(0);
        let mut floats = Vec::new();
        for upper in [false, true] {
            let words = self.out.interleave(v, zero, 1, upper);
            for upper in [false, true] {
                if floats.len() < count as usize {
                    let v = self.out.interleave(words, zero, 2, upper);
                    let v = self.out.bits(Elem::I32, v);
                    floats.push(self.out.to_float(v));
                }
            }
        }
        floats
    }

    pub(super) fn store(&mut self, mem: Mem, value: Val, addr: Val, offset: i32, step: u8) {
        if step == 0 {
            let (value, addr) = (self.scalar(value), self.scalar(addr));
            return self.out.store(mem, value, addr, offset);
        }
        let block = self.current();
        let (addr, offset) = self.place(mem, addr, offset, step);
        let pieces = self.pieces(value, block.pieces());
        match mem {
            Mem::F32 => {
                for (i, piece) in pieces.into_iter().enumerate() {
                    let at = |lane: i64| offset + 4 * i32::from(step) * (block.next() * i as i64 + lane) as i32;
                    if step == 1 && block.valid == block.lanes {
                        if block.halves == 2 && block.split {
                            let [low, high] = self.out.both(piece);
                            self.out.store(Mem::F32, low, addr, at(0));
                            self.out.store(Mem::F32, high, addr, at(block.gap()));
                        } else {
                            self.out.store(Mem::F32, piece, addr, at(0));
                        }
                        continue;
                    }
                    for lane in 0..(block.valid - block.next() * i as i64).clamp(0, 4 * i64::from(block.halves)) {
                        assert!(!block.split || block.halves == 1, "pairs are stored in order");
                        let x = self.out.v(Ty::F32, VecOp::Extract(piece, lane as u8));
                        self.out.store(Mem::F32, x, addr, at(lane));
                    }
                }
            }
            Mem::I8 | Mem::U8 if pieces.len() == 1 => self.store_few(mem, pieces[0], addr, offset),
            Mem::I8 | Mem::U8 => {
                let pieces: Vec<Val> = pieces.into_iter().map(|v| self.out.signed(mem, v)).collect();
                let [low, high] = self.words(&pieces);
                let bytes = self.out.v(self.out.of(Elem::I8), VecOp::Narrow(low, high));
                let bytes = self.out.unsigned(mem, bytes);
                self.out.store(Mem::I8, bytes, addr, offset);
            }
            Mem::I16 => {
                for (i, words) in self.words(&pieces).into_iter().enumerate() {
                    let at = offset + 16 * i as i32;
                    if block.halves == 1 {
                        self.out.store(Mem::I16, words, addr, at);
                        continue;
                    }
                    let [low, high] = self.out.both(words);
                    self.out.store(Mem::I16, low, addr, at);
                    self.out.store(Mem::I16, high, addr, at + mem.span(block.gap()) as i32);
                }
            }
            Mem::F16 | Mem::Bf16 | Mem::Q8 | Mem::S8 | Mem::U4 | Mem::U16 | Mem::I32 | Mem::U32 => {
                panic!("lanes are stored as f32, i8, u8 or i16")
            }
        }
    }

    /// The floats of a block of 16 lanes a half, whole numbers below 2^22, as 16-bit integers, saturated: in each half the
    /// first eight, then the others.
    fn words(&mut self, pieces: &[Val]) -> [Val; 2] {
        let block = self.current();
        let whole = block.valid == block.lanes && block.pieces() == 4;
        assert!(whole, "rounded activations come in runs of 16 lanes");
        let [a, b, c, d] = [0, 1, 2, 3].map(|i| self.out.whole(pieces[i]));
        [(a, b), (c, d)].map(|(a, b)| self.out.v(self.out.of(Elem::I16), VecOp::Narrow(a, b)))
    }

    /// Stores the first lanes of a block of four, one or all, as bytes.
    fn store_few(&mut self, mem: Mem, piece: Val, addr: Val, offset: i32) {
        let valid = self.current().valid;
        let out = &mut self.out;
        let v = out.signed(mem, piece);
        let v = out.whole(v);
        let words = out.v(out.of(Elem::I16), VecOp::Narrow(v, v));
        let bytes = out.v(out.of(Elem::I8), VecOp::Narrow(words, words));
        let bytes = out.unsigned(mem, bytes);
        let four = out.bits(Elem::F32, bytes);
        let four = out.v(Ty::F32, VecOp::Extract(four, 0));
        match valid {
            1 => out.store(mem, four, addr, offset),
            4 => out.store(Mem::F32, four, addr, offset),
            n => panic!("{n} lanes of bytes are not stored at once"),
        }
    }

    /// The decoded vectors of a code value, made once a block: floats, or unsigned bytes.
    pub(super) fn decoded(&mut self, code: Val, float: bool) -> Vec<Val> {
        let key = (code, float, self.current().base);
        if let Some(vectors) = self.decoded.get(&key) {
            return vectors.clone();
        }
        let Lowered::Code { source, addr, offset, first } = self.values[&code] else {
            panic!("{code} is no code");
        };
        let vectors = if float {
            dot::floats(&mut self.out, source, addr, offset, first)
        } else {
            dot::bytes(&mut self.out, source, addr, offset, first)
        };
        self.decoded.insert(key, vectors.clone());
        vectors
    }
}

impl Out {
    /// Floats that are whole numbers below 2^22 as integers.
    pub(super) fn whole(&mut self, x: Val) -> Val {
        // The sum with 1.5 * 2^23 holds the integer in its lowest bits.
        let (magic, bits) = (self.floats(12_582_912.0), self.ints(0x4b40_0000));
        let v = self.add(x, magic);
        let v = self.bits(Elem::I32, v);
        self.v(self.ty(v), VecOp::Sub(v, bits))
    }

    /// The floats of bytes that are stored as `mem`, moved to where signed bytes hold them.
    fn signed(&mut self, mem: Mem, x: Val) -> Val {
        if mem != Mem::U8 {
            return x;
        }
        let middle = self.floats(128.0);
        self.sub(x, middle)
    }

    /// Undoes what [`Out::signed`] did.
    fn unsigned(&mut self, mem: Mem, bytes: Val) -> Val {
        if mem != Mem::U8 {
            return bytes;
        }
        let middle = self.bytes(0x80);
        self.v(self.ty(bytes), VecOp::Xor(bytes, middle))
    }

    /// Floats from the bits of halves, sign-extended: exponent and mantissa move below bit 28, the sign stays at bit 31.
    fn halves_to_floats(&mut self, v: Val) -> Val {
        if self.isa.half {
            return self.v(self.like(Elem::F32, v), VecOp::FromHalf(v));
        }
        let v = self.shift(Elem::I32, v, 13);
        let mask = self.ints(0x8fff_e000);
        let v = self.and(v, mask);
        let v = self.bits(Elem::F32, v);
        let scale = self.floats(HALF_SCALE);
        self.mul(v, scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_scale_undoes_the_bias_difference() {
        for bits in [0x0001u16, 0x03ff, 0x3c00, 0x7bff] {
            let moved = f32::from_bits(u32::from(bits) << 13) * HALF_SCALE;
            assert_eq!(moved, half::f16::from_bits(bits).to_f32());
        }
    }
}
