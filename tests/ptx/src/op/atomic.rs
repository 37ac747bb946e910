//! `atom` and `red`: read, change and write in one, lane by lane from the lowest.

use super::half::format;
use super::integer::{Int, each};
use super::memory::{hints, order};
use crate::decode::form::{Address, Form};
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Reg, Src};
use crate::number::bits32;
use crate::number::exact::Exact;
use crate::ty::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    And,
    Or,
    Xor,
    Min,
    Max,
    /// Counts up to the operand, then from 0.
    Inc,
    Dec,
    Exchange,
    CompareSwap,
}

#[derive(Debug)]
pub(crate) struct Atomic {
    kind: Kinds,
    ty: Type,
    release: bool,
    d: Option<Reg>,
    at: Address,
    a: Src,
    b: Src,
}

/// Keeps the kinds private to the family.
#[derive(Clone, Copy, Debug)]
struct Kinds(Kind);

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Atomic, String> {
    let returns = form.name() == "atom";
    let (_, release) = order(form);
    let hint = usize::from(hints(form));
    let place = form.space();
    form.flag("noftz");
    let kind = form.must(&[
        ("add", Kind::Add),
        ("and", Kind::And),
        ("or", Kind::Or),
        ("xor", Kind::Xor),
        ("min", Kind::Min),
        ("max", Kind::Max),
        ("inc", Kind::Inc),
        ("dec", Kind::Dec),
        ("exch", Kind::Exchange),
        ("cas", Kind::CompareSwap),
    ])?;
    let ty = form.ty()?;
    let from = usize::from(returns);
    let operands = from + 2 + usize::from(kind == Kind::CompareSwap) + hint;
    form.done(operands..=operands)?;
    let float = matches!(ty, Type::F32 | Type::F64) || format(ty).is_ok();
    if float && kind != Kind::Add || ty.bits() < 16 || ty.bits() > 64 {
        return Err("the type is not supported".to_owned());
    }
    Ok(Atomic {
        kind: Kinds(kind),
        ty,
        release,
        d: if returns { Some(form.dst(0)?) } else { None },
        at: form.address(from, place)?,
        a: form.src(from + 1, ty)?,
        b: if kind == Kind::CompareSwap { form.src(from + 2, ty)? } else { Src::Imm(0) },
    })
}

impl Atomic {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        let Self { ty, d, a, b, .. } = *self;
        step.need(a, "an operand of an atomic instruction")?;
        step.need(b, "an operand of an atomic instruction")?;
        if self.release {
            step.block.clocks.fence();
        }
        let addresses = step.addresses(&self.at)?;
        let (x, y) = (step.get(a), step.get(b));
        let mask = u64::MAX >> (64 - ty.bits());
        let mut before: Lanes = [0; 32];
        for lane in step.lanes() {
            let (x, y) = (x[lane] & mask, y[lane] & mask);
            let old = step.modify(lane, self.at.place, addresses[lane], ty.bytes(), |old| {
                Some(u128::from(self.after(old as u64, x, y) & mask))
            })?;
            before[lane] = old as u64;
        }
        if let Some(d) = d {
            step.set(d, u32::MAX, &before);
        }
        step.count_sectors(self.at.place, &addresses, ty.bytes(), true);
        Ok(Flow::Next)
    }

    fn after(&self, old: u64, x: u64, y: u64) -> u64 {
        match self.kind.0 {
            Kind::Add => sum(self.ty, old, x),
            Kind::And => old & x,
            Kind::Or => old | x,
            Kind::Xor => old ^ x,
            Kind::Min | Kind::Max => {
                let int = Int::of(self.ty).unwrap_or(Int::U64);
                let less = each!(int, T, U, (old as U as T) < (x as U as T));
                if less == (self.kind.0 == Kind::Min) { old } else { x }
            }
            Kind::Inc => {
                if old >= x {
                    0
                } else {
                    old + 1
                }
            }
            Kind::Dec => {
                if old == 0 || old > x {
                    x
                } else {
                    old - 1
                }
            }
            Kind::Exchange => x,
            Kind::CompareSwap => {
                if old == x {
                    y
                } else {
                    old
                }
            }
        }
    }
}

fn sum(ty: Type, old: u64, x: u64) -> u64 {
    match ty {
        Type::F32 => bits32(f32::from_bits(old as u32) + f32::from_bits(x as u32)),
        Type::F64 => (f64::from_bits(old) + f64::from_bits(x)).to_bits(),
        Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => {
            let Ok((format, pair)) = format(ty) else { return old };
            let add = |p: u64, q: u64| Exact::sum(format.widen(p & 0xffff), format.widen(q & 0xffff)).narrow(format);
            add(old, x) | if pair { add(old >> 16, x >> 16) << 16 } else { 0 }
        }
        _ => old.wrapping_add(x),
    }
}
