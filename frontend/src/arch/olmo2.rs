//! OLMo 2 (OLMo Team 2025): Llama's form with norms behind the layers instead of before, and norms over all queries and
//! all keys.

use super::blocks::{HeadNorms, Sizes};
use super::facts::{Facts, unsupported};
use super::rotary::{Model, Rotary};
use super::swiglu::{Form, Norms};
use super::weights::Weights;
use actc_ir::Graph;
use actc_ir::ops::rope::RopeStyle;
use actc_types::Result;

const FAMILY: &str = "olmo2";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let form = match facts {
        Facts::Gguf(keys) => {
            // OLMo 3 goes by the same name and has windows.
            if let Some(n) = keys.unsigned("attention.sliding_window")?.filter(|n| *n > 0) {
                return Err(unsupported(FAMILY, format!("a sliding window of {n} tokens")));
            }
            let sizes = keys.rms_sizes()?;
            let model = Model { family: FAMILY, sizes: &sizes, partial: true, context };
            let rotary = Rotary::from_gguf(keys, RopeStyle::Half, &model)?;
            Form::llama(FAMILY, sizes, rotary)
        }
        Facts::HuggingFace(config) => {
            config.only_silu(FAMILY)?;
            let sizes = config.sizes()?;
            let model = Model { family: FAMILY, sizes: &sizes, partial: false, context };
            let rotary = Rotary::from_config(config, "full_attention", &model)?;
            Form::llama(FAMILY, sizes, rotary)
        }
    };
    Form { norms: Norms::Behind, head_norms: Some(HeadNorms::Whole), ..form }.tied_as(facts).build(weights)
}
