//! Sessions on a GPU, through the stand-in for the CUDA driver: its emulator runs the kernels and finds wrong accesses.

mod control;
mod errors;
mod kernels;
mod memory;
mod plan;
mod room;
mod runs;
