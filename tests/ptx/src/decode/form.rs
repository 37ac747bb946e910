//! One instruction while it is decoded: the parts of its opcode are taken one by one, and what nobody took makes it
//! unsupported, so that no modifier is passed over.

use super::code::Code;
use super::place::Place;
use crate::machine::access::Where;
use crate::machine::special::Special;
use crate::machine::warp::{Pred, Reg, Src, Truth};
use crate::number::Round;
use crate::report::Space;
use crate::text::{Operand, Raw};
use crate::ty::Type;
use std::cell::RefCell;

/// An address: base and offset in a space.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Address {
    pub(crate) place: Where,
    pub(crate) base: Src,
    pub(crate) offset: i64,
}

/// Registers that an instruction reads and writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Touched {
    pub(crate) reads: Vec<Reg>,
    pub(crate) writes: Vec<Reg>,
}

impl Touched {
    pub(crate) fn any(&self) -> bool {
        !self.reads.is_empty() || !self.writes.is_empty()
    }

    /// Those alone that `keep` says.
    pub(crate) fn retain(&mut self, keep: impl Fn(Reg) -> bool) {
        self.reads.retain(|r| keep(*r));
        self.writes.retain(|r| keep(*r));
    }
}

pub(crate) struct Form<'a> {
    pub(crate) raw: &'a Raw,
    parts: Vec<&'a str>,
    code: &'a Code<'a>,
    touched: RefCell<Touched>,
}

impl<'a> Form<'a> {
    pub(crate) fn new<'b: 'a>(raw: &'a Raw, code: &'a Code<'b>) -> Self {
        let parts = raw.opcode[1..].iter().map(String::as_str).collect();
        Self { raw, parts, code, touched: RefCell::default() }
    }

    /// Registers that were asked for up to now.
    pub(crate) fn touched(self) -> Touched {
        self.touched.into_inner()
    }

