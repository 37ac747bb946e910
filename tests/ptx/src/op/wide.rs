//! Sums over several words by the carry flag, and dot products of bytes and halves.

use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Reg, Src};
use crate::ty::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Add,
    Sub,
    MadLo,
    MadHi,
    /// Four products of bytes, or two of a half and a byte.
    Dot4,
    Dot2 {
        upper: bool,
    },
}

#[derive(Debug)]
pub(crate) struct Wide {
    kind: Kind,
    /// The carry is added; it is written.
    takes: bool,
    gives: bool,
    bits: u32,
    signed: [bool; 2],
    d: Reg,
    a: Src,
    b: Src,
    c: Src,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Wide, String> {
    let name = form.name();
    if let "dp4a" | "dp2a" = name {
        let kind =
            if name == "dp4a" { Kind::Dot4 } else { Kind::Dot2 { upper: form.must(&[("lo", false), ("hi", true)])? } };
        let signs = [form.ty()?.signed(), form.ty()?.signed()];
        form.done(4..=4)?;
        let [a, b, c] = [form.src(1, Type::B32)?, form.src(2, Type::B32)?, form.src(3, Type::B32)?];
        return Ok(Wide { kind, takes: false, gives: false, bits: 32, signed: signs, d: form.dst(0)?, a, b, c });
    }
    let gives = form.flag("cc");
    let takes = name.ends_with('c');
    let kind = match name {
        "add" | "addc" => Kind::Add,
        "sub" | "subc" => Kind::Sub,
        _ => form.must(&[("lo", Kind::MadLo), ("hi", Kind::MadHi)])?,
    };
    let ty = form.ty()?;
    let operands = if matches!(kind, Kind::MadLo | Kind::MadHi) { 4 } else { 3 };
    form.done(operands..=operands)?;
    let c = if operands == 4 { form.src(3, ty)? } else { Src::Imm(0) };
    let signed = [ty.signed(); 2];
    Ok(Wide {
        kind,
        takes,
        gives,
        bits: ty.bits(),
        signed,
        d: form.dst(0)?,
        a: form.src(1, ty)?,
        b: form.src(2, ty)?,
        c,
    })
}

impl Wide {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        let Self { kind, takes, gives, bits, signed, d, a, b, c } = *self;
        let mask = u64::MAX >> (64 - bits);
        let extend = |v: u64| {
            if signed[0] { i128::from((v << (64 - bits)) as i64 >> (64 - bits)) } else { i128::from(v & mask) }
        };
        let (x, y, z) = (step.get(a), step.get(b), step.get(c));
        let mut carries = 0u32;
        let values: Lanes = std::array::from_fn(|lane| {
            let carry = u128::from(takes && step.warp.carry >> lane & 1 == 1);
            let (x, y, z) = (x[lane], y[lane], z[lane]);
            let add = |p: u64, q: u64| u128::from(p & mask) + u128::from(q & mask) + carry;
            let sum = match kind {
                Kind::Add => add(x, y),
                // The flag of a difference is its borrow.
                Kind::Sub => u128::from(x & mask).wrapping_sub(u128::from(y & mask)).wrapping_sub(carry),
                Kind::MadLo => add((extend(x).wrapping_mul(extend(y))) as u64, z),
                Kind::MadHi => add((extend(x).wrapping_mul(extend(y)) >> bits) as u64, z),
                Kind::Dot4 => u128::from(dot4(signed, x as u32, y as u32, z as u32)),
                Kind::Dot2 { upper } => u128::from(dot2(signed, upper, x as u32, y as u32, z as u32)),
            };
            carries |= u32::from(sum >> bits & 1 == 1) << lane;
            sum as u64 & mask
        });
        let ready = step.warp.ready(a) & step.warp.ready(b) & step.warp.ready(c);
        step.set(d, ready, &values);
        if gives {
            step.warp.carry = (step.warp.carry & !step.mask) | (carries & step.mask);
        }
        Ok(Flow::Next)
    }
}

fn byte(signed: bool, word: u32, index: u32) -> i64 {
    let byte = (word >> (8 * index)) as u8;
    if signed { i64::from(byte as i8) } else { i64::from(byte) }
}

fn dot4(signed: [bool; 2], a: u32, b: u32, c: u32) -> u32 {
    (0..4).fold(c, |sum, i| sum.wrapping_add((byte(signed[0], a, i) * byte(signed[1], b, i)) as u32))
}

fn dot2(signed: [bool; 2], upper: bool, a: u32, b: u32, c: u32) -> u32 {
    (0..2).fold(c, |sum, i| {
        let half = (a >> (16 * i)) as u16;
        let half = if signed[0] { i64::from(half as i16) } else { i64::from(half) };
        sum.wrapping_add((half * byte(signed[1], b, i + 2 * u32::from(upper))) as u32)
    })
}
