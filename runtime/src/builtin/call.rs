//! A builtin's view of its arguments. Everything is checked before it is handed out.

use crate::device::cpu::barrier::{Barrier, Poisoned};
use crate::device::cpu::decode::Decoder;
use crate::device::cpu::memory::{Grid, Region, Tiles};
use crate::frame::Frame;
use crate::model::Model;
use crate::program;
use actc_artifact::Builtin;
use actc_types::{Diagnostic, Place, Result, WeightView};
use bytemuck::Pod;

/// Why a member leaves a run early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It found something wrong.
    Failed(Diagnostic),
    /// Another member did.
    Poisoned,
}

impl From<Diagnostic> for Stop {
    fn from(diagnostic: Diagnostic) -> Stop {
        Stop::Failed(diagnostic)
    }
}

impl From<Poisoned> for Stop {
    fn from(_: Poisoned) -> Stop {
        Stop::Poisoned
    }
}

impl Stop {
    /// The same, in the step called `label`.
    pub(crate) fn at(self, label: &str) -> Stop {
        match self {
            Stop::Failed(d) => Stop::Failed(d.at(Place::Node(label.to_owned()))),
            Stop::Poisoned => Stop::Poisoned,
        }
    }
}

/// A builtin's view of its arguments.
pub(crate) struct Call<'a> {
    call: &'a program::Call,
    model: &'a Model,
    regions: &'a [Region],
    dims: &'a [i64],
    workspace: Option<Region>,
    barrier: &'a Barrier,
    /// Which part of the work is this member's.
    pub part: usize,
    /// Number of parts.
    pub parts: usize,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        call: &'a program::Call,
        model: &'a Model,
        frame: &'a Frame,
        part: usize,
        parts: usize,
        barrier: &'a Barrier,
    ) -> Call<'a> {
        let regions = &frame.regions[call.args.clone()];
        let dims = &frame.dims[call.dims.clone()];
        Call { call, model, regions, dims, workspace: frame.workspace, barrier, part, parts }
    }

    /// Which builtin is called.
    pub(crate) fn builtin(&self) -> Builtin {
        self.call.builtin
    }

    fn wrong(&self, headline: String) -> Diagnostic {
        Diagnostic::new("builtin-argument", format!("`{}`: {headline}", self.call.builtin.name()))
    }

    /// Size `i`.
    pub(crate) fn dim(&self, i: usize) -> Result<usize> {
        usize::try_from(self.dims[i]).map_err(|_| self.wrong(format!("size {i} is {}", self.dims[i])))
    }

    /// Number of sizes given.
    pub(crate) fn dims(&self) -> usize {
        self.dims.len()
    }

    /// Integer `i`.
    pub(crate) fn int(&self, i: usize) -> i64 {
        self.call.ints[i]
    }

    /// Integer `i` where it is given.
    pub(crate) fn optional_int(&self, i: usize) -> Option<i64> {
        self.call.ints.get(i).copied()
    }

    /// Integer `i`, which is 0 or 1.
    pub(crate) fn flag(&self, i: usize) -> Result<bool> {
        match self.call.ints[i] {
            0 => Ok(false),
            1 => Ok(true),
            n => Err(self.wrong(format!("integer {i} is {n}, expected 0 or 1"))),
        }
    }

    /// An error where integer `i` is none of `known`.
    pub(crate) fn refuse_int(&self, i: usize, known: &str) -> Diagnostic {
        self.wrong(format!("integer {i} is {}, expected {known}", self.call.ints[i]))
    }

    /// An error about the arguments.
    pub(crate) fn refuse(&self, headline: String) -> Diagnostic {
        self.wrong(headline)
    }

    /// Float `i`.
    pub(crate) fn float(&self, i: usize) -> f32 {
        self.call.floats[i] as f32
    }

    /// Number of buffers given.
    pub(crate) fn bufs(&self) -> usize {
        self.regions.len()
    }

    /// The product of `factors`.
    pub(crate) fn count(&self, factors: &[usize]) -> Result<usize> {
        factors
            .iter()
            .try_fold(1usize, |n, f| n.checked_mul(*f))
            .ok_or_else(|| self.wrong(format!("extents {factors:?} exceed the address space")))
    }

    /// The `factors` elements of buffer `i`.
    pub(crate) fn read<T: Pod>(&self, i: usize, factors: &[usize]) -> Result<&'a [T]> {
        let count = self.count(factors)?;
        self.regions[i].read(count).ok_or_else(|| {
            self.wrong(format!("buffer {i} has {} bytes, {factors:?} elements need more", self.regions[i].len()))
        })
    }

    /// The sum of `terms`, which fits 63 bits.
    pub(crate) fn sum(&self, terms: &[usize]) -> Result<usize> {
        let sum = terms.iter().try_fold(0usize, |n, t| n.checked_add(*t)).filter(|n| i64::try_from(*n).is_ok());
        sum.ok_or_else(|| self.wrong(format!("sizes {terms:?} exceed the address space")))
    }

    /// This member's cells of buffer `i`, which must overlap no other buffer of the call.
    pub(crate) fn tiles<T: Pod>(&self, i: usize, grid: Grid) -> Result<Tiles<'a, T>> {
        self.tiles_from(i, grid, 0)
    }

    /// The same, with the first cell going to member `first` (modulo their number).
    pub(crate) fn tiles_from<T: Pod>(&self, i: usize, grid: Grid, first: usize) -> Result<Tiles<'a, T>> {
        self.alone(i)?;
        let part = (self.part + self.parts - first % self.parts) % self.parts;
        self.regions[i].tiles(grid, part, self.parts).ok_or_else(|| {
            self.wrong(format!(
                "buffer {i} of {} bytes does not take [{}, {}] elements, or may only be read",
                self.regions[i].len(),
                grid.rows,
                grid.cols
            ))
        })
    }

    /// See [`Region::mirror`].
    pub(crate) fn mirror(&self, i: usize, n: usize, rows: impl Iterator<Item = usize>) -> Result<()> {
        self.alone(i)?;
        self.regions[i].mirror(n, rows).ok_or_else(|| self.wrong(format!("buffer {i} is too small for [{n}, {n}]")))
    }

    fn alone(&self, i: usize) -> Result<()> {
        let region = &self.regions[i];
        match self.regions.iter().enumerate().find(|(j, other)| *j != i && region.overlaps(other)) {
            None => Ok(()),
            Some((j, _)) => Err(self.wrong(format!("buffer {i} is written and shares memory with buffer {j}"))),
        }
    }

    /// Tensor `i` as a matrix.
    pub(crate) fn weight(&self, i: usize) -> Result<WeightView<'a>> {
        self.model.artifact().weight(self.call.tensors[i])
    }

    /// A decoder of tensor `i`.
    pub(crate) fn decoder(&self, i: usize) -> Result<Decoder<'a>> {
        Decoder::new(self.model.artifact(), self.call.tensors[i])
    }

    /// The bytes of tensor `i` where it is a dense matrix of f32.
    pub(crate) fn dense_weight(&self, i: usize) -> Option<&'a [f32]> {
        let artifact = self.model.artifact();
        let tensor = &artifact.manifest().tensors[self.call.tensors[i]];
        let dense = tensor.encoding == actc_types::Encoding::Dense && tensor.dtype == actc_types::DType::F32;
        dense.then(|| bytemuck::try_cast_slice(artifact.part(&tensor.parts[0])).ok()).flatten()
    }

    /// This member's cells of the memory that members share within a step.
    pub(crate) fn workspace_tiles(&self, grid: Grid) -> Result<Tiles<'a, f32>> {
        self.workspace
            .and_then(|w| w.tiles(grid, self.part, self.parts))
            .ok_or_else(|| self.wrong("the shared memory is too small".into()))
    }

    /// The memory that members share within a step, behind a barrier after it was written.
    pub(crate) fn workspace(&self, count: usize) -> Result<&'a [f32]> {
        self.workspace.and_then(|w| w.read(count)).ok_or_else(|| self.wrong("the shared memory is too small".into()))
    }

    /// Waits for all members.
    pub(crate) fn barrier(&self) -> Result<(), Stop> {
        Ok(self.barrier.wait()?)
    }
}
