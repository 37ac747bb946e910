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
                let taken = frame.truth(*cond, "condition")?;
                // The branch may write over the condition: all members have to have read it.
                member.barrier.wait()?;
                self.block(if taken { *then } else { *otherwise }, member)?;
            }
            Op::Loop { trips, live, index, body } => {
                let count = frame.trips(*trips)?;
                member.barrier.wait()?;
                for round in 0..count {
                    let lives = frame.lives(*live)?;
                    if live.is_some() {
                        // The round may write over it: all members have to have read it.
                        member.barrier.wait()?;
                    }
                    if !lives {
                        break;
                    }
                    // Every member counts alike, so all stop at the same round.
                    self.rounds.set(another_round(self.rounds.get(), frame.max_rounds)?);
                    if index.is_some() {
                        if member.part == 0 {
                            frame.set_round(*index, round)?;
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

pub(crate) fn not_linked() -> Diagnostic {
    Diagnostic::new("code-not-linked", "the plan launches kernels, and the model has no code")
        .help("link the model's code first")
}
