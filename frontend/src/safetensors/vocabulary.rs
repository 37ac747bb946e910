//! Vocabularies of folders without `tokenizer.json`: `vocab.json` and `merges.txt`, `tokenizer.model`, or `vocab.txt`.
//!
//! What these files leave open (which expression cuts the text, whether it is lowercased) follows from `tokenizer_class`.

use super::Folder;
use super::words::TokenizerConfig;
use crate::sentencepiece;
use crate::text::{TokenType, Vocabulary, VocabularyKind};
use actc_types::{Diagnostic, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Largest `tokenizer.model`: its pieces take many times their bytes once they are read.
const MAX_MODEL: usize = 16 << 20;

/// A vocabulary and what its file says of texts.
pub(super) struct Found {
    pub(super) vocabulary: Vocabulary,
    pub(super) bos: Option<u64>,
    pub(super) eos: Option<u64>,
    /// Whether texts begin with `bos` where no file says.
    pub(super) add_bos: bool,
}

/// The vocabulary of `folder`, where it has one of the older kinds.
pub(super) fn find(folder: &mut Folder, words: &TokenizerConfig) -> Result<Option<Found>> {
    let mut found = if let Some(ids) = folder.json::<Map<String, Value>>("vocab.json")? {
        let Some(merges) = folder.text("merges.txt")? else {
            return Err(Diagnostic::request("tokenizer-files", "the folder has `vocab.json`, but no `merges.txt`")
                .at(folder.place())
                .help("download the missing file, or a `tokenizer.json`"));
        };
        byte_level(&ids, &merges, words)?
    } else if let Some(bytes) = folder.bounded("tokenizer.model", MAX_MODEL)? {
        let model = sentencepiece::read(bytes)?;
        let add_bos = matches!(model.vocabulary.kind, VocabularyKind::SentencePiece { .. });
        Found { vocabulary: model.vocabulary, bos: model.bos, eos: model.eos, add_bos }
    } else if let Some(text) = folder.text("vocab.txt")? {
        word_piece(&text, words)
    } else {
        return Ok(None);
    };
    let mut added = BTreeMap::new();
    if let Some(tokens) = folder.json::<BTreeMap<String, u64>>("added_tokens.json")? {
        added.extend(tokens.into_iter().map(|(text, id)| (id, (text, true))));
    }
    for (id, token) in words.added_tokens_decoder.iter().flatten() {
        let id = id.parse().map_err(|_| wrong(format!("`added_tokens_decoder` names the id `{id}`")))?;
        let special = token.special.unwrap_or(false);
        added.insert(id, (token.content.clone(), special));
    }
    for (id, (text, special)) in added {
        add(&mut found.vocabulary, id, text, special)?;
    }
    Ok(Some(found))
}

fn wrong(headline: String) -> Diagnostic {
    Diagnostic::new("tokenizer-files", headline)
}

/// Puts an added token in its place: behind the others, or on the token of the same text.
fn add(vocabulary: &mut Vocabulary, id: u64, text: String, special: bool) -> Result<()> {
    let kind = if special { TokenType::Control } else { TokenType::UserDefined };
    let count = vocabulary.tokens.len() as u64;
    if id < count {
        let place = id as usize;
        if vocabulary.tokens[place] != text {
            return Err(wrong(format!("token {id} is `{}`, the added tokens say `{text}`", vocabulary.tokens[place])));
        }
        vocabulary.types[place] = kind;
        return Ok(());
    }
    if id > count {
        return Err(wrong(format!("the added token `{text}` has the id {id}, but there is no token {count}")));
    }
    vocabulary.tokens.push(text);
    vocabulary.types.push(kind);
    match &mut vocabulary.kind {
        VocabularyKind::SentencePiece { scores, .. } | VocabularyKind::Unigram { scores, .. } => scores.push(0.0),
        VocabularyKind::Bpe { .. } | VocabularyKind::WordPiece { .. } => {}
    }
    Ok(())
}

fn byte_level(ids: &Map<String, Value>, merges: &str, words: &TokenizerConfig) -> Result<Found> {
    let class = words.tokenizer_class.as_deref().unwrap_or("GPT2Tokenizer");
    let (pre, compose) = match class.trim_end_matches("Fast") {
        "GPT2Tokenizer" => ("gpt-2", false),
        "Qwen2Tokenizer" => ("qwen2", true),
        other => {
            return Err(wrong(format!("`vocab.json` of the tokenizer class `{other}` is not supported"))
                .help("supported are `GPT2Tokenizer` and `Qwen2Tokenizer`; `tokenizer.json` is read for every class"));
        }
    };
    if words.add_prefix_space == Some(true) {
        return Err(wrong("`add_prefix_space` beside `vocab.json` is not supported".into())
            .help("save the tokenizer as `tokenizer.json` with `save_pretrained` of a fast tokenizer"));
    }
    let mut tokens = vec![String::new(); ids.len()];
    for (text, id) in ids {
        let slot = id.as_u64().and_then(|i| tokens.get_mut(usize::try_from(i).ok()?));
        match slot {
            Some(slot) if slot.is_empty() && !text.is_empty() => slot.clone_from(text),
            Some(_) => return Err(wrong(format!("`vocab.json` gives the id {id} twice, or to no text"))),
            None => {
                return Err(wrong(format!("`vocab.json` gives `{text}` the id {id}, but has {} tokens", ids.len())));
            }
        }
    }
    let lines = merges.lines().filter(|l| !l.is_empty() && !l.starts_with("#version"));
    let types = tokens.iter().map(|t| if words.names(t) { TokenType::Control } else { TokenType::Normal }).collect();
    let kind = VocabularyKind::Bpe { pre: pre.into(), merges: lines.map(str::to_owned).collect(), compose };
    let vocabulary = Vocabulary { kind, tokens, types, unknown: None, add_space_prefix: false };
    Ok(Found { vocabulary, bos: None, eos: None, add_bos: false })
}

fn word_piece(text: &str, words: &TokenizerConfig) -> Found {
    const SPECIAL: &[&str] = &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];
    let tokens: Vec<String> = text.lines().map(str::to_owned).collect();
    let special = |t: &String| SPECIAL.contains(&t.as_str()) || words.names(t);
    let types = tokens.iter().map(|t| if special(t) { TokenType::Control } else { TokenType::Normal }).collect();
    let place = |text: &str| tokens.iter().position(|t| t == text);
    let unknown = place("[UNK]").and_then(|i| u32::try_from(i).ok());
    let (bos, eos) = (place("[CLS]").map(|i| i as u64), place("[SEP]").map(|i| i as u64));
    let kind = VocabularyKind::WordPiece { lowercase: words.do_lower_case.unwrap_or(true) };
    Found { vocabulary: Vocabulary { kind, tokens, types, unknown, add_space_prefix: false }, bos, eos, add_bos: false }
}
