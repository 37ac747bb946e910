//! Integer arithmetic of 16, 32 and 64 bits, and of pairs of 16 bits.

use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Reg, Src};
use crate::ty::Type;

/// The types that arithmetic has; plain bits count as unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Int {
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

impl Int {
    pub(crate) fn of(ty: Type) -> Result<Self, String> {
        match (ty.integer(), ty.bits(), ty.signed()) {
            (true, 16, false) => Ok(Self::U16),
            (true, 16, true) => Ok(Self::S16),
            (true, 32, false) => Ok(Self::U32),
            (true, 32, true) => Ok(Self::S32),
            (true, 64, false) => Ok(Self::U64),
            (true, 64, true) => Ok(Self::S64),
            _ => Err(format!("`.{}` is no type of integer arithmetic", ty.name())),
        }
    }
}

/// Runs an expression over a value of the Rust type that an `Int` stands for; results are kept zero-extended.
macro_rules! typed {
    ($int:expr, $step:ident.map1($d:expr, $a:expr), |$x:ident| $body:expr) => {
        crate::op::integer::each!(
            $int,
            T,
            U,
            $step.map1($d, $a, |$x| {
                let $x = $x as T;
                ($body) as U as u64
            })
        )
    };
    ($int:expr, $step:ident.map2($d:expr, $a:expr, $b:expr), |$x:ident, $y:ident| $body:expr) => {
        crate::op::integer::each!(
            $int,
            T,
            U,
            $step.map2($d, $a, $b, |$x, $y| {
                let ($x, $y) = ($x as T, $y as T);
                ($body) as U as u64
            })
        )
    };
    ($int:expr, $step:ident.map3($d:expr, $a:expr, $b:expr, $c:expr), |$x:ident, $y:ident, $z:ident| $body:expr) => {
        crate::op::integer::each!(
            $int,
            T,
            U,
            $step.map3($d, $a, $b, $c, |$x, $y, $z| {
                let ($x, $y, $z) = ($x as T, $y as T, $z as T);
                ($body) as U as u64
            })
        )
    };
}

/// An expression with `T` and `U`, the Rust type of an `Int` and the unsigned one of its width.
macro_rules! each {
    ($int:expr, $t:ident, $u:ident, $body:expr) => {
        match $int {
            crate::op::integer::Int::U16 => {
                type $t = u16;
                type $u = u16;
                $body
            }
            crate::op::integer::Int::S16 => {
                type $t = i16;
                type $u = u16;
                $body
            }
            crate::op::integer::Int::U32 => {
                type $t = u32;
                type $u = u32;
                $body
            }
            crate::op::integer::Int::S32 => {
                type $t = i32;
                type $u = u32;
                $body
            }
            crate::op::integer::Int::U64 => {
                type $t = u64;
                type $u = u64;
                $body
            }
            crate::op::integer::Int::S64 => {
                type $t = i64;
                type $u = u64;
                $body
            }
        }
    };
}
pub(crate) use each;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    AddSaturating,
    Sub,
    SubSaturating,
    MulLo,
    MulHi,
    /// The product has twice the bits.
    MulWide,
    MadLo,
    MadHi,
    MadHiSaturating,
    MadWide,
    Mul24,
    Mad24,
    /// Of a zero divisor all bits are set, as the hardware's are.
    Div,
    /// Of a zero divisor it is the dividend.
    Rem,
    Abs,
    Neg,
    Min,
    Max,
    /// |a - b| + c.
    Sad,
}

#[derive(Clone, Copy, Debug)]
enum Shape {
    One(Int),
    /// Two halves of 16 bits.
    Pair(Int),
}

#[derive(Debug)]
pub(crate) struct Integer {
    kind: Kind,
    shape: Shape,
    relu: bool,
    d: Reg,
    a: Src,
    b: Src,
    c: Src,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Integer, String> {
    use Kind::{
        Abs, Add, AddSaturating, Div, Mad24, MadHi, MadHiSaturating, MadLo, MadWide, Max, Min, Mul24, MulHi, MulLo,
        MulWide, Neg, Rem, Sad, Sub, SubSaturating,
    };
    let saturating = form.flag("sat");
    let parts = [("lo", 0), ("hi", 1), ("wide", 2)];
    let kind = match form.name() {
        "add" if saturating => AddSaturating,
        "add" => Add,
        "sub" if saturating => SubSaturating,
        "sub" => Sub,
        "mul" => [MulLo, MulHi, MulWide][form.must(&parts)?],
        "mad" if saturating => form.must(&[("hi", MadHiSaturating)])?,
        "mad" => [MadLo, MadHi, MadWide][form.must(&parts)?],
        "mul24" => form.must(&[("lo", Mul24)])?,
        "mad24" => form.must(&[("lo", Mad24)])?,
        "div" => Div,
        "rem" => Rem,
        "abs" => Abs,
        "neg" => Neg,
        "min" => Min,
        "max" => Max,
        "sad" => Sad,
        _ => return Err("not integer arithmetic".to_owned()),
    };
    let relu = form.flag("relu");
    let ty = form.ty()?;
    let shape = match ty {
        Type::U16x2 => Shape::Pair(Int::U16),
        Type::S16x2 => Shape::Pair(Int::S16),
        _ => Shape::One(Int::of(ty)?),
    };
    let operands = match kind {
        Abs | Neg => 2,
        MadLo | MadHi | MadHiSaturating | MadWide | Mad24 | Sad => 4,
        Add | AddSaturating | Sub | SubSaturating | MulLo | MulHi | MulWide | Mul24 | Div | Rem | Min | Max => 3,
    };
    if matches!(shape, Shape::Pair(_)) && !matches!(kind, Add | Min | Max) {
        return Err("pairs have add, min and max".to_owned());
    }
    if matches!(kind, MulWide | MadWide) && ty.bits() == 64 {
        return Err("a product of 128 bits".to_owned());
    }
    form.done(operands..=operands)?;
    let nothing = Ok(Src::Imm(0));
    Ok(Integer {
        kind,
        shape,
        relu,
        d: form.dst(0)?,
        a: form.src(1, ty)?,
        b: if operands > 2 { form.src(2, ty) } else { nothing.clone() }?,
        c: if operands > 3 { form.src(3, ty) } else { nothing }?,
    })
}

impl Integer {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        let Self { kind, shape, relu, d, a, b, c } = *self;
        match shape {
            Shape::One(int) => one(kind, int, relu, step, (d, a, b, c)),
            Shape::Pair(int) => {
                let signed = int == Int::S16;
                step.map2(d, a, b, |x, y| halves(x, y, |x, y| pair(kind, signed, relu, x, y)));
            }
        }
        Ok(Flow::Next)
    }
}

