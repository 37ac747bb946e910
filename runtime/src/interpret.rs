//! Walking the bytecode: every member of the team does, in step.

use crate::builtin::call::{Call, Stop};
use crate::device::cpu::team::Member;
use crate::frame::Frame;
use crate::model::Model;
use crate::program::{Op, Program};
use actc_types::Diagnostic;
use std::cell::Cell;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// One run, as a member sees it.
pub(crate) struct Run<'a> {
    pub model: &'a Model,
    pub program: &'a Program,
    pub frame: &'a Frame,
    /// Rounds of loops so far.
    pub rounds: Cell<u64>,
}

impl Run<'_> {
    /// Does the member's share of some steps of a block.
    pub(crate) fn walk(&self, block: usize, steps: Range<usize>, member: &mut Member<'_>) -> Result<(), Stop> {
        self.ops(&self.program.blocks[block].ops[steps], member)?;
        if member.part == 0 {
            self.frame.rounds.store(self.rounds.get(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn block(&self, block: usize, member: &mut Member<'_>) -> Result<(), Stop> {
        self.ops(&self.program.blocks[block].ops, member)
    }

    fn ops(&self, ops: &[Op], member: &mut Member<'_>) -> Result<(), Stop> {
        ops.iter().try_for_each(|op| self.op(op, member))
    }

    fn op(&self, op: &Op, member: &mut Member<'_>) -> Result<(), Stop> {
        let frame = self.frame;
        match op {
            Op::Launch { leaf, kernel, args, dims } => {
                let started = self.clock(member);
                let kernels = self.model.kernels().ok_or_else(not_linked)?;
                let (bufs, dims) = (frame.addresses.get(args.clone()), &frame.dims[dims.clone()]);
                kernels.run(*kernel, bufs, dims, member.part, member.parts);
                member.barrier.wait()?;
                self.stop_clock(*leaf, started);
            }
            Op::Builtin { leaf, call } => {
                let started = self.clock(member);
                let view =
                    Call::new(&self.program.calls[*call], self.model, frame, member.part, member.parts, member.barrier);
                crate::builtin::run(&view, member.scratch).map_err(|stop| stop.at(&self.program.labels[*leaf]))?;
                member.barrier.wait()?;
                self.stop_clock(*leaf, started);
            }
            Op::If { cond, then, otherwise } => {
                let condition: &[u8] = frame.regions[*cond].read(1).ok_or_else(|| too_small("condition", 1))?;
                let taken = condition[0] != 0;
                // The branch may write over the condition: all members have to have read it.
                member.barrier.wait()?;
                self.block(if taken { *then } else { *otherwise }, member)?;
            }
            Op::Loop { trips, live, index, body } => {
                let count: &[i64] = frame.regions[*trips].read(1).ok_or_else(|| too_small("number of rounds", 8))?;
                let count = u64::try_from(count[0]).unwrap_or(0);
                member.barrier.wait()?;
                for round in 0..count {
                    if let Some(live) = live {
                        let live: &[u8] = frame.regions[*live].read(1).ok_or_else(|| too_small("loop's guard", 1))?;
                        let ends = live[0] == 0;
                        // The round may write over it: all members have to have read it.
                        member.barrier.wait()?;
                        if ends {
                            break;
                        }
                    }
                    // Every member counts alike, so all stop at the same round.
                    self.rounds.set(another_round(self.rounds.get(), frame.max_rounds)?);
                    if let Some(index) = index {
                        if member.part == 0 {
                            frame.regions[*index].store(round as i64).ok_or_else(|| too_small("loop index", 8))?;
                        }
                        member.barrier.wait()?;
                    }
                    self.block(*body, member)?;
                }
            }
            Op::Bind { .. } => return Err(Diagnostic::new("run-bind", "sizes change while a team runs").into()),
        }
        Ok(())
    }

    fn clock(&self, member: &Member<'_>) -> Option<Instant> {
        (member.part == 0 && self.frame.profile.is_some()).then(Instant::now)
    }

    fn stop_clock(&self, leaf: usize, started: Option<Instant>) {
        if let Some(started) = started {
            self.frame.took(leaf, started.elapsed().as_nanos() as u64);
        }
    }
}

/// One more than `rounds`, if that many are allowed.
pub(crate) fn another_round(rounds: u64, most: u64) -> Result<u64, Diagnostic> {
    if rounds < most {
        return Ok(rounds + 1);
    }
    Err(Diagnostic::new("loop-limit", format!("loops run for more than the {most} rounds allowed")))
}

pub(crate) fn too_small(what: &str, bytes: usize) -> Diagnostic {
    Diagnostic::new("run-buffer", format!("the buffer of a {what} cannot be used: it needs {bytes} bytes of its own"))
}

pub(crate) fn not_linked() -> Diagnostic {
    Diagnostic::new("code-not-linked", "the plan launches kernels, and the model has no code")
        .help("link the model's code first")
}
