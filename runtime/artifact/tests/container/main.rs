//! The container as its users see it.

mod hostile;
mod round_trip;
mod sample;
