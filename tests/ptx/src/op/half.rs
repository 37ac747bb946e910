//! Arithmetic in f16 and bf16, one value or two: computed exactly, rounded once.

use super::float::extreme;
use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Reg, Src};
use crate::number::Round;
use crate::number::exact::Exact;
use crate::number::small::{BF16, F16, Format};
use crate::ty::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    Mul,
    MultiplyAdd,
    Abs,
    Neg,
    Min,
    Max,
    Exp2,
    Tanh,
}

#[derive(Debug)]
pub(crate) struct Half {
    kind: Kinds,
    format: Format,
    pair: bool,
    ftz: bool,
    sat: bool,
    relu: bool,
    nan: bool,
    xorsign: bool,
    d: Reg,
    a: Src,
    b: Src,
    c: Src,
}

/// Keeps the kinds private to the family.
#[derive(Clone, Copy, Debug)]
struct Kinds(Kind);

/// Format of a type of 16 bits, and whether there are two.
pub(crate) fn format(ty: Type) -> Result<(Format, bool), String> {
    match ty {
        Type::F16 => Ok((F16, false)),
        Type::F16x2 => Ok((F16, true)),
        Type::Bf16 => Ok((BF16, false)),
        Type::Bf16x2 => Ok((BF16, true)),
        _ => Err(format!("`.{}` is no float of 16 bits", ty.name())),
    }
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Half, String> {
    if form.round().is_some_and(|r| r != Round::Nearest) {
        return Err("halves are rounded to nearest".to_owned());
    }
    form.flag("approx");
    let (ftz, sat, relu, nan) = (form.flag("ftz"), form.flag("sat"), form.flag("relu"), form.flag("NaN"));
    let xorsign = form.flag("xorsign");
    if xorsign != form.flag("abs") {
        return Err("`.xorsign.abs` stand together".to_owned());
    }
    let ty = form.ty()?;
    let (format, pair) = format(ty)?;
    let (kind, operands) = match form.name() {
        "add" => (Kind::Add, 3),
        "sub" => (Kind::Sub, 3),
        "mul" => (Kind::Mul, 3),
        "fma" => (Kind::MultiplyAdd, 4),
        "abs" => (Kind::Abs, 2),
        "neg" => (Kind::Neg, 2),
        "min" => (Kind::Min, 3),
        "max" => (Kind::Max, 3),
        "ex2" => (Kind::Exp2, 2),
        "tanh" => (Kind::Tanh, 2),
        _ => return Err("not an operation on halves".to_owned()),
    };
    form.done(operands..=operands)?;
    let a = form.src(1, ty)?;
    let b = if operands > 2 { form.src(2, ty)? } else { Src::Imm(0) };
    let c = if operands > 3 { form.src(3, ty)? } else { Src::Imm(0) };
    Ok(Half { kind: Kinds(kind), format, pair, ftz, sat, relu, nan, xorsign, d: form.dst(0)?, a, b, c })
}

impl Half {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        let Self { pair, d, a, b, c, .. } = *self;
        step.map3(d, a, b, c, |x, y, z| {
            let low = self.one(x & 0xffff, y & 0xffff, z & 0xffff);
            if !pair {
                return low;
            }
            low | self.one(x >> 16 & 0xffff, y >> 16 & 0xffff, z >> 16 & 0xffff) << 16
        });
        Ok(Flow::Next)
    }

    fn one(&self, x: u64, y: u64, z: u64) -> u64 {
        match self.kind.0 {
            Kind::Abs => return self.flush(x & 0x7fff),
            Kind::Neg => return self.flush(x) ^ 0x8000,
            Kind::Add | Kind::Sub | Kind::Mul | Kind::MultiplyAdd | Kind::Min | Kind::Max | Kind::Exp2 | Kind::Tanh => {
            }
        }
        let load = |bits| self.format.widen(self.flush(bits));
        let (p, q, r) = (load(x), load(y), load(z));
        let bits = match self.kind.0 {
            Kind::Add => Exact::sum(p, q).narrow(self.format),
            Kind::Sub => Exact::sum(p, -q).narrow(self.format),
            Kind::Mul => Exact::exact(p * q).narrow(self.format),
            Kind::MultiplyAdd => Exact::multiply_add(p, q, r).narrow(self.format),
            Kind::Min | Kind::Max => self.extreme(p, q, self.kind.0 == Kind::Min),
            Kind::Exp2 => Exact::exact(p.exp2()).narrow(self.format),
            Kind::Tanh => Exact::exact(p.tanh()).narrow(self.format),
            Kind::Abs | Kind::Neg => x,
        };
        let bits = self.flush(bits);
        let value = self.format.widen(bits);
        let one = self.format.narrow(1.0, Round::Nearest, false);
        match (self.sat, self.relu) {
            (true, _) if value > 1.0 => one,
            // NaN becomes zero too; with `.relu` it stays.
            (true, _) if value.is_nan() || value <= 0.0 => 0,
            (_, true) if value < 0.0 || bits == 0x8000 => 0,
            _ => bits,
        }
    }

    fn extreme(&self, p: f64, q: f64, least: bool) -> u64 {
        let negative = (p.is_sign_negative() != q.is_sign_negative()) && self.xorsign;
        let (p, q) = if self.xorsign { (p.abs(), q.abs()) } else { (p, q) };
        let bits = self.format.narrow(extreme(p, q, least, self.nan), Round::Nearest, false);
        bits ^ u64::from(negative) << 15
    }

    fn flush(&self, bits: u64) -> u64 {
        let below = bits >> self.format.mantissa & ((1 << self.format.exponent) - 1) == 0;
        if self.ftz && below { bits & 0x8000 } else { bits }
    }
}
