//! A tokenizer read from Hugging Face JSON.

use actc_types::{Diagnostic, Result};

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
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|e| Diagnostic::new("tokenizer-json", format!("cannot read the tokenizer: {e}")))?;
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|e| Diagnostic::new("tokenizer-json", format!("cannot switch off truncation: {e}")))?;
        Ok(Tokenizer { inner })
    }

    /// The ids of `text`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|e| Diagnostic::new("tokenizer-encode", format!("cannot tokenize the text: {e}")))?;
        Ok(encoding.get_ids().to_vec())
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
        self.inner
            .decode(ids, true)
            .map_err(|e| Diagnostic::new("tokenizer-decode", format!("cannot turn ids into text: {e}")))
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
