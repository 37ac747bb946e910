//! A launch: its checks, and its blocks one after another, a block that waits for another one giving way.

use super::block::{Block, Turn};
use crate::cost::Cost;
use crate::decode::{Kernel, Module};
use crate::memory::Memory;
use crate::report::{Fault, Finding};
use crate::target::{BLOCK, GRID, SHARED_DEFAULT, THREADS};
use std::cell::Cell;
use std::collections::VecDeque;

/// Instructions of warps after which a block gives way to others.
const SLICE: u64 = 1 << 18;
/// Blocks that run side by side while they wait for each other.
const RESIDENT: usize = 1024;

/// What is launched: blocks, threads, parameters.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Blocks of the grid.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// The kernel's `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`; 0 if nobody set it.
    pub dynamic_allowed: u32,
    /// Instructions of warps that the launch may execute.
    pub budget: u64,
}

impl Shape {
    /// `blocks` blocks of `threads` threads along x, no dynamic shared memory, and a budget of 2^32 instructions of warps.
    #[must_use]
    pub fn of(blocks: u32, threads: u32) -> Self {
        Self { grid: [blocks, 1, 1], block: [threads, 1, 1], dynamic_shared: 0, dynamic_allowed: 0, budget: 1 << 32 }
    }
}

/// What instructions see of the launch.
pub(crate) struct Launch<'a> {
    pub(crate) kernel: &'a Kernel,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) dynamic_shared: u32,
    pub(crate) params: &'a [u8],
    /// Instructions of warps up to now.
    pub(crate) executed: Cell<u64>,
    pub(crate) budget: u64,
}

impl Module {
    /// Runs a kernel to its end; `params` holds its parameters as they lie in memory (`Kernel::params`).
    ///
    /// # Errors
    /// What the first thread that does something wrong does, or what is wrong with the launch.
    pub fn launch(
        &self,
        kernel: &str,
        shape: &Shape,
        params: &[u8],
        memory: &mut Memory,
    ) -> Result<Cost, Box<Finding>> {
        let refuse = |what: String| {
            Box::new(Finding {
                kernel: kernel.to_owned(),
                line: 0,
                text: String::new(),
                block: [0; 3],
                thread: [0; 3],
                fault: Fault::Launch { what },
            })
        };
        let found = self.kernel(kernel).ok_or_else(|| refuse("the module has no such kernel".to_owned()))?;
        self.check(found, shape, params).map_err(refuse)?;
        memory.begin();
        let launch = Launch {
            kernel: found,
            grid: shape.grid,
            block: shape.block,
            dynamic_shared: shape.dynamic_shared,
            params,
            executed: Cell::new(0),
            budget: shape.budget,
        };
        let mut cost = Cost::default();
        let total = shape.grid.iter().map(|g| u64::from(*g)).product::<u64>();
        let mut waiting = VecDeque::new();
        let mut next = 0u64;
        loop {
            let room = next < total && waiting.len() < RESIDENT;
            // A new block is begun before one that has waited goes on, unless too many are.
            let mut block = if room {
                next += 1;
                Block::new(&launch, next - 1)
            } else if let Some(block) = waiting.pop_front() {
                block
            } else {
                return Ok(cost);
            };
            match block.run(&launch, memory, &mut cost, SLICE) {
                Ok(Turn::Done) => {}
                Ok(Turn::More) => waiting.push_back(block),
                Err(wrong) => {
                    let text = self.lines.get(wrong.line.saturating_sub(1) as usize).cloned().unwrap_or_default();
                    return Err(Box::new(Finding {
                        kernel: kernel.to_owned(),
                        line: wrong.line,
                        text,
                        block: block.index,
                        thread: wrong.thread,
                        fault: wrong.fault,
                    }));
                }
            }
        }
    }

    fn check(&self, kernel: &Kernel, shape: &Shape, params: &[u8]) -> Result<(), String> {
        let Shape { grid, block, dynamic_shared, dynamic_allowed, budget: _ } = shape;
        let threads = block.iter().map(|b| u64::from(*b)).product::<u64>();
        if block.iter().chain(grid).any(|extent| *extent == 0) {
            return Err(format!("a grid of {grid:?} blocks of {block:?} threads has no thread"));
        }
        if threads > u64::from(THREADS) || block.iter().zip(BLOCK).any(|(b, most)| *b > most) {
            return Err(format!("{block:?} threads are more than a block's {THREADS}, or {BLOCK:?} along its axes"));
        }
        if grid.iter().zip(GRID).any(|(g, most)| *g > most) {
            return Err(format!("{grid:?} blocks are more than {GRID:?}"));
        }
        if let Some(most) = kernel.most
            && threads > most.iter().map(|m| u64::from(*m)).product()
        {
            return Err(format!("{threads} threads are more than `.maxntid {most:?}`"));
        }
        if let Some(exactly) = kernel.exactly
            && *block != exactly
        {
            return Err(format!("{block:?} threads are not `.reqntid {exactly:?}`"));
        }
        if *dynamic_shared > (*dynamic_allowed).max(SHARED_DEFAULT.saturating_sub(kernel.shared)) {
            return Err(format!(
                "{dynamic_shared} bytes of dynamic shared memory beside {} static ones are more than {SHARED_DEFAULT}, and the \
                 kernel's attribute allows {dynamic_allowed}",
                kernel.shared
            ));
        }
        if u64::from(kernel.shared) + u64::from(*dynamic_shared) > u64::from(self.target.shared_optin()) {
            return Err(format!(
                "{} bytes of shared memory are more than a block of {:?} may have: {}",
                kernel.shared + dynamic_shared,
                self.target,
                self.target.shared_optin()
            ));
        }
        if params.len() != kernel.param_bytes {
            return Err(format!(
                "{} bytes of parameters are given, the kernel has {}",
                params.len(),
                kernel.param_bytes
            ));
        }
        Ok(())
    }
}
