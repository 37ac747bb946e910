//! Gemma 3, text (Gemma Team 2025): scaled embedding, four norms a layer, norms of each query and key head, five layers
//! with a sliding window to one that sees everything, GeGLU, the head tied to the embedding.
//!
//! Norm weights are stored as `w - 1` in Hugging Face files and as `w` in GGUF. Both containers store query and key rows
//! in half-rotated order.

use super::blocks::{Gated, HeadNorms, Heads, Projections, Sizes, Transformer};
use super::facts::{Facts, activation, is_windowed, unsupported, window};
use super::rotary::{linear_factor, within};
use super::weights::{Format, Name, Weights};
use crate::safetensors::config::need;
use actc_ir::Graph;
use actc_ir::ops::pointwise::UnaryFunction;
use actc_ir::ops::rope::{Rope, RopeStyle};
use actc_types::{Diagnostic, Result};

const FAMILY: &str = "gemma3";
/// Every how many layers one sees everything, where the file does not say.
const DEFAULT_PATTERN: u64 = 6;
/// Base of the rotary frequencies of layers that see everything, and of those with a window.
const DEFAULT_THETA: (f64, f64) = (1_000_000.0, 10_000.0);
/// The number of layers of the 27B model, whose GGUF file does not say that its attention scale is another.
const LAYERS_27B: u64 = 62;

/// What a Gemma 3 has beside the common sizes.
struct Details {
    /// Whether each layer has the window.
    local: Vec<bool>,
    window: Option<u32>,
    theta: f64,
    local_theta: f64,
    /// Linear stretch of positions in layers that see everything.
    factor: f64,
    /// Attention scores are divided by the root of it.
    scalar: f64,
}

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let (sizes, details) = read(facts)?;
    let context = within(context, sizes.context)?;
    let shift = match weights.format() {
        Format::Gguf => 0.0,
        Format::HuggingFace => 1.0,
    };
    let (table, width) = (Name::new("token_embd", "embed_tokens"), sizes.width);
    let (mut model, mut x, table) = Transformer::new(FAMILY, weights, &sizes, &table, width, (width as f64).sqrt())?;
    let dims = u32::try_from(sizes.head).unwrap_or(0);
    let rope = |theta, factor| Some((Rope { dims, theta, style: RopeStyle::Half, factor, magnitude: 1.0 }, None));
    let (scale, norms) = (1.0 / details.scalar.sqrt(), Some(HeadNorms::Each(shift)));
    let global = Heads { rope: rope(details.theta, details.factor), norms, scale, window: None, causal: true };
    let local = Heads { rope: rope(details.local_theta, 1.0), window: details.window, ..global };
    for (i, is_local) in (0..sizes.layers).zip(&details.local) {
        let at = |part: &str| format!("layers.{i}.{part}");
        let name = Name::layer(i, "attn_norm", "input_layernorm");
        let normed = model.norm(x, &name, width, shift, &at("attention_norm"))?;
        let y = model.attention(i, normed, &Projections::separate(i), if *is_local { &local } else { &global })?;
        let name = Name::layer(i, "post_attention_norm", "post_attention_layernorm");
        let y = model.norm(y, &name, width, shift, &at("attention_post_norm"))?;
        x = model.add(x, y, &at("attention_add"))?;
        let name = Name::layer(i, "ffn_norm", "pre_feedforward_layernorm");
        let normed = model.norm(x, &name, width, shift, &at("feed_forward_norm"))?;
        let y = model.gated(i, normed, &Gated::separate(i), UnaryFunction::GeluTanh)?;
        let name = Name::layer(i, "post_ffw_norm", "post_feedforward_layernorm");
        let y = model.norm(y, &name, width, shift, &at("feed_forward_post_norm"))?;
        x = model.add(x, y, &at("feed_forward_add"))?;
    }
    let x = model.norm(x, &Name::new("output_norm", "norm"), width, shift, "norm")?;
    let tied = match facts {
        Facts::Gguf(_) => !model.weights.has(&Name::new("output", "lm_head")),
        Facts::HuggingFace(config) => config.tie_word_embeddings.unwrap_or(true),
    };
    let graph = model.head(x, width, tied.then_some(table))?;
    Ok((graph, Sizes { context, ..sizes }))
}

