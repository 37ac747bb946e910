//! Families: one file each, which builds a graph from sizes and named tensors, whatever the container.
//!
//! To add one: a file with `sizes` and `build`, a variant of [`Family`], and the names it goes by in [`FAMILIES`].

pub mod blocks;
mod gemma3;
mod llama;
pub mod weights;

use crate::gguf::Metadata;
use crate::safetensors::Config;
use crate::stored::TensorSet;
use actc_ir::Graph;
use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Result};
use blocks::Sizes;
use weights::{Format, Weights};

/// A family of language models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama and what has its form: Mistral, SmolLM.
    Llama,
    /// Gemma 3, text.
    Gemma3,
}

/// Each family with its `general.architecture` in GGUF and its `model_type`s in `config.json`.
const FAMILIES: &[(Family, &[&str], &[&str])] =
    &[(Family::Llama, &["llama"], &["llama", "mistral", "smollm"]), (Family::Gemma3, &["gemma3"], &["gemma3_text"])];

/// Where sizes come from.
pub enum Facts<'a> {
    /// GGUF metadata.
    Gguf(&'a Keys<'a>),
    /// `config.json`.
    HuggingFace(&'a Config),
}

/// GGUF metadata under the prefix of its architecture.
pub struct Keys<'a> {
    metadata: &'a Metadata,
    architecture: &'a str,
    tensors: &'a TensorSet,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
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

    /// The string `ARCH.key`.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.metadata.text(&self.key(key))
    }

    /// The linear stretch of rotary positions. Scaling is linear where the file names no kind, and 0 means none.
    pub fn rope_factor(&self) -> Result<f64> {
        match self.text("rope.scaling.type")?.unwrap_or("linear") {
            "none" => Ok(1.0),
            "linear" => {
                let factor = self.float("rope.scaling.factor")?.or(self.float("rope.scale_linear")?);
                Ok(factor.filter(|f| *f != 0.0).unwrap_or(1.0))
            }
            kind => {
                let headline = format!("`{}` = `{kind}` is not supported", self.key("rope.scaling.type"));
                Err(Diagnostic::new("arch-unsupported", headline).help("supported are `none` and `linear`"))
            }
        }
    }

    /// The sizes that decoder families share. The vocabulary is the extent of the embedding.
    pub fn sizes(&self) -> Result<Sizes> {
        let (width, heads) = (self.need("embedding_length")?, self.need("attention.head_count")?);
        let head = self.unsigned("attention.key_length")?.unwrap_or(width / heads.max(1));
        if let Some(v) = self.unsigned("attention.value_length")?.filter(|v| *v != head) {
            let headline = format!("value heads of {v} beside key heads of {head}");
            return Err(Diagnostic::new("arch-unsupported", headline));
        }
        let eps_key = "attention.layer_norm_rms_epsilon";
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
}

impl Config {
    /// The sizes that decoder families share.
    pub fn sizes(&self) -> Result<Sizes> {
        use crate::safetensors::config::need;
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
}

/// A language model as its family built it.
pub struct Model {
    /// The family.
    pub family: Family,
    /// The graph.
    pub graph: Graph,
    /// Its sizes.
    pub sizes: Sizes,
}

impl Family {
    /// The name, also that of the graph.
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Gemma3 => "gemma3",
        }
    }

    fn build(self, facts: &Facts<'_>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
        match self {
            Family::Llama => llama::build(facts, weights),
            Family::Gemma3 => gemma3::build(facts, weights),
        }
    }

    fn model(self, facts: &Facts<'_>, mut weights: Weights<'_>) -> Result<Model> {
        let (graph, sizes) = self.build(facts, &mut weights)?;
        weights.finish(self.name())?;
        Ok(Model { family: self, graph, sizes })
    }
}

fn unknown<'a>(what: &str, found: &str, known: impl Iterator<Item = &'a str> + Clone) -> Diagnostic {
    let list: Vec<&str> = known.clone().collect();
    let error = Diagnostic::new("arch-unknown", format!("{what} `{found}` is not supported"));
    match nearest(found, known) {
        Some(word) => error.help(format!("supported are {}; `{word}` is near, but not the same", list.join(", "))),
        None => error.help(format!("supported are {}; other models come in as ONNX", list.join(", "))),
    }
}

/// Builds the model of a GGUF file.
pub fn from_gguf(metadata: &Metadata, tensors: &TensorSet) -> Result<Model> {
    let architecture = metadata.need("general.architecture", metadata.text("general.architecture")?)?;
    let known = FAMILIES.iter().find(|(_, names, _)| names.contains(&architecture));
    let Some((family, ..)) = known else {
        let all = FAMILIES.iter().flat_map(|(_, names, _)| names.iter().copied());
        return Err(unknown("architecture", architecture, all));
    };
    let keys = Keys { metadata, architecture, tensors };
    family.model(&Facts::Gguf(&keys), Weights::new(Format::Gguf, tensors))
}

/// Builds the model of a Hugging Face folder.
pub fn from_config(config: &Config, tensors: &TensorSet) -> Result<Model> {
    let model_type = crate::safetensors::config::need("model_type", config.model_type.as_deref())?;
    let known = FAMILIES.iter().find(|(_, _, types)| types.contains(&model_type));
    let Some((family, ..)) = known else {
        let all = FAMILIES.iter().flat_map(|(_, _, types)| types.iter().copied());
        return Err(unknown("model_type", model_type, all));
    };
    config.check()?;
    family.model(&Facts::HuggingFace(config), Weights::new(Format::HuggingFace, tensors))
}
