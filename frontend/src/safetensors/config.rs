//! `config.json`: the fields that the families use, as the file writes them.
//!
//! Fields that change the computation and that no family here knows are refused by name in [`Config::check`], never ignored.

use actc_types::{Diagnostic, Result};
use serde::Deserialize;
use serde_json::Value;

/// The fields of `config.json` that matter here.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Config {
    /// The family.
    pub model_type: Option<String>,
    /// Width of the residual stream.
    pub hidden_size: Option<u64>,
    /// Width of the feed-forward layer.
    pub intermediate_size: Option<u64>,
    /// Number of layers.
    pub num_hidden_layers: Option<u64>,
    /// Number of query heads.
    pub num_attention_heads: Option<u64>,
    /// Number of key and value heads; as many as query heads where absent.
    pub num_key_value_heads: Option<u64>,
    /// Width of a head; `hidden_size / num_attention_heads` where absent.
    pub head_dim: Option<u64>,
    /// Number of tokens.
    pub vocab_size: Option<u64>,
    /// Longest context.
    pub max_position_embeddings: Option<u64>,
    /// Added to the mean square in norms.
    pub rms_norm_eps: Option<f64>,
    /// Base of the rotary frequencies.
    pub rope_theta: Option<f64>,
    /// Base of the rotary frequencies of layers with a window.
    pub rope_local_base_freq: Option<f64>,
    /// How rotary positions are stretched.
    pub rope_scaling: Option<RopeScaling>,
    /// The same in newer files, where it holds `rope_theta` too.
    pub rope_parameters: Option<Value>,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: Option<bool>,
    /// Whether attention projections have a bias.
    pub attention_bias: Option<bool>,
    /// Whether feed-forward projections have a bias.
    pub mlp_bias: Option<bool>,
    /// Activation of the feed-forward layer.
    pub hidden_act: Option<String>,
    /// The same in Gemma's files.
    pub hidden_activation: Option<String>,
    /// The same in the files of GPT-2 and OPT.
    pub activation_function: Option<String>,
    /// Keys that a query sees in layers with a window.
    pub sliding_window: Option<u64>,
    /// Whether the window is in use, where a family makes that a choice.
    pub use_sliding_window: Option<bool>,
    /// First layer with a window, where a family makes that a choice (Qwen).
    pub max_window_layers: Option<u64>,
    /// Every how many layers one sees everything.
    pub sliding_window_pattern: Option<u64>,
    /// Kind of each layer.
    pub layer_types: Option<Vec<String>>,
    /// Attention scores are divided by the root of it.
    pub query_pre_attn_scalar: Option<f64>,
    /// Bound on attention scores.
    pub attn_logit_softcapping: Option<f64>,
    /// Bound on logits.
    pub final_logit_softcapping: Option<f64>,
    /// Weights stored by a quantisation tool.
    pub quantization_config: Option<Value>,
    /// Layers without rotary embedding (SmolLM3).
    pub no_rope_layers: Option<Value>,
    /// Share of a head that is rotated.
    pub partial_rotary_factor: Option<f64>,
    /// The context before rotary positions were stretched (Phi 3).
    pub original_max_position_embeddings: Option<u64>,
    /// Width of the residual stream (GPT-2).
    pub n_embd: Option<u64>,
    /// Number of layers (GPT-2).
    pub n_layer: Option<u64>,
    /// Number of heads (GPT-2).
    pub n_head: Option<u64>,
    /// Longest context (GPT-2).
    pub n_positions: Option<u64>,
    /// Width of the feed-forward layer; four times the stream's where absent (GPT-2).
    pub n_inner: Option<u64>,
    /// Added to the variance in norms (GPT-2).
    pub layer_norm_epsilon: Option<f64>,
    /// Whether scores are divided by the root of the head's width (GPT-2).
    pub scale_attn_weights: Option<bool>,
    /// Whether scores are divided by the number of the layer too (GPT-2).
    pub scale_attn_by_inverse_layer_idx: Option<bool>,
    /// Whether layers attend to another model's states.
    pub add_cross_attention: Option<bool>,
    /// Width of the feed-forward layer (OPT).
    pub ffn_dim: Option<u64>,
    /// Width of the embedding and of what enters the head (OPT).
    pub word_embed_proj_dim: Option<u64>,
    /// Whether norms stand before layers or behind them (OPT).
    pub do_layer_norm_before: Option<bool>,
    /// Whether the norm before the head is missing (OPT).
    #[serde(rename = "_remove_final_layer_norm")]
    pub remove_final_layer_norm: Option<bool>,
    /// Whether linear layers have a bias (OPT).
    pub enable_bias: Option<bool>,
    /// Whether norms have weights (OPT).
    pub layer_norm_elementwise_affine: Option<bool>,
    /// Added to the variance in norms (BERT).
    pub layer_norm_eps: Option<f64>,
    /// Number of token types (BERT).
    pub type_vocab_size: Option<u64>,
    /// Kind of positions (BERT).
    pub position_embedding_type: Option<String>,
    /// Whether a BERT is used as a decoder.
    pub is_decoder: Option<bool>,
    /// The text part of a model that also sees.
    pub text_config: Option<Value>,
    /// Id that begins a text.
    pub bos_token_id: Option<Ids>,
    /// Ids that end a text.
    pub eos_token_id: Option<Ids>,
}