fn read(facts: &Facts<'_>) -> Result<(Sizes, Details)> {
    let (sizes, details) = match facts {
        Facts::Gguf(keys) => {
            for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
                if let Some(cap) = keys.float(key)?.filter(|c| *c != 0.0) {
                    return Err(unsupported(FAMILY, format!("`{key}` of {cap}")));
                }
            }
            let sizes = keys.rms_sizes()?;
            let factor = linear_factor(keys)?;
            let pattern = keys.unsigned("attention.sliding_window_pattern")?.unwrap_or(DEFAULT_PATTERN);
            let scalar = if sizes.layers == LAYERS_27B { sizes.width / sizes.heads } else { sizes.head };
            let details = Details {
                local: every(pattern, sizes.layers),
                window: window(keys.unsigned("attention.sliding_window")?)?,
                theta: keys.float("rope.freq_base")?.unwrap_or(DEFAULT_THETA.0),
                local_theta: keys.float("rope.freq_base_swa")?.unwrap_or(DEFAULT_THETA.1),
                factor,
                scalar: scalar as f64,
            };
            (sizes, details)
        }
        Facts::HuggingFace(config) => {
            let name = config.hidden_activation.as_deref().or(config.hidden_act.as_deref());
            match activation(FAMILY, name.unwrap_or("gelu_pytorch_tanh"))? {
                UnaryFunction::GeluTanh => {}
                other => return Err(unsupported(FAMILY, format!("the activation `{}`", other.name()))),
            }
            let sizes = config.sizes()?;
            let (global, local) = (config.rope("full_attention")?, config.rope("sliding_attention")?);
            let factor = match &global {
                None => 1.0,
                Some(s) => match s.kind() {
                    "default" => 1.0,
                    "linear" => need("rope_scaling.factor", s.factor)?,
                    kind => return Err(unsupported(FAMILY, format!("`rope_scaling` of kind `{kind}`"))),
                },
            };
            // `rope_parameters` holds a base for each kind of layer; the older fields are apart.
            let nested = config.rope_parameters.as_ref().is_some_and(|p| !p.is_null());
            let stated = |s: &Option<crate::safetensors::config::RopeScaling>| {
                s.as_ref().filter(|_| nested).and_then(|s| s.rope_theta)
            };
            let details = Details {
                local: layer_kinds(config, sizes.layers)?,
                window: window(config.sliding_window)?,
                theta: stated(&global).or(config.rope_theta).unwrap_or(DEFAULT_THETA.0),
                local_theta: stated(&local).or(config.rope_local_base_freq).unwrap_or(DEFAULT_THETA.1),
                factor,
                scalar: config.query_pre_attn_scalar.unwrap_or(sizes.head as f64),
            };
            (sizes, details)
        }
    };
    if sizes.head % 2 != 0 {
        return Err(unsupported(FAMILY, format!("rotation in heads of {}", sizes.head)));
    }
    if details.window.is_none() && details.local.contains(&true) {
        return Err(Diagnostic::new("arch-size", "layers with a sliding window, but the file does not say how long"));
    }
    for (what, v) in [
        ("base of the rotary frequencies", details.theta),
        ("base of the local rotary frequencies", details.local_theta),
        ("rotary scaling factor", details.factor),
        ("attention scalar", details.scalar),
    ] {
        if !v.is_finite() || v <= 0.0 {
            return Err(Diagnostic::new("arch-size", format!("the {what} is {v}")));
        }
    }
    Ok((sizes, details))
}

/// Which of `layers` layers have the window, where each `pattern`-th has none; all where `pattern` is 0.
fn every(pattern: u64, layers: u64) -> Vec<bool> {
    (1..=layers).map(|i| pattern == 0 || i % pattern != 0).collect()
}

fn layer_kinds(config: &crate::safetensors::Config, layers: u64) -> Result<Vec<bool>> {
    let Some(kinds) = &config.layer_types else {
        return Ok(every(config.sliding_window_pattern.unwrap_or(DEFAULT_PATTERN), layers));
    };
    if kinds.len() as u64 != layers {
        let headline = format!("`layer_types` in `config.json` names {} layers of {layers}", kinds.len());
        return Err(Diagnostic::new("config", headline));
    }
    kinds.iter().map(|kind| is_windowed(FAMILY, kind)).collect()
}
