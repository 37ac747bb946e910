//! The machines that plans run on.

pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