    /// The target that the text names.
    pub(crate) fn target(&self) -> &'a str {
        self.code.target()
    }

    pub(crate) fn name(&self) -> &'a str {
        self.raw.name()
    }

    /// Whether the part is there; it is taken.
    pub(crate) fn flag(&mut self, part: &str) -> bool {
        let found = self.parts.iter().position(|p| *p == part);
        found.is_some_and(|index| {
            self.parts.remove(index);
            true
        })
    }

    /// The first of these that is there.
    pub(crate) fn pick<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        table.iter().find(|(part, _)| self.flag(part)).map(|(_, value)| *value)
    }

    pub(crate) fn must<T: Copy>(&mut self, table: &[(&str, T)]) -> Result<T, String> {
        self.pick(table)
            .ok_or_else(|| format!("one of {:?} is expected", table.iter().map(|t| t.0).collect::<Vec<_>>()))
    }

    /// The first type that is left.
    pub(crate) fn ty(&mut self) -> Result<Type, String> {
        self.peek_ty().inspect(|ty| {
            self.flag(ty.name());
        })
    }

    pub(crate) fn peek_ty(&self) -> Result<Type, String> {
        self.parts.iter().find_map(|p| Type::parse(p)).ok_or_else(|| "no type".to_owned())
    }

    /// The first part that begins so.
    pub(crate) fn prefixed(&mut self, prefix: &str) -> Option<&'a str> {
        let index = self.parts.iter().position(|p| p.starts_with(prefix))?;
        Some(self.parts.remove(index))
    }

    pub(crate) fn round(&mut self) -> Option<Round> {
        use Round::{Away, Down, Nearest, Up, Zero};
        self.pick(&[("rn", Nearest), ("rz", Zero), ("rm", Down), ("rp", Up), ("rna", Away)])
    }

    pub(crate) fn space(&mut self) -> Where {
        let table = [
            ("global", Space::Global),
            ("const", Space::Global),
            ("shared::cta", Space::Shared),
            ("shared::cluster", Space::Shared),
            ("shared", Space::Shared),
            ("local", Space::Local),
            ("param::entry", Space::Param),
            ("param::func", Space::Local),
            ("param", if self.code.outermost { Space::Param } else { Space::Local }),
        ];
        self.pick(&table).map_or(Where::Generic, Where::In)
    }

    /// Every part has been taken, and there are `operands` operands.
    pub(crate) fn done(&self, operands: std::ops::RangeInclusive<usize>) -> Result<(), String> {
        if !self.parts.is_empty() {
            return Err(format!("`.{}` is not supported", self.parts.join(".")));
        }
        if operands.contains(&self.raw.operands.len()) { Ok(()) } else { Err("other operands are expected".to_owned()) }
    }

    pub(crate) fn count(&self) -> usize {
        self.raw.operands.len()
    }

    pub(crate) fn operand(&self, index: usize) -> Result<&'a Operand, String> {
        self.raw.operands.get(index).ok_or_else(|| "an operand is missing".to_owned())
    }

    fn find(&self, name: &str) -> Option<Place> {
        self.code.scopes.find(name, self.code.from)
    }

    /// A register that is written, and its type.
    pub(crate) fn register(&self, operand: &Operand) -> Result<(Reg, Type), String> {
        let Operand::Name(name) = operand else { return Err("a register is expected".to_owned()) };
        match self.find(name) {
            _ if name == "_" => Ok((Reg(0), Type::B64)),
            Some(Place::Reg(reg, ty)) => {
                self.touched.borrow_mut().writes.push(reg);
                Ok((reg, ty))
            }
            Some(Place::Pred(_) | Place::Memory { .. }) | None => Err(format!("`{name}` is no register")),
        }
    }

    pub(crate) fn dst(&self, index: usize) -> Result<Reg, String> {
        Ok(self.register(self.operand(index)?)?.0)
    }

    pub(crate) fn value(&self, operand: &Operand, ty: Type) -> Result<Src, String> {
        match operand {
            Operand::Name(name) => match (self.find(name), Special::parse(name)) {
                (Some(Place::Reg(reg, _)), _) => {
                    self.touched.borrow_mut().reads.push(reg);
                    Ok(Src::Reg(reg))
                }
                (Some(Place::Memory { address, .. }), _) => Ok(Src::Imm(address)),
                (None, Some(special)) => Ok(Src::Special(special)),
                (Some(Place::Pred(_)), _) | (None, None) => Err(format!("`{name}` is no value")),
            },
            Operand::Offset(name, offset) => match self.find(name) {
                Some(Place::Memory { address, .. }) => Ok(Src::Imm(address.wrapping_add_signed(*offset))),
                _ => Err(format!("`{name}` is no variable")),
            },
            Operand::Integer(value) => Ok(Src::Imm(*value as u64)),
            Operand::F32(bits) if ty == Type::F64 => Ok(Src::Imm(f64::from(f32::from_bits(*bits)).to_bits())),
            Operand::F32(bits) => Ok(Src::Imm(u64::from(*bits))),
            Operand::F64(bits) if ty == Type::F32 => Ok(Src::Imm(u64::from((f64::from_bits(*bits) as f32).to_bits()))),
            Operand::F64(bits) => Ok(Src::Imm(*bits)),
            Operand::Not(_) | Operand::Vector(_) | Operand::Address(..) | Operand::Pair(..) | Operand::List(_) => {
                Err("a register or an immediate is expected".to_owned())
            }
        }
    }

    pub(crate) fn src(&self, index: usize, ty: Type) -> Result<Src, String> {
        self.value(self.operand(index)?, ty)
    }

    pub(crate) fn predicate(&self, name: &str) -> Result<Pred, String> {
        if name == "_" {
            return Ok(Pred(0));
        }
        match self.find(name) {
            Some(Place::Pred(pred)) => Ok(pred),
            Some(Place::Reg(..) | Place::Memory { .. }) | None => Err(format!("`{name}` is no predicate")),
        }
    }

    pub(crate) fn is_predicate(&self, index: usize) -> bool {
        match self.raw.operands.get(index) {
            Some(Operand::Name(name) | Operand::Not(name)) => self.predicate(name).is_ok(),
            _ => false,
        }
    }

    pub(crate) fn pred(&self, index: usize) -> Result<Pred, String> {
        let Operand::Name(name) = self.operand(index)? else { return Err("a predicate is expected".to_owned()) };
        self.predicate(name)
    }

    pub(crate) fn truth(&self, index: usize) -> Result<Truth, String> {
        let operand = self.operand(index)?;
        if let Operand::Integer(value) = operand {
            return Ok(Truth::Constant(*value != 0));
        }
        let negated = matches!(operand, Operand::Not(_));
        let (Operand::Name(name) | Operand::Not(name)) = operand else {
            return Err("a predicate is expected".to_owned());
        };
        Ok(Truth::Pred { pred: self.predicate(name)?, negated })
    }

    /// `d` or `d|p`: a register and, where it stands, a predicate.
    pub(crate) fn dst_pair(&self, index: usize) -> Result<(Reg, Option<Pred>), String> {
        let operand = self.operand(index)?;
        if let Operand::Pair(d, p) = operand {
            return Ok((self.register(&Operand::Name(d.clone()))?.0, Some(self.predicate(p)?)));
        }
        Ok((self.register(operand)?.0, None))
    }

    /// A vector's registers; a lone one counts as a vector.
    pub(crate) fn dsts(&self, index: usize) -> Result<Vec<(Reg, Type)>, String> {
        self.operand(index)?.elements().iter().map(|o| self.register(o)).collect()
    }

    pub(crate) fn srcs(&self, index: usize, ty: Type) -> Result<Vec<Src>, String> {
        self.operand(index)?.elements().iter().map(|o| self.value(o, ty)).collect()
    }

    /// `[base + offset]`; a variable's own space is right where a function's parameter is local memory.
    pub(crate) fn address(&self, index: usize, place: Where) -> Result<Address, String> {
        let Operand::Address(base, offset) = self.operand(index)? else {
            return Err("an address is expected".to_owned());
        };
        let offset = *offset;
        let Some(name) = base else { return Ok(Address { place, base: Src::Imm(0), offset }) };
        match self.find(name) {
            Some(Place::Reg(reg, _)) => {
                self.touched.borrow_mut().reads.push(reg);
                Ok(Address { place, base: Src::Reg(reg), offset })
            }
            Some(Place::Memory { space, address }) => {
                let place = if place == Where::Generic { Where::In(space) } else { place };
                let fits = place == Where::In(space) || (place == Where::In(Space::Param) && space == Space::Local);
                if !fits {
                    return Err(format!("`{name}` is in {space} memory"));
                }
                Ok(Address { place: Where::In(space), base: Src::Imm(address), offset })
            }
            Some(Place::Pred(_)) | None => Err(format!("`{name}` is no address")),
        }
    }

    /// The index and the list of `brx.idx`.
    pub(crate) fn table(&mut self) -> Result<(Src, String), String> {
        self.flag("idx");
        self.flag("uni");
        self.done(2..=2)?;
        let Operand::Name(list) = self.operand(1)? else { return Err("a list of targets is expected".to_owned()) };
        Ok((self.src(0, Type::U32)?, list.clone()))
    }
}
