//! `mbarrier` instructions: arrivals release, waits acquire, for whole warps.

use super::mbarrier::Mbarrier;
use crate::decode::form::{Address, Form};
use crate::machine::access::Where;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Pred, Reg, Src};
use crate::memory::shadow::Strength;
use crate::memory::shared::{RESERVED, Waits};
use crate::report::{Access, Fault, Space};
use crate::ty::Type;

#[derive(Debug)]
pub(crate) enum Phase {
    Init {
        at: Address,
        count: Src,
    },
    Invalidate {
        at: Address,
    },
    /// `bytes`: they are expected first.
    Arrive {
        at: Address,
        d: Option<Reg>,
        count: Src,
        bytes: Src,
        drops: bool,
    },
    /// Bytes that are expected, or if negative have come.
    Bytes {
        at: Address,
        bytes: Src,
        come: bool,
    },
    Wait {
        at: Address,
        p: Pred,
        state: Src,
        parity: bool,
    },
    Pending {
        d: Reg,
        state: Src,
    },
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Phase, String> {
    let kinds = ["init", "inval", "arrive_drop", "arrive", "complete_tx", "test_wait", "try_wait", "pending_count"];
    let kind = kinds.into_iter().find(|k| form.flag(k)).unwrap_or("");
    let expects = form.flag("expect_tx");
    for part in ["release", "acquire", "relaxed", "cta", "cluster", "noComplete"] {
        form.flag(part);
    }
    let parity = form.flag("parity");
    let place = form.space();
    form.flag("b64");
    let one = Src::Imm(1);
    match kind {
        "init" => {
            form.done(2..=2)?;
            Ok(Phase::Init { at: form.address(0, place)?, count: form.src(1, Type::U32)? })
        }
        "inval" => {
            form.done(1..=1)?;
            Ok(Phase::Invalidate { at: form.address(0, place)? })
        }
        "arrive" | "arrive_drop" => {
            form.done(1..=3)?;
            // Without a state the address comes first.
            let first = usize::from(!matches!(form.operand(0)?, crate::text::Operand::Address(..)));
            let d = if first == 1 { Some(form.dst(0)?) } else { None };
            let given = if form.count() > first + 1 { form.src(first + 1, Type::U32)? } else { one };
            let (count, bytes) = if expects { (one, given) } else { (given, Src::Imm(0)) };
            Ok(Phase::Arrive { at: form.address(first, place)?, d, count, bytes, drops: kind == "arrive_drop" })
        }
        "test_wait" | "try_wait" => {
            form.done(3..=4)?;
            Ok(Phase::Wait { at: form.address(1, place)?, p: form.pred(0)?, state: form.src(2, Type::B64)?, parity })
        }
        "pending_count" => {
            form.done(2..=2)?;
            Ok(Phase::Pending { d: form.dst(0)?, state: form.src(1, Type::B64)? })
        }
        _ if expects || kind == "complete_tx" => {
            form.done(2..=2)?;
            Ok(Phase::Bytes { at: form.address(0, place)?, bytes: form.src(1, Type::U32)?, come: !expects })
        }
        _ => Err("the form is not supported".to_owned()),
    }
}

impl Step<'_> {
    /// Where in shared memory a lane's mbarrier is.
    fn mbarrier_at(&mut self, lane: usize, place: Where, address: u64, access: Access) -> Result<u64, Stop> {
        let (space, address) = place.locate(address);
        if space != Space::Shared {
            return Err(Fault::BadOperand { what: format!("an mbarrier in {space} memory") }.at(lane));
        }
        if !address.is_multiple_of(8) {
            return Err(Fault::Misaligned { space, access, address, bytes: 8 }.at(lane));
        }
        self.shared(lane, access, address, 8)?;
        Ok(address)
    }

