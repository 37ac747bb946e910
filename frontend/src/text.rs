//! What a language model's source says about text: vocabulary, chat template, special ids.
//!
//! The front end hands this over as it stands in the file; the text room of the root package makes a tokenizer of it.

use actc_types::{Diagnostic, Result};
use bytes::Bytes;

/// Everything about text that a model's source holds.
#[derive(Clone, Debug)]
pub struct TextModel {
    /// How text becomes ids.
    pub tokenizer: TokenizerSource,
    /// The chat template, in Jinja.
    pub chat_template: Option<String>,
    /// The id that begins a text, where the source names one.
    pub bos: Option<u32>,
    /// The id that ends a text, where the source names one.
    pub eos: Option<u32>,
    /// Whether `bos` stands before every text.
    pub add_bos: bool,
    /// Every id that ends generation, ascending.
    pub stop: Vec<u32>,
    /// The longest context that the model was made for, in tokens.
    pub context: u64,
}

/// Where the tokenizer comes from.
#[derive(Clone, Debug)]
pub enum TokenizerSource {
    /// The bytes of a Hugging Face `tokenizer.json`.
    HuggingFace(Bytes),
    /// A vocabulary as GGUF or the files of older tokenizers store it.
    Vocabulary(Vocabulary),
}

/// A vocabulary outside of `tokenizer.json`, consistent: as many types (and scores) as tokens, ids inside.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// The algorithm and its own data.
    pub kind: VocabularyKind,
    /// The text of each token, by id.
    pub tokens: Vec<String>,
    /// The type of each token, by id.
    pub types: Vec<TokenType>,
    /// The id for what the vocabulary cannot express.
    pub unknown: Option<u32>,
    /// Whether a space is put before each text (SentencePiece).
    pub add_space_prefix: bool,
}

/// The algorithm of a vocabulary.
#[derive(Clone, Debug)]
pub enum VocabularyKind {
    /// Byte-level byte-pair encoding.
    Bpe {
        /// Name of the pre-tokenizer, as llama.cpp calls it.
        pre: String,
        /// Pairs to merge, `left right`, most urgent first.
        merges: Vec<String>,
        /// Whether characters are composed first (NFC).
        compose: bool,
    },
    /// SentencePiece by merging: neighbours are joined, highest score first.
    SentencePiece {
        /// Score of each token, by id.
        scores: Vec<f32>,
        /// What is done to the text before.
        preparation: Preparation,
    },
    /// SentencePiece by the best sum of scores over all ways to cut the text.
    Unigram {
        /// Score of each token, by id.
        scores: Vec<f32>,
        /// What is done to the text before.
        preparation: Preparation,
    },
    /// WordPiece: words are cut from the left into the longest tokens; those inside of words begin with `##`.
    WordPiece {
        /// Whether text is lowercased and accents are dropped.
        lowercase: bool,
    },
}

/// What SentencePiece does to text before it cuts it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preparation {
    /// Replacements of characters in SentencePiece's own compiled form; empty where there are none.
    pub charsmap: Bytes,
    /// Whether spaces at the ends go, and runs of them become one.
    pub collapse_spaces: bool,
}

/// Type of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    /// Ordinary text.
    Normal,
    /// Stands for what the vocabulary cannot express.
    Unknown,
    /// Steers the model and never appears as text.
    Control,
    /// Text that is always one token.
    UserDefined,
    /// Not in use.
    Unused,
    /// One byte, written `<0xAB>`.
    Byte,
}

impl TokenType {
    /// The type of GGUF code `code`.
    pub fn from_code(code: i128) -> Option<TokenType> {
        match code {
            1 => Some(TokenType::Normal),
            2 => Some(TokenType::Unknown),
            3 => Some(TokenType::Control),
            4 => Some(TokenType::UserDefined),
            5 => Some(TokenType::Unused),
            6 => Some(TokenType::Byte),
            _ => None,
        }
    }
}

/// `ids` ascending, each once.
pub(crate) fn sorted_ids(ids: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut ids: Vec<u32> = ids.into_iter().collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// `id` as a token id below `vocabulary`.
pub(crate) fn token_id(what: &str, id: u64, vocabulary: u64) -> Result<u32> {
    u32::try_from(id).ok().filter(|_| id < vocabulary).ok_or_else(|| {
        Diagnostic::new("token-id", format!("`{what}` is {id}, but the vocabulary has {vocabulary} tokens"))
    })
}
