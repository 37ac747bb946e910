//! Passes of actc: graph in, graph out.
#![deny(unsafe_code)]

pub mod quantize;