    /// The mbarrier that a lane uses; whoever initialised it did so before.
    pub(crate) fn mbarrier(&mut self, lane: usize, place: Where, address: u64) -> Result<&mut Mbarrier, Stop> {
        let address = self.mbarrier_at(lane, place, address, Access::Atomic)?;
        // Reading the object as atomics do finds a race with its initialisation.
        self.load(lane, Where::In(Space::Shared), address, 8, Strength::Atomic)?;
        let found = self.block.mbarriers.get_mut(&address);
        found.ok_or_else(|| Fault::BadOperand { what: format!("no mbarrier was initialised at {address:#x}") }.at(lane))
    }
}

impl Phase {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match self {
            Self::Init { at, count } => {
                step.need(*count, "a count of arrivals")?;
                let (addresses, count) = (step.addresses(at)?, step.get(*count));
                for lane in step.lanes() {
                    let address = step.mbarrier_at(lane, at.place, addresses[lane], Access::Write)?;
                    let count = count[lane] as u32;
                    if count == 0 || count >= 1 << 20 {
                        return Err(Fault::BadOperand { what: format!("an mbarrier of {count} arrivals") }.at(lane));
                    }
                    step.store(lane, Where::In(Space::Shared), address, 8, u128::from(count), Strength::Weak)?;
                    let none = step.block.clocks.no_view();
                    step.block.mbarriers.insert(address, Mbarrier::new(count, none));
                }
            }
            Self::Invalidate { at } => {
                let addresses = step.addresses(at)?;
                for lane in step.lanes() {
                    let address = step.mbarrier_at(lane, at.place, addresses[lane], Access::Write)?;
                    step.store(lane, Where::In(Space::Shared), address, 8, 0, Strength::Weak)?;
                    step.block.shared.written.clear(address as usize - RESERVED, 8);
                    step.block.mbarriers.remove(&address);
                }
            }
            Self::Arrive { at, d, count, bytes, drops } => {
                step.need(*count, "a count of arrivals")?;
                step.need(*bytes, "a count of bytes")?;
                let addresses = step.addresses(at)?;
                let (count, bytes) = (step.get(*count), step.get(*bytes));
                let view = step.block.clocks.view(1 << step.warp.index);
                let mut states: Lanes = [0; 32];
                for lane in step.lanes() {
                    let barrier = step.mbarrier(lane, at.place, addresses[lane])?;
                    states[lane] = barrier.phase | barrier.pending() << 40;
                    barrier.expect_more(bytes[lane] as u32);
                    let arrived = barrier.arrive(i64::from(count[lane] as u32), *drops, &view);
                    arrived.map_err(|what| Fault::BadOperand { what }.at(lane))?;
                }
                if let Some(d) = d {
                    step.set(*d, u32::MAX, &states);
                }
            }
            Self::Bytes { at, bytes, come } => {
                step.need(*bytes, "a count of bytes")?;
                let (addresses, bytes) = (step.addresses(at)?, step.get(*bytes));
                for lane in step.lanes() {
                    let count = i64::from(bytes[lane] as u32);
                    let barrier = step.mbarrier(lane, at.place, addresses[lane])?;
                    barrier.expect(if *come { -count } else { count });
                }
            }
            Self::Wait { at, p, state, parity } => {
                step.need(*state, "a phase")?;
                let (addresses, state) = (step.addresses(at)?, step.get(*state));
                let mut over = 0;
                for lane in step.lanes() {
                    let barrier = step.mbarrier(lane, at.place, addresses[lane])?;
                    let ended = if *parity {
                        barrier.phase & 1 != state[lane] & 1
                    } else {
                        barrier.phase > state[lane] & ((1 << 40) - 1)
                    };
                    if ended {
                        over |= 1 << lane;
                        let view = barrier.done.clone();
                        let (_, address) = at.place.locate(addresses[lane]);
                        step.block.clocks.take(1 << step.warp.index, &view);
                        let done = step.block.shared.finish(|w| w == Waits::Barrier { address });
                        for copy in done {
                            step.block.shared.shadow.reset(copy.at, copy.bytes);
                        }
                    }
                }
                step.set_pred(*p, u32::MAX, over);
                if over != step.mask {
                    return Ok(Flow::GiveWay);
                }
            }
            Self::Pending { d, state } => step.map1(*d, *state, |s| s >> 40),
        }
        Ok(Flow::Next)
    }
}
