//! What a file says about its model, in the words of either container.

use super::blocks::Sizes;
use crate::gguf::Metadata;
use crate::safetensors::Config;
use crate::safetensors::config::need;
use crate::stored::TensorSet;
use actc_ir::ops::pointwise::UnaryFunction;
use actc_types::{Diagnostic, Result};

/// Where sizes come from.
pub enum Facts<'a> {
    /// GGUF metadata.
    Gguf(&'a Keys<'a>),
    /// `config.json`.
    HuggingFace(&'a Config),
}

/// GGUF metadata under the prefix of its architecture.
pub struct Keys<'a> {
    /// All keys.
    pub metadata: &'a Metadata,
    /// The prefix.
    pub architecture: &'a str,
    /// The tensors of the file.
    pub tensors: &'a TensorSet,
}

impl Keys<'_> {
    /// `ARCH.key`.
    pub fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    /// The non-negative integer `ARCH.key`.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        self.metadata.unsigned(&self.key(key))
    }

    /// The non-negative integer `ARCH.key`, which must be there.
    pub fn need(&self, key: &str) -> Result<u64> {
        let value = self.unsigned(key)?;
        self.metadata.need(&self.key(key), value)
    }

    /// The float `ARCH.key`.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.float(&self.key(key))
    }

    /// The boolean `ARCH.key`.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.metadata.boolean(&self.key(key))
    }

    /// The string `ARCH.key`.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.metadata.text(&self.key(key))
    }

    /// The sizes that language models share, with the norms' epsilon under `eps_key`. The vocabulary is the extent of the
    /// embedding.
    pub fn sizes(&self, eps_key: &str) -> Result<Sizes> {
        let (width, heads) = (self.need("embedding_length")?, self.need("attention.head_count")?);
        let head = self.unsigned("attention.key_length")?.unwrap_or(width / heads.max(1));
        if let Some(v) = self.unsigned("attention.value_length")?.filter(|v| *v != head) {
            let headline = format!("value heads of {v} beside key heads of {head}");
            return Err(Diagnostic::new("arch-unsupported", headline));
        }
        let vocabulary = self.tensors.get("token_embd.weight").and_then(|t| t.dims.first().copied());
        let tokens = self.metadata.array("tokenizer.ggml.tokens")?.map(crate::gguf::Array::len);
        Sizes {
            layers: self.need("block_count")?,
            width,
            heads,
            kv_heads: self.unsigned("attention.head_count_kv")?.unwrap_or(heads),
            head,
            hidden: self.need("feed_forward_length")?,
            vocabulary: vocabulary.or(tokens).unwrap_or(0),
            context: self.need("context_length")?,
            eps: self.metadata.need(&self.key(eps_key), self.float(eps_key)?)?,
        }
        .checked()
    }

    /// The sizes of a family with root-mean-square norms.
    pub fn rms_sizes(&self) -> Result<Sizes> {
        self.sizes("attention.layer_norm_rms_epsilon")
    }

    /// Refuses a mixture of experts, which some families may have under the same name.
    pub fn no_experts(&self) -> Result<()> {
        match self.unsigned("expert_count")?.filter(|n| *n > 0) {
            Some(n) => Err(unsupported(self.architecture, format!("a mixture of {n} experts"))),
            None => Ok(()),
        }
    }
}

