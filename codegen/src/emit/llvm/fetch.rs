//! Vectors from memory in LLVM's language.

use super::{Emitter, Made};
use crate::kir::{Fetch, Ty};
use inkwell::values::{BasicValueEnum, IntValue};

impl<'c> Emitter<'_, 'c> {
    /// A half of a vector from memory, as integers: 16 bytes.
    fn half(&self, kind: Fetch, addr: IntValue<'c>, offset: i32) -> Made<'c> {
        let c = self.context;
        let low = |v: IntValue<'c>, lanes: u32| -> Made<'c> {
            let zero = v.get_type().vec_type(lanes).const_zero();
            Ok(self.b.build_insert_element(zero, v, c.i32_type().const_zero(), "")?.into())
        };
        match kind {
            Fetch::Full => self.load(c.i8_type().vec_type(16), addr, offset),
            Fetch::Same4 => {
                let v = low(self.load(c.i32_type(), addr, offset)?.into_int_value(), 4)?.into_vector_value();
                let all = c.i32_type().vec_type(4).const_zero();
                Ok(self.b.build_shuffle_vector(v, v, all, "")?.into())
            }
            Fetch::Low4 => low(self.load(c.i32_type(), addr, offset)?.into_int_value(), 4),
            Fetch::Low2 => {
                let v = self.load(c.i16_type(), addr, offset)?.into_int_value();
                low(self.b.build_int_z_extend(v, c.i32_type(), "")?, 4)
            }
            Fetch::Unsigned16 | Fetch::Signed16 => {
                self.widen(kind, self.load(c.i16_type().vec_type(4), addr, offset)?, 4)
            }
            Fetch::Signed8 => self.widen(kind, self.load(c.i8_type().vec_type(4), addr, offset)?, 4),
            Fetch::Words8 => self.widen(kind, self.load(c.i8_type().vec_type(8), addr, offset)?, 8),
        }
    }

    fn widen(&self, kind: Fetch, v: BasicValueEnum<'c>, n: u32) -> Made<'c> {
        let c = self.context;
        let wide = if kind == Fetch::Words8 { c.i16_type() } else { c.i32_type() }.vec_type(n);
        Ok(if matches!(kind, Fetch::Signed16 | Fetch::Signed8 | Fetch::Words8) {
            self.b.build_int_s_extend(v.into_vector_value(), wide, "")?.into()
        } else {
            self.b.build_int_z_extend(v.into_vector_value(), wide, "")?.into()
        })
    }

    pub(super) fn fetch(&self, ty: Ty, kind: Fetch, addr: IntValue<'c>, offset: i32, gap: i32) -> Made<'c> {
        let Ty::Vec(elem, n) = ty else { panic!("{ty} is no vector") };
        let whole = match (u32::from(n) * elem.size() as u32, kind, gap) {
            (16, ..) => self.half(kind, addr, offset)?,
            // Neighbouring halves are one load.
            (_, Fetch::Full, 16) => self.load(self.context.i8_type().vec_type(32), addr, offset)?,
            (_, Fetch::Unsigned16 | Fetch::Signed16, 8) => {
                self.widen(kind, self.load(self.context.i16_type().vec_type(8), addr, offset)?, 8)?
            }
            (_, Fetch::Signed8, 4) => {
                self.widen(kind, self.load(self.context.i8_type().vec_type(8), addr, offset)?, 8)?
            }
            (_, Fetch::Words8, 8) => {
                self.widen(kind, self.load(self.context.i8_type().vec_type(16), addr, offset)?, 16)?
            }
            (_, _, 0) => {
                let half = self.half(kind, addr, offset)?;
                self.joined(half, half)?
            }
            _ => {
                let (low, high) = (self.half(kind, addr, offset)?, self.half(kind, addr, offset + gap)?);
                self.joined(low, high)?
            }
        };
        Ok(self.b.build_bit_cast(whole, self.machine(ty), "")?)
    }
}
