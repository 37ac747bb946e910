//! The runtime as its users see it: artifacts in memory, sessions, results.

mod attention;
mod builtins;
mod code;
mod hostile;
mod linear;
mod moves;
mod plans;
mod sessions;
mod sizes;
mod snapshots;
mod teams;
