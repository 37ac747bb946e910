//! actc: an activation-aware model compiler, as a library. Re-exports what a custom pipeline needs.
#![deny(unsafe_code)]

pub mod calibration;
/// Text for language models: tokenizers, chat templates, sampling.
pub mod text;
