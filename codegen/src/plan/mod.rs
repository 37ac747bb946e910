//! From a graph to the runtime's bytecode: which buffers there are, where they lie, and which steps run on them.
//!
//! * [`steps`] turns clusters into launches and library calls;
//! * [`buffers`] owns the table of buffers: views share memory, donated state is updated in place, temporaries share slots.

mod attention;
pub mod buffers;
mod control;
mod extents;
mod general;
mod indices;
pub mod launch;
mod linear;
mod pointwise;
mod sampling;
mod sequence;
pub mod steps;
mod window;
