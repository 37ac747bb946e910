//! Bits: logic, also of predicates, shifts, fields, permutations, counts.

use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Pred, Reg, Src, Truth};
use crate::ty::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Logic {
    And,
    Or,
    Xor,
    Not,
    /// 1 if all bits are clear.
    CNot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Logic(Logic),
    Lop3(u8),
    Shl,
    Shr,
    /// A funnel shift: of the pair b:a, the upper word after a shift to the left, or the lower after one to the right.
    Funnel {
        left: bool,
        wraps: bool,
    },
    Permute(Permute),
    FieldInsert,
    FieldExtract,
    Reverse,
    LeadingZeros,
    Ones,
    /// Place of the highest bit that is not the sign; `shift`: how far it is from the top.
    Find {
        shift: bool,
    },
    Mask {
        wraps: bool,
    },
    SignExtend {
        wraps: bool,
    },
    NthSet,
}

/// Modes of `prmt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permute {
    Index,
    Forward4,
    Backward4,
    Replicate8,
    EdgeLeft,
    EdgeRight,
    Replicate16,
}

#[derive(Debug)]
pub(crate) enum Bits {
    Word {
        kind: Kinds,
        ty: Type,
        d: Reg,
        operands: [Src; 4],
    },
    Pred {
        logic: Logics,
        d: Pred,
        a: Truth,
        b: Truth,
    },
    /// `lop3` whose result, not zero, is combined with a predicate.
    Lop3Pred {
        table: u8,
        and: bool,
        d: Reg,
        p: Pred,
        operands: [Src; 3],
        q: Truth,
    },
}

/// Keeps the kinds private to the family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(Kind);

/// As `Kinds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Logics(Logic);

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Bits, String> {
    let name = form.name();
    let logic = match name {
        "and" => Some(Logic::And),
        "or" => Some(Logic::Or),
        "xor" => Some(Logic::Xor),
        "not" => Some(Logic::Not),
        "cnot" => Some(Logic::CNot),
        _ => None,
    };
    if let (Some(logic), Ok(Type::Pred)) = (logic, form.peek_ty()) {
        form.ty()?;
        let unary = logic == Logic::Not;
        form.done(if unary { 2..=2 } else { 3..=3 })?;
        let b = if unary { Truth::Constant(false) } else { form.truth(2)? };
        return Ok(Bits::Pred { logic: Logics(logic), d: form.pred(0)?, a: form.truth(1)?, b });
    }
    let wraps = [("wrap", true), ("clamp", false)];
    let permutes = [
        ("f4e", Permute::Forward4),
        ("b4e", Permute::Backward4),
        ("rc8", Permute::Replicate8),
        ("ecl", Permute::EdgeLeft),
        ("ecr", Permute::EdgeRight),
        ("rc16", Permute::Replicate16),
    ];
    let combines = (name == "lop3").then(|| form.pick(&[("and", true), ("or", false)])).flatten();
    let kind = match (name, logic) {
        (_, Some(logic)) => Kind::Logic(logic),
        ("lop3", _) => Kind::Lop3(0),
        ("shl", _) => Kind::Shl,
        ("shr", _) => Kind::Shr,
        ("shf", _) => Kind::Funnel { left: form.must(&[("l", true), ("r", false)])?, wraps: form.must(&wraps)? },
        ("prmt", _) => Kind::Permute(form.pick(&permutes).unwrap_or(Permute::Index)),
        ("bfi", _) => Kind::FieldInsert,
        ("bfe", _) => Kind::FieldExtract,
        ("brev", _) => Kind::Reverse,
        ("clz", _) => Kind::LeadingZeros,
        ("popc", _) => Kind::Ones,
        ("bfind", _) => Kind::Find { shift: form.flag("shiftamt") },
        ("bmsk", _) => Kind::Mask { wraps: form.must(&wraps)? },
        ("szext", _) => Kind::SignExtend { wraps: form.must(&wraps)? },
        _ => Kind::NthSet,
    };
    let ty = form.ty()?;
    if !ty.integer() || ty.bits() < 16 {
        return Err(format!("`.{}` is no type for it", ty.name()));
    }
    let count = match kind {
        Kind::Logic(Logic::Not | Logic::CNot) | Kind::Reverse | Kind::LeadingZeros | Kind::Ones | Kind::Find { .. } => {
            1
        }
        Kind::Logic(_) | Kind::Shl | Kind::Shr | Kind::Mask { .. } | Kind::SignExtend { .. } => 2,
        Kind::Funnel { .. } | Kind::Permute(_) | Kind::FieldExtract | Kind::NthSet => 3,
        Kind::FieldInsert => 4,
        Kind::Lop3(_) => {
            let operands = if combines.is_some() { 6 } else { 5 };
            form.done(operands..=operands)?;
            let Src::Imm(table) = form.src(4, Type::B32)? else { return Err("the table is an immediate".to_owned()) };
            let [a, b, c] = [form.src(1, ty)?, form.src(2, ty)?, form.src(3, ty)?];
            let (d, p) = form.dst_pair(0)?;
            let table = table as u8;
            return Ok(match (combines, p) {
                (Some(and), Some(p)) => Bits::Lop3Pred { table, and, d, p, operands: [a, b, c], q: form.truth(5)? },
                (None, None) => Bits::Word { kind: Kinds(Kind::Lop3(table)), ty, d, operands: [a, b, c, Src::Imm(0)] },
                (Some(_), None) | (None, Some(_)) => return Err("a predicate is missing or too many".to_owned()),
            });
        }
    };
    form.done(count + 1..=count + 1)?;
    let mut operands = [Src::Imm(0); 4];
    for (index, operand) in operands.iter_mut().enumerate().take(count) {
        *operand = form.src(index + 1, ty)?;
    }
    Ok(Bits::Word { kind: Kinds(kind), ty, d: form.dst(0)?, operands })
}

