//! One file a family of ops: payloads, typing rules and reference meaning.

pub mod attention;
pub mod control;
pub mod embedding;
pub mod linear;
pub mod norm;
pub mod pointwise;
pub mod reduce;
pub mod rope;
pub mod rows;
pub mod shaping;
pub mod statistics;
