//! How good a language model is: perplexity, and its distance from a reference, both over windows of a text; and how far the
//! outputs of any other model lie from its source's.
//!
//! * [`distribution`] compares rows of logits, in f64.
//! * [`windows`] runs one or two models over the windows of a text, chunk by chunk, so that the logits of a whole window
//!   are never held.
//! * [`reference`] keeps what a model said in a file, for others to be compared with.
//! * [`judge`](judge()) compares a fresh artifact with its source.
//! * [`outputs`] compares a fresh artifact that reads tensors with its source.
//! * [`summary`] makes figures with standard errors of it.

pub mod distribution;
pub mod judge;
pub mod outputs;
pub mod reference;
pub mod summary;
pub mod windows;

pub use distribution::{Compared, Scored};
pub use judge::judge;
pub use outputs::{OutputDistance, judge_outputs};
pub use reference::Reference;
pub use summary::{Figure, Summary, summarise};
pub use windows::{Evaluation, WindowScore, evaluate};
