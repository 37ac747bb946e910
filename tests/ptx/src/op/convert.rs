//! `cvt`: between integers, between floats, and across, with every rounding; packing of two.

use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Reg, Src};
use crate::number::small::{BF16, E4M3, E5M2, F16, F32, Format, TF32};
use crate::number::{Round, bits32, flush};
use crate::ty::Type;

/// What an end of a conversion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Integer { bits: u32, signed: bool },
    Small(Format),
    Single,
    Double,
}

impl End {
    fn of(ty: Type) -> Result<Self, String> {
        match ty {
            Type::F16 | Type::F16x2 => Ok(Self::Small(F16)),
            Type::Bf16 | Type::Bf16x2 => Ok(Self::Small(BF16)),
            Type::Tf32 => Ok(Self::Small(TF32)),
            Type::E4m3x2 | Type::E4m3 => Ok(Self::Small(E4M3)),
            Type::E5m2x2 | Type::E5m2 => Ok(Self::Small(E5M2)),
            Type::F32 => Ok(Self::Single),
            Type::F64 => Ok(Self::Double),
            _ if ty.integer() => Ok(Self::Integer { bits: ty.bits(), signed: ty.signed() }),
            _ => Err(format!("`.{}` is not converted", ty.name())),
        }
    }

    fn float(self) -> bool {
        !matches!(self, Self::Integer { .. })
    }
}

#[derive(Debug)]
pub(crate) struct Convert {
    to: End,
    from: End,
    /// Also for float to integral float.
    round: Round,
    integral: bool,
    ftz: bool,
    sat: bool,
    relu: bool,
    finite: bool,
    /// Two results in one register, from two registers or a packed one.
    shape: Shape,
    /// Bits of the destination register, into which integers are extended.
    width: u32,
    d: Reg,
    a: Src,
    b: Src,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    One,
    /// `a` to the upper half, `b` to the lower.
    Pack,
    /// Each half of `a`.
    Halves,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Convert, String> {
    use Round::{Down, Nearest, Up, Zero};
    let whole = form.pick(&[("rni", Nearest), ("rzi", Zero), ("rmi", Down), ("rpi", Up)]);
    let round = form.round();
    let (relu, finite) = (form.flag("relu"), form.flag("satfinite"));
    let (ftz, sat) = (form.flag("ftz"), form.flag("sat"));
    let (to_ty, from_ty) = (form.ty()?, form.ty()?);
    let packed = matches!(to_ty, Type::F16x2 | Type::Bf16x2 | Type::E4m3x2 | Type::E5m2x2);
    let shape = match form.count() {
        3 if packed => Shape::Pack,
        2 if packed && matches!(from_ty, Type::F16x2 | Type::Bf16x2 | Type::E4m3x2 | Type::E5m2x2) => Shape::Halves,
        2 if !packed => Shape::One,
        _ => return Err("other operands are expected".to_owned()),
    };
    form.done(2..=3)?;
    let (d, ty) = form.register(form.operand(0)?)?;
    let b = if shape == Shape::Pack { form.src(2, from_ty)? } else { Src::Imm(0) };
    Ok(Convert {
        to: End::of(to_ty)?,
        from: End::of(from_ty)?,
        round: whole.or(round).unwrap_or(Nearest),
        integral: whole.is_some(),
        ftz,
        sat,
        relu,
        finite,
        shape,
        width: ty.bits(),
        d,
        a: form.src(1, from_ty)?,
        b,
    })
}

impl Convert {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        let Self { d, a, b, .. } = *self;
        match (self.shape, self.to, self.from) {
            (Shape::One, End::Integer { bits, signed }, End::Integer { bits: from, signed: from_signed })
                if !self.sat =>
            {
                let mask = u64::MAX >> (64 - self.width);
                let extend = |x: u64, drop: u32, signed| {
                    if signed { ((x << drop) as i64 >> drop) as u64 } else { x << drop >> drop }
                };
                step.map1(d, a, |x| extend(extend(x, 64 - from, from_signed), 64 - bits, signed) & mask);
            }
            (Shape::One, ..) => step.map1(d, a, |x| self.one(x)),
            (Shape::Pack, End::Small(format), _) => {
                let bits = 1 + format.exponent + format.mantissa;
                step.map2(d, a, b, |x, y| self.one(x) << bits | self.one(y));
            }
            (Shape::Halves, End::Small(format), _) => {
                let bits = 1 + format.exponent + format.mantissa;
                let from = match self.from {
                    End::Small(f) => 1 + f.exponent + f.mantissa,
                    End::Integer { .. } | End::Single | End::Double => 32,
                };
                let low = (1 << from) - 1;
                step.map1(d, a, |x| self.one(x >> from & low) << bits | self.one(x & low));
            }
            (Shape::Pack | Shape::Halves, End::Integer { .. } | End::Single | End::Double, _) => {}
        }
        Ok(Flow::Next)
    }

