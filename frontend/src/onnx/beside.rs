//! The files beside a decoder: `genai_config.json` of onnxruntime, `config.json` and those of the tokenizer.
//!
//! They say what ports are called, how text becomes tokens and how long a text may be; the graph says all else.

use super::Names;
use crate::safetensors::config::Ids;
use crate::safetensors::{Config, Folder, text_model};
use crate::text::TextModel;
use actc_types::Result;
use bytes::Bytes;
use serde::Deserialize;
use std::path::Path;

/// The longest context in tokens where no file names one.
const CONTEXT: u64 = 2048;

/// The fields of `genai_config.json` that matter here.
#[derive(Default, Deserialize)]
struct GenAi {
    #[serde(default)]
    model: GenAiModel,
}

#[derive(Default, Deserialize)]
struct GenAiModel {
    bos_token_id: Option<Ids>,
    eos_token_id: Option<Ids>,
    context_length: Option<u64>,
    #[serde(default)]
    decoder: GenAiDecoder,
}

#[derive(Default, Deserialize)]
struct GenAiDecoder {
    #[serde(default)]
    inputs: GenAiInputs,
    #[serde(default)]
    outputs: GenAiOutputs,
}

#[derive(Default, Deserialize)]
struct GenAiInputs {
    input_ids: Option<String>,
    attention_mask: Option<String>,
    position_ids: Option<String>,
    past_key_names: Option<String>,
    past_value_names: Option<String>,
}

#[derive(Default, Deserialize)]
struct GenAiOutputs {
    logits: Option<String>,
    present_key_names: Option<String>,
    present_value_names: Option<String>,
}

/// The folder of a model, with what it says.
pub(crate) struct Beside {
    folder: Folder,
    genai: GenAiModel,
}

impl Beside {
    /// The files beside the model at `path`.
    pub(crate) fn new(path: &Path) -> Result<Beside> {
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut folder = Folder::new(folder);
        let genai = folder.json::<GenAi>("genai_config.json")?.unwrap_or_default().model;
        Ok(Beside { folder, genai })
    }

    /// What the ports of a decoder are called.
    pub(crate) fn names(&self) -> Names {
        let usual = Names::default();
        let (inputs, outputs) = (&self.genai.decoder.inputs, &self.genai.decoder.outputs);
        let or = |stated: &Option<String>, usual: String| stated.clone().unwrap_or(usual);
        let ([keys, values], [present_keys, present_values]) = (usual.past, usual.present);
        Names {
            tokens: or(&inputs.input_ids, usual.tokens),
            mask: or(&inputs.attention_mask, usual.mask),
            positions: or(&inputs.position_ids, usual.positions),
            past: [or(&inputs.past_key_names, keys), or(&inputs.past_value_names, values)],
            logits: or(&outputs.logits, usual.logits),
            present: [or(&outputs.present_key_names, present_keys), or(&outputs.present_value_names, present_values)],
        }
    }

    /// What the files say of texts for a model of `vocabulary` tokens, and whether any says how long they may be, which is
    /// `asked` where that is given; `None` without a tokenizer.
    pub(crate) fn text(&mut self, vocabulary: u64, asked: Option<u64>) -> Result<Option<(TextModel, bool)>> {
        let mut config = self.folder.json::<Config>("config.json")?.unwrap_or_default();
        let stated = self.genai.context_length.or(config.max_position_embeddings).or(config.n_positions);
        let context = asked.or(stated);
        // What was written for this file comes before what was written for the one that it was made of.
        config.bos_token_id = self.genai.bos_token_id.take().or(config.bos_token_id);
        config.eos_token_id = self.genai.eos_token_id.take().or(config.eos_token_id);
        let text = text_model(&mut self.folder, &config, vocabulary, context.unwrap_or(CONTEXT))?;
        Ok(text.map(|text| (text, context.is_some())))
    }

    /// The files that were read, by name.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.folder.files()
    }
}
