//! `config.json`: the fields that the families use, as the file writes them.
//!
//! Fields that change the computation and that no family here knows are refused by name in [`Config::check`], never ignored.

use actc_types::{Diagnostic, Result};
use serde::Deserialize;
use serde_json::Value;

/// The fields of `config.json` that matter here.
#[derive(Clone, Debug, Deserialize)]
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
    /// Keys that a query sees in layers with a window.
    pub sliding_window: Option<u64>,
    /// Whether the window is in use, where a family makes that a choice.
    pub use_sliding_window: Option<bool>,
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
    /// The text part of a model that also sees.
    pub text_config: Option<Value>,
    /// Id that begins a text.
    pub bos_token_id: Option<Ids>,
    /// Ids that end a text.
    pub eos_token_id: Option<Ids>,
}

/// `rope_scaling` of `config.json`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
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
        if let Some(f) = self.partial_rotary_factor.filter(|f| *f != 1.0) {
            return refuse("partial_rotary_factor", f.to_string());
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
