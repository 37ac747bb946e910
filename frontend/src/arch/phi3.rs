//! Phi 3, 3.5 and 4-mini (Abdin et al. 2024): Llama's form with queries, keys and values in one tensor, gate and up in
//! another, a window on every layer where stated, a share of each head turned, and `longrope`.
//!
//! The tensors are cut by rows, which are views of the file in any encoding. GGUF files call the second one `ffn_up`.

use super::blocks::{Gated, Projections, Sizes};
use super::facts::{Facts, window};
use super::swiglu::Form;
use super::weights::{Name, Weights};
use actc_ir::Graph;
use actc_ir::ops::rope::RopeStyle;
use actc_types::Result;

const FAMILY: &str = "phi3";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let form = Form::read(FAMILY, facts, context, RopeStyle::Half, true)?;
    let window = match facts {
        Facts::Gguf(keys) => window(keys.unsigned("attention.sliding_window")?)?,
        Facts::HuggingFace(config) => window(config.sliding_window)?,
    };
    let windows = vec![window; form.sizes.layers as usize];
    let projections =
        |sizes: &Sizes, i| Projections::separate(i).fused(sizes, &Name::layer(i, "attn_qkv", "self_attn.qkv_proj"));
    let gated = |sizes: &Sizes, i| {
        let both = Name::layer(i, "ffn_up", "mlp.gate_up_proj");
        let part = |label, start| both.clone().part(label, start, 2 * sizes.hidden);
        Gated { gate: part("gate", 0), up: part("up", sizes.hidden), ..Gated::separate(i) }
    };
    Form { windows, projections, gated, ..form }.build(weights)
}
