//! What a Hugging Face folder says about text: `tokenizer.json` as it is, else an older vocabulary, and templates and ids
//! from the files beside it.

use super::{Config, Folder, MAX_TOKENIZER, config::Ids, vocabulary};
use crate::text::{TextModel, TokenizerSource, sorted_ids, token_id};
use actc_types::{Diagnostic, Result};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// The fields of `tokenizer_config.json` that matter here.
#[derive(Default, Deserialize)]
pub(super) struct TokenizerConfig {
    pub(super) tokenizer_class: Option<String>,
    pub(super) add_prefix_space: Option<bool>,
    pub(super) do_lower_case: Option<bool>,
    pub(super) added_tokens_decoder: Option<BTreeMap<String, Added>>,
    chat_template: Option<Value>,
    bos_token: Option<Value>,
    eos_token: Option<Value>,
    unk_token: Option<Value>,
    pad_token: Option<Value>,
    add_bos_token: Option<bool>,
}

/// A token of `added_tokens_decoder`.
#[derive(Deserialize)]
pub(super) struct Added {
    pub(super) content: String,
    pub(super) special: Option<bool>,
}

impl TokenizerConfig {
    /// Whether `text` is one of the tokens that are named for a purpose.
    pub(super) fn names(&self, text: &str) -> bool {
        [&self.bos_token, &self.eos_token, &self.unk_token, &self.pad_token]
            .into_iter()
            .any(|t| t.as_ref().and_then(token_text) == Some(text))
    }
}

/// A token is a string, or an object with its text in `content`.
fn token_text(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token.get("content")?.as_str())
}

#[derive(Default, Deserialize)]
struct GenerationConfig {
    bos_token_id: Option<Ids>,
    eos_token_id: Option<Ids>,
}

/// The few fields of `tokenizer.json` that name ids; the file itself goes on untouched.
#[derive(Deserialize)]
struct TokenizerFile {
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    post_processor: Option<Value>,
}

#[derive(Deserialize)]
struct AddedToken {
    id: u64,
    content: String,
}

/// A tokenizer and what its own file says of texts.
struct Source {
    tokenizer: TokenizerSource,
    /// Tokens that are named by text, with their ids.
    named: Vec<(String, u64)>,
    bos: Option<u64>,
    eos: Option<u64>,
    /// Whether texts begin with the token of this text where `tokenizer_config.json` does not say.
    add_bos: Box<dyn Fn(&str) -> bool>,
}

fn source(folder: &mut Folder, words: &TokenizerConfig, vocabulary: u64) -> Result<Option<Source>> {
    if let Some(bytes) = folder.bounded("tokenizer.json", MAX_TOKENIZER)? {
        let file: TokenizerFile = serde_json::from_slice(&bytes)
            .map_err(|e| Diagnostic::new("json", format!("cannot read `tokenizer.json`: {e}")).at(folder.place()))?;
        let named = file.added_tokens.into_iter().map(|t| (t.content, t.id)).collect();
        let processor = file.post_processor;
        let add_bos = Box::new(move |text: &str| processor.as_ref().is_some_and(|p| starts_with_token(p, text)));
        return Ok(Some(Source {
            tokenizer: TokenizerSource::HuggingFace(bytes),
            named,
            bos: None,
            eos: None,
            add_bos,
        }));
    }
    let Some(found) = vocabulary::find(folder, words)? else { return Ok(None) };
    let count = found.vocabulary.tokens.len() as u64;
    if count > vocabulary {
        let headline = format!("the vocabulary has {count} tokens, the embedding {vocabulary} rows");
        return Err(Diagnostic::new("arch-vocabulary", headline));
    }
    let named = found.vocabulary.tokens.iter().filter(|t| words.names(t));
    let place = |text: &String| found.vocabulary.tokens.iter().position(|t| t == text).map(|i| i as u64);
    let named = named.filter_map(|t| Some((t.clone(), place(t)?))).collect();
    let add_bos = found.add_bos;
    Ok(Some(Source {
        named,
        tokenizer: TokenizerSource::Vocabulary(found.vocabulary),
        bos: found.bos,
        eos: found.eos,
        add_bos: Box::new(move |_| add_bos),
    }))
}

/// The text model of the folder; `None` where it has no tokenizer. `vocabulary` and `context` are the model's.
pub(crate) fn text_model(
    folder: &mut Folder,
    config: &Config,
    vocabulary: u64,
    context: u64,
) -> Result<Option<TextModel>> {
    let words: TokenizerConfig = folder.json("tokenizer_config.json")?.unwrap_or_default();
    let Some(source) = source(folder, &words, vocabulary)? else { return Ok(None) };
    let generation: GenerationConfig = folder.json("generation_config.json")?.unwrap_or_default();
    let id_of = |token: &Option<Value>| {
        let text = token.as_ref().and_then(token_text)?;
        source.named.iter().find(|(known, _)| known == text).map(|(_, id)| *id)
    };
    let first = |ids: &Option<Ids>| ids.as_ref().and_then(|ids| ids.all().first().copied());
    let checked = |what: &str, id: Option<u64>| id.map(|id| token_id(what, id, vocabulary)).transpose();
    let bos =
        id_of(&words.bos_token).or(first(&config.bos_token_id)).or(first(&generation.bos_token_id)).or(source.bos);
    let eos =
        id_of(&words.eos_token).or(first(&config.eos_token_id)).or(first(&generation.eos_token_id)).or(source.eos);
    let mut stop: Vec<u32> = checked("eos_token", eos)?.into_iter().collect();
    for ids in [&config.eos_token_id, &generation.eos_token_id].into_iter().flatten() {
        for id in ids.all() {
            stop.push(token_id("eos_token_id", *id, vocabulary)?);
        }
    }
    let bos = checked("bos_token", bos)?;
    let add_bos = words.add_bos_token.unwrap_or_else(|| {
        let text = bos.and_then(|b| source.named.iter().find(|(_, id)| *id == u64::from(b)));
        (source.add_bos)(text.map_or("", |(text, _)| text))
    });
    let own = folder.text("chat_template.jinja")?;
    Ok(Some(TextModel {
        tokenizer: source.tokenizer,
        chat_template: own.or_else(|| words.chat_template.as_ref().and_then(chat_template)),
        bos,
        eos: checked("eos_token", eos)?,
        add_bos: add_bos && bos.is_some(),
        stop: sorted_ids(stop),
        context,
    }))
}

/// A template is a string, or a list of named ones of which `default` is meant.
fn chat_template(value: &Value) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    let default = value.as_array()?.iter().find(|t| t.get("name").and_then(Value::as_str) == Some("default"))?;
    default.get("template")?.as_str().map(str::to_owned)
}

/// Whether a post-processor puts the special token `text` before a single sequence.
fn starts_with_token(processor: &Value, text: &str) -> bool {
    match processor.get("type").and_then(Value::as_str) {
        Some("TemplateProcessing") => {
            let first = processor.get("single").and_then(Value::as_array).and_then(|s| s.first());
            first.and_then(|p| p.get("SpecialToken")?.get("id")?.as_str()) == Some(text)
        }
        Some("Sequence") => {
            let list = processor.get("processors").and_then(Value::as_array);
            list.is_some_and(|l| l.iter().any(|p| starts_with_token(p, text)))
        }
        _ => false,
    }
}
