//! Asynchronous copies. Bytes are there at once, but nobody may use them before the copy is waited for: `cp.async` by its
//! groups, bulk copies into shared memory by their mbarrier. Bulk copies to device memory are done when they are issued.

use crate::decode::form::{Address, Form};
use crate::machine::access::Where;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Src, Truth};
use crate::memory::shadow::Strength;
use crate::memory::shared::{Pending, Waits};
use crate::op::memory::hints;
use crate::report::{Access, Fault, Space};
use crate::ty::Type;

#[derive(Debug)]
pub(crate) enum Copy {
    /// `bytes` of shared memory, of which the source gives the first `given`; the rest becomes zero.
    Async {
        to: Address,
        from: Address,
        bytes: usize,
        given: Option<Src>,
        ignored: Truth,
    },
    Commit,
    /// At most so many groups stay under way; `all`: also what has not been committed is waited for.
    Wait {
        left: u32,
        all: bool,
    },
    /// An arrival when the thread's copies are done; `counts`: it is one of the expected.
    Arrive {
        at: Address,
        counts: bool,
    },
    BulkIn {
        to: Address,
        from: Address,
        bytes: Src,
        barrier: Address,
    },
    BulkOut {
        to: Address,
        from: Address,
        bytes: Src,
    },
    Nothing,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Copy, String> {
    if !form.flag("async") {
        return Err("the copy is not supported".to_owned());
    }
    if form.flag("bulk") {
        return bulk(form);
    }
    if form.flag("mbarrier") {
        form.flag("arrive");
        let counts = form.flag("noinc");
        let place = form.space();
        form.flag("b64");
        form.done(1..=1)?;
        return Ok(Copy::Arrive { at: form.address(0, place)?, counts });
    }
    if form.flag("commit_group") {
        form.done(0..=0)?;
        return Ok(Copy::Commit);
    }
    if form.flag("wait_all") {
        form.done(0..=0)?;
        return Ok(Copy::Wait { left: 0, all: true });
    }
    if form.flag("wait_group") {
        form.done(1..=1)?;
        let Src::Imm(left) = form.src(0, Type::U32)? else { return Err("a count is expected".to_owned()) };
        return Ok(Copy::Wait { left: left as u32, all: false });
    }
    let whole = form.raw.opcode.iter().any(|p| p == "cg");
    let hint = usize::from(hints(form));
    let (to, from) = (form.space(), Where::In(Space::Global));
    form.flag("global");
    form.flag("shared");
    form.flag("shared::cta");
    if !matches!(to, Where::In(Space::Shared | Space::Global)) {
        return Err("a copy goes to shared memory".to_owned());
    }
    form.done(3..=4 + hint)?;
    let Src::Imm(bytes) = form.src(2, Type::U32)? else { return Err("the size is an immediate".to_owned()) };
    if !matches!(bytes, 4 | 8 | 16) || whole && bytes != 16 {
        return Err(format!("a copy of {bytes} bytes"));
    }
    let (mut given, mut ignored) = (None, Truth::Constant(false));
    if form.count() - hint == 4 {
        if form.is_predicate(3) {
            ignored = form.truth(3)?;
        } else {
            given = Some(form.src(3, Type::U32)?);
        }
    }
    let to = form.address(0, Where::In(Space::Shared))?;
    Ok(Copy::Async { to, from: form.address(1, from)?, bytes: bytes as usize, given, ignored })
}

fn bulk(form: &mut Form<'_>) -> Result<Copy, String> {
    if form.flag("commit_group") {
        form.done(0..=0)?;
        return Ok(Copy::Nothing);
    }
    if form.flag("wait_group") {
        form.flag("read");
        form.done(1..=1)?;
        return Ok(Copy::Nothing);
    }
    let hint = usize::from(hints(form));
    let arrives = form.flag("mbarrier::complete_tx::bytes");
    let groups = form.flag("bulk_group");
    let inward = form.raw.opcode.iter().position(|p| p == "global")
        > form.raw.opcode.iter().position(|p| p.starts_with("shared"));
    form.flag("global");
    form.flag("shared::cta");
    form.flag("shared::cluster");
    let shared = Where::In(Space::Shared);
    let global = Where::In(Space::Global);
    if inward && arrives {
        form.done(4 + hint..=4 + hint)?;
        let [to, from, barrier] = [form.address(0, shared)?, form.address(1, global)?, form.address(3, shared)?];
        return Ok(Copy::BulkIn { to, from, bytes: form.src(2, Type::U32)?, barrier });
    }
    if !inward && groups {
        form.done(3 + hint..=3 + hint)?;
        return Ok(Copy::BulkOut {
            to: form.address(0, global)?,
            from: form.address(1, shared)?,
            bytes: form.src(2, Type::U32)?,
        });
    }
    Err("the bulk copy is not supported".to_owned())
}

impl Copy {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match self {
            Self::Async { to, from, bytes, given, ignored } => start(step, to, from, *bytes, *given, *ignored)?,
            Self::Commit => {
                for lane in step.lanes() {
                    step.warp.copies[lane] += 1;
                }
            }
            Self::Wait { left, all } => {
                if *all {
                    for lane in step.lanes() {
                        step.warp.copies[lane] += 1;
                    }
                }
                wait(step, *left)?;
            }
            Self::Arrive { at, counts } => {
                for lane in step.lanes() {
                    step.warp.copies[lane] += 1;
                }
                wait(step, 0)?;
                let addresses = step.addresses(at)?;
                let view = step.block.clocks.view(1 << step.warp.index);
                for lane in step.lanes() {
                    let barrier = step.mbarrier(lane, at.place, addresses[lane])?;
                    if !counts {
                        barrier.raise();
                    }
                    barrier.arrive(1, false, &view).map_err(|what| Fault::BadOperand { what }.at(lane))?;
                }
            }
            Self::BulkIn { to, from, bytes, barrier } => {
                let (to, from) = (step.addresses(to)?, step.addresses(from)?);
                step.need(*bytes, "a count of bytes")?;
                let (bytes, barriers) = (step.get(*bytes), step.addresses(barrier)?);
                for lane in step.lanes() {
                    let count = size(bytes[lane], lane)?;
                    let at = aligned(step, lane, Access::Write, to[lane], count)?;
                    for piece in (0..count).step_by(16) {
                        let from = from[lane] + piece as u64;
                        let (value, _) = step.load(lane, Where::In(Space::Global), from, 16, Strength::Weak)?;
                        step.block.shared.data[at + piece..at + piece + 16].copy_from_slice(&value.to_le_bytes());
                    }
                    step.cost.sectors[0] += (count as u64).div_ceil(32);
                    step.shared_written(lane, at, count, step.line)?;
                    let waits = Waits::Barrier { address: barriers[lane] };
                    step.block.shared.begin(Pending { at, bytes: count, line: step.line, waits });
                    step.mbarrier(lane, Where::In(Space::Shared), barriers[lane])?.expect(-(count as i64));
                }
            }
            Self::BulkOut { to, from, bytes } => {
                let (to, from) = (step.addresses(to)?, step.addresses(from)?);
                step.need(*bytes, "a count of bytes")?;
                let bytes = step.get(*bytes);
                for lane in step.lanes() {
                    let count = size(bytes[lane], lane)?;
                    for piece in (0..count).step_by(16) {
                        let from = from[lane] + piece as u64;
                        let (_, value) = step.load_async(lane, from)?;
                        let to = to[lane] + piece as u64;
                        step.store(lane, Where::In(Space::Global), to, 16, value, Strength::Weak)?;
                    }
                    step.cost.sectors[1] += (count as u64).div_ceil(32);
                }
            }
            Self::Nothing => {}
        }
        Ok(Flow::Next)
    }
}

