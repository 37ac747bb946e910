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
        steps.push(json!({"type": "Precompiled", "precompiled_charsmap": base64(&preparation.charsmap)}));
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

/// Base64 with padding (RFC 4648, section 4), as the format stores the compiled table.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().enumerate().fold(0u32, |n, (i, b)| n | u32::from(*b) << (16 - 8 * i));
        for i in 0..4 {
            let letter = ALPHABET[(group >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_as_the_rfc_has_it() {
        for (text, wanted) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(text.as_bytes()), wanted, "{text}");
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }
}
