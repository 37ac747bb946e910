//! Families: one file each, which builds a graph from sizes and named tensors, whatever the container.
//!
//! To add one: a file with `build`, a variant of [`Family`], and a line in the table of [`families!`].

mod bert;
pub mod blocks;
pub mod facts;
mod gemma3;
mod gpt2;
mod llama;
mod olmo2;
mod opt;
mod phi3;
mod qwen2;
mod qwen3;
mod rotary;
mod swiglu;
mod transpose;
pub mod weights;

use crate::gguf::Metadata;
use crate::safetensors::Config;
use crate::stored::TensorSet;
use actc_ir::Graph;
use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Result};
use blocks::Sizes;
use facts::{Facts, Keys};
use weights::{Format, Weights};

macro_rules! families {
    ($($(#[doc = $doc:literal])* $variant:ident $module:ident $name:literal, $gguf:expr, $types:expr, $root:literal;)*) => {
        /// A family of language models.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Family { $($(#[doc = $doc])* $variant),* }

        impl Family {
            /// All families.
            pub const ALL: &[Family] = &[$(Family::$variant),*];

            /// The name, also that of the graph.
            pub fn name(self) -> &'static str { match self { $(Family::$variant => $name),* } }

            /// What GGUF calls it in `general.architecture`.
            pub fn architectures(self) -> &'static [&'static str] { match self { $(Family::$variant => $gguf),* } }

            /// What `config.json` calls it in `model_type`.
            pub fn model_types(self) -> &'static [&'static str] { match self { $(Family::$variant => $types),* } }

            /// What the names of its tensors begin with in Hugging Face files.
            fn root(self) -> &'static str { match self { $(Family::$variant => $root),* } }

            fn build(self, facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
                match self { $(Family::$variant => $module::build(facts, context, weights)),* }
            }
        }
    };
}

families! {
    /// Llama and what has its form: Mistral, SmolLM.
    Llama llama "llama", &["llama"], &["llama", "mistral", "smollm"], "model.";
    /// Qwen 2 and 2.5.
    Qwen2 qwen2 "qwen2", &["qwen2"], &["qwen2"], "model.";
    /// Qwen 3, dense.
    Qwen3 qwen3 "qwen3", &["qwen3"], &["qwen3"], "model.";
    /// Phi 3, 3.5 and 4-mini.
    Phi3 phi3 "phi3", &["phi3"], &["phi3"], "model.";
    /// OLMo 2.
    Olmo2 olmo2 "olmo2", &["olmo2"], &["olmo2"], "model.";
    /// Gemma 3, text.
    Gemma3 gemma3 "gemma3", &["gemma3"], &["gemma3_text"], "model.";
    /// GPT-2.
    Gpt2 gpt2 "gpt2", &["gpt2"], &["gpt2"], "transformer.";
    /// OPT.
    Opt opt "opt", &[], &["opt"], "model.";
    /// BERT, an encoder.
    Bert bert "bert", &["bert"], &["bert"], "bert.";
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
    fn model(self, facts: &Facts<'_>, context: Option<u64>, mut weights: Weights<'_>) -> Result<Model> {
        let (graph, sizes) = self.build(facts, context, &mut weights)?;
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

/// Builds the model of a GGUF file for a `context` of tokens, by default the one that the file names.
pub fn from_gguf(metadata: &Metadata, tensors: &TensorSet, context: Option<u64>) -> Result<Model> {
    let architecture = metadata.need("general.architecture", metadata.text("general.architecture")?)?;
    let known = Family::ALL.iter().find(|family| family.architectures().contains(&architecture));
    let Some(family) = known else {
        let all = Family::ALL.iter().flat_map(|family| family.architectures().iter().copied());
        return Err(unknown("architecture", architecture, all));
    };
    let keys = Keys { metadata, architecture, tensors };
    family.model(&Facts::Gguf(&keys), context, Weights::new(Format::Gguf, family.root(), tensors))
}

/// Builds the model of a Hugging Face folder for a `context` of tokens, by default the one that `config.json` names.
pub fn from_config(config: &Config, tensors: &TensorSet, context: Option<u64>) -> Result<Model> {
    let model_type = crate::safetensors::config::need("model_type", config.model_type.as_deref())?;
    let known = Family::ALL.iter().find(|family| family.model_types().contains(&model_type));
    let Some(family) = known else {
        let all = Family::ALL.iter().flat_map(|family| family.model_types().iter().copied());
        return Err(unknown("model_type", model_type, all));
    };
    config.check()?;
    family.model(&Facts::HuggingFace(config), context, Weights::new(Format::HuggingFace, family.root(), tensors))
}
