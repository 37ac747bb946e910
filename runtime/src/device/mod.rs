//! The machines that plans run on. CPUs so far.

pub(crate) mod cpu;
