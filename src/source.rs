//! Model files on their way into the compiler: the imported graph with its tokenizer made.

use crate::text::{ChatTemplate, Tokenizer, to_json};
use actc_artifact::{ModelInfo, TextInfo};
use actc_codegen::Description;
use actc_frontend::{Import, Options, load_with};
use actc_types::Result;
use bytes::Bytes;
use std::path::Path;

/// Key of the manifest's metadata that holds the id of the token that ends a text.
pub const EOS_KEY: &str = "text.eos";

/// Key of the manifest's metadata that holds what keeps the model from being a language model, where it looks like one.
pub const OBSTACLE_KEY: &str = "text.obstacle";

/// A loaded model.
#[derive(Debug)]
pub struct Source {
    /// What the front end read.
    pub import: Import,
    /// For a language model, its tokenizer.
    pub tokenizer: Option<Tokenizer>,
    json: Option<Bytes>,
}

impl Source {
    /// Loads the model at `path` and makes its tokenizer.
    pub fn load(path: &Path) -> Result<Source> {
        Source::load_with(path, &Options::default())
    }

    /// The same, as `options` say.
    pub fn load_with(path: &Path, options: &Options) -> Result<Source> {
        let import = load_with(path, options)?;
        let json = import.text.as_ref().map(|text| to_json(&text.tokenizer)).transpose()?;
        let tokenizer = json.as_ref().map(|json| Tokenizer::from_json(json)).transpose()?;
        Ok(Source { import, tokenizer, json })
    }

    /// The id that begins every text, where the model expects one.
    pub fn leading(&self) -> Option<u32> {
        self.import.text.as_ref().filter(|t| t.add_bos).and_then(|t| t.bos)
    }

    /// The chat template, if the model has one.
    pub fn chat(&self) -> Result<Option<ChatTemplate>> {
        let (Some(text), Some(tokenizer)) = (&self.import.text, &self.tokenizer) else { return Ok(None) };
        let token = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default();
        let template = text.chat_template.as_deref();
        template.map(|source| ChatTemplate::new(source, &token(text.bos), &token(text.eos))).transpose()
    }

    /// What an artifact says about this model; pipeline, calibration and layers are the caller's to add.
    pub fn description(&self) -> Description {
        let (text, source) = (self.import.text.as_ref(), &self.import.source);
        let model = ModelInfo {
            name: source.name.clone(),
            family: source.family.unwrap_or_default().into(),
            source_format: source.format.name().into(),
            source_digest: source.digest.to_string(),
            licence: source.licence.clone().unwrap_or_default(),
            context_length: text.map_or(0, |t| t.context),
        };
        let mut description = Description { model, ..Description::default() };
        description.text = text.map(|t| TextInfo {
            bos: t.bos.map(u64::from),
            add_bos: t.add_bos,
            stop: t.stop.iter().map(|id| u64::from(*id)).collect(),
            chat_template: t.chat_template.clone(),
            context: t.context,
        });
        if let Some(eos) = text.and_then(|t| t.eos) {
            description.metadata.insert(EOS_KEY.into(), eos.to_string());
        }
        if let Some(obstacle) = &self.import.obstacle {
            description.metadata.insert(OBSTACLE_KEY.into(), obstacle.clone());
        }
        description.tokenizer = self.json.as_ref().map(|json| json.to_vec());
        description
    }
}
