//! Doing the steps of a program: all of them in a row, or one after the other where something has to be read on the way.

use super::arena::{Arena, ERRORS};
use super::calls::Call;
use super::clock::Clock;
use super::driver::Stream;
use super::frame::{Frame, Place};
use super::model::CudaModel;
use crate::frame::too_small;
use crate::interpret::another_round;
use crate::program::{Op, Program};
use actc_types::{Diagnostic, Result};

/// Whether all steps of `program` are launches, and extents that are compared before them.
pub(crate) fn is_straight(program: &Program) -> bool {
    program.blocks.iter().flat_map(|block| &block.ops).all(|op| match op {
        // Reading a plan for GPUs refuses all builtins but that one.
        Op::Launch { .. } | Op::Builtin { .. } => true,
        Op::If { .. } | Op::Loop { .. } | Op::Bind { .. } => false,
    })
}

/// Asks the stream for what comes before the first step: sizes and inputs, and no errors so far.
pub(crate) fn bring_in(stream: &Stream, frame: &Frame, arena: &Arena) -> Result<()> {
    if frame.errors {
        stream.fill(arena.errors(), ERRORS)?;
    }
    match &arena.sent {
        Some(sent) => stream.copy_in(arena.inward(), sent, 0, frame.inward),
        None => Ok(()),
    }
}

/// Asks the stream for what comes behind the last step: outputs, and what was found wrong.
pub(crate) fn bring_out(stream: &Stream, program: &Program, frame: &Frame, arena: &Arena) -> Result<()> {
    for (port, given) in program.outputs.iter().zip(&arena.given) {
        let Place { address, bytes } = frame.places[port.buffer];
        stream.copy_out(given, 0, address, bytes)?;
    }
    if frame.errors { stream.copy_out(&arena.read, 0, arena.errors(), ERRORS) } else { Ok(()) }
}

/// An error where a program that is straight is not for the extents that its symbols have.
pub(crate) fn expect_all(program: &Program, frame: &Frame) -> Result<()> {
    program.blocks.iter().flat_map(|block| &block.ops).try_for_each(|op| match op {
        Op::Builtin { leaf, call } => frame.expect(program, *leaf, *call),
        Op::Launch { .. } | Op::If { .. } | Op::Loop { .. } | Op::Bind { .. } => Ok(()),
    })
}

/// Asks the stream for all launches of a program that has nothing else to ask for.
pub(crate) fn launch_all(
    stream: &Stream,
    model: &CudaModel,
    program: &Program,
    frame: &Frame,
    mut clock: Option<&mut Clock>,
) -> Result<()> {
    if let Some(clock) = clock.as_deref_mut() {
        clock.mark(stream, None)?;
    }
    for (i, call) in frame.calls.iter().flatten().enumerate() {
        // Behind a copy there is nothing to overlap with, and times of steps are those of each by itself.
        launch(stream, model, program, call, i == 0 || clock.is_some())?;
        if let Some(clock) = clock.as_deref_mut() {
            clock.mark(stream, Some(call.leaf))?;
        }
    }
    Ok(())
}

fn launch(stream: &Stream, model: &CudaModel, program: &Program, call: &Call, alone: bool) -> Result<()> {
    let label = &program.labels[call.leaf];
    if !call.ready {
        let headline = format!("`{label}` is launched before a step gives its sizes their values");
        return Err(Diagnostic::new("run-bind", headline));
    }
    stream.launch(&model.kernels()[call.kernel].function, call.grid, &call.params, alone, label)
}

/// One run of a program with branches, rounds or extents that steps compute.
pub(crate) struct Steps<'a> {
    pub stream: &'a Stream,
    pub model: &'a CudaModel,
    pub program: &'a Program,
    pub frame: &'a mut Frame,
    pub arena: &'a mut Arena,
    pub clock: Option<&'a mut Clock>,
    /// The values of symbols so far.
    pub values: Vec<u64>,
    /// Rounds of loops so far, and most of them.
    pub rounds: u64,
    pub max_rounds: u64,
}

