//! Llama and what has its form: pre-norm, rotary grouped-query attention, SwiGLU (Touvron et al. 2023).
//!
//! Stored query and key rows differ between containers: GGUF's are in the order of interleaved rotary pairs, Hugging
//! Face's in that of half-rotated ones. The weights stay as they are; the style of `rope` follows the container.

use super::blocks::Sizes;
use super::facts::{Facts, window};
use super::rotary::{Model, Rotary};
use super::swiglu::Form;
use super::weights::Weights;
use actc_ir::Graph;
use actc_ir::ops::rope::RopeStyle;
use actc_types::Result;

const FAMILY: &str = "llama";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let (sizes, rotary, window) = match facts {
        Facts::Gguf(keys) => {
            keys.no_experts()?;
            let sizes = keys.rms_sizes()?;
            // llama.cpp turns a part of each head where a file says so.
            let model = Model { family: FAMILY, sizes: &sizes, partial: true, context };
            let rotary = Rotary::from_gguf(keys, RopeStyle::Interleaved, &model)?;
            (sizes, rotary, window(keys.unsigned("attention.sliding_window")?)?)
        }
        Facts::HuggingFace(config) => {
            config.only_silu(FAMILY)?;
            let sizes = config.sizes()?;
            let model = Model { family: FAMILY, sizes: &sizes, partial: false, context };
            let rotary = Rotary::from_config(config, "full_attention", &model)?;
            let window = if config.use_sliding_window == Some(false) { None } else { window(config.sliding_window)? };
            (sizes, rotary, window)
        }
    };
    let windows = vec![window; sizes.layers as usize];
    Form { windows, ..Form::llama(FAMILY, sizes, rotary) }.tied_as(facts).build(weights)
}
