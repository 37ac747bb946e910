//! The reader of ONNX files: what it accepts, in what form, and with which code it refuses all else.

mod decoder;
mod export;
mod external;
mod functions;
mod graphs;
mod products;
mod shapes;
mod standard;
mod tensors;
mod weights;
mod windows;
mod wire;
mod writer;