impl Steps<'_> {
    /// Starts the clock, where there is one.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.mark(None)
    }

    /// Does the steps of block `block`.
    pub(crate) fn block(&mut self, block: usize) -> Result<()> {
        let program = self.program;
        program.blocks[block].ops.iter().try_for_each(|op| self.op(op))
    }

    fn op(&mut self, op: &Op) -> Result<()> {
        match op {
            Op::Launch { leaf, .. } => {
                let Some(call) = &self.frame.calls[*leaf] else { return Ok(()) };
                launch(self.stream, self.model, self.program, call, self.clock.is_some())?;
                self.mark(Some(*leaf))
            }
            Op::Builtin { leaf, call } => self.frame.expect(self.program, *leaf, *call),
            Op::If { cond, then, otherwise } => {
                let taken = self.truth(*cond, "condition")?;
                self.block(if taken { *then } else { *otherwise })
            }
            Op::Loop { trips, live, index, body } => {
                let trips = u64::try_from(self.integers(*trips, 1, "number of rounds")?[0]).unwrap_or(0);
                for round in 0..trips {
                    if let Some(live) = live
                        && !self.truth(*live, "loop's guard")?
                    {
                        break;
                    }
                    self.rounds = another_round(self.rounds, self.max_rounds)?;
                    if let Some(index) = index {
                        let place = self.place(*index, 8, "loop index")?;
                        self.stream.store(place.address, round as i64)?;
                    }
                    self.block(*body)?;
                }
                Ok(())
            }
            Op::Bind { symbols, values } => {
                let found = self.integers(*values, symbols.len(), "list of extents")?;
                for (symbol, n) in symbols.iter().zip(found) {
                    let name = &self.program.symbols[*symbol];
                    let negative = |_| Diagnostic::new("dim-negative", format!("the extent `{name}` would be {n}"));
                    self.values[*symbol] = u64::try_from(n).map_err(negative)?;
                }
                self.lay_out_again()
            }
        }
    }

    /// Lays out what has become known. All work before is done, so the host may write what goes to the device.
    fn lay_out_again(&mut self) -> Result<()> {
        let inward = self.arena.inward();
        self.frame.lay_out(self.model, self.program, self.arena, &self.values)?;
        if self.arena.inward() != inward {
            // Inputs do not depend on what steps compute: their piece has the size that it had.
            return Err(Diagnostic::new("run-bind", "the inputs of a run moved while it went on"));
        }
        write_table(self.frame, self.arena);
        let table = 8 * self.frame.table.len();
        if let Some(sent) = &self.arena.sent {
            self.stream.copy_in(inward, sent, 0, table)?;
        }
        self.mark(None)
    }

    fn mark(&mut self, leaf: Option<usize>) -> Result<()> {
        match self.clock.as_deref_mut() {
            Some(clock) => clock.mark(self.stream, leaf),
            None => Ok(()),
        }
    }

    /// The buffer that is argument `at`, a `what` of at least `bytes`.
    fn place(&self, at: usize, bytes: usize, what: &str) -> Result<Place> {
        let place = self.frame.places[self.program.args[at] as usize];
        if place.bytes < bytes { Err(too_small(what, bytes)) } else { Ok(place) }
    }

    /// The first `bytes` of argument `at`. Waits for all work before.
    fn read(&mut self, at: usize, bytes: usize, what: &str) -> Result<&[u8]> {
        let place = self.place(at, bytes, what)?;
        self.stream.wait()?;
        self.arena.reserve_read(ERRORS + bytes)?;
        self.stream.copy_out(&self.arena.read, ERRORS, place.address, bytes)?;
        self.stream.wait()?;
        self.mark(None)?;
        Ok(&self.arena.read.bytes()[ERRORS..ERRORS + bytes])
    }

    fn truth(&mut self, at: usize, what: &str) -> Result<bool> {
        Ok(self.read(at, 1, what)?[0] != 0)
    }

    fn integers(&mut self, at: usize, count: usize, what: &str) -> Result<Vec<i64>> {
        let bytes = self.read(at, 8 * count, what)?;
        Ok(bytes.as_chunks().0.iter().map(|n| i64::from_le_bytes(*n)).collect())
    }
}

/// Writes the sizes that kernels read from memory to where they are copied from.
pub(crate) fn write_table(frame: &Frame, arena: &mut Arena) {
    if let Some(sent) = &mut arena.sent {
        for (to, size) in sent.bytes_mut().as_chunks_mut().0.iter_mut().zip(&frame.table) {
            *to = size.to_le_bytes();
        }
    }
}
