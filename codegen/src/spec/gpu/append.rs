//! `append` of GPUs: new rows of keys and values behind the old ones, in the form that a cache has, for several states at once.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Dim, Result, RowForm};
use std::fmt;

/// Warps of a block.
const WARPS: u32 = 4;

/// Most states of a launch.
const STATES: usize = 8;

/// What one position adds to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rows {
    /// Rows of a position.
    pub heads: u32,
    /// Numbers of a row.
    pub n: u32,
}

/// New rows of states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// What a position adds to each state, 1 to 8 of them.
    pub states: Vec<Rows>,
    /// How the rows of all of them lie.
    pub form: RowForm,
}

impl Append {
    pub(super) fn check(&self) -> Result<()> {
        let fits = |r: &Rows| r.heads > 0 && r.n > 0 && u64::from(r.heads) * u64::from(r.n) <= 1 << 24;
        if !(1..=STATES).contains(&self.states.len()) || !self.states.iter().all(fits) {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        Ok(())
    }

    /// For each state its new rows `f32[S, heads, n]`; then the states, whose old rows are left as they are.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let all = 0..self.states.len() as u8;
        // Floats take their place as bytes do: a state is what its form says.
        let state = |i| Buffer { role: BufferRole::Output(i), elem: DType::U8, access: Access::Write };
        all.clone().map(|i| Buffer::read(BufferRole::Input(i), DType::F32)).chain(all.map(state)).collect()
    }

    /// New positions, which the launch depends on, and old ones.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["S".to_owned(), "P".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Memory
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let rows: u64 = self.states.iter().map(|r| u64::from(r.heads)).sum();
        let work = size(0).checked_mul(&Dim::from(rows));
        let work = work.ok_or_else(|| Diagnostic::new("kernel-shape", format!("{rows} rows of a position")))?;
        let grid = [Blocks::of(work, WARPS as usize), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: 32 * WARPS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), Sizes::Memory, 32 * WARPS);
        let tensor = |r: &Rows| cuda::Appended { heads: r.heads, n: r.n, row_bytes: self.form.row_bytes(r.n as usize) };
        cuda::Append {
            head: &text.head(),
            form: self.form.name(),
            warps: WARPS,
            tensors: &self.states.iter().map(tensor).collect::<Vec<_>>(),
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Append {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_append{{form={}}}", self.form)?;
        self.states.iter().try_for_each(|r| write!(f, " [{} x {}]", r.heads, r.n))
    }
}
