//! Jumps and ends; waiting and hints to the scheduler do nothing.

use crate::decode::form::Form;
use crate::machine::step::{Flow, Step, Stop};
use crate::machine::warp::Src;
use crate::report::Fault;

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
    Nothing,
}

pub(crate) fn decode(form: &mut Form<'_>) -> Result<Control, String> {
    Ok(match form.name() {
        "exit" => Control::Exit,
        "trap" => Control::Trap,
        _ => Control::Nothing,
    })
}

impl Control {
    /// Sets where a jump goes.
    pub(crate) fn point(&mut self, slot: usize, target: u32) {
        match self {
            Self::Jump { to } => *to = target,
            Self::Table { index: _, to } => to[slot] = target,
            Self::Exit | Self::Trap | Self::Nothing => {}
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
            Self::Exit => Ok(Flow::Exit),
            Self::Trap => Err(step.stop(Fault::Trap)),
            Self::Nothing => Ok(Flow::Next),
        }
    }
}
