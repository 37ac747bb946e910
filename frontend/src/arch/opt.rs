//! OPT (Zhang et al. 2022): learned positions whose table begins with two unused rows, layer norms before layers (behind
//! them in the 350M model), ReLU, and in that model an embedding narrower than the stream.

use super::blocks::{Heads, Projections, Sizes, Transformer};
use super::facts::{Facts, FullHeads, activation, unsupported};
use super::rotary::within;
use super::weights::{Name, Weights};
use crate::safetensors::Config;
use actc_ir::Graph;
use actc_types::{Dim, Result};

const FAMILY: &str = "opt";
/// Rows of the table of positions before the first position.
const OFFSET: u64 = 2;
/// Added to the variance in norms; no file states it.
const EPS: f64 = 1e-5;

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let config = match facts {
        Facts::Gguf(_) => return Err(unsupported(FAMILY, "GGUF".into())),
        Facts::HuggingFace(config) => config,
    };
    let sizes = read(config)?;
    let function = activation(FAMILY, config.activation_function.as_deref().unwrap_or("relu"))?;
    let before = config.do_layer_norm_before.unwrap_or(true);
    let narrow = config.word_embed_proj_dim.unwrap_or(sizes.width);
    let context = within(context, sizes.context)?;
    let biased = config.enable_bias != Some(false);
    let name = |hf: String| if biased { Name::new("", hf).with_bias() } else { Name::new("", hf) };
    let norm = |hf: String| Name::new("", hf).with_bias();

    let table = Name::new("", "decoder.embed_tokens");
    let (mut model, mut x, table) = Transformer::new(FAMILY, weights, &sizes, &table, narrow, 1.0)?;
    if narrow != sizes.width {
        x = model.linear(x, &Name::new("", "decoder.project_in"), sizes.width, narrow, "project_in")?;
    }
    let positions = Name::new("", "decoder.embed_positions");
    let mut x = model.learned_positions(x, &positions, sizes.context + OFFSET, OFFSET, Dim::sym("P"))?;
    let scale = 1.0 / (sizes.head as f64).sqrt();
    let heads = Heads { rope: None, norms: None, scale, window: None, causal: true };
    for i in 0..sizes.layers {
        let at = |part: &str| format!("layers.{i}.{part}");
        let of = |part: &str| format!("decoder.layers.{i}.{part}");
        let projections = Projections {
            q: name(of("self_attn.q_proj")),
            k: name(of("self_attn.k_proj")),
            v: name(of("self_attn.v_proj")),
            o: name(of("self_attn.out_proj")),
            ..Projections::separate(i)
        };
        let (first, second) = (norm(of("self_attn_layer_norm")), norm(of("final_layer_norm")));
        let (up, down) = (name(of("fc1")), name(of("fc2")));
        if before {
            let normed = model.layer_norm(x, &first, &at("attention_norm"))?;
            let y = model.attention(i, normed, &projections, &heads)?;
            x = model.add(x, y, &at("attention_add"))?;
            let normed = model.layer_norm(x, &second, &at("feed_forward_norm"))?;
            let y = model.feed_forward(i, normed, [&up, &down], function)?;
            x = model.add(x, y, &at("feed_forward_add"))?;
        } else {
            let y = model.attention(i, x, &projections, &heads)?;
            let y = model.add(x, y, &at("attention_add"))?;
            x = model.layer_norm(y, &first, &at("attention_norm"))?;
            let y = model.feed_forward(i, x, [&up, &down], function)?;
            let y = model.add(x, y, &at("feed_forward_add"))?;
            x = model.layer_norm(y, &second, &at("feed_forward_norm"))?;
        }
    }
    if before && config.remove_final_layer_norm != Some(true) {
        x = model.layer_norm(x, &norm("decoder.final_layer_norm".into()), "norm")?;
    }
    if narrow != sizes.width {
        x = model.linear(x, &Name::new("", "decoder.project_out"), narrow, sizes.width, "project_out")?;
    }
    let tied = config.tie_word_embeddings.unwrap_or(true);
    let graph = model.head(x, narrow, tied.then_some(table))?;
    Ok((graph, Sizes { context, ..sizes }))
}

fn read(config: &Config) -> Result<Sizes> {
    if config.layer_norm_elementwise_affine == Some(false) {
        return Err(unsupported(FAMILY, "`layer_norm_elementwise_affine` = false".into()));
    }
    if let Some(narrow) = config.word_embed_proj_dim {
        super::blocks::size("word_embed_proj_dim", narrow)?;
    }
    FullHeads {
        layers: ("num_hidden_layers", config.num_hidden_layers),
        width: ("hidden_size", config.hidden_size),
        heads: ("num_attention_heads", config.num_attention_heads),
        hidden: ("ffn_dim", config.ffn_dim),
        vocabulary: ("vocab_size", config.vocab_size),
        context: ("max_position_embeddings", config.max_position_embeddings),
        eps: EPS,
    }
    .sizes()
}
