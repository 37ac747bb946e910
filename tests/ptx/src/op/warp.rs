//! What the lanes of a warp do together: shuffles, votes, matches, reductions.

use crate::decode::form::Form;
use crate::machine::clocks::members;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Pred, Reg, Src, Truth};
use crate::report::Fault;
use crate::ty::Type;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shuffle {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vote {
    All,
    Any,
    Uniform,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Shuffle {
        mode: Shuffle,
        d: Reg,
        p: Option<Pred>,
        a: Src,
        b: Src,
        c: Src,
    },
    Vote {
        vote: Vote,
        d: Pred,
        a: Truth,
    },
    Ballot {
        d: Reg,
        a: Truth,
    },
    /// Lanes with the same value; the predicate: whether all have it.
    Match {
        all: bool,
        bits: u32,
        d: Reg,
        p: Option<Pred>,
        a: Src,
    },
    Fold {
        fold: Fold,
        signed: bool,
        d: Reg,
        a: Src,
    },
    Active {
        d: Reg,
    },
    Elect {
        d: Reg,
        p: Option<Pred>,
    },
}

#[derive(Debug)]
pub(crate) struct Warp {
    kind: Kinds,
    members: Src,
}

/// Keeps the kinds private to the family.
#[derive(Clone, Copy, Debug)]
struct Kinds(Kind);

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Warp, String> {
    let name = form.name();
    if name == "activemask" {
        form.ty()?;
        form.done(1..=1)?;
        return Ok(Warp { kind: Kinds(Kind::Active { d: form.dst(0)? }), members: Src::Imm(0) });
    }
    if !form.flag("sync") {
        return Err("only the `.sync` form is supported".to_owned());
    }
    let (kind, mask) = match name {
        "shfl" => {
            let modes =
                [("up", Shuffle::Up), ("down", Shuffle::Down), ("bfly", Shuffle::Butterfly), ("idx", Shuffle::Index)];
            let mode = form.must(&modes)?;
            form.ty()?;
            form.done(5..=5)?;
            let (d, p) = form.dst_pair(0)?;
            let [a, b, c] = [form.src(1, Type::B32)?, form.src(2, Type::B32)?, form.src(3, Type::B32)?];
            (Kind::Shuffle { mode, d, p, a, b, c }, 4)
        }
        "vote" => {
            let vote = form.pick(&[("all", Vote::All), ("any", Vote::Any), ("uni", Vote::Uniform)]);
            let ballot = form.flag("ballot");
            form.ty()?;
            form.done(3..=3)?;
            let a = form.truth(1)?;
            match vote {
                Some(vote) => (Kind::Vote { vote, d: form.pred(0)?, a }, 2),
                None if ballot => (Kind::Ballot { d: form.dst(0)?, a }, 2),
                None => return Err("the vote is not supported".to_owned()),
            }
        }
        "match" => {
            let all = form.must(&[("all", true), ("any", false)])?;
            let ty = form.ty()?;
            form.done(3..=3)?;
            let (d, p) = form.dst_pair(0)?;
            (Kind::Match { all, bits: ty.bits(), d, p, a: form.src(1, ty)? }, 2)
        }
        "redux" => {
            let folds = [
                ("add", Fold::Add),
                ("min", Fold::Min),
                ("max", Fold::Max),
                ("and", Fold::And),
                ("or", Fold::Or),
                ("xor", Fold::Xor),
            ];
            let fold = form.must(&folds)?;
            let ty = form.ty()?;
            form.done(3..=3)?;
            if !ty.integer() || ty.bits() != 32 {
                return Err(format!("`.{}` is not supported", ty.name()));
            }
            (Kind::Fold { fold, signed: ty.signed(), d: form.dst(0)?, a: form.src(1, ty)? }, 2)
        }
        _ => {
            form.done(2..=2)?;
            let (d, p) = form.dst_pair(0)?;
            (Kind::Elect { d, p }, 1)
        }
    };
    Ok(Warp { kind: Kinds(kind), members: form.src(mask, Type::B32)? })
}

impl Step<'_> {
    /// The mask that each lane names, once the lanes of it are all here.
    pub(crate) fn members(&self, mask: Src, what: &'static str) -> Result<Lanes, Stop> {
        self.need(mask, "a mask of lanes")?;
        let masks = self.get(mask);
        for lane in self.lanes() {
            let wanted = masks[lane] as u32;
            if wanted >> lane & 1 == 0 || wanted & self.warp.live & !self.mask != 0 {
                return Err(Fault::Divergent { what, here: self.mask, wanted }.at(lane));
            }
        }
        Ok(masks)
    }
}

