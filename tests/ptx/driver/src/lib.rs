//! A stand-in for the CUDA driver: the calls that `cudarc` and a runtime on it make, over the emulator of PTX.
//!
//! The library's own name (`SONAME`) is `libcuda.so`. A program that loads it by its path and then opens `libcuda.so`, as
//! cudarc does, gets it; another process finds it as a copy of that name in a folder of `LD_LIBRARY_PATH`.
//!
//! | variable | meaning |
//! | --- | --- |
//! | `ACTC_PTX_ARCH` | the device: `sm_80`, `sm_86`, `sm_89`, `sm_90` (default), `sm_100`, `sm_120` |
//! | `ACTC_PTX_MEMORY` | bytes of device memory, 8 GiB unless set |
//! | `ACTC_PTX_BUDGET` | instructions of warps that one launch may execute |
//! | `ACTC_PTX_REPORT` | a file to which findings are appended, beside standard error |
//! | `ACTC_PTX_COST` | a file to which the counts of each launch are appended |
//!
//! Everything is done when it is asked for: streams order nothing that would otherwise run side by side, so that a missing
//! wait between streams is not found. A finding makes its launch fail and every later call of the process fail the same way,
//! as a driver does. Times between events follow from counted work and are the same on every run.
//!
//! **Deliberately absent**: machine code (cubin, fatbin), managed and imported memory, pools of one's own, textures,
//! clusters of more than one block, peers, green contexts, linking, allocations while a stream is captured. What is there
//! and not supported answers `CUDA_ERROR_NOT_SUPPORTED`.
#![allow(unsafe_code, reason = "the interface is C: each block says what the caller promises")]
#![allow(clippy::missing_safety_doc, reason = "the promises are those of the CUDA driver's interface")]

mod device;
mod graph;
mod launch;
mod memory;
mod module;
mod state;
mod status;
mod stream;
mod work;
