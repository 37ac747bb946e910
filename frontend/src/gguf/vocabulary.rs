//! The `tokenizer.*` keys of a GGUF file.

use super::Metadata;
use crate::text::{
    Preparation, TextModel, TokenType, TokenizerSource, Vocabulary, VocabularyKind, sorted_ids, token_id,
};
use actc_types::{Diagnostic, Result};

/// Texts of tokens that end a turn or a text, whatever the metadata says about them: models are often converted with
/// only one of them named. Only tokens that are no ordinary text count.
const STOP_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<eos>",
    "</s>",
    "<|end_of_sentence|>",
    "<｜end▁of▁sentence｜>",
    "<end_of_utterance>",
];

/// The text model of a file; `None` where it holds no tokenizer. `context` is the model's.
pub fn text_model(metadata: &Metadata, context: u64) -> Result<Option<TextModel>> {
    let Some(model) = metadata.text("tokenizer.ggml.model")?.filter(|m| *m != "no_vocab") else { return Ok(None) };
    let tokens = metadata.strings("tokenizer.ggml.tokens")?;
    let mut tokens = metadata.need("tokenizer.ggml.tokens", tokens)?;
    let count = tokens.len() as u64;
    let types = token_types(metadata, tokens.len())?;
    let kind = match model {
        "gpt2" => {
            let merges = metadata.strings("tokenizer.ggml.merges")?;
            VocabularyKind::Bpe {
                pre: metadata.text("tokenizer.ggml.pre")?.unwrap_or("default").to_owned(),
                merges: metadata.need("tokenizer.ggml.merges", merges)?,
                compose: false,
            }
        }
        "llama" => {
            let scores = scores(metadata, tokens.len())?;
            VocabularyKind::SentencePiece { scores, preparation: Preparation::default() }
        }
        "bert" => {
            tokens = tokens.into_iter().map(as_word_piece).collect();
            VocabularyKind::WordPiece { lowercase: true }
        }
        _ => {
            let headline = format!("tokenizer model `{model}`, supported are `gpt2`, `llama` and `bert`");
            return Err(Diagnostic::new("gguf-tokenizer", headline)
                .help("export the model as a Hugging Face folder with a `tokenizer.json` and compile that"));
        }
    };
    let id =
        |key: &str| -> Result<Option<u32>> { metadata.unsigned(key)?.map(|id| token_id(key, id, count)).transpose() };
    // SentencePiece files that name no ids mean those of Llama.
    let usual =
        |id: u32| matches!(kind, VocabularyKind::SentencePiece { .. }).then_some(id).filter(|i| u64::from(*i) < count);
    let bos = id("tokenizer.ggml.bos_token_id")?.or(usual(1));
    let eos = id("tokenizer.ggml.eos_token_id")?.or(usual(2));
    let unknown = id("tokenizer.ggml.unknown_token_id")?.or(usual(0));
    let mut stop: Vec<u32> = eos.into_iter().collect();
    for key in ["tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id"] {
        stop.extend(id(key)?);
    }
    let ends = |(text, kind): (&String, &TokenType)| match kind {
        TokenType::Control | TokenType::UserDefined => STOP_TEXTS.contains(&text.as_str()),
        TokenType::Normal | TokenType::Unknown | TokenType::Unused | TokenType::Byte => false,
    };
    stop.extend((0..).zip(tokens.iter().zip(&types)).filter(|(_, token)| ends(*token)).map(|(id, _)| id));
    // The defaults of the reference: SentencePiece models begin with `bos` and a space; of the byte-level ones only
    // those with the pre-tokenizer of Llama 3 begin with `bos`.
    let (bos_default, space_default) = match &kind {
        VocabularyKind::Bpe { pre, .. } => {
            (matches!(pre.as_str(), "llama-bpe" | "llama3" | "llama-v3" | "falcon3"), false)
        }
        VocabularyKind::SentencePiece { .. } => (true, true),
        VocabularyKind::Unigram { .. } | VocabularyKind::WordPiece { .. } => (false, false),
    };
    let add_bos = metadata.boolean("tokenizer.ggml.add_bos_token")?.unwrap_or(bos_default);
    let add_space_prefix = metadata.boolean("tokenizer.ggml.add_space_prefix")?.unwrap_or(space_default);
    Ok(Some(TextModel {
        tokenizer: TokenizerSource::Vocabulary(Vocabulary { kind, tokens, types, unknown, add_space_prefix }),
        chat_template: metadata.text("tokenizer.chat_template")?.map(str::to_owned),
        bos,
        eos,
        add_bos: add_bos && bos.is_some(),
        stop: sorted_ids(stop),
        context,
    }))
}

/// GGUF marks the tokens that begin a word; WordPiece marks those that do not. Special ones stand in brackets.
fn as_word_piece(token: String) -> String {
    match token.strip_prefix('\u{2581}') {
        Some(word) => word.to_owned(),
        None if token.starts_with('[') && token.ends_with(']') => token,
        None => format!("##{token}"),
    }
}

fn token_types(metadata: &Metadata, count: usize) -> Result<Vec<TokenType>> {
    let key = "tokenizer.ggml.token_type";
    let Some(array) = metadata.array(key)? else { return Ok(vec![TokenType::Normal; count]) };
    let wrong = |headline: String| Diagnostic::new("gguf-metadata", headline);
    let codes = array.integers().ok_or_else(|| wrong(format!("metadata key `{key}` holds no integers")))?;
    let types: Option<Vec<TokenType>> = codes.map(TokenType::from_code).collect();
    let types = types.ok_or_else(|| wrong(format!("`{key}` has a type other than 1 to 6")))?;
    same_length(key, types.len(), count)?;
    Ok(types)
}

fn scores(metadata: &Metadata, count: usize) -> Result<Vec<f32>> {
    let key = "tokenizer.ggml.scores";
    let array = metadata.need(key, metadata.array(key)?)?;
    let wrong = |headline: String| Diagnostic::new("gguf-metadata", headline);
    let floats = array.floats().ok_or_else(|| wrong(format!("metadata key `{key}` holds no floats")))?;
    let scores: Vec<f32> = floats.map(|x| x as f32).collect();
    same_length(key, scores.len(), count)?;
    match scores.iter().position(|s| s.is_nan()) {
        Some(id) => Err(wrong(format!("`{key}` of token {id} is no number"))),
        None => Ok(scores),
    }
}

fn same_length(key: &str, found: usize, count: usize) -> Result<()> {
    if found == count {
        return Ok(());
    }
    Err(Diagnostic::new("gguf-metadata", format!("`{key}` has {found} elements, but there are {count} tokens")))
}
