//! Vector operations in LLVM's language. Halves of 16 bytes stay apart, as the instructions of AVX2 keep them.

use super::{Emitter, Made, Wrong};
use crate::kir::{Elem, Test, Ty, Val, VecOp};
use inkwell::types::VectorType;
use inkwell::values::{BasicValueEnum, VectorValue};
use inkwell::{FloatPredicate, IntPredicate};

impl<'c> Emitter<'_, 'c> {
    fn vec(&self, v: Val) -> VectorValue<'c> {
        self.val(v).into_vector_value()
    }

    /// `v` as lanes of `elem`.
    fn lanes(&self, v: BasicValueEnum<'c>, elem: Elem, n: u32) -> Result<VectorValue<'c>, Wrong> {
        Ok(self.b.build_bit_cast(v, self.vector_ty(elem, n), "")?.into_vector_value())
    }

    fn bytes_of(&self, v: Val) -> u32 {
        let Ty::Vec(elem, n) = self.ty(v) else { panic!("{v} is no vector") };
        u32::from(n) * elem.size() as u32
    }

    fn pick(&self, a: VectorValue<'c>, b: VectorValue<'c>, lanes: impl Iterator<Item = u32>) -> Made<'c> {
        let word = self.context.i32_type();
        let mask: Vec<_> = lanes.map(|lane| word.const_int(lane.into(), false)).collect();
        Ok(self.b.build_shuffle_vector(a, b, VectorType::const_vector(&mask), "")?.into())
    }

    /// Two vectors of one type as one of twice the lanes.
    pub(super) fn joined(&self, low: BasicValueEnum<'c>, high: BasicValueEnum<'c>) -> Made<'c> {
        let (low, high) = (low.into_vector_value(), high.into_vector_value());
        self.pick(low, high, 0..2 * low.get_type().get_size())
    }

    fn splat_int(&self, elem: Elem, n: u32, value: i64) -> VectorValue<'c> {
        let one = match elem {
            Elem::I8 => self.context.i8_type(),
            Elem::I16 => self.context.i16_type(),
            Elem::I32 | Elem::F32 => self.context.i32_type(),
        }
        .const_int(value as u64, true);
        VectorType::const_vector(&vec![one; n as usize])
    }

    /// The bits of `v`: bytes, or the single lane that a thread of a GPU has.
    fn bits(&self, v: Val) -> Result<VectorValue<'c>, Wrong> {
        match self.bytes_of(v) {
            4 => self.lanes(self.val(v), Elem::I32, 1),
            n => self.lanes(self.val(v), Elem::I8, n),
        }
    }

    fn bitwise(&self, a: Val, b: Val, op: impl Fn(VectorValue<'c>, VectorValue<'c>) -> Made<'c>) -> Made<'c> {
        op(self.bits(a)?, self.bits(b)?)
    }

    pub(super) fn vector(&self, ty: Ty, op: VecOp) -> Made<'c> {
        let v = self.any_vector(ty, op)?;
        match ty {
            Ty::Vec(..) => Ok(self.b.build_bit_cast(v, self.machine(ty), "")?),
            Ty::I64 | Ty::F32 | Ty::F64 | Ty::Lane(_) => Ok(v),
        }
    }

    fn any_vector(&self, ty: Ty, op: VecOp) -> Made<'c> {
        let word = self.context.i32_type();
        Ok(match op {
            VecOp::Const(bytes) => {
                let Ty::Vec(elem, n) = ty else { panic!("{ty} is no vector") };
                let byte = self.context.i8_type();
                let bytes: Vec<_> = bytes.iter().map(|b| byte.const_int(u64::from(*b), false)).collect();
                let whole: Vec<_> = bytes.into_iter().cycle().take(usize::from(n) * elem.size()).collect();
                VectorType::const_vector(&whole).into()
            }
            VecOp::Splat(a) => {
                let Ty::Vec(_, n) = ty else { panic!("{ty} is no vector") };
                let base = self.vector_ty(Elem::F32, n.into()).get_undef();
                let v = self.b.build_insert_element(base, self.val(a), word.const_zero(), "")?;
                self.pick(v, v, std::iter::repeat_n(0, n.into()))?
            }
            VecOp::Extract(a, lane) => {
                self.b.build_extract_element(self.vec(a), word.const_int(lane.into(), false), "")?
            }
            VecOp::Shuffle(a, b, mask) => {
                let n = self.bytes_of(a);
                let (a, b) = (self.lanes(self.val(a), Elem::I8, n)?, self.lanes(self.val(b), Elem::I8, n)?);
                let from = |half: u32, m: u32| if m < 16 { 16 * half + m } else { n + 16 * half + m - 16 };
                let lanes: Vec<u32> =
                    (0..n / 16).flat_map(|half| mask.iter().map(move |m| from(half, u32::from(*m)))).collect();
                self.pick(a, b, lanes.into_iter())?
            }
            VecOp::Half(a, upper) => {
                let v = self.vec(a);
                let n = v.get_type().get_size() / 2;
                let from = if upper { n } else { 0 };
                self.pick(v, v, from..from + n)?
            }
            VecOp::Lower(base, a) => {
                let (base, a) = (self.vec(base), self.vec(a));
                let n = a.get_type().get_size();
                // As wide as the base; what stands above is not used.
                let wide = self.pick(a, a, (0..2 * n).map(|lane| lane.min(n)))?.into_vector_value();
                self.pick(wide, base, (0..n).chain(3 * n..4 * n))?
            }
            VecOp::Bits(a) => self.val(a),
            VecOp::And(a, b) => self.bitwise(a, b, |a, b| Ok(self.b.build_and(a, b, "")?.into()))?,
            VecOp::Or(a, b) => self.bitwise(a, b, |a, b| Ok(self.b.build_or(a, b, "")?.into()))?,
            VecOp::Xor(a, b) => self.bitwise(a, b, |a, b| Ok(self.b.build_xor(a, b, "")?.into()))?,
            VecOp::Add(a, b) => self.b.build_int_add(self.vec(a), self.vec(b), "")?.into(),
            VecOp::Sub(a, b) => self.b.build_int_sub(self.vec(a), self.vec(b), "")?.into(),
            VecOp::Shl(a, n) => self.b.build_left_shift(self.vec(a), self.shift_by(a, n), "")?.into(),
            VecOp::Shr(a, n) => self.b.build_right_shift(self.vec(a), self.shift_by(a, n), false, "")?.into(),
            VecOp::Sar(a, n) => self.b.build_right_shift(self.vec(a), self.shift_by(a, n), true, "")?.into(),
            VecOp::ShrEach(a, by) => {
                let wide = self.context.i64_type();
                let v = self.b.build_bit_cast(self.val(a), wide.vec_type(4), "")?.into_vector_value();
                let by = by.map(|n| wide.const_int(n.into(), false));
                self.b.build_right_shift(v, VectorType::const_vector(&by), false, "")?.into()
            }
            VecOp::Equal(a, b) => {
                let test = self.b.build_int_compare(IntPredicate::EQ, self.vec(a), self.vec(b), "")?;
                self.b.build_int_s_extend(test, self.vec(a).get_type(), "")?.into()
            }
            VecOp::Test(test, a, b) => {
                let question = match test {
                    Test::Equal => FloatPredicate::OEQ,
                    Test::Less => FloatPredicate::OLT,
                    Test::LessEqual => FloatPredicate::OLE,
                };
                let test = self.b.build_float_compare(question, self.vec(a), self.vec(b), "")?;
                let n = self.bytes_of(a) / 4;
                self.b.build_int_s_extend(test, self.vector_ty(Elem::I32, n), "")?.into()
            }
            VecOp::Select(mask, a, b) => {
                let (mask, a, b) = (self.bits(mask)?, self.bits(a)?, self.bits(b)?);
                let a = self.b.build_and(mask, a, "")?;
                let rest = self.b.build_and(self.b.build_not(mask, "")?, b, "")?;
                self.b.build_or(a, rest, "")?.into()
            }
            VecOp::ToFloat(a) => {
                let n = self.bytes_of(a) / 4;
                self.b.build_signed_int_to_float(self.vec(a), self.vector_ty(Elem::F32, n), "")?.into()
            }
            VecOp::FromHalf(a) => {
                let n = self.bytes_of(a) / 4;
                let bits = self.b.build_int_truncate(self.vec(a), self.vector_ty(Elem::I16, n), "")?;
                let half = self.b.build_bit_cast(bits, self.context.f16_type().vec_type(n), "")?;
                self.b.build_float_ext(half.into_vector_value(), self.vector_ty(Elem::F32, n), "")?.into()
            }
            VecOp::DotPairs(codes, q) => self.dot_pairs(codes, q)?,
            VecOp::WidenPairs(a) => self.widen_pairs(a)?,
            VecOp::DotWords(a, b) => self.dot_words(a, b)?,
            VecOp::Narrow(a, b) => self.narrow(a, b)?,
            VecOp::DotQuads(sum, codes, q) => self.dot_quads(sum, codes, q)?,
        })
    }

    fn shift_by(&self, a: Val, n: u8) -> VectorValue<'c> {
        let Ty::Vec(elem, lanes) = self.ty(a) else { panic!("{a} is no vector") };
        self.splat_int(elem, lanes.into(), n.into())
    }

    fn dot_pairs(&self, codes: Val, q: Val) -> Made<'c> {
        let n = self.bytes_of(q);
        if self.x86 {
            let name = if n == 16 { "llvm.x86.ssse3.pmadd.ub.sw.128" } else { "llvm.x86.avx2.pmadd.ub.sw" };
            return self.call(name, &[], &[self.val(codes).into(), self.val(q).into()]);
        }
        let wide = self.vector_ty(Elem::I16, n);
        let codes = self.b.build_int_z_extend(self.vec(codes), wide, "")?;
        let q = self.b.build_int_s_extend(self.vec(q), wide, "")?;
        let products = self.b.build_int_mul(codes, q, "")?;
        self.pair_sums(products)
    }

    fn pair_sums(&self, v: VectorValue<'c>) -> Made<'c> {
        let n = v.get_type().get_size();
        let even = self.pick(v, v, (0..n).step_by(2))?.into_vector_value();
        let odd = self.pick(v, v, (1..n).step_by(2))?.into_vector_value();
        Ok(self.b.build_int_add(even, odd, "")?.into())
    }

    fn widen_pairs(&self, a: Val) -> Made<'c> {
        let n = self.bytes_of(a) / 2;
        if self.x86 {
            return self.multiply_add(n, self.val(a), self.splat_int(Elem::I16, n, 1).into());
        }
        let wide = self.b.build_int_s_extend(self.vec(a), self.vector_ty(Elem::I32, n), "")?;
        self.pair_sums(wide)
    }

    /// x86's products of `n` 16-bit lanes, neighbours summed.
    fn multiply_add(&self, n: u32, a: BasicValueEnum<'c>, b: BasicValueEnum<'c>) -> Made<'c> {
        let name = if n == 8 { "llvm.x86.sse2.pmadd.wd" } else { "llvm.x86.avx2.pmadd.wd" };
        self.call(name, &[], &[a.into(), b.into()])
    }

    fn dot_words(&self, a: Val, b: Val) -> Made<'c> {
        let n = self.bytes_of(a) / 2;
        if self.x86 {
            return self.multiply_add(n, self.val(a), self.val(b));
        }
        let wide = self.vector_ty(Elem::I32, n);
        let a = self.b.build_int_s_extend(self.vec(a), wide, "")?;
        let b = self.b.build_int_s_extend(self.vec(b), wide, "")?;
        self.pair_sums(self.b.build_int_mul(a, b, "")?)
    }

    fn narrow(&self, a: Val, b: Val) -> Made<'c> {
        let Ty::Vec(elem, n) = self.ty(a) else { panic!("{a} is no vector") };
        let n = u32::from(n);
        let (to, limit) = if elem == Elem::I32 { (Elem::I16, 1i64 << 15) } else { (Elem::I8, 1 << 7) };
        if self.x86 {
            let name = match (elem, n * elem.size() as u32) {
                (Elem::I32, 16) => "llvm.x86.sse2.packssdw.128",
                (Elem::I32, _) => "llvm.x86.avx2.packssdw",
                (_, 16) => "llvm.x86.sse2.packsswb.128",
                (..) => "llvm.x86.avx2.packsswb",
            };
            return self.call(name, &[], &[self.val(a).into(), self.val(b).into()]);
        }
        // Vectors have one half here.
        let wide = self.joined(self.val(a), self.val(b))?;
        let ty = self.vector_ty(elem, 2 * n).into();
        let (least, most) = (self.splat_int(elem, 2 * n, -limit), self.splat_int(elem, 2 * n, limit - 1));
        let wide = self.call("llvm.smax", &[ty], &[wide.into(), least.into()])?;
        let wide = self.call("llvm.smin", &[ty], &[wide.into(), most.into()])?;
        Ok(self.b.build_int_truncate(wide.into_vector_value(), self.vector_ty(to, 2 * n), "")?.into())
    }

    fn dot_quads(&self, sum: Val, codes: Val, q: Val) -> Made<'c> {
        let n = self.bytes_of(q);
        let (a, c, q) = (self.val(sum), self.val(codes), self.val(q));
        if self.x86 {
            let name = if n == 16 { "llvm.x86.avx512.vpdpbusd.128" } else { "llvm.x86.avx512.vpdpbusd.256" };
            let (c, q) = (self.lanes(c, Elem::I32, n / 4)?, self.lanes(q, Elem::I32, n / 4)?);
            return self.call(name, &[], &[a.into(), c.into(), q.into()]);
        }
        let types = [self.vector_ty(Elem::I32, 4).into(), self.vector_ty(Elem::I8, 16).into()];
        // Without the mixed form codes are below 128, so their sign is no matter.
        let name = if self.i8mm { "llvm.aarch64.neon.usdot" } else { "llvm.aarch64.neon.sdot" };
        self.call(name, &types, &[a.into(), c.into(), q.into()])
    }
}
