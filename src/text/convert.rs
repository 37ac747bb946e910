//! Vocabularies of GGUF and of older tokenizer files as Hugging Face tokenizer JSON.
//!
//! *Byte-level BPE* maps one to one: pre-tokenizer, merges, added tokens. So does *WordPiece*, with BERT's normalizer; a
//! text stands between `[CLS]` and `[SEP]` where a reader of the file asks for special tokens.
//!
//! *SentencePiece by unigram* maps one to one too: the cut with the highest sum of scores.
//!
//! *SentencePiece by score* merges the neighbours whose joined text has the highest score, leftmost first. As BPE: every
//! way to cut a token into two tokens is a merge, ordered by the score of the whole. Tokens that are cut out of the text
//! before merging (control, user-defined, unknown) make no merges. The merges of one token rank side by side, where
//! SentencePiece takes the leftmost place; neighbours that could be joined into the same text in two overlapping ways do
//! not arise, because runs are joined from the left. Spaces are U+2581; characters outside the vocabulary become bytes.

use super::{pre, sentencepiece};
use actc_frontend::{TokenType, TokenizerSource, Vocabulary, VocabularyKind};
use actc_types::{Diagnostic, Result};
use bytes::Bytes;
use serde::Serialize;
use serde::ser::Serializer;
use serde_json::{Value, json};
use std::collections::HashMap;

/// `source` as Hugging Face tokenizer JSON; what is that already passes as it is.
pub fn to_json(source: &TokenizerSource) -> Result<Bytes> {
    match source {
        TokenizerSource::HuggingFace(bytes) => Ok(bytes.clone()),
        TokenizerSource::Vocabulary(vocabulary) => convert(vocabulary),
    }
}

/// The file, in the order that the format's own writer has.
#[derive(Serialize)]
struct File<'a> {
    version: &'static str,
    truncation: Value,
    padding: Value,
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Model<'a>,
}

#[derive(Serialize)]
struct AddedToken<'a> {
    id: u32,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Model<'a> {
    Bpe(Bpe<'a>),
    Unigram(Unigram<'a>),
    WordPiece(WordPiece<'a>),
}

#[derive(Serialize)]
struct Unigram<'a> {
    r#type: &'static str,
    unk_id: Option<u32>,
    vocab: Vec<(&'a str, f32)>,
    byte_fallback: bool,
}

#[derive(Serialize)]
struct WordPiece<'a> {
    r#type: &'static str,
    unk_token: &'a str,
    continuing_subword_prefix: &'static str,
    max_input_chars_per_word: u32,
    #[serde(serialize_with = "by_id")]
    vocab: Vec<&'a str>,
}

#[derive(Serialize)]
struct Bpe<'a> {
    r#type: &'static str,
    dropout: Value,
    unk_token: Option<&'a str>,
    continuing_subword_prefix: Value,
    end_of_word_suffix: Value,
    fuse_unk: bool,
    byte_fallback: bool,
    ignore_merges: bool,
    #[serde(serialize_with = "by_id")]
    vocab: Vec<&'a str>,
    merges: Vec<(&'a str, &'a str)>,
}

/// A map from each token to its position.
fn by_id<S: Serializer>(tokens: &[&str], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_map(tokens.iter().zip(0u32..))
}

