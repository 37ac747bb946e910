//! The thin runtime: maps an artifact, checks it, binds memory, runs its plan.
//!
//! ```no_run
//! use actc_runtime::{Code, Model, Session, SessionOptions, Trust};
//! use actc_types::{Target, dim::Bindings};
//!
//! # fn main() -> actc_types::Result<()> {
//! let model = Model::open("model.actc".as_ref(), &Default::default())?;
//! model.link(Code::Embedded { target: &Target::host(), trust: Trust::Vouch })?;
//! let mut session = Session::new(model, SessionOptions::default())?;
//! # let tokens = actc_types::Tensor::i64(&[1], vec![0])?;
//! let logits = session.run("prefill", &[tokens], &Bindings::new())?;
//! # Ok(()) }
//! ```
//!
//! A [`Model`] is immutable and shared; a [`Session`] has the states (key caches), the memory and the threads. All threads
//! of a session walk the same bytecode, each doing its part of every step that is worth it, with a spinning barrier between
//! steps; small steps are the first one's alone. No reduction crosses threads, so results do not depend on their number.
//!
//! A model runs on an NVIDIA GPU as a [`CudaModel`] with [`CudaSession`]s, where the artifact has a plan and code for one (the
//! feature `cuda`, on by default); [`Device`], [`Placed`] and [`AnySession`] are for callers that let their user choose.
//!
//! Hostile data gives typed errors: sizes are evaluated with checked arithmetic and bounded by
//! [`SessionOptions::memory_limit`], builtins check every size before they touch memory, ids and counts that come at
//! run time are checked where they are used. Machine code runs only after [`Model::link`] was told to trust it.
//!
//! # Deliberately absent
//!
//! Compilers and graphs; tokenizers and sampling; thread pools shared between sessions; pinning threads to processors
//! (bring threads of your own with [`Session::on_threads`]); standard output and signals; global state but for the
//! CUDA driver's own, which is opened when a GPU is asked for; snapshots of sessions on GPUs, and GPUs behind the C interface,
//! which is the crate `actc-capi` beside this one and is built without the feature `cuda`.

mod binding;
mod builtin;
mod device;
mod expr;
mod footprint;
mod frame;
mod interpret;
mod layout;
mod model;
mod placed;
mod program;
mod session;
mod snapshot;
mod stale;
mod states;
mod values;
mod walk;
mod wanted;
mod work;

pub use device::cpu::team::Serve;
#[cfg(feature = "cuda")]
pub use device::cuda::{CudaDevice, CudaModel, CudaSession, RunCounts};
pub use footprint::{Footprint, RunShape};
pub use model::{Code, Model, Trust};
pub use placed::{AnySession, Device, Placed};
pub use session::{Session, SessionOptions, StepTime};
pub use values::View;

pub use actc_artifact::{Artifact, Limits, ReadOptions};
