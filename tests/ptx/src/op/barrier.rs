//! Barriers of a block and of a warp, and fences.

use crate::decode::form::Form;
use crate::machine::block::Barrier as State;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Pred, Reg, Src, Truth, Warp};
use crate::report::Fault;
use crate::ty::Type;

/// Barriers that a block has, and one more for those of a cluster, which is one block here.
pub(crate) const BARRIERS: usize = 17;
const CLUSTER: u64 = 16;

/// What `bar.red` gives.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reduction {
    Count(Reg),
    All(Pred),
    Any(Pred),
}

#[derive(Debug)]
pub(crate) enum Barrier {
    Meet {
        number: Src,
        /// Threads, where not all of the block.
        count: Option<Src>,
        /// All lanes of the warp have to be at the same instruction.
        aligned: bool,
        waits: bool,
        reduction: Option<(Reduction, Truth)>,
    },
    Warp {
        members: Src,
    },
    /// `wide`: other blocks see what was before; `hands`: what reads asynchronously does.
    Fence {
        wide: bool,
        hands: bool,
    },
    Nothing,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Barrier, String> {
    let name = form.name();
    if let "membar" | "fence" = name {
        let wide = !form.flag("cta") && !form.flag("mbarrier_init");
        let hands = form.flag("proxy") && form.flag("async");
        return Ok(Barrier::Fence { wide, hands });
    }
    if form.flag("warp") {
        form.flag("sync");
        form.done(1..=1)?;
        return Ok(Barrier::Warp { members: form.src(0, Type::B32)? });
    }
    if form.flag("cluster") {
        let arrive = form.flag("arrive");
        let waits = form.flag("wait");
        for part in ["acquire", "release", "relaxed", "aligned"] {
            form.flag(part);
        }
        form.done(0..=0)?;
        if arrive == waits {
            return Err("`.arrive` or `.wait` is expected".to_owned());
        }
        let meet =
            Barrier::Meet { number: Src::Imm(CLUSTER), count: None, aligned: false, waits: true, reduction: None };
        return Ok(if waits { meet } else { Barrier::Nothing });
    }
    form.flag("cta");
    let aligned = form.flag("aligned") | (name == "bar");
    if form.flag("red") {
        let kind = form.must(&[("popc", 0), ("and", 1), ("or", 2)])?;
        form.ty()?;
        form.done(3..=4)?;
        let reduction = match kind {
            0 => Reduction::Count(form.dst(0)?),
            1 => Reduction::All(form.pred(0)?),
            _ => Reduction::Any(form.pred(0)?),
        };
        let last = form.count() - 1;
        let count = if last == 3 { Some(form.src(2, Type::U32)?) } else { None };
        let reduction = Some((reduction, form.truth(last)?));
        return Ok(Barrier::Meet { number: form.src(1, Type::U32)?, count, aligned, waits: true, reduction });
    }
    let waits = form.must(&[("sync", true), ("arrive", false)])?;
    form.done(if waits { 1..=2 } else { 2..=2 })?;
    let count = if form.count() == 2 { Some(form.src(1, Type::U32)?) } else { None };
    Ok(Barrier::Meet { number: form.src(0, Type::U32)?, count, aligned, waits, reduction: None })
}

impl Barrier {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match *self {
            Self::Nothing => Ok(Flow::Next),
            Self::Fence { wide, hands } => {
                if wide {
                    step.block.clocks.fence();
                }
                if hands {
                    step.block.clocks.hand_over(step.warp.index as usize);
                }
                Ok(Flow::Next)
            }
            Self::Warp { members } => {
                let masks = step.members(members, "`bar.warp.sync`")?;
                let mut left = step.mask;
                while left != 0 {
                    let mask = masks[left.trailing_zeros() as usize] as u32 & step.mask;
                    let whole = step.warp.live & !mask == 0;
                    step.block.clocks.meet_lanes(step.warp.index as usize, mask, whole);
                    left &= !mask;
                }
                Ok(Flow::Next)
            }
            Self::Meet { number, count, aligned, waits, reduction } => {
                meet(step, number, count, aligned, waits, reduction)
            }
        }
    }
}

fn meet(
    step: &mut Step<'_>,
    number: Src,
    count: Option<Src>,
    aligned: bool,
    waits: bool,
    reduction: Option<(Reduction, Truth)>,
) -> Result<Flow, Stop> {
    step.need(number, "a barrier's number")?;
    let live = step.warp.live;
    if aligned && step.mask != live {
        return Err(step.stop(Fault::Divergent { what: "a barrier", here: step.mask, wanted: live }));
    }
    let first = step.first();
    let number = step.get(number)[first];
    let bad = |what: String| Fault::BadOperand { what }.at(first);
    if number as usize >= BARRIERS {
        return Err(bad(format!("barrier {number} of 16")));
    }
    let expected = match count {
        None => 0,
        Some(count) => {
            step.need(count, "a barrier's count")?;
            let count = step.get(count)[first] as u32;
            if count == 0 || !count.is_multiple_of(32) || count as usize > step.block.clocks.warps() * 32 {
                return Err(bad(format!("{count} threads at a barrier: no multiple of 32 that the block has")));
            }
            count / 32
        }
    };
    let bit = 1u32 << step.warp.index;
    let contribution = reduction.map(|(_, truth)| step.truth(truth));
    let barrier = &mut step.block.barriers[number as usize];
    if (barrier.arrived != 0 || !barrier.lanes.is_empty()) && barrier.expected != expected {
        return Err(bad(format!("barrier {number} is used with two counts of threads at once")));
    }
    barrier.expected = expected;
    if barrier.arrived & bit != 0 {
        return Err(bad(format!("the warp arrives twice at barrier {number}")));
    }
    let lanes = barrier.lanes.entry(step.warp.index).or_insert(0);
    *lanes |= step.mask;
    if live & !*lanes == 0 {
        barrier.arrived |= bit;
        if waits {
            barrier.waiting |= bit;
        }
    }
    if let (Some((reduction, _)), Some((holds, ready))) = (reduction, contribution) {
        if step.mask & !ready != 0 {
            return Err(step.stop(Fault::UninitialisedRegister { what: "a predicate of a barrier" }));
        }
        barrier.threads += step.mask.count_ones();
        barrier.holds += (step.mask & holds).count_ones();
        barrier.results.push((step.warp.index, step.mask, reduction));
    }
    Ok(if waits { Flow::Park { barrier: number as u32 } } else { Flow::Next })
}

impl Reduction {
    /// Writes the result into the lanes that waited.
    pub(crate) fn finish(self, barrier: &State, warp: &mut Warp, mask: u32) {
        let all = |yes: bool| if yes { u32::MAX } else { 0 };
        match self {
            Self::Count(d) => warp.set(d, mask, u32::MAX, &[u64::from(barrier.holds); 32]),
            Self::All(d) => warp.set_pred(d, mask, u32::MAX, all(barrier.holds == barrier.threads)),
            Self::Any(d) => warp.set_pred(d, mask, u32::MAX, all(barrier.holds != 0)),
        }
    }
}
