//! Pre-tokenizers of byte-level vocabularies: GGUF names them, here they become regular expressions.
//!
//! Each expression cuts every piece that the one before left; matches and the gaps between them are pieces.

use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Result};

/// A digit on its own.
const DIGIT: &str = r"\p{N}";
/// Words, numbers, punctuation, spaces: GPT-2's cut.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// Llama 3's cut: contractions in any case, numbers up to three digits, line ends with what is before them.
const LLAMA3: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// Qwen 2's cut: Llama 3's with single digits.
const QWEN2: &str = concat!(
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// What is used where a file names nothing: runs of punctuation, GPT-2's cut, numbers in threes.
const DEFAULT: [&str; 4] = [r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"];

/// How a byte-level vocabulary cuts text before it merges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pre {
    /// Expressions, in the order they are applied.
    pub(super) cuts: &'static [&'static str],
    /// Whether a piece that is a token as a whole is taken without merging.
    pub(super) ignore_merges: bool,
}

/// Names, and what they mean.
const TABLE: &[(&[&str], Pre)] = &[
    (&["default"], Pre { cuts: &DEFAULT, ignore_merges: false }),
    (
        &[
            "gpt-2",
            "phi-2",
            "roberta-bpe",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "mpt",
            "olmo",
        ],
        Pre { cuts: &[GPT2], ignore_merges: false },
    ),
    (
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        Pre { cuts: &[DIGIT, GPT2], ignore_merges: false },
    ),
    (&["llama-bpe", "llama3", "llama-v3", "falcon3"], Pre { cuts: &[LLAMA3], ignore_merges: true }),
    (&["dbrx", "smaug-bpe"], Pre { cuts: &[LLAMA3], ignore_merges: false }),
    (&["qwen2", "stablelm2", "megrez", "deepseek-r1-qwen"], Pre { cuts: &[QWEN2], ignore_merges: false }),
];

/// The pre-tokenizer called `name`.
pub(super) fn find(name: &str) -> Result<Pre> {
    if let Some((_, pre)) = TABLE.iter().find(|(names, _)| names.contains(&name)) {
        return Ok(*pre);
    }
    let all = || TABLE.iter().flat_map(|(names, _)| names.iter().copied());
    let error = Diagnostic::new("tokenizer-pre", format!("the pre-tokenizer `{name}` is not supported"));
    let list = all().collect::<Vec<_>>().join(", ");
    Err(match nearest(name, all()) {
        Some(word) => error.help(format!("`{word}` is near, but not the same; supported are {list}")),
        None => error.help(format!("supported are {list}")),
    })
}