    fn one(&self, x: u64) -> u64 {
        match (self.from, self.to) {
            (End::Integer { bits, signed }, End::Integer { .. }) => self.integer(extend(x, bits, signed)),
            (End::Integer { bits, signed }, _) => self.from_integer(extend(x, bits, signed)),
            (from, End::Integer { bits, signed }) => {
                let value = self.load(from, x);
                let least = if signed { -(2f64.powi(bits as i32 - 1)) } else { 0.0 };
                let beyond = 2f64.powi(bits as i32 - i32::from(signed));
                // Out of range is clamped, and NaN is 0.
                let whole = whole(value, self.round);
                let value = if whole >= beyond {
                    i128::MAX
                } else if whole.is_nan() {
                    0
                } else {
                    whole.max(least) as i128
                };
                self.integer(value)
            }
            (from, to) => {
                let mut value = self.load(from, x);
                if self.integral {
                    value = whole(value, self.round);
                }
                if self.sat {
                    value = if value > 0.0 { value.min(1.0) } else { 0.0 };
                }
                if self.relu && (value < 0.0 || value == 0.0) {
                    value = 0.0;
                }
                self.store(to, value)
            }
        }
    }

    fn load(&self, from: End, x: u64) -> f64 {
        match from {
            End::Small(format) => format.widen(x & (u64::MAX >> (63 - format.exponent - format.mantissa))),
            End::Single => {
                let x = f32::from_bits(x as u32);
                f64::from(if self.ftz { flush(x) } else { x })
            }
            End::Double => f64::from_bits(x),
            End::Integer { .. } => 0.0,
        }
    }

    fn store(&self, to: End, value: f64) -> u64 {
        match to {
            // tf32 is an f32 whose last bits are clear.
            End::Small(TF32) => TF32.narrow(value, self.round, self.finite) << 13,
            End::Small(format) => format.narrow(value, self.round, self.finite),
            End::Single => {
                let single = f32::from_bits(F32.narrow(value, self.round, false) as u32);
                bits32(if self.ftz { flush(single) } else { single })
            }
            End::Double => value.to_bits(),
            End::Integer { .. } => 0,
        }
    }

    /// Clamped to the type where that is asked for or the source was a float, extended to the register.
    fn integer(&self, value: i128) -> u64 {
        let End::Integer { bits, signed } = self.to else { return 0 };
        let (least, most) = if signed { (-(1i128 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
        let value = if self.sat || self.from.float() { value.clamp(least, most) } else { value };
        extend(value as u64, bits, signed) as u64 & (u64::MAX >> (64 - self.width))
    }

    fn from_integer(&self, value: i128) -> u64 {
        // Rounded once: what f64 cannot hold is gathered in its last bit, which no narrower format keeps.
        let near = value as f64;
        let rest = value - near as i128;
        let double = match self.to {
            End::Double => match self.round {
                Round::Down if rest < 0 => near.next_down(),
                Round::Up if rest > 0 => near.next_up(),
                Round::Zero if rest != 0 && (rest < 0) == (near > 0.0) => {
                    if near > 0.0 {
                        near.next_down()
                    } else {
                        near.next_up()
                    }
                }
                _ => near,
            },
            End::Small(_) | End::Single | End::Integer { .. } => {
                if rest != 0 && near.to_bits() & 1 == 0 {
                    if rest > 0 { near.next_up() } else { near.next_down() }
                } else {
                    near
                }
            }
        };
        self.store(self.to, if self.sat { double.clamp(0.0, 1.0) } else { double })
    }
}

fn extend(x: u64, bits: u32, signed: bool) -> i128 {
    let drop = 64 - bits;
    if signed { i128::from((x << drop) as i64 >> drop) } else { i128::from(x << drop >> drop) }
}

fn whole(value: f64, round: Round) -> f64 {
    match round {
        Round::Nearest => value.round_ties_even(),
        Round::Zero => value.trunc(),
        Round::Down => value.floor(),
        Round::Up => value.ceil(),
        Round::Away => value.round(),
    }
}
