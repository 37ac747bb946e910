//! Running on NVIDIA GPUs: a plan of its own, kernels as PTX, weights in the GPU's memory.
//!
//! * [`driver`] is the unsafe room with the driver's calls, opened when the process first asks for a GPU;
//! * a [`CudaModel`] has the code and the weights on a GPU, shared by any number of sessions;
//! * a [`CudaSession`] has states and memory, and runs entries.
//!
//! # How an entry runs
//!
//! What a run needs of the host is put into one piece of pinned memory: the sizes that kernels read from memory, and the inputs.
//! It goes to the GPU in one copy. Then come the launches, then the copies of the outputs into pinned memory; at the end, and
//! nowhere before, the host waits. An entry of launches alone that runs a second time with the same addresses, blocks and sizes by
//! value is captured as a graph, and from then on each run is one launch of it: new inputs and new sizes in memory change nothing of
//! that. So a step of a decoder whose kernels take positions from memory is one graph. A kernel that waits by itself for the launch
//! before it (`griddepcontrol.wait`) starts while that one still runs, on devices from compute capability 9.0 on.
//!
//! Entries with branches, rounds or extents that steps compute run step by step, and the host waits wherever it has to read what
//! decides. So do runs of sessions that keep a profile, whose steps stand between events of the driver.

mod arena;
mod calls;
mod clock;
mod device;
mod driver;
mod frame;
mod kernel;
mod model;
mod rate;
mod session;
mod steps;
mod weights;

pub use device::CudaDevice;
pub use model::CudaModel;
pub use session::{CudaSession, RunCounts};
