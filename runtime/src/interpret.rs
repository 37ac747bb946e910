//! Walking the bytecode: every member of the team does.
//!
//! A step that is worth it is shared: each member does its part, and all meet before anything else is done. Other steps are the
//! first member's alone, which does any number of them in a row before the others come to meet it.

use crate::builtin::call::{Call, Stop};
use crate::device::cpu::team::Member;
use crate::frame::Frame;
use crate::model::Model;
use crate::program::{Op, Program};
use actc_types::Diagnostic;
use std::cell::Cell;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// One run, as a member sees it.
pub(crate) struct Run<'a> {
    model: &'a Model,
    program: &'a Program,
    frame: &'a Frame,
    /// Rounds of loops so far. The first member counts all of them, others those that they take part in.
    rounds: Cell<u64>,
    since: Cell<Since>,
}

/// What members did since they met.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Since {
    Nothing,
    /// The first one did steps, whose results others do not see yet.
    Alone,
    /// All read or wrote, in the leaf step of this number if it was one: some may still be at it.
    Shared(Option<usize>),
}

impl<'a> Run<'a> {
    /// A run that goes on after so many rounds of loops.
    pub(crate) fn new(model: &'a Model, program: &'a Program, frame: &'a Frame, rounds: u64) -> Run<'a> {
        Run { model, program, frame, rounds: Cell::new(rounds), since: Cell::new(Since::Nothing) }
    }

    /// Does the member's share of some steps.
    pub(crate) fn walk(&self, ops: &[Op], member: &mut Member<'_>) -> Result<(), Stop> {
        self.ops(ops, member)?;
        if member.part == 0 {
            self.frame.rounds.store(self.rounds.get(), Ordering::Relaxed);
        }
        Ok(())
    }

    fn ops(&self, ops: &[Op], member: &mut Member<'_>) -> Result<(), Stop> {
        ops.iter().try_for_each(|op| {
            if member.parts == 1 {
                self.op(op, member)
            } else if self.frame.work.is_small(op) {
                self.alone(member, |member| self.op(op, member))
            } else {
                self.meet(member)?;
                self.op(op, member)
            }
        })
    }

    /// Lets the first member do something by itself.
    fn alone(
        &self,
        member: &mut Member<'_>,
        work: impl FnOnce(&mut Member<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        if let Since::Shared(_) = self.since.get() {
            self.meet(member)?;
        }
        if member.part == 0 {
            work(&mut member.alone())?;
        }
        self.since.set(Since::Alone);
        Ok(())
    }

    /// Waits until all that was done is complete and seen by all.
    fn meet(&self, member: &Member<'_>) -> Result<(), Stop> {
        let since = self.since.replace(Since::Nothing);
        if since != Since::Nothing {
            let started = self.clock(member);
            member.barrier.wait()?;
            if let Since::Shared(Some(leaf)) = since {
                self.stop_clock(leaf, started);
            }
        }
        Ok(())
    }

    /// Does the member's share of a step; all have met.
    fn op(&self, op: &Op, member: &mut Member<'_>) -> Result<(), Stop> {
        let frame = self.frame;
        match op {
            Op::Launch { leaf, kernel, args, dims } => {
                let started = self.clock(member);
                let kernels = self.model.kernels().ok_or_else(not_linked)?;
                let (bufs, dims) = (frame.addresses.get(args.clone()), &frame.dims[dims.clone()]);
                kernels.run(*kernel, bufs, dims, member.part, member.parts);
                self.since.set(Since::Shared(Some(*leaf)));
                self.stop_clock(*leaf, started);
            }
            Op::Builtin { leaf, call } => {
                let started = self.clock(member);
                let view =
                    Call::new(&self.program.calls[*call], self.model, frame, member.part, member.parts, member.barrier);
                crate::builtin::run(&view, member.scratch).map_err(|stop| stop.at(&self.program.labels[*leaf]))?;
                self.since.set(Since::Shared(Some(*leaf)));
                self.stop_clock(*leaf, started);
            }
            Op::If { cond, then, otherwise } => {
                let taken = frame.truth(*cond, "condition")?;
                // The branch may write over the condition: all members have to have read it.
                self.since.set(Since::Shared(None));
                self.ops(&self.program.blocks[if taken { *then } else { *otherwise }].ops, member)?;
            }
            Op::Loop { trips, live, index, body } => {
                let count = frame.trips(*trips)?;
                self.since.set(Since::Shared(None));
                for round in 0..count {
                    if live.is_some() {
                        self.meet(member)?;
                        let lives = frame.lives(*live)?;
                        // The round may write over it.
                        self.since.set(Since::Shared(None));
                        if !lives {
                            break;
                        }
                    }
                    // Members that do not see all rounds count fewer than the first, which stops all.
                    self.rounds.set(another_round(self.rounds.get(), frame.max_rounds)?);
                    if index.is_some() {
                        self.alone(member, |_| Ok(frame.set_round(*index, round)?))?;
                    }
                    self.ops(&self.program.blocks[*body].ops, member)?;
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
