//! What SentencePiece does to text before and after its tokens, as steps of Hugging Face tokenizer JSON.
//!
//! Before: characters are replaced by the model's compiled table, spaces at the ends go and runs become one where the model
//! says so, one space is put in front, and spaces become U+2581. After: the reverse, with bytes joined to characters.

use actc_frontend::Preparation;
use serde_json::{Value, json};

/// The space of SentencePiece.
const SPACE: &str = "\u{2581}";

/// The steps before: with `prefix`, a space stands before each text.
pub(super) fn normalizer(preparation: &Preparation, prefix: bool) -> Value {
    let mut steps = Vec::new();
    if !preparation.charsmap.is_empty() {
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": base64::encode(&preparation.charsmap)}));
    }
    if preparation.collapse_spaces {
        steps.push(json!({"type": "Strip", "strip_left": true, "strip_right": true}));
        steps.push(json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}));
    }
    if prefix {
        steps.push(json!({"type": "Prepend", "prepend": SPACE}));
    }
    let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE});
    if steps.is_empty() {
        return replace;
    }
    steps.push(replace);
    json!({"type": "Sequence", "normalizers": steps})
}

/// The steps after.
pub(super) fn decoder(prefix: bool) -> Value {
    let mut steps = vec![
        json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix {
        steps.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": steps})
}
