//! The container as its users see it.

mod gpus;
mod hostile;
mod round_trip;
mod sample;
