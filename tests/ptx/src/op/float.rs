//! Arithmetic in f32 and f64. Roundings other than to nearest are exact in f32; in f64 sums, products, quotients and roots.

use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Reg, Src};
use crate::number::approx::Approx;
use crate::number::exact::Exact;
use crate::number::{Round, bits32, flush};
use crate::ty::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    Mul,
    /// With one rounding.
    MultiplyAdd,
    Div,
    Root,
    Abs,
    Neg,
    Min,
    Max,
    /// The first's sign, the second's size.
    CopySign,
    Approx(Approx),
}

#[derive(Debug)]
pub(crate) struct Float {
    kind: Kinds,
    double: bool,
    round: Round,
    /// Numbers below the normal ones count as zero, as operands and as results.
    ftz: bool,
    sat: bool,
    /// NaN wins; the sign is the product of the signs, and sizes are compared.
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

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Float, String> {
    let name = form.name();
    let round = form.round();
    let (approx, full) = (form.flag("approx"), form.flag("full"));
    let (ftz, sat, nan) = (form.flag("ftz"), form.flag("sat"), form.flag("NaN"));
    let xorsign = form.flag("xorsign");
    let magnitude = form.flag("abs");
    if xorsign != magnitude {
        return Err("`.xorsign.abs` stand together".to_owned());
    }
    let ty = form.ty()?;
    let kind = match name {
        "add" => Kind::Add,
        "sub" => Kind::Sub,
        "mul" => Kind::Mul,
        "fma" | "mad" => Kind::MultiplyAdd,
        "div" => Kind::Div,
        "sqrt" if !approx => Kind::Root,
        "abs" => Kind::Abs,
        "neg" => Kind::Neg,
        "min" => Kind::Min,
        "max" => Kind::Max,
        "copysign" => Kind::CopySign,
        "rcp" if !approx => Kind::Div,
        "rcp" => Kind::Approx(Approx::Reciprocal),
        "sqrt" => Kind::Approx(Approx::Root),
        "rsqrt" => Kind::Approx(Approx::ReciprocalRoot),
        "ex2" => Kind::Approx(Approx::Exp2),
        "lg2" => Kind::Approx(Approx::Log2),
        "sin" => Kind::Approx(Approx::Sine),
        "cos" => Kind::Approx(Approx::Cosine),
        "tanh" => Kind::Approx(Approx::Tanh),
        _ => return Err("not float arithmetic".to_owned()),
    };
    if matches!(kind, Kind::Approx(_)) && !approx {
        return Err("`.approx` is missing".to_owned());
    }
    if approx && !matches!(kind, Kind::Approx(_) | Kind::Div) || full && kind != Kind::Div {
        return Err("it is not approximated".to_owned());
    }
    let double = ty == Type::F64;
    let round = round.unwrap_or(Round::Nearest);
    if round == Round::Away || double && round != Round::Nearest && kind == Kind::MultiplyAdd {
        return Err("the rounding is not supported".to_owned());
    }
    let operands = match kind {
        Kind::MultiplyAdd => 4,
        Kind::Div if name == "rcp" => 2,
        Kind::Add | Kind::Sub | Kind::Mul | Kind::Div | Kind::CopySign => 3,
        Kind::Min | Kind::Max => form.count().clamp(3, 4),
        Kind::Root | Kind::Abs | Kind::Neg | Kind::Approx(_) => 2,
    };
    if operands == 4 && kind != Kind::MultiplyAdd {
        return Err("the minimum of three is not supported".to_owned());
    }
    form.done(operands..=operands)?;
    let one = Src::Imm(if double { 1f64.to_bits() } else { u64::from(1f32.to_bits()) });
    let (a, b) = match operands {
        2 if name == "rcp" && !approx => (one, form.src(1, ty)?),
        2 => (form.src(1, ty)?, Src::Imm(0)),
        _ => (form.src(1, ty)?, form.src(2, ty)?),
    };
    let c = if operands == 4 { form.src(3, ty)? } else { Src::Imm(0) };
    Ok(Float { kind: Kinds(kind), double, round, ftz, sat, nan, xorsign, d: form.dst(0)?, a, b, c })
}

impl Float {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        let Self { kind: Kinds(kind), double, round, ftz, sat, d, a, b, c, .. } = *self;
        let plain = !double && round == Round::Nearest && !ftz && !sat;
        let single = |bits: u64| f32::from_bits(bits as u32);
        match kind {
            Kind::Add if plain => step.map2(d, a, b, |x, y| bits32(single(x) + single(y))),
            Kind::Sub if plain => step.map2(d, a, b, |x, y| bits32(single(x) - single(y))),
            Kind::Mul if plain => step.map2(d, a, b, |x, y| bits32(single(x) * single(y))),
            Kind::MultiplyAdd if plain => {
                step.map3(d, a, b, c, |x, y, z| bits32(single(x).mul_add(single(y), single(z))))
            }
            Kind::Abs => {
                let sign = if double { 1 << 63 } else { 1 << 31 };
                step.map1(d, a, |x| self.flushed(x & !sign));
            }
            Kind::Neg => {
                let sign = if double { 1 << 63 } else { 1 << 31 };
                step.map1(d, a, |x| self.flushed(x) ^ sign);
            }
            Kind::CopySign => {
                let sign = if double { 1 << 63 } else { 1 << 31 };
                step.map2(d, a, b, |x, y| x & sign | y & !sign);
            }
            _ if double => step.map3(d, a, b, c, |x, y, z| {
                let value = self.double(f64::from_bits(x), f64::from_bits(y), f64::from_bits(z));
                (if sat { saturate(value) } else { value }).to_bits()
            }),
            _ => step.map3(d, a, b, c, |x, y, z| {
                let load = |v| if ftz { flush(single(v)) } else { single(v) };
                let value = self.single(load(x), load(y), load(z));
                let value = if ftz { flush(value) } else { value };
                bits32(if sat { saturate(f64::from(value)) as f32 } else { value })
            }),
        }
        Ok(Flow::Next)
    }

