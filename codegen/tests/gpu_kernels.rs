//! Kernels of GPUs beside those that multiply stored matrices, compiled by NVRTC and run by the emulator, against plain
//! references of double precision over random shapes with tails.
// Nothing here is of LLVM: once is enough.
#![cfg(not(feature = "emit-llvm"))]

mod room;

#[path = "gpu_kernels/attend.rs"]
mod attend;
#[path = "gpu_kernels/flash.rs"]
mod flash;
#[path = "gpu_kernels/general.rs"]
mod general;
