//! Streamed output: ids go in one by one, whole characters come out.
//!
//! A character may take several tokens. Text is held back while it ends in U+FFFD, which is how an unfinished character
//! decodes; what never becomes a character is let go after a few tokens. Together the pieces are exactly the decoded whole.

use super::tokenizer::Tokenizer;
use actc_types::Result;

/// A character takes at most four byte tokens; twice that without an end is no text.
const MAX_HELD: usize = 8;

/// Decodes a growing list of ids.
#[derive(Debug)]
pub struct Stream<'t> {
    tokenizer: &'t Tokenizer,
    ids: Vec<u32>,
    /// Ids before it are only there because decoding depends on what stands before: their text is out.
    shown: usize,
}

impl<'t> Stream<'t> {
    /// Nothing decoded yet.
    pub fn new(tokenizer: &'t Tokenizer) -> Stream<'t> {
        Stream { tokenizer, ids: Vec::new(), shown: 0 }
    }

    /// Takes the next id; gives the text that is complete with it, which may be empty.
    pub fn push(&mut self, id: u32) -> Result<String> {
        self.ids.push(id);
        let text = self.held()?;
        if text.is_empty() || (text.ends_with('\u{fffd}') && self.ids.len() - self.shown < MAX_HELD) {
            return Ok(String::new());
        }
        self.ids.drain(..self.shown);
        self.shown = self.ids.len();
        Ok(text)
    }

    /// What was held back; the stream starts anew.
    pub fn finish(&mut self) -> Result<String> {
        let text = self.held()?;
        self.ids.clear();
        self.shown = 0;
        Ok(text)
    }

    fn held(&self) -> Result<String> {
        let before = self.tokenizer.decode(&self.ids[..self.shown])?;
        let mut all = self.tokenizer.decode(&self.ids)?;
        let cut = all.floor_char_boundary(before.len());
        Ok(all.split_off(cut))
    }
}
