//! An emulator of PTX for tests.
pub mod cost;
mod decode;
mod machine;
mod memory;
mod number;
mod op;
pub mod report;
pub mod target;
mod text;
mod ty;

pub use cost::Cost;
pub use decode::{Kernel, Module};
pub use machine::launch::Shape;
pub use memory::Memory;
pub use report::{Fault, Finding, LoadError};
pub use target::Target;