/// `rope_scaling` of `config.json`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct RopeScaling {
    /// Kind, in newer files.
    pub rope_type: Option<String>,
    /// Kind, in older files.
    #[serde(rename = "type")]
    pub old_type: Option<String>,
    /// Stretch.
    pub factor: Option<f64>,
    /// `llama3`: stretch of the high frequencies.
    pub high_freq_factor: Option<f64>,
    /// `llama3`: stretch of the low frequencies.
    pub low_freq_factor: Option<f64>,
    /// `llama3`: the context before stretching.
    pub original_max_position_embeddings: Option<u64>,
    /// Base of the frequencies, in `rope_parameters`.
    pub rope_theta: Option<f64>,
    /// Share of a head that is rotated, in `rope_parameters`.
    pub partial_rotary_factor: Option<f64>,
    /// `yarn`, `longrope`: factor on cosines and sines, where stated.
    pub attention_factor: Option<f64>,
    /// `yarn`: turns in the original context above which frequencies stay.
    pub beta_fast: Option<f64>,
    /// `yarn`: turns in the original context below which frequencies are fully stretched.
    pub beta_slow: Option<f64>,
    /// `yarn`: weight of the logarithm in the factor on cosines and sines.
    pub mscale: Option<f64>,
    /// `yarn`: the same in what that factor is divided by.
    pub mscale_all_dim: Option<f64>,
    /// `yarn`: whether the bounds between kept and stretched frequencies are whole numbers.
    pub truncate: Option<bool>,
    /// `longrope`: divisors of the frequencies within the original context.
    pub short_factor: Option<Vec<f32>>,
    /// `longrope`: divisors of the frequencies in longer contexts.
    pub long_factor: Option<Vec<f32>>,
    /// `longrope` of PhiMoE: factor on cosines and sines within the original context.
    pub short_mscale: Option<f64>,
    /// `longrope` of PhiMoE: factor on cosines and sines in longer contexts.
    pub long_mscale: Option<f64>,
}

impl RopeScaling {
    /// The kind; `default` where the file names none.
    pub fn kind(&self) -> &str {
        self.rope_type.as_deref().or(self.old_type.as_deref()).unwrap_or("default")
    }
}

/// One id or several.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub enum Ids {
    /// One.
    One(u64),
    /// Several.
    Many(Vec<u64>),
}

impl Ids {
    /// All ids.
    pub fn all(&self) -> &[u64] {
        match self {
            Ids::One(id) => std::slice::from_ref(id),
            Ids::Many(ids) => ids,
        }
    }
}

/// `value`, or the error that `config.json` does not say it.
pub fn need<T>(field: &str, value: Option<T>) -> Result<T> {
    value.ok_or_else(|| Diagnostic::new("config", format!("`config.json` does not say `{field}`")))
}

impl Config {
    /// Refuses fields that would change the computation in a way that no family here knows.
    pub fn check(&self) -> Result<()> {
        let refuse = |field: &str, value: String| {
            Err(Diagnostic::new("config-unsupported", format!("`{field}` = {value} in `config.json` is not supported")))
        };
        if let Some(q) = &self.quantization_config {
            let method = q.get("quant_method").and_then(Value::as_str).unwrap_or("unknown").to_owned();
            return refuse("quantization_config", format!("`{method}`"))
                .map_err(|e| e.help("compile the float model and let a pass quantise it"));
        }
        if self.no_rope_layers.as_ref().is_some_and(|l| !l.is_null()) {
            return refuse("no_rope_layers", "a list".into());
        }
        for (field, cap) in [
            ("attn_logit_softcapping", self.attn_logit_softcapping),
            ("final_logit_softcapping", self.final_logit_softcapping),
        ] {
            if let Some(cap) = cap {
                return refuse(field, cap.to_string());
            }
        }
        for (field, value) in [("rms_norm_eps", self.rms_norm_eps), ("rope_theta", self.rope_theta)] {
            if let Some(v) = value.filter(|v| !v.is_finite() || *v < 0.0) {
                return refuse(field, v.to_string());
            }
        }
        Ok(())
    }

    /// How layers of kind `layer` (`full_attention` or `sliding_attention`) stretch rotary positions. `rope_parameters`
    /// holds one set for all layers or one for each kind; the older `rope_scaling` is about all.
    pub fn rope(&self, layer: &str) -> Result<Option<RopeScaling>> {
        let Some(all) = self.rope_parameters.as_ref().filter(|p| !p.is_null()) else {
            return Ok(self.rope_scaling.clone());
        };
        let one = all.get(layer).unwrap_or(all);
        serde_json::from_value(one.clone()).map(Some).map_err(|e| {
            Diagnostic::new("config-unsupported", format!("`rope_parameters` in `config.json` is not supported: {e}"))
        })
    }
}