/// A field of `config.json` by its name there.
pub type Field = (&'static str, Option<u64>);

/// What `config.json` says of a model whose every head has keys of its own and whose heads fill the width.
pub struct FullHeads {
    /// Number of layers.
    pub layers: Field,
    /// Channels of the residual stream.
    pub width: Field,
    /// Number of heads.
    pub heads: Field,
    /// Channels of a feed-forward layer.
    pub hidden: Field,
    /// Number of tokens.
    pub vocabulary: Field,
    /// Longest text in tokens.
    pub context: Field,
    /// Added to the variance in norms.
    pub eps: f64,
}

impl FullHeads {
    /// The sizes; what is missing is named as the file names it.
    pub fn sizes(self) -> Result<Sizes> {
        let stated = |(name, value): Field| need(name, value);
        let (width, heads) = (stated(self.width)?, stated(self.heads)?);
        let head = width.checked_div(heads).filter(|_| width.is_multiple_of(heads)).ok_or_else(|| {
            Diagnostic::new("arch-size", format!("a width of {width} is no multiple of {heads} heads"))
        })?;
        Sizes {
            layers: stated(self.layers)?,
            width,
            heads,
            kv_heads: heads,
            head,
            hidden: stated(self.hidden)?,
            vocabulary: stated(self.vocabulary)?,
            context: stated(self.context)?,
            eps: self.eps,
        }
        .checked()
    }
}

impl Config {
    /// The sizes of decoders with root-mean-square norms.
    pub fn sizes(&self) -> Result<Sizes> {
        let width = need("hidden_size", self.hidden_size)?;
        let heads = need("num_attention_heads", self.num_attention_heads)?;
        Sizes {
            layers: need("num_hidden_layers", self.num_hidden_layers)?,
            width,
            heads,
            kv_heads: self.num_key_value_heads.unwrap_or(heads),
            head: self.head_dim.unwrap_or(width / heads.max(1)),
            hidden: need("intermediate_size", self.intermediate_size)?,
            vocabulary: need("vocab_size", self.vocab_size)?,
            context: need("max_position_embeddings", self.max_position_embeddings)?,
            eps: need("rms_norm_eps", self.rms_norm_eps)?,
        }
        .checked()
    }

    /// Refuses an activation of `family` other than SiLU, which is also the default.
    pub fn only_silu(&self, family: &str) -> Result<()> {
        match activation(family, self.hidden_act.as_deref().unwrap_or("silu"))? {
            UnaryFunction::Silu => Ok(()),
            other => Err(unsupported(family, format!("the activation `{}`", other.name()))),
        }
    }

    /// The window of each of `layers` layers as Qwen's files state it: none unless `use_sliding_window`; then that of
    /// `layer_types`, else of the layers from `max_window_layers` on.
    pub fn windows(&self, family: &str, layers: u64) -> Result<Vec<Option<u32>>> {
        let length = if self.use_sliding_window == Some(true) { window(self.sliding_window)? } else { None };
        let kinds: Vec<bool> = match &self.layer_types {
            Some(kinds) => kinds.iter().map(|kind| is_windowed(family, kind)).collect::<Result<_>>()?,
            None => {
                let first = self.max_window_layers.unwrap_or(layers);
                (0..layers).map(|i| length.is_some() && i >= first).collect()
            }
        };
        if kinds.len() as u64 != layers {
            let headline = format!("`layer_types` in `config.json` names {} layers of {layers}", kinds.len());
            return Err(Diagnostic::new("config", headline));
        }
        if length.is_none() && kinds.contains(&true) {
            let headline = "`layer_types` names layers with a window, but `sliding_window` is not in use";
            return Err(Diagnostic::new("config", headline));
        }
        Ok(kinds.into_iter().map(|windowed| length.filter(|_| windowed)).collect())
    }
}

/// Whether layers of `kind` have a sliding window.
pub fn is_windowed(family: &str, kind: &str) -> Result<bool> {
    match kind {
        "sliding_attention" => Ok(true),
        "full_attention" => Ok(false),
        other => Err(unsupported(family, format!("the layer type `{other}`"))),
    }
}

/// The error that `family` has no `what` here.
pub fn unsupported(family: &str, what: String) -> Diagnostic {
    Diagnostic::new("arch-unsupported", format!("{what} is not supported in the family `{family}`"))
}

/// The activation function that Hugging Face calls `name`.
pub fn activation(family: &str, name: &str) -> Result<UnaryFunction> {
    match name {
        "silu" | "swish" => Ok(UnaryFunction::Silu),
        "relu" => Ok(UnaryFunction::Relu),
        "gelu" => Ok(UnaryFunction::GeluErf),
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(UnaryFunction::GeluTanh),
        other => Err(unsupported(family, format!("the activation `{other}`"))),
    }
}

/// A window in tokens; 0 means none.
pub fn window(tokens: Option<u64>) -> Result<Option<u32>> {
    match tokens {
        None | Some(0) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| Diagnostic::new("arch-size", format!("a sliding window of {n} tokens, at most {}", u32::MAX))),
    }
}
