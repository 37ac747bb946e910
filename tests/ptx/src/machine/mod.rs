//! Execution: a launch runs blocks, a block its warps, a warp the lanes that are at the lowest instruction.

pub(crate) mod access;
pub(crate) mod block;
pub(crate) mod clocks;
pub(crate) mod flight;
pub(crate) mod launch;
pub(crate) mod products;
pub(crate) mod special;
pub(crate) mod step;
pub(crate) mod warp;
