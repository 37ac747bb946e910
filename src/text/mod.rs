//! Text for language models: tokenizers, chat templates, sampling, streamed output.
//!
//! An artifact's tokenizer is always Hugging Face JSON: [`to_json`] makes it once at import, [`Tokenizer`] reads it ever
//! after. The thin runtime knows nothing of this; it takes and gives ids and logits.

pub mod chat;
mod convert;
mod guard;
mod pre;
pub mod sampling;
mod sentencepiece;
pub mod stream;
mod tokenizer;

pub use chat::{ChatTemplate, Message};
pub use convert::to_json;
pub use guard::guarded;
pub use sampling::{Sampler, Sampling};
pub use stream::Stream;
pub use tokenizer::Tokenizer;
