//! Where everything of a program lies for the next run, and whether that is where it was.

use super::arena::Arena;
use super::calls::{Call, calls};
use super::driver::Graph;
use super::kernel::Kernel;
use super::model::CudaModel;
use crate::builtin::expect;
use crate::program::Program;
use crate::stale::Stale;
use crate::wanted::Wanted;
use actc_artifact::BufferKind;
use actc_types::Result;

/// Where parts of the piece with sizes and inputs start: a multiple of this.
const LINE: usize = 64;

/// A buffer of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub address: u64,
    pub bytes: usize,
}

/// What the last run of a program left for the next.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The values of symbols that everything is laid out for, and the arena's epoch.
    laid: Option<(Vec<u64>, u64)>,
    /// The buffers of the program.
    pub places: Vec<Place>,
    /// Sizes of all steps.
    dims: Vec<i64>,
    /// The launches, by the number of their leaf steps.
    pub calls: Vec<Option<Call>>,
    /// Sizes that kernels read from memory.
    pub table: Vec<i64>,
    /// Where inputs start in the piece with sizes and inputs, which has so many bytes.
    pub inputs: Vec<usize>,
    pub inward: usize,
    /// Whether any step tells errors.
    pub errors: bool,
    /// A run of these launches, where all of the program are captured.
    pub graph: Option<Graph>,
    /// Whether a run had everything where it is now.
    pub settled: bool,
}

impl Frame {
    /// One that fits nothing yet.
    pub(crate) fn new(program: &Program, kernels: &[Kernel]) -> Frame {
        let (calls, table) = calls(program, kernels);
        Frame {
            laid: None,
            places: vec![Place::default(); program.buffers.len()],
            dims: Vec::new(),
            calls,
            table: vec![0; table],
            inputs: Vec::new(),
            inward: 0,
            errors: program.buffers.iter().any(|b| b.kind == BufferKind::Errors),
            graph: None,
            settled: false,
        }
    }

    /// Lays out everything whose size is known by `values` and is not where it was. What was captured is given up where
    /// anything changed but sizes in memory.
    pub(crate) fn lay_out(
        &mut self,
        model: &CudaModel,
        program: &Program,
        arena: &mut Arena,
        values: &[u64],
    ) -> Result<()> {
        let stale = match &self.laid {
            Some((laid, epoch)) if *epoch == arena.epoch => Stale::between(laid, values),
            Some(_) | None => Some(Stale::All),
        };
        let Some(stale) = stale else { return Ok(()) };
        let sizes = stale.buffer_sizes(program, values, |i| self.places[i].bytes)?;
        let states: Vec<usize> = arena.states.iter().map(|s| s.bytes).collect();
        let wanted = Wanted::of(program, &sizes, model.model(), &states)?;
        self.set_inputs(program, &sizes)?;
        arena.reserve(self.inward, &wanted)?;
        let moved = self.set_places(model, program, arena, &sizes);
        stale.set_dims(program, values, &mut self.dims)?;
        let all = if moved { Stale::All } else { stale };
        let table = arena.inward();
        let mut changed = moved;
        for call in self.calls.iter_mut().flatten() {
            if program.dims[call.dims.clone()].iter().any(|dim| all.has(dim)) || moved {
                let known = program.dims[call.dims.clone()].iter().all(|dim| dim.is_known(values));
                let kernel = &model.kernels()[call.kernel];
                let buffers = program.args[call.args.clone()].iter().map(|b| self.places[*b as usize].address);
                let label = &program.labels[call.leaf];
                changed |= call.set(kernel, buffers, &self.dims, known, table, &mut self.table, label)?;
            }
        }
        if changed {
            (self.graph, self.settled) = (None, false);
        }
        self.laid = Some((values.to_vec(), arena.epoch));
        Ok(())
    }

    /// An error where the extents that call `call` of `program` compares are not the same. They are known by now.
    pub(crate) fn expect(&self, program: &Program, leaf: usize, call: usize) -> Result<()> {
        let extents = &self.dims[program.calls[call].dims.clone()];
        expect::agree(extents).map_err(|d| d.at(actc_types::Place::Node(program.labels[leaf].clone())))
    }

    /// Where the inputs lie behind the sizes, in the piece that goes to the device in one copy.
    fn set_inputs(&mut self, program: &Program, sizes: &[usize]) -> Result<()> {
        let overflow =
            || actc_types::Diagnostic::new("dim-overflow", "the inputs of a run together exceed the address space");
        let mut end = (8 * self.table.len()).next_multiple_of(LINE);
        self.inputs.clear();
        for port in &program.inputs {
            self.inputs.push(end);
            let next = end.checked_add(sizes[port.buffer]).and_then(|n| n.checked_next_multiple_of(LINE));
            end = next.ok_or_else(overflow)?;
        }
        self.inward = end;
        Ok(())
    }

    /// Sets the places of all buffers. Gives whether any moved, or has another number of bytes that are copied.
    fn set_places(&mut self, model: &CudaModel, program: &Program, arena: &Arena, sizes: &[usize]) -> bool {
        let first = self.laid.is_none();
        let mut moved = self.laid.as_ref().is_none_or(|(_, epoch)| *epoch != arena.epoch);
        for ((place, buffer), bytes) in self.places.iter_mut().zip(&program.buffers).zip(sizes) {
            let (address, copied) = match buffer.kind {
                BufferKind::Input(i) => (arena.inward() + self.inputs[i as usize] as u64, true),
                BufferKind::Output(i) => (arena.output(i as usize), true),
                BufferKind::Slot(i) => (arena.slot(i as usize), false),
                BufferKind::State(i) => (arena.states[i as usize].memory.address(), false),
                // Weights stay where they are.
                BufferKind::Tensor { .. } if !first => continue,
                BufferKind::Tensor { tensor, role } => (model.weights().address(tensor, role), false),
                BufferKind::Errors => (arena.errors(), false),
            };
            let now = Place { address, bytes: *bytes };
            moved |= now.address != place.address || copied && now.bytes != place.bytes;
            *place = now;
        }
        moved
    }
}
