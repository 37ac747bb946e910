//! Moves: values, packing and taking apart, addresses between spaces.

use crate::decode::form::Form;
use crate::machine::access::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, Where};
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Pred, Reg, Src, Truth};
use crate::report::Space;
use crate::text::Operand;
use crate::ty::Type;

#[derive(Debug)]
pub(crate) enum Move {
    Word {
        mask: u64,
        d: Reg,
        a: Src,
    },
    Pred {
        d: Pred,
        a: Truth,
    },
    /// Equal pieces, the first lowest.
    Pack {
        bits: u32,
        d: Reg,
        pieces: Vec<Src>,
    },
    Unpack {
        bits: u32,
        pieces: Vec<Reg>,
        a: Src,
    },
    /// Adds or takes off where the space's window begins.
    Window {
        offset: u64,
        mask: u64,
        d: Reg,
        a: Src,
    },
    IsSpace {
        space: Space,
        d: Pred,
        a: Src,
    },
}

fn window(space: Space) -> u64 {
    match space {
        Space::Global => 0,
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
    }
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Move, String> {
    match form.name() {
        "mov" => moved(form),
        "cvta" => {
            let to = form.flag("to");
            let Where::In(space) = form.space() else { return Err("a space is expected".to_owned()) };
            let ty = form.ty()?;
            form.done(2..=2)?;
            let offset = if to { window(space).wrapping_neg() } else { window(space) };
            let mask = u64::MAX >> (64 - ty.bits());
            Ok(Move::Window { offset, mask, d: form.dst(0)?, a: form.src(1, ty)? })
        }
        "isspacep" => {
            let Where::In(space) = form.space() else { return Err("a space is expected".to_owned()) };
            form.done(2..=2)?;
            Ok(Move::IsSpace { space, d: form.pred(0)?, a: form.src(1, Type::B64)? })
        }
        // A cluster is one block: every shared address stays what it is.
        "mapa" => {
            form.space();
            let ty = form.ty()?;
            form.done(3..=3)?;
            Ok(Move::Word { mask: u64::MAX >> (64 - ty.bits()), d: form.dst(0)?, a: form.src(1, ty)? })
        }
        _ => {
            form.space();
            form.ty()?;
            form.done(2..=2)?;
            Ok(Move::Word { mask: u64::MAX, d: form.dst(0)?, a: Src::Imm(0) })
        }
    }
}

fn moved(form: &mut Form<'_>) -> Result<Move, String> {
    let ty = form.ty()?;
    form.done(2..=2)?;
    if ty == Type::Pred {
        return Ok(Move::Pred { d: form.pred(0)?, a: form.truth(1)? });
    }
    match (form.operand(0)?, form.operand(1)?) {
        (Operand::Vector(list), _) => {
            let pieces = form.dsts(0)?.into_iter().map(|(reg, _)| reg).collect();
            Ok(Move::Unpack { bits: piece(ty, list.len())?, pieces, a: form.src(1, ty)? })
        }
        (_, Operand::Vector(list)) => {
            let bits = piece(ty, list.len())?;
            Ok(Move::Pack { bits, d: form.dst(0)?, pieces: form.srcs(1, ty)? })
        }
        _ => Ok(Move::Word { mask: u64::MAX >> (64 - ty.bits()), d: form.dst(0)?, a: form.src(1, ty)? }),
    }
}

fn piece(ty: Type, count: usize) -> Result<u32, String> {
    if ty.bits() <= 64 && matches!(count, 2 | 4 | 8) {
        Ok(ty.bits() / count as u32)
    } else {
        Err("the vector does not fit the type".to_owned())
    }
}

impl Move {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match self {
            Self::Word { mask, d, a } => step.map1(*d, *a, |x| x & mask),
            Self::Pred { d, a } => {
                let (value, ready) = step.truth(*a);
                step.set_pred(*d, ready, value);
            }
            Self::Pack { bits, d, pieces } => {
                let low = u64::MAX >> (64 - bits);
                let mut values: Lanes = [0; 32];
                let mut ready = u32::MAX;
                for (index, src) in pieces.iter().enumerate() {
                    let piece = step.get(*src);
                    values.iter_mut().zip(piece).for_each(|(v, p)| *v |= (p & low) << (bits * index as u32));
                    ready &= step.warp.ready(*src);
                }
                step.set(*d, ready, &values);
            }
            Self::Unpack { bits, pieces, a } => {
                let (values, ready) = (step.get(*a), step.warp.ready(*a));
                let low = u64::MAX >> (64 - bits);
                for (index, reg) in pieces.iter().enumerate() {
                    step.set(*reg, ready, &values.map(|v| v >> (bits * index as u32) & low));
                }
            }
            Self::Window { offset, mask, d, a } => step.map1(*d, *a, |x| x.wrapping_add(*offset) & mask),
            Self::IsSpace { space, d, a } => {
                let (mask, ready) = step.test(*a, Src::Imm(0), |x, _| Where::Generic.locate(x).0 == *space);
                step.set_pred(*d, ready, mask);
            }
        }
        Ok(Flow::Next)
    }
}