fn halves(x: u64, y: u64, f: impl Fn(u16, u16) -> u16) -> u64 {
    u64::from(f(x as u16, y as u16)) | u64::from(f((x >> 16) as u16, (y >> 16) as u16)) << 16
}

fn pair(kind: Kind, signed: bool, relu: bool, x: u16, y: u16) -> u16 {
    let (s, t) = (x as i16, y as i16);
    let value = match kind {
        Kind::Min if signed => s.min(t) as u16,
        Kind::Max if signed => s.max(t) as u16,
        Kind::Min => x.min(y),
        Kind::Max => x.max(y),
        _ => x.wrapping_add(y),
    };
    if relu && (value as i16) < 0 { 0 } else { value }
}

fn one(kind: Kind, int: Int, relu: bool, step: &mut Step<'_>, (d, a, b, c): (Reg, Src, Src, Src)) {
    match kind {
        Kind::Add => typed!(int, step.map2(d, a, b), |x, y| x.wrapping_add(y)),
        Kind::AddSaturating => typed!(int, step.map2(d, a, b), |x, y| x.saturating_add(y)),
        Kind::Sub => typed!(int, step.map2(d, a, b), |x, y| x.wrapping_sub(y)),
        Kind::SubSaturating => typed!(int, step.map2(d, a, b), |x, y| x.saturating_sub(y)),
        Kind::MulLo => typed!(int, step.map2(d, a, b), |x, y| x.wrapping_mul(y)),
        Kind::MulHi => {
            each!(int, T, U, step.map2(d, a, b, |x, y| u64::from(high(x as T as i128, y as T as i128, T::BITS) as U)))
        }
        Kind::MulWide => each!(int, T, U, {
            let mask = u64::MAX >> (64 - (2 * U::BITS).min(64));
            step.map2(d, a, b, |x, y| (x as T as i64 as u64).wrapping_mul(y as T as i64 as u64) & mask)
        }),
        Kind::MadLo => typed!(int, step.map3(d, a, b, c), |x, y, z| x.wrapping_mul(y).wrapping_add(z)),
        Kind::MadHi => each!(
            int,
            T,
            U,
            step.map3(d, a, b, c, |x, y, z| {
                u64::from((high(x as T as i128, y as T as i128, T::BITS) as U).wrapping_add(z as U))
            })
        ),
        Kind::MadHiSaturating => step.map3(d, a, b, c, |x, y, z| {
            let product = high(i128::from(x as i32), i128::from(y as i32), 32) as i32;
            u64::from(product.saturating_add(z as i32) as u32)
        }),
        Kind::MadWide => each!(int, T, U, {
            let mask = u64::MAX >> (64 - (2 * U::BITS).min(64));
            step.map3(d, a, b, c, |x, y, z| {
                (x as T as i64 as u64).wrapping_mul(y as T as i64 as u64).wrapping_add(z) & mask
            })
        }),
        Kind::Mul24 => typed!(int, step.map2(d, a, b), |x, y| ((x << 8) >> 8).wrapping_mul((y << 8) >> 8)),
        Kind::Mad24 => {
            typed!(int, step.map3(d, a, b, c), |x, y, z| ((x << 8) >> 8).wrapping_mul((y << 8) >> 8).wrapping_add(z))
        }
        Kind::Div => typed!(int, step.map2(d, a, b), |x, y| if y == 0 { !0 } else { x.wrapping_div(y) }),
        Kind::Rem => typed!(int, step.map2(d, a, b), |x, y| if y == 0 { x } else { x.wrapping_rem(y) }),
        Kind::Abs => each!(
            int,
            T,
            U,
            step.map1(d, a, |x| u64::from(if (x as T as i128) < 0 { (x as U).wrapping_neg() } else { x as U }))
        ),
        Kind::Neg => typed!(int, step.map1(d, a), |x| x.wrapping_neg()),
        Kind::Min if relu => step.map2(d, a, b, |x, y| u64::from((x as i32).min(y as i32).max(0) as u32)),
        Kind::Max if relu => step.map2(d, a, b, |x, y| u64::from((x as i32).max(y as i32).max(0) as u32)),
        Kind::Min => typed!(int, step.map2(d, a, b), |x, y| x.min(y)),
        Kind::Max => typed!(int, step.map2(d, a, b), |x, y| x.max(y)),
        Kind::Sad => typed!(int, step.map3(d, a, b, c), |x, y, z| x.max(y).wrapping_sub(x.min(y)).wrapping_add(z)),
    }
}

/// The upper half of a product.
fn high(x: i128, y: i128, bits: u32) -> i128 {
    // Of two unsigned 64-bit numbers the product may have its top bit set; the cast back takes the low bits.
    x.wrapping_mul(y) >> bits
}