/// Bytes of a bulk copy.
fn size(bytes: u64, lane: usize) -> Result<usize, Stop> {
    let count = bytes as u32 as usize;
    if count.is_multiple_of(16) {
        Ok(count)
    } else {
        Err(Fault::BadOperand { what: format!("a bulk copy of {count} bytes, no multiple of 16") }.at(lane))
    }
}

fn aligned(step: &mut Step<'_>, lane: usize, access: Access, address: u64, bytes: usize) -> Result<usize, Stop> {
    if !address.is_multiple_of(bytes.clamp(1, 16) as u64) {
        return Err(Fault::Misaligned { space: Space::Shared, access, address, bytes }.at(lane));
    }
    step.shared(lane, access, address, bytes)
}

fn start(
    step: &mut Step<'_>,
    to: &Address,
    from: &Address,
    bytes: usize,
    given: Option<Src>,
    ignored: Truth,
) -> Result<(), Stop> {
    let (to, from) = (step.addresses(to)?, step.addresses(from)?);
    let sizes = match given {
        Some(given) => {
            step.need(given, "the size of a copy")?;
            step.get(given).map(|g| g as u32 as usize)
        }
        None => [bytes; 32],
    };
    let (ignored, _) = step.truth(ignored);
    let global = Where::In(Space::Global);
    for lane in step.lanes() {
        let given = if ignored >> lane & 1 == 1 { 0 } else { sizes[lane] };
        if given > bytes {
            return Err(Fault::BadOperand { what: format!("a copy of {given} of {bytes} bytes") }.at(lane));
        }
        if !from[lane].is_multiple_of(bytes as u64) && given > 0 {
            let fault = Fault::Misaligned { space: Space::Global, access: Access::Read, address: from[lane], bytes };
            return Err(fault.at(lane));
        }
        let at = aligned(step, lane, Access::Write, to[lane], bytes)?;
        let mut data = [0; 16];
        if given == bytes {
            data = step.load(lane, global, from[lane], bytes, Strength::Weak)?.0.to_le_bytes();
        } else {
            for (index, byte) in data.iter_mut().enumerate().take(given) {
                *byte = step.load(lane, global, from[lane] + index as u64, 1, Strength::Weak)?.0 as u8;
            }
        }
        step.cost.moved(Space::Shared, true, bytes as u64);
        step.shared_written(lane, at, bytes, step.line)?;
        step.block.shared.data[at..at + bytes].copy_from_slice(&data[..bytes]);
        let waits = Waits::Group { thread: step.warp.index * 32 + lane as u32, group: step.warp.copies[lane] };
        step.block.shared.begin(Pending { at, bytes, line: step.line, waits });
    }
    step.count_sectors(global, &from, bytes, false);
    Ok(())
}

/// Ends the groups of the lanes but the last `left`; the copies' writes count from now on.
fn wait(step: &mut Step<'_>, left: u32) -> Result<(), Stop> {
    let (warp, mask, copies) = (step.warp.index, step.mask, step.warp.copies);
    let done = step.block.shared.finish(|waits| match waits {
        Waits::Group { thread, group } => {
            let lane = thread % 32;
            thread / 32 == warp && mask >> lane & 1 == 1 && group + left < copies[lane as usize]
        }
        Waits::Barrier { .. } => false,
    });
    for copy in done {
        if let Waits::Group { thread, .. } = copy.waits {
            step.shared_written((thread % 32) as usize, copy.at, copy.bytes, copy.line)?;
        }
    }
    Ok(())
}