fn convert(vocabulary: &Vocabulary) -> Result<Bytes> {
    let mut ids: HashMap<&str, u32> = HashMap::new();
    for (id, token) in (0u32..).zip(&vocabulary.tokens) {
        if token.is_empty() {
            return Err(Diagnostic::new("tokenizer-empty", format!("token {id} has no text")));
        }
        if let Some(first) = ids.insert(token, id) {
            let headline = format!("tokens {first} and {id} have the same text `{token}`");
            return Err(Diagnostic::new("tokenizer-duplicate", headline));
        }
    }
    let unknown = vocabulary.unknown.and_then(|id| vocabulary.tokens.get(id as usize)).map(String::as_str);
    let tokens = || vocabulary.tokens.iter().map(String::as_str);
    let bpe = |merges, sentence_piece, ignore_merges| {
        Model::Bpe(Bpe {
            r#type: "BPE",
            dropout: Value::Null,
            unk_token: unknown.filter(|_| sentence_piece),
            continuing_subword_prefix: Value::Null,
            end_of_word_suffix: Value::Null,
            fuse_unk: sentence_piece,
            byte_fallback: sentence_piece,
            ignore_merges,
            vocab: tokens().collect(),
            merges,
        })
    };
    let file = |normalizer, pre_tokenizer, decoder, model| File {
        version: "1.0",
        truncation: Value::Null,
        padding: Value::Null,
        added_tokens: added_tokens(vocabulary),
        normalizer,
        pre_tokenizer,
        post_processor: Value::Null,
        decoder,
        model,
    };
    let prefix = vocabulary.add_space_prefix;
    let file = match &vocabulary.kind {
        VocabularyKind::Bpe { pre, merges, compose } => {
            let pre = pre::find(pre)?;
            let mut steps: Vec<Value> = pre
                .cuts
                .iter()
                .map(|cut| json!({"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": false}))
                .collect();
            steps.push(byte_level());
            let normalizer = if *compose { json!({"type": "NFC"}) } else { Value::Null };
            let steps = json!({"type": "Sequence", "pretokenizers": steps});
            file(normalizer, steps, byte_level(), bpe(stored_merges(merges, &ids)?, false, pre.ignore_merges))
        }
        VocabularyKind::SentencePiece { scores, preparation } => {
            let normalizer = sentencepiece::normalizer(preparation, prefix);
            let model = bpe(merges_by_score(vocabulary, scores, &ids), true, false);
            file(normalizer, Value::Null, sentencepiece::decoder(prefix), model)
        }
        VocabularyKind::Unigram { scores, preparation } => {
            let model = Unigram {
                r#type: "Unigram",
                unk_id: vocabulary.unknown,
                vocab: tokens().zip(scores.iter().copied()).collect(),
                byte_fallback: vocabulary.types.contains(&TokenType::Byte),
            };
            let normalizer = sentencepiece::normalizer(preparation, prefix);
            file(normalizer, Value::Null, sentencepiece::decoder(prefix), Model::Unigram(model))
        }
        VocabularyKind::WordPiece { lowercase } => {
            let Some(unknown) = unknown else {
                return Err(Diagnostic::new("tokenizer-unknown", "a WordPiece vocabulary without `[UNK]`"));
            };
            let model = Model::WordPiece(WordPiece {
                r#type: "WordPiece",
                unk_token: unknown,
                continuing_subword_prefix: "##",
                max_input_chars_per_word: 100,
                vocab: tokens().collect(),
            });
            let normalizer = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": lowercase});
            let decoder = json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
            let file = file(normalizer, json!({"type": "BertPreTokenizer"}), decoder, model);
            File { post_processor: between(&ids), ..file }
        }
    };
    let bytes = serde_json::to_vec(&file)
        .map_err(|e| Diagnostic::new("tokenizer-json", format!("cannot write the tokenizer: {e}")))?;
    Ok(Bytes::from(bytes))
}

fn byte_level() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false})
}

/// What puts a text between `[CLS]` and `[SEP]`, where the vocabulary has them.
fn between(ids: &HashMap<&str, u32>) -> Value {
    let (Some(cls), Some(sep)) = (ids.get("[CLS]"), ids.get("[SEP]")) else { return Value::Null };
    json!({"type": "BertProcessing", "sep": ["[SEP]", sep], "cls": ["[CLS]", cls]})
}

/// Whether tokens of this type are found in the text before anything else, and whether they are left out of output.
fn cut_out(kind: TokenType) -> Option<bool> {
    match kind {
        TokenType::Control | TokenType::Unknown => Some(true),
        TokenType::UserDefined => Some(false),
        TokenType::Normal | TokenType::Unused | TokenType::Byte => None,
    }
}

fn added_tokens(vocabulary: &Vocabulary) -> Vec<AddedToken<'_>> {
    let typed = (0u32..).zip(vocabulary.tokens.iter().zip(&vocabulary.types));
    typed
        .filter_map(|(id, (content, kind))| {
            let special = cut_out(*kind)?;
            Some(AddedToken {
                id,
                content,
                single_word: false,
                lstrip: false,
                rstrip: false,
                normalized: false,
                special,
            })
        })
        .collect()
}

fn stored_merges<'a>(merges: &'a [String], ids: &HashMap<&str, u32>) -> Result<Vec<(&'a str, &'a str)>> {
    let mut pairs = Vec::with_capacity(merges.len());
    for (i, merge) in merges.iter().enumerate() {
        let wrong = |what: &str| Diagnostic::new("tokenizer-merge", format!("merge {i}, `{merge}`, {what}"));
        let (left, right) = merge.split_once(' ').ok_or_else(|| wrong("is no pair"))?;
        if !ids.contains_key(left) || !ids.contains_key(right) || !ids.contains_key(format!("{left}{right}").as_str()) {
            return Err(wrong("is not about tokens of the vocabulary"));
        }
        pairs.push((left, right));
    }
    Ok(pairs)
}

fn merges_by_score<'a>(
    vocabulary: &'a Vocabulary,
    scores: &[f32],
    ids: &HashMap<&str, u32>,
) -> Vec<(&'a str, &'a str)> {
    let mut order: Vec<usize> =
        (0..vocabulary.tokens.len()).filter(|id| cut_out(vocabulary.types[*id]).is_none()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b)));
    let mut merges = Vec::new();
    for id in order {
        let token = vocabulary.tokens[id].as_str();
        for (cut, _) in token.char_indices().skip(1).collect::<Vec<_>>().into_iter().rev() {
            let (left, right) = token.split_at(cut);
            if ids.contains_key(left) && ids.contains_key(right) {
                merges.push((left, right));
            }
        }
    }
    merges
}
