//! What a Hugging Face folder says about text: `tokenizer.json` as it is, and templates and ids from the files beside it.

use super::{Config, Folder, MAX_TOKENIZER, config::Ids};
use crate::text::{TextModel, TokenizerSource, sorted_ids, token_id};
use actc_types::Result;
use serde::Deserialize;
use serde_json::Value;

/// The fields of `tokenizer_config.json` that matter here.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Value>,
    bos_token: Option<Value>,
    eos_token: Option<Value>,
    add_bos_token: Option<bool>,
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

/// The text model of the folder; `None` where it has no `tokenizer.json`. `vocabulary` and `context` are the model's.
pub(crate) fn text_model(
    folder: &mut Folder,
    config: &Config,
    vocabulary: u64,
    context: u64,
) -> Result<Option<TextModel>> {
    let Some(bytes) = folder.bounded("tokenizer.json", MAX_TOKENIZER)? else { return Ok(None) };
    let file: TokenizerFile = serde_json::from_slice(&bytes).map_err(|e| {
        actc_types::Diagnostic::new("json", format!("cannot read `tokenizer.json`: {e}")).at(folder.place())
    })?;
    let words: TokenizerConfig = folder.json("tokenizer_config.json")?.unwrap_or_default();
    let generation: GenerationConfig = folder.json("generation_config.json")?.unwrap_or_default();
    // A token is a string, or an object with its text in `content`.
    let id_of = |token: &Option<Value>| {
        let token = token.as_ref()?;
        let text = token.as_str().or_else(|| token.get("content")?.as_str())?;
        file.added_tokens.iter().find(|t| t.content == text).map(|t| t.id)
    };
    let first = |ids: &Option<Ids>| ids.as_ref().and_then(|ids| ids.all().first().copied());
    let checked = |what: &str, id: Option<u64>| id.map(|id| token_id(what, id, vocabulary)).transpose();
    let bos = id_of(&words.bos_token).or(first(&config.bos_token_id)).or(first(&generation.bos_token_id));
    let eos = id_of(&words.eos_token).or(first(&config.eos_token_id)).or(first(&generation.eos_token_id));
    let mut stop: Vec<u32> = checked("eos_token", eos)?.into_iter().collect();
    for ids in [&config.eos_token_id, &generation.eos_token_id].into_iter().flatten() {
        for id in ids.all() {
            stop.push(token_id("eos_token_id", *id, vocabulary)?);
        }
    }
    let bos = checked("bos_token", bos)?;
    let add_bos = words.add_bos_token.unwrap_or_else(|| {
        let text = bos.and_then(|b| file.added_tokens.iter().find(|t| t.id == u64::from(b)));
        text.is_some_and(|t| file.post_processor.as_ref().is_some_and(|p| starts_with_token(p, &t.content)))
    });
    let own = folder.text("chat_template.jinja")?;
    Ok(Some(TextModel {
        tokenizer: TokenizerSource::HuggingFace(bytes),
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
