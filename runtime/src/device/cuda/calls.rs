//! Launches with their blocks and parameters, as they were last evaluated.

use super::driver::Grid;
use super::kernel::Kernel;
use crate::program::{Op, Program};
use actc_artifact::Sizes;
use actc_types::Result;
use std::ops::Range;

/// A launch.
#[derive(Debug)]
pub(crate) struct Call {
    /// Number of its leaf step.
    pub leaf: usize,
    /// Index of its kernel.
    pub kernel: usize,
    /// Its buffers among the program's arguments.
    pub args: Range<usize>,
    /// Its sizes among the program's.
    pub dims: Range<usize>,
    /// Where its sizes start in the table, if its kernel reads them there.
    table: usize,
    /// Whether all that it depends on is known.
    pub ready: bool,
    pub grid: Grid,
    pub params: Vec<u8>,
}

/// The launches of `program` by their leaf steps, and how many sizes lie in the table.
pub(crate) fn calls(program: &Program, kernels: &[Kernel]) -> (Vec<Option<Call>>, usize) {
    let mut calls: Vec<Option<Call>> = Vec::new();
    calls.resize_with(program.labels.len(), || None);
    let mut table = 0;
    for op in program.blocks.iter().flat_map(|block| &block.ops) {
        match op {
            Op::Launch { leaf, kernel, args, dims } => {
                let (args, dims) = (args.clone(), dims.clone());
                let in_table = match kernels[*kernel].sizes {
                    Sizes::Memory => dims.len(),
                    Sizes::Int | Sizes::Long => 0,
                };
                let call = Call {
                    leaf: *leaf,
                    kernel: *kernel,
                    args,
                    dims,
                    table,
                    ready: false,
                    grid: [0; 3],
                    params: Vec::new(),
                };
                table += in_table;
                calls[*leaf] = Some(call);
            }
            Op::Builtin { .. } | Op::If { .. } | Op::Loop { .. } | Op::Bind { .. } => {}
        }
    }
    (calls, table)
}

impl Call {
    /// Evaluates blocks and parameters for `dims`, the program's sizes; those that its kernel reads from memory go into
    /// `table`, which lies at `address` on the device. Gives whether anything else changed.
    #[expect(clippy::too_many_arguments, reason = "all of it is one launch")]
    pub(crate) fn set(
        &mut self,
        kernel: &Kernel,
        buffers: impl Iterator<Item = u64>,
        dims: &[i64],
        known: bool,
        address: u64,
        table: &mut [i64],
        label: &str,
    ) -> Result<bool> {
        let was_ready = std::mem::replace(&mut self.ready, known);
        if !known {
            return Ok(was_ready);
        }
        let dims = &dims[self.dims.clone()];
        // They were evaluated as numbers of 63 bits.
        let sizes: Vec<u64> = dims.iter().map(|dim| dim.unsigned_abs()).collect();
        let grid = kernel.grid(&sizes, label)?;
        match kernel.sizes {
            Sizes::Memory => table[self.table..self.table + dims.len()].copy_from_slice(dims),
            Sizes::Int | Sizes::Long => {}
        }
        let mut params = Vec::with_capacity(self.params.len());
        kernel.params(buffers, dims, address + 8 * self.table as u64, label, &mut params)?;
        let same = was_ready && grid == self.grid && params == self.params;
        (self.grid, self.params) = (grid, params);
        Ok(!same)
    }
}
