//! One file a family of ops: payloads, typing rules and reference meaning.

pub mod attention;
pub mod control;
pub mod conv;
pub mod det;
pub mod embedding;
pub mod extents;
pub mod indexing;
pub mod linear;
pub mod matmul;
pub mod norm;
pub mod order;
pub mod pad;
pub mod places;
pub mod pointwise;
pub mod pool;
pub mod recurrent;
pub mod reduce;
pub mod regions;
pub mod rope;
pub mod rows;
pub mod sampling;
pub mod selection;
pub mod shaping;
pub mod softmax;
pub mod statistics;
pub mod window;
