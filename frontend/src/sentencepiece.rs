//! `tokenizer.model`: a SentencePiece model, the fields of its protobuf schema that matter here.
//!
//! Both algorithms that models use are read, merging (`bpe`) and `unigram`; the other two of the format are refused.

use crate::text::{Preparation, TokenType, Vocabulary, VocabularyKind};
use actc_types::{Diagnostic, Result};
use bytes::Bytes;
use prost::Message;

/// The most pieces of a model.
const MAX_PIECES: usize = 1 << 24;

#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

#[derive(Message)]
struct Trainer {
    /// 1 unigram, 2 merging, 3 words, 4 characters.
    #[prost(int32, optional, tag = "3")]
    model: Option<i32>,
    #[prost(bool, optional, tag = "24")]
    whitespace_as_suffix: Option<bool>,
    #[prost(int32, optional, tag = "40")]
    unknown: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    bos: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    eos: Option<i32>,
}

#[derive(Message)]
struct Normalizer {
    #[prost(bytes = "bytes", optional, tag = "2")]
    charsmap: Option<Bytes>,
    #[prost(bool, optional, tag = "3")]
    dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    collapse_spaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_spaces: Option<bool>,
}

/// A vocabulary and the ids that begin and end a text.
pub(crate) struct Model {
    pub(crate) vocabulary: Vocabulary,
    pub(crate) bos: Option<u64>,
    pub(crate) eos: Option<u64>,
}

/// Reads the bytes of a `tokenizer.model`.
pub(crate) fn read(bytes: Bytes) -> Result<Model> {
    let wrong = |headline: String| Diagnostic::new("sentencepiece", headline);
    let proto = ModelProto::decode(bytes).map_err(|e| wrong(format!("no SentencePiece model: {e}")))?;
    let count = proto.pieces.len();
    if count == 0 || count > MAX_PIECES {
        return Err(wrong(format!("a model of {count} pieces, expected 1 to {MAX_PIECES}")));
    }
    let (mut tokens, mut types, mut scores) = (Vec::new(), Vec::new(), Vec::new());
    for (id, piece) in proto.pieces.into_iter().enumerate() {
        let kind = TokenType::from_code(piece.kind.unwrap_or(1).into());
        let kind = kind.ok_or_else(|| wrong(format!("piece {id} has a type other than 1 to 6")))?;
        let score = piece.score.unwrap_or(0.0);
        if !score.is_finite() {
            return Err(wrong(format!("the score of piece {id} is {score}")));
        }
        tokens.push(piece.text.unwrap_or_default());
        types.push(kind);
        scores.push(score);
    }
    let trainer = proto.trainer.unwrap_or_default();
    let normalizer = proto.normalizer.unwrap_or_default();
    if trainer.whitespace_as_suffix == Some(true) || normalizer.escape_spaces == Some(false) {
        return Err(wrong("spaces behind words, or spaces that stay spaces, are not supported".into()));
    }
    // What the format means where a field is missing; -1 means that there is none.
    let id =
        |stated: Option<i32>, usual: i32| u64::try_from(stated.unwrap_or(usual)).ok().filter(|i| *i < count as u64);
    let preparation = Preparation {
        charsmap: normalizer.charsmap.unwrap_or_default(),
        collapse_spaces: normalizer.collapse_spaces.unwrap_or(true),
    };
    let kind = match trainer.model.unwrap_or(1) {
        1 if types.contains(&TokenType::Unused) => return Err(wrong("a unigram model with unused pieces".into())),
        1 => VocabularyKind::Unigram { scores, preparation },
        2 => VocabularyKind::SentencePiece { scores, preparation },
        3 => return Err(wrong("a model of whole words is not supported".into())),
        4 => return Err(wrong("a model of characters is not supported".into())),
        other => return Err(wrong(format!("model type {other}, known are 1 to 4"))),
    };
    let unknown = id(trainer.unknown, 0);
    if unknown.is_none() {
        return Err(wrong("a model without a piece for what is unknown".into()));
    }
    let vocabulary = Vocabulary {
        kind,
        tokens,
        types,
        unknown: unknown.and_then(|i| u32::try_from(i).ok()),
        add_space_prefix: normalizer.dummy_prefix.unwrap_or(true),
    };
    Ok(Model { vocabulary, bos: id(trainer.bos, 1), eos: id(trainer.eos, 2) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(kind: i32, pieces: &[(&str, i32)]) -> ModelProto {
        let piece =
            |(text, kind): &(&str, i32)| Piece { text: Some((*text).into()), score: Some(-1.0), kind: Some(*kind) };
        ModelProto {
            pieces: pieces.iter().map(piece).collect(),
            trainer: Some(Trainer { model: Some(kind), ..Trainer::default() }),
            normalizer: None,
        }
    }

    fn code(proto: &ModelProto) -> &'static str {
        read(Bytes::from(proto.encode_to_vec())).map(|_| ()).unwrap_err().code
    }

    #[test]
    fn what_the_format_leaves_out_has_its_meaning() {
        let proto = model(2, &[("<unk>", 2), ("<s>", 3), ("</s>", 3), ("a", 1)]);
        let found = read(Bytes::from(proto.encode_to_vec())).unwrap();
        assert_eq!((found.bos, found.eos, found.vocabulary.unknown), (Some(1), Some(2), Some(0)));
        assert!(found.vocabulary.add_space_prefix);
        let VocabularyKind::SentencePiece { preparation, .. } = found.vocabulary.kind else { panic!("merging") };
        assert!(preparation.collapse_spaces && preparation.charsmap.is_empty());
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        assert_eq!(code(&model(2, &[])), "sentencepiece");
        assert_eq!(code(&model(3, &[("a", 1)])), "sentencepiece");
        assert_eq!(code(&model(1, &[("a", 7)])), "sentencepiece");
        assert_eq!(code(&model(1, &[("<unk>", 2), ("a", 5)])), "sentencepiece");
        let mut nan = model(1, &[("a", 1)]);
        nan.pieces[0].score = Some(f32::NAN);
        assert_eq!(code(&nan), "sentencepiece");
        let mut unknown = model(1, &[("a", 1)]);
        unknown.trainer.as_mut().unwrap().unknown = Some(-1);
        assert_eq!(code(&unknown), "sentencepiece");
        let whole = model(2, &[("<unk>", 2), ("a", 1)]).encode_to_vec();
        for n in 1..whole.len() {
            // Cut between fields what is left may be whole, and lacks only what comes behind.
            drop(read(Bytes::copy_from_slice(&whole[..n])));
        }
        assert!(read(Bytes::from_static(b"\x0a\xff\xff\xff\xff\x0f")).is_err());
    }
}
