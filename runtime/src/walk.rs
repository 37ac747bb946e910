//! Going through a program: the team does the steps between those that bind symbols, and the caller's thread binds them.
//!
//! A program that binds nothing is one run of the team, and one that is hardly any work none. Branches and rounds with steps
//! that bind are entered here; all others are the team's.

use crate::builtin::call::Stop;
use crate::interpret::{Run, another_round};
use crate::model::Model;
use crate::program::{Op, Program};
use crate::session::Session;
use actc_types::{Diagnostic, Result};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// One run of a program, with the values of its symbols so far.
pub(crate) struct Walk {
    pub model: Arc<Model>,
    /// Index of the program.
    pub program: usize,
    /// One for each symbol, [`UNBOUND`](crate::expr::UNBOUND) where a step has yet to bind it.
    pub values: Vec<u64>,
}

impl Walk {
    pub(crate) fn program(&self) -> &Program {
        &self.model.programs()[self.program]
    }
}

impl Session {
    /// Does all steps of a block. Everything whose size is known is laid out, before and after.
    pub(crate) fn walk(&mut self, walk: &mut Walk, block: usize) -> Result<()> {
        let model = walk.model.clone();
        let program = &model.programs()[walk.program];
        let ops = &program.blocks[block].ops;
        let mut done = 0;
        for (i, op) in ops.iter().enumerate().filter(|(_, op)| program.binds(op)) {
            self.run_steps(walk, block, done..i)?;
            self.enter(walk, op)?;
            done = i + 1;
        }
        self.run_steps(walk, block, done..ops.len())
    }

    /// Does a step that binds, or whose branches or rounds do.
    fn enter(&mut self, walk: &mut Walk, op: &Op) -> Result<()> {
        match op {
            Op::Launch { .. } | Op::Builtin { .. } => Ok(()),
            Op::If { cond, then, otherwise } => {
                let taken = self.frame.truth(*cond, "condition")?;
                self.walk(walk, if taken { *then } else { *otherwise })
            }
            Op::Loop { trips, live, index, body } => {
                for round in 0..self.frame.trips(*trips)? {
                    if !self.frame.lives(*live)? {
                        break;
                    }
                    let rounds = self.frame.rounds.load(Ordering::Relaxed);
                    self.frame.rounds.store(another_round(rounds, self.frame.max_rounds)?, Ordering::Relaxed);
                    self.frame.set_round(*index, round)?;
                    self.walk(walk, *body)?;
                }
                Ok(())
            }
            Op::Bind { symbols, values } => {
                let found = self.frame.integers(*values, symbols.len(), "list of extents")?;
                for (symbol, n) in symbols.iter().zip(found) {
                    let name = &walk.program().symbols[*symbol];
                    let negative = |_| Diagnostic::new("dim-negative", format!("the extent `{name}` would be {n}"));
                    walk.values[*symbol] = u64::try_from(*n).map_err(negative)?;
                }
                self.lay_out(walk)
            }
        }
    }

    /// Does steps that bind nothing: on the caller's thread as far as the team is of no use.
    fn run_steps(&mut self, walk: &Walk, block: usize, steps: Range<usize>) -> Result<()> {
        let ops = &walk.program().blocks[block].ops[steps.clone()];
        let work = &self.frame.work;
        let shared = |op: &Op| !work.is_small(op);
        let first = ops.iter().position(shared).filter(|_| self.options.threads > 1 && work.is_for_team(ops));
        let Some(first) = first else { return self.run_alone(walk, ops) };
        let end = ops.iter().rposition(shared).map_or(ops.len(), |last| last + 1);
        self.run_alone(walk, &ops[..first])?;
        self.run_team(walk, block, steps.start + first..steps.start + end)?;
        self.run_alone(walk, &ops[end..])
    }

    fn run_alone(&mut self, walk: &Walk, ops: &[Op]) -> Result<()> {
        if ops.is_empty() {
            return Ok(());
        }
        let frame = &*self.frame;
        let run = Run::new(&walk.model, walk.program(), frame, frame.rounds.load(Ordering::Relaxed));
        match self.team.run_alone(|member| run.walk(ops, member))? {
            Ok(()) | Err(Stop::Poisoned) => Ok(()),
            Err(Stop::Failed(diagnostic)) => Err(diagnostic),
        }
    }

    fn run_team(&mut self, walk: &Walk, block: usize, steps: Range<usize>) -> Result<()> {
        let failed: Arc<Mutex<BTreeMap<usize, Diagnostic>>> = Arc::default();
        let (model, index, frame, sink) = (walk.model.clone(), walk.program, self.frame.clone(), failed.clone());
        let rounds = self.frame.rounds.load(Ordering::Relaxed);
        self.team.run(Arc::new(move |member| {
            let program = &model.programs()[index];
            match Run::new(&model, program, &frame, rounds).walk(&program.blocks[block].ops[steps.clone()], member) {
                Ok(()) | Err(Stop::Poisoned) => {}
                Err(Stop::Failed(diagnostic)) => {
                    sink.lock().unwrap_or_else(PoisonError::into_inner).insert(member.part, diagnostic);
                    member.barrier.poison();
                }
            }
        }))?;
        // Of several members that failed, the first one speaks.
        let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.pop_first().map_or(Ok(()), |(_, diagnostic)| Err(diagnostic))
    }
}