impl Bits {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match self {
            Self::Word { kind, ty, d, operands } => word(kind.0, *ty, *d, *operands, step),
            Self::Pred { logic, d, a, b } => {
                let ((x, xr), (y, yr)) = (step.truth(*a), step.truth(*b));
                let value = match logic.0 {
                    Logic::And => x & y,
                    Logic::Or => x | y,
                    Logic::Xor => x ^ y,
                    Logic::Not | Logic::CNot => !x,
                };
                // One side alone may decide.
                let decided = match logic.0 {
                    Logic::And => (xr & !x) | (yr & !y),
                    Logic::Or => (xr & x) | (yr & y),
                    Logic::Xor | Logic::Not | Logic::CNot => 0,
                };
                step.set_pred(*d, (xr & yr) | decided, value);
            }
            Self::Lop3Pred { table, and, d, p, operands: [a, b, c], q } => {
                step.map3(*d, *a, *b, *c, |x, y, z| lop3(*table, x, y, z) & 0xffff_ffff);
                let (some, ready) = step.test(Src::Reg(*d), Src::Imm(0), |x, y| x != y);
                let (q, q_ready) = step.truth(*q);
                step.set_pred(*p, ready & q_ready, if *and { some & q } else { some | q });
            }
        }
        Ok(Flow::Next)
    }
}

