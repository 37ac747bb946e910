//! Comparisons and choices: `setp`, `set`, `selp`, `slct`, `testp`.

use super::half::format;
use super::integer::{Int, each};
use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Pred, Reg, Src, Truth};
use crate::number::flush;
use crate::text::Operand;
use crate::ty::Type;
use std::cmp::Ordering;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    /// Both are numbers; one is NaN.
    Numbers,
    Nan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Combine {
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Finite,
    Infinite,
    Number,
    NotANumber,
    Normal,
    Subnormal,
}

/// A comparison and what it is combined with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Test {
    relation: Relation,
    /// Holds also where one side is NaN.
    unordered: bool,
    ty: Type,
    ftz: bool,
    combine: Option<(Combine, Truth)>,
    a: Src,
    b: Src,
}

#[derive(Debug)]
pub(crate) enum Compare {
    /// Of two halves each has its predicate; of one value the second is the opposite.
    Pred {
        test: Test,
        d: Pred,
        q: Option<Pred>,
    },
    /// All ones, or 1.0 in the type, where it holds.
    Word {
        test: Test,
        to: Type,
        d: Reg,
    },
    Select {
        ty: Type,
        d: Reg,
        a: Src,
        b: Src,
        c: Truth,
    },
    /// By the sign of the third.
    Sign {
        ty: Type,
        float: bool,
        ftz: bool,
        d: Reg,
        a: Src,
        b: Src,
        c: Src,
    },
    Class {
        class: Classes,
        double: bool,
        d: Pred,
        a: Src,
    },
}

/// Keeps the classes private to the family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Classes(Class);

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Compare, String> {
    match form.name() {
        "selp" => {
            let ty = form.ty()?;
            form.done(4..=4)?;
            Ok(Compare::Select { ty, d: form.dst(0)?, a: form.src(1, ty)?, b: form.src(2, ty)?, c: form.truth(3)? })
        }
        "slct" => {
            let ftz = form.flag("ftz");
            let (ty, by) = (form.ty()?, form.ty()?);
            form.done(4..=4)?;
            let [a, b] = [form.src(1, ty)?, form.src(2, ty)?];
            Ok(Compare::Sign { ty, float: by == Type::F32, ftz, d: form.dst(0)?, a, b, c: form.src(3, by)? })
        }
        "testp" => {
            let class = form.must(&[
                ("finite", Class::Finite),
                ("infinite", Class::Infinite),
                ("number", Class::Number),
                ("notanumber", Class::NotANumber),
                ("normal", Class::Normal),
                ("subnormal", Class::Subnormal),
            ])?;
            let ty = form.ty()?;
            form.done(2..=2)?;
            Ok(Compare::Class { class: Classes(class), double: ty == Type::F64, d: form.pred(0)?, a: form.src(1, ty)? })
        }
        name => test(form, name == "set"),
    }
}

fn test(form: &mut Form<'_>, word: bool) -> Result<Compare, String> {
    use Relation::{Eq, Ge, Gt, Le, Lt, Nan, Ne, Numbers};
    let plain = [("eq", Eq), ("ne", Ne), ("lt", Lt), ("le", Le), ("gt", Gt), ("ge", Ge)];
    let same = [("lo", Lt), ("ls", Le), ("hi", Gt), ("hs", Ge), ("num", Numbers), ("nan", Nan)];
    let loose = [("equ", Eq), ("neu", Ne), ("ltu", Lt), ("leu", Le), ("gtu", Gt), ("geu", Ge)];
    let (relation, unordered) = match form.pick(&plain).or_else(|| form.pick(&same)) {
        Some(relation) => (relation, false),
        None => (form.must(&loose)?, true),
    };
    let combine = form.pick(&[("and", Combine::And), ("or", Combine::Or), ("xor", Combine::Xor)]);
    let ftz = form.flag("ftz");
    let to = if word { form.ty()? } else { Type::Pred };
    let ty = form.ty()?;
    let operands = 3 + usize::from(combine.is_some());
    form.done(operands..=operands)?;
    let combine = match combine {
        Some(combine) => Some((combine, form.truth(3)?)),
        None => None,
    };
    let test = Test { relation, unordered, ty, ftz, combine, a: form.src(1, ty)?, b: form.src(2, ty)? };
    if word {
        return Ok(Compare::Word { test, to, d: form.dst(0)? });
    }
    let (d, q) = match form.operand(0)? {
        Operand::Pair(d, q) => (form.predicate(d)?, Some(form.predicate(q)?)),
        _ => (form.pred(0)?, None),
    };
    Ok(Compare::Pred { test, d, q })
}

impl Relation {
    #[inline]
    fn holds(self, order: Option<Ordering>, unordered: bool) -> bool {
        let Some(order) = order else { return unordered || self == Self::Nan };
        match self {
            Self::Eq => order.is_eq(),
            Self::Ne => order.is_ne(),
            Self::Lt => order.is_lt(),
            Self::Le => order.is_le(),
            Self::Gt => order.is_gt(),
            Self::Ge => order.is_ge(),
            Self::Numbers => true,
            Self::Nan => false,
        }
    }
}

