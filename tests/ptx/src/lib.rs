//! An emulator of PTX: kernels for GPUs run, and are checked while they run, on machines without one.
//!
//! `Module::load` decodes a text once, names resolved, into a closed set of instructions; what it does not support it names
//! with its line, all of it at once. `Module::launch` runs a kernel to its end, or to the first thing that it does wrong,
//! and counts what it did. Nothing depends on time, threads or addresses of the host: a launch gives the same bytes, the
//! same counts and the same finding on every run and machine.
//!
//! **How it runs.** Blocks one after another, in their order; one that waits for a later one gives way to it. The warps of a
//! block in turns. Of a warp's 32 lanes, each with its own place, always those at the lowest instruction; calls are
//! expanded. Registers are numbered densely, 64 bits a lane, predicates masks of lanes.
//!
//! **What is found** (`Fault`), each with kernel, PTX line, block and thread:
//! - accesses out of bounds, not aligned, or after the memory was freed; writes to constants and parameters;
//! - reads of shared and device memory that nobody wrote, and unwritten registers where they decide something or are stored;
//! - races: between threads of a block, lanes of one warp among them, that no barrier, `bar.warp.sync` or mbarrier orders;
//!   between blocks that no fence with a strong access (atomic, volatile, relaxed, acquire, release) orders;
//! - bytes of `cp.async` and bulk copies that are used before they are waited for; of products of groups of warps (`wgmma`) the
//!   sums that are used, and the operands that are overwritten, before that; registers and stores that no fence hands over to them;
//! - barriers, shuffles and matrix instructions that part of the lanes execute; values of lanes that are not there; deadlock;
//!   a launch without end (`Shape::budget`); launches that the target refuses.
//!
//! **What is computed how.** Integers, conversions, f16, bf16, f32 and f64 arithmetic: exactly as PTX says, each rounding
//! direction, NaNs canonical in f32 and below. `.approx` functions: in f64, rounded once (`number::approx`), nearer to the
//! truth than a GPU. `mma` and `wgmma`: sums in f64, rounded once, where a GPU truncates on the way (`op::matrix`, `op::group`). So a test of a kernel
//! asks for the bounds that PTX states, not for the emulator's bits.
//!
//! **Bounds of the race detection.** Barriers with a count and mbarriers order whole warps; for order between blocks a block
//! counts as one thread; unordered writes of the same value pass; what a bulk copy wrote is ordered for everybody once one
//! thread has waited for it; proxies are one, but for stores that tensor cores and copies out of shared memory read: a
//! `fence.proxy.async` hands those of its whole warp over.
//!
//! **Deliberately absent**: `wgmma` of other types than f16 and bf16 or with operands by columns, tensor maps and `tcgen05`,
//! clusters of more than one block, textures and surfaces, calls through pointers, recursion, `malloc` and `printf`, registers
//! of 128 bits, f64 and old mma shapes, minima of three, registers as a resource, caches, time (`Cost::nanoseconds` is made of
//! counts and orders kernels roughly).
pub mod cost;
mod decode;
mod machine;
mod memory;
mod number;
mod op;
pub mod report;
pub mod target;
mod text;
mod ty;

pub use cost::Cost;
pub use decode::{Kernel, Module};
pub use machine::launch::Shape;
pub use memory::Memory;
pub use report::{Fault, Finding, LoadError};
pub use target::Target;