    fn flushed(&self, bits: u64) -> u64 {
        if self.ftz && !self.double { u64::from(flush(f32::from_bits(bits as u32)).to_bits()) } else { bits }
    }

    fn single(&self, x: f32, y: f32, z: f32) -> f32 {
        let (p, q, r) = (f64::from(x), f64::from(y), f64::from(z));
        match self.kind.0 {
            Kind::Add => Exact::sum(p, q).to_f32(self.round),
            Kind::Sub => Exact::sum(p, -q).to_f32(self.round),
            // A product of two f32 is an f64.
            Kind::Mul => Exact::exact(p * q).to_f32(self.round),
            Kind::MultiplyAdd => Exact::multiply_add(p, q, r).to_f32(self.round),
            Kind::Div => Exact::quotient(p, q).to_f32(self.round),
            Kind::Root => Exact::root(p).to_f32(self.round),
            Kind::Min => self.extreme(p, q, true) as f32,
            Kind::Max => self.extreme(p, q, false) as f32,
            Kind::Approx(approx) => f32::from_bits(approx.single(x, self.ftz) as u32),
            Kind::Abs | Kind::Neg | Kind::CopySign => x,
        }
    }

    fn double(&self, x: f64, y: f64, z: f64) -> f64 {
        let round = self.round;
        match self.kind.0 {
            Kind::Add => Exact::sum(x, y).to_f64(round),
            Kind::Sub => Exact::sum(x, -y).to_f64(round),
            Kind::Mul => Exact::product(x, y).to_f64(round),
            Kind::MultiplyAdd => x.mul_add(y, z),
            Kind::Div => Exact::quotient(x, y).to_f64(round),
            Kind::Root => Exact::root(x).to_f64(round),
            Kind::Min => self.extreme(x, y, true),
            Kind::Max => self.extreme(x, y, false),
            Kind::Approx(approx) => approx.of(x),
            Kind::Abs | Kind::Neg | Kind::CopySign => x,
        }
    }

    fn extreme(&self, x: f64, y: f64, least: bool) -> f64 {
        let sign = (x.is_sign_negative() != y.is_sign_negative()) && self.xorsign;
        let (p, q) = if self.xorsign { (x.abs(), y.abs()) } else { (x, y) };
        let value = extreme(p, q, least, self.nan);
        if sign { -value } else { value }
    }
}

/// The lesser or greater of two, zeros by their signs. Where one is NaN it is the other, or NaN if `nan` says so.
pub(crate) fn extreme(x: f64, y: f64, least: bool, nan: bool) -> f64 {
    if x.is_nan() || y.is_nan() {
        return if nan || x.is_nan() && y.is_nan() {
            f64::NAN
        } else if x.is_nan() {
            y
        } else {
            x
        };
    }
    let first = if x == y { x.is_sign_negative() } else { x < y };
    if first == least { x } else { y }
}

/// Into [0, 1]; NaN becomes 0.
fn saturate(value: f64) -> f64 {
    if value > 0.0 { value.min(1.0) } else { 0.0 }
}
