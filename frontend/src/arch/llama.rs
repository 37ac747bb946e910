//! Llama and what has its form: pre-norm, rotary grouped-query attention, SwiGLU (Touvron et al. 2023).
//!
//! Stored query and key rows differ between containers: GGUF's are in the order of interleaved rotary pairs, Hugging
//! Face's in that of half-rotated ones. The weights stay as they are; the style of `rope` follows the container.

use super::blocks::Sizes;
use super::facts::{Facts, window};
use super::swiglu::Form;
use super::weights::Weights;
use actc_ir::Graph;
use actc_ir::ops::rope::RopeStyle;
use actc_types::Result;

const FAMILY: &str = "llama";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    // llama.cpp turns a part of each head where a file says so.
    let form = Form::read(FAMILY, facts, context, RopeStyle::Interleaved, false)?;
    let window = match facts {
        Facts::Gguf(keys) => window(keys.unsigned("attention.sliding_window")?)?,
        Facts::HuggingFace(config) if config.use_sliding_window == Some(false) => None,
        Facts::HuggingFace(config) => window(config.sliding_window)?,
    };
    let windows = vec![window; form.sizes.layers as usize];
    Form { windows, ..form }.build(weights)
}
