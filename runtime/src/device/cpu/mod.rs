//! Running on CPUs: memory, a team of threads, machine code, and the library's matrix product.

pub(crate) mod barrier;
pub(crate) mod code;
pub(crate) mod decode;
pub(crate) mod gemm;
pub(crate) mod memory;
pub(crate) mod pairs;
pub(crate) mod product;
pub(crate) mod rows;
pub(crate) mod team;
