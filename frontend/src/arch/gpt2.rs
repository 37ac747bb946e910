//! GPT-2 (Radford et al. 2019): learned positions, layer norms before layers, biases everywhere, tanh GELU.
//!
//! Hugging Face stores its matrices input first, with queries, keys and values in one; GGUF has them turned round already.

use super::blocks::{Heads, Projections, Sizes, Transformer};
use super::facts::{Facts, FullHeads, activation, unsupported};
use super::rotary::within;
use super::weights::{Name, Weights};
use crate::safetensors::Config;
use actc_ir::Graph;
use actc_ir::ops::pointwise::UnaryFunction;
use actc_types::{Dim, Result};

const FAMILY: &str = "gpt2";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let (sizes, function, tied) = match facts {
        Facts::Gguf(keys) => (keys.sizes("attention.layer_norm_epsilon")?, UnaryFunction::GeluTanh, None),
        Facts::HuggingFace(config) => {
            let function = activation(FAMILY, config.activation_function.as_deref().unwrap_or("gelu_new"))?;
            (read(config)?, function, Some(config.tie_word_embeddings.unwrap_or(true)))
        }
    };
    let by_layer = match facts {
        Facts::Gguf(_) => false,
        Facts::HuggingFace(config) => config.scale_attn_by_inverse_layer_idx == Some(true),
    };
    let context = within(context, sizes.context)?;
    // Masks that older files store beside the weights.
    weights.skip_all(|name| {
        name.starts_with("h.") && (name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias"))
    });
    let table = Name::new("token_embd", "wte");
    let (mut model, x, table) = Transformer::new(FAMILY, weights, &sizes, &table, sizes.width, 1.0)?;
    let positions = Name::new("position_embd", "wpe");
    let mut x = model.learned_positions(x, &positions, sizes.context, 0, Dim::sym("P"))?;
    let scale = 1.0 / (sizes.head as f64).sqrt();
    for i in 0..sizes.layers {
        let at = |part: &str| format!("layers.{i}.{part}");
        let name = |gguf: &str, hf: &str| Name::new(format!("blk.{i}.{gguf}"), format!("h.{i}.{hf}")).with_bias();
        let scale = if by_layer { scale / (i + 1) as f64 } else { scale };
        let heads = Heads { rope: None, norms: None, scale, window: None, causal: true };
        let qkv = name("attn_qkv", "attn.c_attn").input_first();
        let own = Projections { o: name("attn_output", "attn.c_proj").input_first(), ..Projections::separate(i) };
        let normed = model.layer_norm(x, &name("attn_norm", "ln_1"), &at("attention_norm"))?;
        let y = model.attention(i, normed, &own.fused(&sizes, &qkv), &heads)?;
        x = model.add(x, y, &at("attention_add"))?;
        let normed = model.layer_norm(x, &name("ffn_norm", "ln_2"), &at("feed_forward_norm"))?;
        let (up, down) = (name("ffn_up", "mlp.c_fc").input_first(), name("ffn_down", "mlp.c_proj").input_first());
        let y = model.feed_forward(i, normed, [&up, &down], function)?;
        x = model.add(x, y, &at("feed_forward_add"))?;
    }
    let x = model.layer_norm(x, &Name::new("output_norm", "ln_f").with_bias(), "norm")?;
    let tied = tied.unwrap_or_else(|| !model.weights.has(&Name::new("output", "lm_head")));
    let graph = model.head(x, sizes.width, tied.then_some(table))?;
    Ok((graph, Sizes { context, ..sizes }))
}

fn read(config: &Config) -> Result<Sizes> {
    if config.scale_attn_weights == Some(false) {
        return Err(unsupported(FAMILY, "`scale_attn_weights` = false".into()));
    }
    if config.add_cross_attention == Some(true) {
        return Err(unsupported(FAMILY, "cross-attention".into()));
    }
    FullHeads {
        layers: ("n_layer", config.n_layer),
        width: ("n_embd", config.n_embd),
        heads: ("n_head", config.n_head),
        hidden: ("n_inner", config.n_inner.or(config.n_embd.map(|width| width.saturating_mul(4)))),
        vocabulary: ("vocab_size", config.vocab_size),
        context: ("n_positions", config.n_positions),
        eps: config.layer_norm_epsilon.unwrap_or(1e-5),
    }
    .sizes()
}
