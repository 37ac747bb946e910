//! BERT (Devlin et al. 2019): an encoder with learned positions, layer norms behind layers and biases everywhere.
//!
//! One text at a time, without padding: every token sees every other, all are of the first type, and the output is
//! `last_hidden_state: f32[S, width]`. There is no state. Poolers and heads for training lie beside it in files and are
//! left out.

use super::blocks::{Heads, Projections, Sizes, Transformer};
use super::facts::{Facts, FullHeads, activation, unsupported};
use super::rotary::within;
use super::weights::{Name, Weights};
use crate::safetensors::Config;
use actc_ir::Graph;
use actc_ir::ops::pointwise::UnaryFunction;
use actc_types::{Dim, Result};

const FAMILY: &str = "bert";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let types = Name::new("token_types", "embeddings.token_type_embeddings");
    let (sizes, function, kinds) = match facts {
        Facts::Gguf(keys) => {
            if keys.boolean("attention.causal")? == Some(true) {
                return Err(unsupported(FAMILY, "causal attention".into()));
            }
            let kinds = weights.dims(&types).and_then(|d| d.first().copied()).unwrap_or(1);
            (keys.sizes("attention.layer_norm_epsilon")?, UnaryFunction::GeluErf, kinds)
        }
        Facts::HuggingFace(config) => {
            let function = activation(FAMILY, config.hidden_act.as_deref().unwrap_or("gelu"))?;
            (read(config)?, function, config.type_vocab_size.unwrap_or(2))
        }
    };
    let context = within(context, sizes.context)?;
    weights.skip_all(|name| {
        ["pooler.", "cls.", "embeddings.position_ids", "embeddings.token_type_ids"].iter().any(|p| name.starts_with(p))
    });
    let table = Name::new("token_embd", "embeddings.word_embeddings");
    let (mut model, x, _) = Transformer::new(FAMILY, weights, &sizes, &table, sizes.width, 1.0)?;
    let first = model.weights.row(&mut model.graph, &types, 0, kinds, sizes.width)?;
    let x = model.add(x, first, "token_type_add")?;
    let positions = Name::new("position_embd", "embeddings.position_embeddings");
    let x = model.learned_positions(x, &positions, sizes.context, 0, Dim::from(0))?;
    let norm = Name::new("token_embd_norm", "embeddings.LayerNorm").with_bias();
    let mut x = model.layer_norm(x, &norm, "embedding_norm")?;
    let scale = 1.0 / (sizes.head as f64).sqrt();
    let heads = Heads { rope: None, norms: None, scale, window: None, causal: false };
    for i in 0..sizes.layers {
        let at = |part: &str| format!("layers.{i}.{part}");
        let name =
            |gguf: &str, hf: &str| Name::new(format!("blk.{i}.{gguf}"), format!("encoder.layer.{i}.{hf}")).with_bias();
        let projections = Projections {
            q: name("attn_q", "attention.self.query"),
            k: name("attn_k", "attention.self.key"),
            v: name("attn_v", "attention.self.value"),
            o: name("attn_output", "attention.output.dense"),
            ..Projections::separate(i)
        };
        let y = model.attention(i, x, &projections, &heads)?;
        let y = model.add(x, y, &at("attention_add"))?;
        let norm = name("attn_output_norm", "attention.output.LayerNorm");
        x = model.layer_norm(y, &norm, &at("attention_norm"))?;
        let (up, down) = (name("ffn_up", "intermediate.dense"), name("ffn_down", "output.dense"));
        let y = model.feed_forward(i, x, [&up, &down], function)?;
        let y = model.add(x, y, &at("feed_forward_add"))?;
        x = model.layer_norm(y, &name("layer_output_norm", "output.LayerNorm"), &at("feed_forward_norm"))?;
    }
    let graph = model.finish("last_hidden_state", x);
    Ok((graph, Sizes { context, ..sizes }))
}

fn read(config: &Config) -> Result<Sizes> {
    if let Some(kind) = config.position_embedding_type.as_deref().filter(|k| *k != "absolute") {
        return Err(unsupported(FAMILY, format!("`position_embedding_type` = `{kind}`")));
    }
    if config.is_decoder == Some(true) || config.add_cross_attention == Some(true) {
        return Err(unsupported(FAMILY, "use as a decoder".into()));
    }
    FullHeads {
        layers: ("num_hidden_layers", config.num_hidden_layers),
        width: ("hidden_size", config.hidden_size),
        heads: ("num_attention_heads", config.num_attention_heads),
        hidden: ("intermediate_size", config.intermediate_size),
        vocabulary: ("vocab_size", config.vocab_size),
        context: ("max_position_embeddings", config.max_position_embeddings),
        eps: config.layer_norm_eps.unwrap_or(1e-12),
    }
    .sizes()
}
