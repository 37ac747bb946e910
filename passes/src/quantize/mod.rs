//! Quantisation: grids, Hessians, the column sweep, weak columns and bit budgets.
//!
//! The numerics here know matrices only; the passes that apply them to a graph are beside them.

pub mod budget;
pub mod cholesky;
mod gemm;
pub mod gptq;
pub mod grid;
pub mod hessian;
pub mod owq;
pub mod plan;
mod power;
pub mod rtn;
pub mod sensitivity;
