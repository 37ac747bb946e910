//! From a graph to the runtime's bytecode: which buffers there are, where they lie, and which steps run on them.
//!
//! * [`steps`] turns clusters into launches and library calls;
//! * [`device`] says whose kernels they are, [`cuda`] has what only GPUs do;
//! * [`buffers`] owns the table of buffers: views share memory, donated state is updated in place, temporaries share slots.

mod attention;
pub mod buffers;
mod control;
pub mod cuda;
pub mod device;
mod extents;
mod general;
mod indices;
pub mod launch;
mod linear;
mod matrices;
mod pointwise;
mod sampling;
mod sequence;
pub mod steps;
pub mod tensors;
mod window;
