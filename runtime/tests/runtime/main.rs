//! The runtime as its users see it: artifacts in memory, sessions, results.

mod attention;
mod builtins;
mod code;
mod hostile;
mod linear;
mod plans;
mod sessions;
mod snapshots;
