//! OLMo 2 (OLMo Team 2025): Llama's form with norms behind the layers instead of before, and norms over all queries and
//! all keys.

use super::blocks::{HeadNorms, Sizes};
use super::facts::{Facts, unsupported};
use super::swiglu::{Form, Norms};
use super::weights::Weights;
use actc_ir::Graph;
use actc_ir::ops::rope::RopeStyle;
use actc_types::Result;

const FAMILY: &str = "olmo2";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    if let Facts::Gguf(keys) = facts {
        // OLMo 3 goes by the same name and has windows.
        if let Some(n) = keys.unsigned("attention.sliding_window")?.filter(|n| *n > 0) {
            return Err(unsupported(FAMILY, format!("a sliding window of {n} tokens")));
        }
    }
    let form = Form::read(FAMILY, facts, context, RopeStyle::Half, false)?;
    Form { norms: Norms::Behind, head_norms: Some(HeadNorms::Whole), ..form }.build(weights)
}
