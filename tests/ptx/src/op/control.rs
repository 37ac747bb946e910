//! Jumps and ends; waiting and hints to the scheduler do nothing.

use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::Src;
use crate::report::Fault;
use crate::ty::Type;

#[derive(Debug)]
pub(crate) enum Control {
    Jump {
        to: u32,
    },
    /// By an index into a list.
    Table {
        index: Src,
        to: Vec<u32>,
    },
    Exit,
    Trap,
    /// Registers of a thread from here on; all lanes of a warp say so.
    Registers,
    Nothing,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Control, String> {
    Ok(match form.name() {
        "exit" => Control::Exit,
        "trap" => Control::Trap,
        "setmaxnreg" => registers(form)?,
        _ => Control::Nothing,
    })
}

fn registers(form: &mut Form<'_>) -> Result<Control, String> {
    if !form.target().ends_with(['a', 'f']) {
        return Err("it needs a target like `sm_90a`".to_owned());
    }
    form.must(&[("inc", true), ("dec", false)])?;
    for part in ["sync", "aligned", "u32"] {
        if !form.flag(part) {
            return Err(format!("`.{part}` is expected"));
        }
    }
    form.done(1..=1)?;
    match form.src(0, Type::U32)? {
        Src::Imm(count) if (24..=256).contains(&count) && count.is_multiple_of(8) => Ok(Control::Registers),
        Src::Imm(_) | Src::Reg(_) | Src::Special(_) => Err("24 to 256 registers in eights are expected".to_owned()),
    }
}

impl Control {
    /// Sets where a jump goes.
    pub(crate) fn point(&mut self, slot: usize, target: u32) {
        match self {
            Self::Jump { to } => *to = target,
            Self::Table { index: _, to } => to[slot] = target,
            Self::Exit | Self::Trap | Self::Registers | Self::Nothing => {}
        }
    }

    pub(crate) fn run(&self, step: &mut Step<'_>) -> Result<Flow, Stop> {
        match self {
            Self::Jump { to } => Ok(Flow::Jump { mask: step.mask, to: *to }),
            Self::Table { index, to } => {
                step.need(*index, "a branch index")?;
                let index = step.get(*index);
                // The lanes of the first one's target jump; the others execute the instruction again.
                let first = index[step.first()];
                let mask = step.lanes().filter(|l| index[*l] == first).fold(0, |mask, l| mask | 1 << l);
                let to = to.get(first as usize).ok_or_else(|| {
                    step.stop(Fault::BadOperand { what: format!("branch index {first} of {} targets", to.len()) })
                })?;
                Ok(Flow::Table { mask, to: *to })
            }
            Self::Exit => match step.warp.flight.under_way() {
                Some(product_line) => Err(step.stop(Fault::PendingSums { product_line })),
                None => Ok(Flow::Exit),
            },
            Self::Registers => step.whole_warp("`setmaxnreg`").map(|()| Flow::Next),
            Self::Trap => Err(step.stop(Fault::Trap)),
            Self::Nothing => Ok(Flow::Next),
        }
    }
}