fn word(kind: Kind, ty: Type, d: Reg, [a, b, c, e]: [Src; 4], step: &mut Step<'_>) {
    let bits = ty.bits();
    let mask = u64::MAX >> (64 - bits);
    let signed = ty.signed();
    let extend = |x: u64| (x << (64 - bits)) as i64 >> (64 - bits);
    match kind {
        Kind::Logic(Logic::And) => step.map2(d, a, b, |x, y| x & y & mask),
        Kind::Logic(Logic::Or) => step.map2(d, a, b, |x, y| (x | y) & mask),
        Kind::Logic(Logic::Xor) => step.map2(d, a, b, |x, y| (x ^ y) & mask),
        Kind::Logic(Logic::Not) => step.map1(d, a, |x| !x & mask),
        Kind::Logic(Logic::CNot) => step.map1(d, a, |x| u64::from(x & mask == 0)),
        Kind::Lop3(table) => step.map3(d, a, b, c, |x, y, z| lop3(table, x, y, z) & mask),
        Kind::Shl => step.map2(d, a, b, |x, n| if n as u32 >= bits { 0 } else { (x << n as u32) & mask }),
        Kind::Shr if signed => step.map2(d, a, b, |x, n| (extend(x) >> u64::from(n as u32).min(63)) as u64 & mask),
        Kind::Shr => step.map2(d, a, b, |x, n| if n as u32 >= bits { 0 } else { (x & mask) >> n as u32 }),
        Kind::Funnel { left, wraps } => step.map3(d, a, b, c, |low, high, n| {
            let n = if wraps { n as u32 & 31 } else { (n as u32).min(32) };
            let pair = high << 32 | low & 0xffff_ffff;
            if left { (pair << n) >> 32 } else { (pair >> n) & 0xffff_ffff }
        }),
        Kind::Permute(mode) => step.map3(d, a, b, c, |x, y, s| permute(mode, (y << 32) | (x & 0xffff_ffff), s as u32)),
        Kind::FieldInsert => {
            // Four sources: field, word, place, length.
            let (x, y, p, n) = (step.get(a), step.get(b), step.get(c), step.get(e));
            let values = std::array::from_fn(|l| {
                let (place, length) = (p[l] as u8, n[l] as u8);
                let field = ones(u32::from(length)).checked_shl(u32::from(place)).unwrap_or(0) & mask;
                let moved = x[l].checked_shl(u32::from(place)).unwrap_or(0);
                (y[l] & !field | moved & field) & mask
            });
            let ready = [a, b, c, e].into_iter().fold(u32::MAX, |ready, s| ready & step.warp.ready(s));
            step.set(d, ready, &values);
        }
        Kind::FieldExtract => step.map3(d, a, b, c, |x, p, n| field(x & mask, p as u8, n as u8, bits, signed)),
        Kind::Reverse => step.map1(d, a, |x| x.reverse_bits() >> (64 - bits)),
        Kind::LeadingZeros => step.map1(d, a, |x| u64::from((x & mask).leading_zeros() - (64 - bits))),
        Kind::Ones => step.map1(d, a, |x| u64::from((x & mask).count_ones())),
        Kind::Find { shift } => step.map1(d, a, |x| {
            let x = if signed && extend(x) < 0 { !x & mask } else { x & mask };
            let place = 63 - u64::from(x.leading_zeros().min(63));
            let none = x == 0;
            if none {
                0xffff_ffff
            } else if shift {
                u64::from(bits) - 1 - place
            } else {
                place
            }
        }),
        Kind::Mask { wraps } => step.map2(d, a, b, |p, n| {
            let (p, n) = if wraps { (p as u32 & 31, n as u32 & 31) } else { ((p as u32).min(32), (n as u32).min(32)) };
            (ones(n) << p) & 0xffff_ffff
        }),
        Kind::SignExtend { wraps } => step.map2(d, a, b, |x, n| {
            let n = if wraps { n as u32 & 31 } else { (n as u32).min(32) };
            if n == 0 {
                return 0;
            }
            let x = x & ones(n);
            if signed && x >> (n - 1) & 1 == 1 { (x | !ones(n)) & 0xffff_ffff } else { x }
        }),
        Kind::NthSet => step.map3(d, a, b, c, |x, base, n| nth_set(x as u32, base as u32, n as i32)),
    }
}

fn ones(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

fn lop3(table: u8, x: u64, y: u64, z: u64) -> u64 {
    let mut value = 0;
    for index in 0..8u8 {
        if table >> index & 1 == 1 {
            let pick = |bit: u8, v: u64| if index >> bit & 1 == 1 { v } else { !v };
            value |= pick(2, x) & pick(1, y) & pick(0, z);
        }
    }
    value
}

fn permute(mode: Permute, pair: u64, selector: u32) -> u64 {
    let byte = |index: u32| (pair >> (8 * (index & 7))) & 0xff;
    let low = selector & 3;
    let mut value = 0;
    for place in 0..4 {
        let piece = match mode {
            Permute::Index => {
                let nibble = selector >> (4 * place) & 15;
                let piece = byte(nibble);
                if nibble & 8 == 0 {
                    piece
                } else if piece & 0x80 != 0 {
                    0xff
                } else {
                    0
                }
            }
            Permute::Forward4 => byte(low + place),
            Permute::Backward4 => byte(low.wrapping_sub(place)),
            Permute::Replicate8 => byte(low),
            Permute::EdgeLeft => byte(place.max(low)),
            Permute::EdgeRight => byte(place.min(low)),
            Permute::Replicate16 => byte((low & 1) * 2 + (place & 1)),
        };
        value |= piece << (8 * place);
    }
    value
}

fn field(x: u64, place: u8, length: u8, bits: u32, signed: bool) -> u64 {
    let (place, length) = (u32::from(place), u32::from(length));
    let value = if place >= bits { 0 } else { (x >> place) & ones(length) };
    if !signed || length == 0 {
        return value;
    }
    // The sign is the field's top bit, or the word's where the field ends beyond it.
    let top = (place + length - 1).min(bits - 1);
    let negative = x >> top & 1 == 1;
    let have = length.min(bits.saturating_sub(place));
    if negative { (value | !ones(have)) & ones(bits) } else { value }
}

fn nth_set(mask: u32, base: u32, n: i32) -> u64 {
    let base = base & 31;
    let bit = |place: &u32| mask >> place & 1 == 1;
    let found = match n {
        0 => Some(base).filter(bit),
        1.. => (base..32).filter(bit).nth(n as usize - 1),
        _ => (0..=base).rev().filter(bit).nth(n.unsigned_abs() as usize - 1),
    };
    u64::from(found.unwrap_or(u32::MAX))
}
