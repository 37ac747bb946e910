//! A tokenizer read from Hugging Face JSON.

use super::guard::guard;
use actc_types::{Diagnostic, Result};
use serde_json::Value;

/// What is looked at before the library reads a tokenizer.
#[derive(serde::Deserialize)]
struct Outline {
    #[serde(default)]
    normalizer: Value,
}

impl Outline {
    fn read(json: &[u8]) -> Result<Outline> {
        serde_json::from_slice(json).map_err(|e| error(format!("cannot read the tokenizer: {e}")))
    }

    /// Refuses tables of characters that are shorter than they say: the library takes memory for what they say. JSON does
    /// not nest deeper than a stack is high.
    fn check(&self) -> Result<()> {
        let mut open = vec![&self.normalizer];
        while let Some(step) = open.pop() {
            open.extend(step.get("normalizers").and_then(Value::as_array).into_iter().flatten());
            let Some(table) = step.get("precompiled_charsmap").and_then(Value::as_str) else { continue };
            let table =
                base64::decode(table).map_err(|e| error(format!("`precompiled_charsmap` is no base64: {e}")))?;
            let Some((said, rest)) = table.split_first_chunk::<4>() else { continue };
            let said = u32::from_le_bytes(*said);
            if said as usize > rest.len() {
                let headline =
                    format!("`precompiled_charsmap` says that its trie has {said} bytes, {} are there", rest.len());
                return Err(error(headline));
            }
        }
        Ok(())
    }
}

fn error(headline: String) -> Diagnostic {
    Diagnostic::new("tokenizer-json", headline)
}

/// Text to ids and back.
///
/// Special tokens are found in the text by their literal form. Nothing is put before or behind a text: whether a text
/// begins with `bos` is the model's matter (`add_bos` of its text model), not the tokenizer's.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    /// Reads Hugging Face tokenizer JSON. Truncation and padding that it may ask for are switched off.
    pub fn from_json(json: &[u8]) -> Result<Tokenizer> {
        Outline::read(json)?.check()?;
        let inner = guard("tokenizer-json", "cannot read the tokenizer", || {
            let mut inner = tokenizers::Tokenizer::from_bytes(json)?;
            inner.with_padding(None);
            inner.with_truncation(None)?;
            Ok::<_, tokenizers::Error>(inner)
        })?;
        Ok(Tokenizer { inner })
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        guard("tokenizer-encode", "cannot tokenize the text", || {
            self.inner.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec())
        })
    }

    /// The ids of `text` behind `bos`, where there is one. A chat template may have written `bos` out already: it is not
    /// doubled.
    pub fn encode_after(&self, bos: Option<u32>, text: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(text)?;
        if let Some(bos) = bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    /// The text of `ids`, without special tokens; bytes that are no UTF-8 come as U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        guard("tokenizer-decode", "cannot turn ids into text", || self.inner.decode(ids, true))
    }

    /// The token called `text`, special ones included.
    pub fn id_of(&self, text: &str) -> Option<u32> {
        self.inner.token_to_id(text)
    }

    /// The token `id` as the vocabulary writes it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Number of tokens, added ones included.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The library expects a decoder to be an object, and says so by a panic.
    #[test]
    fn what_the_library_panics_about_is_an_error() {
        for decoder in ["1", r#"{"type": "ByteLevel"0 }"#, r#"{"type": 3}"#] {
            let json = format!(r#"{{"version": "1.0", "decoder": {decoder}, "model": {{"type": "BPE"}}}}"#);
            assert_eq!(Tokenizer::from_json(json.as_bytes()).unwrap_err().code, "tokenizer-json", "{decoder}");
        }
    }
}
