//! Quantisation: grids, Hessians, the column sweep, weak columns, bit budgets, and the passes that apply them.
//!
//! `grid`, `hessian`, `cholesky`, `gptq`, `refine`, `drift`, `bias`, `owq`, `awq`, `rtn`, `sensitivity` and `budget` know
//! matrices only. `layers` and `blocks` look at graphs, `sequential` and `scaled` drive the methods that need Hessians over
//! what `collect` observes, `cumulative` says how far they have led away from the original, `pass` holds the passes.

pub mod awq;
pub mod bias;
pub mod blocks;
pub mod budget;
pub mod cholesky;
mod collect;
pub mod cumulative;
pub mod drift;
pub(crate) mod encode;
mod gemm;
pub mod gptq;
pub mod grid;
pub mod hessian;
pub mod layers;
pub mod owq;
pub mod pass;
pub mod plan;
mod power;
pub mod refine;
pub mod rtn;
mod scaled;
pub mod sensitivity;
mod sequential;
