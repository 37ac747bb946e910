//! A tokenizer. The first byte chooses: Hugging Face JSON as it stands, a byte-level vocabulary, one with scores that are
//! merged or summed, or words and their pieces.
//! A vocabulary is a line per token (`id-type text`, the type one byte), an empty line, then a merge per line.
#![no_main]

use actc::frontend::{Preparation, TokenType, TokenizerSource, Vocabulary, VocabularyKind};
use actc::text::{Tokenizer, guarded, to_json};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use std::sync::Once;

const TEXT: &str = "The state of the Union, 1 + 23 = 24\n\t\u{e9}t\u{e9} \u{1f600} </s>";

/// The vocabulary that the lines of `text` describe.
fn vocabulary(text: &str, form: u8) -> Vocabulary {
    let (tokens, merges) = text.split_once("\n\n").unwrap_or((text, ""));
    let (types, tokens): (Vec<TokenType>, Vec<String>) = tokens
        .split('\n')
        .map(|line| {
            let mut chars = line.chars();
            let code = chars.next().map_or(1, |c| i128::from(u32::from(c) % 6 + 1));
            (TokenType::from_code(code).expect("a code from 1 to 6"), chars.as_str().to_owned())
        })
        .unzip();
    let scores = || {
        let each = tokens.iter().enumerate();
        each.map(|(i, t)| merges.get(i..=i).map_or(-(t.len() as f32), |_| -1.0)).collect::<Vec<f32>>()
    };
    let preparation = Preparation {
        charsmap: Bytes::copy_from_slice(if form & 8 == 0 { b"" } else { merges.as_bytes() }),
        collapse_spaces: form & 16 != 0,
    };
    let kind = match form % 4 {
        0 => {
            let (pre, merges) = merges.split_once('\n').unwrap_or((merges, ""));
            let merges = merges.split('\n').map(str::to_owned).collect();
            VocabularyKind::Bpe { pre: pre.to_owned(), merges, compose: form & 8 != 0 }
        }
        1 => VocabularyKind::SentencePiece { scores: scores(), preparation },
        2 => VocabularyKind::Unigram { scores: scores(), preparation },
        _ => VocabularyKind::WordPiece { lowercase: form & 8 != 0 },
    };
    let unknown = types.iter().position(|t| *t == TokenType::Unknown).map(|i| i as u32);
    Vocabulary { kind, types, unknown, add_space_prefix: tokens.len() % 2 == 0, tokens }
}

/// Panics of the tokenizer library are errors behind a border: the fuzzer's hook, which ends the process, is not asked.
static QUIET: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    QUIET.call_once(|| {
        let abort = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !guarded() {
                abort(panic);
            }
        }));
    });
    let Some((kind, rest)) = data.split_first() else { return };
    let source = match kind % 5 {
        0 => TokenizerSource::HuggingFace(Bytes::copy_from_slice(rest)),
        // The rest of the byte are the options of a form.
        form => match std::str::from_utf8(rest) {
            Ok(text) => TokenizerSource::Vocabulary(vocabulary(text, (form - 1) | kind & 0xf8)),
            Err(_) => return,
        },
    };
    let Ok(json) = to_json(&source) else { return };
    let Ok(tokenizer) = Tokenizer::from_json(&json) else { return };
    if let Ok(ids) = tokenizer.encode(TEXT) {
        let _ = tokenizer.decode(&ids);
    }
});