impl Test {
    /// Lanes for which each of the two halves holds; of one value both are the same.
    fn masks(&self, step: &Step<'_>) -> ([u32; 2], u32) {
        let Self { relation, unordered, ty, ftz, a, b, combine } = *self;
        let single = |v: u64| {
            let v = f32::from_bits(v as u32);
            if ftz { flush(v) } else { v }
        };
        let (masks, ready) = match ty {
            Type::F32 => both(step.test(a, b, |x, y| relation.holds(single(x).partial_cmp(&single(y)), unordered))),
            Type::F64 => {
                let double = f64::from_bits;
                both(step.test(a, b, |x, y| relation.holds(double(x).partial_cmp(&double(y)), unordered)))
            }
            Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => {
                let format = format(ty).map_or(crate::number::small::F16, |f| f.0);
                let half = |v: u64| format.widen(v & 0xffff);
                let part = |shift: u32| {
                    step.test(a, b, |x, y| relation.holds(half(x >> shift).partial_cmp(&half(y >> shift)), unordered))
                };
                let (low, ready) = part(0);
                ([low, if ty.bits() == 32 { part(16).0 } else { low }], ready)
            }
            _ => {
                let int = Int::of(ty).unwrap_or(Int::U32);
                both(each!(
                    int,
                    T,
                    U,
                    step.test(a, b, |x, y| { relation.holds(Some((x as U as T).cmp(&(y as U as T))), false) })
                ))
            }
        };
        match combine {
            None => (masks, ready),
            Some((combine, truth)) => {
                let (with, with_ready) = step.truth(truth);
                let masks = masks.map(|m| match combine {
                    Combine::And => m & with,
                    Combine::Or => m | with,
                    Combine::Xor => m ^ with,
                });
                (masks, ready & with_ready)
            }
        }
    }
}

fn both((mask, ready): (u32, u32)) -> ([u32; 2], u32) {
    ([mask; 2], ready)
}

impl Compare {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match *self {
            Self::Pred { test, d, q } => {
                let ([low, high], ready) = test.masks(step);
                step.set_pred(d, ready, low);
                if let Some(q) = q {
                    let pair = matches!(test.ty, Type::F16x2 | Type::Bf16x2);
                    let opposite = match test.combine {
                        _ if pair => high,
                        None => !low,
                        // The comparison is negated before it is combined.
                        Some(_) => {
                            let alone = Test { combine: None, ..test }.masks(step).0[0];
                            let (combine, truth) = test.combine.unwrap_or((Combine::And, Truth::Constant(true)));
                            let with = step.truth(truth).0;
                            match combine {
                                Combine::And => !alone & with,
                                Combine::Or => !alone | with,
                                Combine::Xor => !alone ^ with,
                            }
                        }
                    };
                    step.set_pred(q, ready, opposite);
                }
            }
            Self::Word { test, to, d } => {
                let ([low, high], ready) = test.masks(step);
                let (yes, pair) = match to {
                    Type::F32 => (u64::from(1f32.to_bits()), false),
                    Type::F16 => (0x3c00, false),
                    Type::Bf16 => (0x3f80, false),
                    Type::F16x2 => (0x3c00, true),
                    Type::Bf16x2 => (0x3f80, true),
                    _ if matches!(test.ty, Type::F16x2 | Type::Bf16x2) => (0xffff, true),
                    _ => (u64::MAX >> (64 - to.bits()), false),
                };
                let bit = |mask: u32, lane: usize| if mask >> lane & 1 == 1 { yes } else { 0 };
                let values: Lanes =
                    std::array::from_fn(|l| if pair { bit(low, l) | bit(high, l) << 16 } else { bit(low, l) });
                step.set(d, ready, &values);
            }
            Self::Select { ty, d, a, b, c } => {
                let (holds, chosen) = step.truth(c);
                let (x, y) = (step.get(a), step.get(b));
                let mask = u64::MAX >> (64 - ty.bits());
                let values = std::array::from_fn(|l| (if holds >> l & 1 == 1 { x[l] } else { y[l] }) & mask);
                let ready = holds & step.warp.ready(a) | !holds & step.warp.ready(b);
                step.set(d, ready & chosen, &values);
            }
            Self::Sign { ty, float, ftz, d, a, b, c } => {
                let mask = u64::MAX >> (64 - ty.bits());
                step.map3(d, a, b, c, |x, y, z| {
                    let value = f32::from_bits(z as u32);
                    let value = if ftz { flush(value) } else { value };
                    let first = if float { value >= 0.0 } else { z as i32 >= 0 };
                    (if first { x } else { y }) & mask
                });
            }
            Self::Class { class: Classes(class), double, d, a } => {
                let is = |bits: u64| {
                    let class_of =
                        if double { f64::from_bits(bits).classify() } else { f32::from_bits(bits as u32).classify() };
                    use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal};
                    match class {
                        Class::Finite => !matches!(class_of, Infinite | Nan),
                        Class::Infinite => class_of == Infinite,
                        Class::Number => class_of != Nan,
                        Class::NotANumber => class_of == Nan,
                        Class::Normal => class_of == Normal,
                        Class::Subnormal => class_of == Subnormal,
                    }
                };
                let (mask, ready) = step.test(a, Src::Imm(0), |x, _| is(x));
                step.set_pred(d, ready, mask);
            }
        }
        Ok(Flow::Next)
    }
}
