//! Loads and stores of one to four values, through every space; hints to caches say nothing here.

use crate::decode::form::{Address, Form};
use crate::machine::access::Where;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::{Lanes, Reg, Src};
use crate::memory::shadow::Strength;
use crate::report::{Fault, Space};
use crate::ty::Type;

#[derive(Debug)]
pub(crate) enum Memory {
    Load {
        ty: Type,
        strength: Strength,
        d: Vec<(Reg, Type)>,
        from: Address,
    },
    Store {
        ty: Type,
        strength: Strength,
        release: bool,
        to: Address,
        values: Vec<Src>,
    },
    /// A hint; the register is a cache policy that it makes.
    Hint {
        d: Option<Reg>,
    },
}

/// Takes what an access may say of caches.
pub(crate) fn hints(form: &mut Form<'_>) -> bool {
    for prefix in ["L1::", "L2::", "unified"] {
        while form.prefixed(prefix).is_some_and(|part| part != "L2::cache_hint") {}
    }
    for part in ["ca", "cg", "cs", "lu", "cv", "wb", "wt"] {
        form.flag(part);
    }
    form.raw.opcode.iter().any(|p| p == "L2::cache_hint")
}

/// How strong an access is, and whether it releases what was before; a strong read always acquires.
pub(crate) fn order(form: &mut Form<'_>) -> (Strength, bool) {
    let strong = form.flag("volatile") | form.flag("relaxed") | form.flag("mmio");
    let (acquire, release, both) = (form.flag("acquire"), form.flag("release"), form.flag("acq_rel"));
    for scope in ["cta", "cluster", "gpu", "sys"] {
        form.flag(scope);
    }
    let strength = if strong || acquire || release || both { Strength::Strong } else { Strength::Weak };
    (strength, release | both)
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Memory, String> {
    let name = form.name();
    if let "prefetch" | "prefetchu" | "discard" | "applypriority" = name {
        return Ok(Memory::Hint { d: None });
    }
    if name == "createpolicy" {
        return Ok(Memory::Hint { d: Some(form.dst(0)?) });
    }
    form.flag("weak");
    let (strength, release) = order(form);
    form.flag("nc");
    let hint = usize::from(hints(form));
    let place = form.space();
    let count = form.pick(&[("v2", 2), ("v4", 4)]).unwrap_or(1);
    let ty = form.ty()?;
    form.done(2 + hint..=2 + hint)?;
    if ty.bits() > 64 || ty.bits() < 8 || ty.bytes() * count > 16 {
        return Err(format!("{count} values of `.{}`", ty.name()));
    }
    if name == "st" {
        let (to, values) = (form.address(0, place)?, form.srcs(1, ty)?);
        if values.len() != count {
            return Err("the vector has another length".to_owned());
        }
        return Ok(Memory::Store { ty, strength, release, to, values });
    }
    let (d, from) = (form.dsts(0)?, form.address(1, place)?);
    if d.len() != count {
        return Err("the vector has another length".to_owned());
    }
    Ok(Memory::Load { ty, strength, d, from })
}

impl Step<'_> {
    /// The address of each lane; the base has to be written.
    pub(crate) fn addresses(&self, address: &Address) -> Result<Lanes, Stop> {
        self.need(address.base, "an address")?;
        let base = self.get(address.base);
        let mask = match address.place {
            // Addresses of these spaces have 32 bits that count.
            Where::In(Space::Shared | Space::Local | Space::Param) => 0xffff_ffff,
            Where::In(Space::Global) | Where::Generic => u64::MAX,
        };
        Ok(base.map(|b| b.wrapping_add_signed(address.offset) & mask))
    }
}

impl Memory {
    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match self {
            Self::Load { ty, strength, d, from } => {
                let addresses = step.addresses(from)?;
                let (bytes, bits) = (ty.bytes() * d.len(), ty.bits());
                let mut values: [Lanes; 4] = [[0; 32]; 4];
                let mut ready = 0u32;
                for lane in step.lanes() {
                    let (value, written) = step.load(lane, from.place, addresses[lane], bytes, *strength)?;
                    ready |= u32::from(written) << lane;
                    for (index, lanes) in values.iter_mut().enumerate().take(d.len()) {
                        lanes[lane] = (value >> (bits * index as u32)) as u64 & (u64::MAX >> (64 - bits));
                    }
                }
                for ((reg, width), lanes) in d.iter().zip(&mut values) {
                    if ty.signed() && bits < width.bits() {
                        let drop = 64 - bits;
                        let mask = u64::MAX >> (64 - width.bits());
                        lanes.iter_mut().for_each(|v| *v = ((*v << drop) as i64 >> drop) as u64 & mask);
                    }
                    step.set(*reg, ready, lanes);
                }
                step.count_sectors(from.place, &addresses, bytes, false);
            }
            Self::Store { ty, strength, release, to, values } => {
                let addresses = step.addresses(to)?;
                let (bytes, bits) = (ty.bytes() * values.len(), ty.bits());
                if *release {
                    step.block.clocks.fence();
                }
                let sources: Vec<Lanes> = values.iter().map(|v| step.get(*v)).collect();
                let written = values.iter().fold(u32::MAX, |ready, v| ready & step.warp.ready(*v));
                for lane in step.lanes() {
                    // Local memory takes what is not written: spilled registers and copied structs are read back as such.
                    let (space, at) = to.place.locate(addresses[lane]);
                    if written >> lane & 1 == 0 {
                        if space == Space::Local {
                            step.forget_local(lane, at, bytes);
                            continue;
                        }
                        return Err(Fault::UninitialisedRegister { what: "a value to store" }.at(lane));
                    }
                    let mut value = 0u128;
                    for (index, source) in sources.iter().enumerate() {
                        let piece = source[lane] & (u64::MAX >> (64 - bits));
                        value |= u128::from(piece) << (bits * index as u32);
                    }
                    step.store(lane, to.place, addresses[lane], bytes, value, *strength)?;
                }
                step.count_sectors(to.place, &addresses, bytes, true);
            }
            Self::Hint { d } => {
                if let Some(d) = d {
                    step.set(*d, u32::MAX, &[0; 32]);
                }
            }
        }
        Ok(Flow::Next)
    }
}
