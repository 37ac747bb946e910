//! The front end of actc: model files become graphs, faithfully.
//!
//! [`load`] reads a GGUF file or a Hugging Face folder and gives an [`Import`]: a pure graph with symbolic numbers of new
//! tokens `S` and past tokens `P`, caches as donated state, what the source says about text, and where it came from.
//!
//! * All input is untrusted: lengths and counts are checked against the bytes that are there before they are used, and
//!   every refusal is a [`Diagnostic`](actc_types::Diagnostic) with a stable code. Nothing here panics on what a file holds.
//! * [`onnx`] reads ONNX files into typed structures of their own, which hold no more than the files say.
//! * Weights stay slices of the mapped files, in the encoding of the file.
//! * What a model asks for and the graph cannot say is an error that names it, never ignored.
//!
//! Deliberately absent: passes, targets, the network, pickles, and tokenizing (only its data is read).
#![deny(unsafe_code)]

pub mod arch;
pub mod gguf;
mod load;
mod mapping;
pub mod onnx;
pub mod safetensors;
mod sentencepiece;
pub mod stored;
pub mod text;

pub use load::{Import, Options, SourceFormat, SourceInfo, load, load_with};
pub use text::{Preparation, TextModel, TokenType, TokenizerSource, Vocabulary, VocabularyKind};