impl Warp {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        let kind = self.kind.0;
        if let Kind::Active { d } = kind {
            step.set(d, u32::MAX, &[u64::from(step.mask); 32]);
            return Ok(Flow::Next);
        }
        let masks = step.members(self.members, "an instruction of several lanes")?.map(|m| m as u32 & step.mask);
        match kind {
            Kind::Shuffle { mode, d, p, a, b, c } => shuffle(step, mode, (d, p), (a, b, c))?,
            Kind::Vote { vote, d, a } => {
                let (holds, ready) = step.truth(a);
                let mut result = 0;
                let mut known = 0;
                for lane in step.lanes() {
                    let (yes, all) = (holds & masks[lane], masks[lane]);
                    let outcome = match vote {
                        Vote::All => yes == all,
                        Vote::Any => yes != 0,
                        Vote::Uniform => yes == all || yes == 0,
                    };
                    result |= u32::from(outcome) << lane;
                    known |= u32::from(all & !ready == 0) << lane;
                }
                step.set_pred(d, known, result);
            }
            Kind::Ballot { d, a } => {
                let (holds, ready) = step.truth(a);
                let known = step.lanes().filter(|l| masks[*l] & !ready == 0).fold(0, |known, l| known | 1 << l);
                step.set(d, known, &masks.map(|m| u64::from(holds & m)));
            }
            Kind::Match { all, bits, d, p, a } => {
                step.need(a, "a value to match")?;
                let values = step.get(a).map(|v| v & (u64::MAX >> (64 - bits)));
                let mut result: Lanes = [0; 32];
                let mut same = 0;
                for lane in step.lanes() {
                    let equal =
                        members(masks[lane]).filter(|l| values[*l] == values[lane]).fold(0u32, |m, l| m | 1 << l);
                    same |= u32::from(equal == masks[lane]) << lane;
                    result[lane] = u64::from(if all && equal != masks[lane] { 0 } else { equal });
                }
                step.set(d, u32::MAX, &result);
                if let Some(p) = p {
                    step.set_pred(p, u32::MAX, same);
                }
            }
            Kind::Fold { fold, signed, d, a } => {
                step.need(a, "a value to reduce")?;
                let values = step.get(a).map(|v| v as u32);
                let mut result: Lanes = [0; 32];
                for lane in step.lanes() {
                    let taking = members(masks[lane]).map(|l| values[l]);
                    result[lane] = u64::from(taking.reduce(|x, y| folded(fold, signed, x, y)).unwrap_or(0));
                }
                step.set(d, u32::MAX, &result);
            }
            Kind::Elect { d, p } => {
                let leader = masks.map(|m| u64::from(m.trailing_zeros()));
                step.set(d, u32::MAX, &leader);
                if let Some(p) = p {
                    let chosen = (0..32).filter(|l| leader[*l] == *l as u64).fold(0, |m, l| m | 1 << l);
                    step.set_pred(p, u32::MAX, chosen);
                }
            }
            Kind::Active { .. } => {}
        }
        Ok(Flow::Next)
    }
}

fn folded(fold: Fold, signed: bool, x: u32, y: u32) -> u32 {
    match fold {
        Fold::Add => x.wrapping_add(y),
        Fold::Min if signed => (x as i32).min(y as i32) as u32,
        Fold::Max if signed => (x as i32).max(y as i32) as u32,
        Fold::Min => x.min(y),
        Fold::Max => x.max(y),
        Fold::And => x & y,
        Fold::Or => x | y,
        Fold::Xor => x ^ y,
    }
}

fn shuffle(
    step: &mut Step<'_>,
    mode: Shuffle,
    (d, p): (Reg, Option<Pred>),
    (a, b, c): (Src, Src, Src),
) -> Result<(), Stop> {
    step.need(b, "a lane number")?;
    step.need(c, "a range of lanes")?;
    let (x, b, c) = (step.get(a), step.get(b), step.get(c));
    let written = step.warp.ready(a);
    let (mut values, mut ready, mut inside): (Lanes, u32, u32) = ([0; 32], 0, 0);
    for lane in step.lanes() {
        let own = lane as i64;
        let by = (b[lane] & 31) as i64;
        let (clamp, segment) = ((c[lane] & 31) as i64, (c[lane] >> 8 & 31) as i64);
        let most = own & segment | clamp & !segment & 31;
        let least = own & segment;
        let (from, ok) = match mode {
            Shuffle::Up => (own - by, own - by >= most),
            Shuffle::Down => (own + by, own + by <= most),
            Shuffle::Butterfly => (own ^ by, (own ^ by) <= most),
            Shuffle::Index => {
                let from = least | by & !segment;
                (from, from <= most)
            }
        };
        let from = if ok { from } else { own } as usize;
        if step.mask >> from & 1 == 0 {
            return Err(Fault::InactiveLane { lane: from as u32 }.at(lane));
        }
        values[lane] = x[from] & 0xffff_ffff;
        ready |= (written >> from & 1) << lane;
        inside |= u32::from(ok) << lane;
    }
    step.set(d, ready, &values);
    if let Some(p) = p {
        step.set_pred(p, u32::MAX, inside);
    }
    Ok(())
}
