//! Words, values and punctuation of the text form; braced fields go through the shared grammar.

use actc_types::braced::{Braced, Field};
use actc_types::{Diagnostic, Place, Result};

/// A place in a text.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, at: 0 }
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn error_at(&self, start: usize, headline: impl Into<String>) -> Diagnostic {
        let end = self.at.max(start + 1).min(self.text.len());
        let place = Place::Span { text: self.text.into(), start: start.min(self.text.len()), end };
        Diagnostic::request("air-syntax", headline).at(place)
    }

    pub(super) fn error(&self, headline: impl Into<String>) -> Diagnostic {
        self.error_at(self.at, headline)
    }

    /// Skips white space and comments.
    pub(super) fn skip(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    pub(super) fn at_end(&mut self) -> bool {
        self.skip();
        self.at == self.text.len()
    }

    /// Takes `token` if it comes next.
    pub(super) fn take(&mut self, token: &str) -> bool {
        self.skip();
        let found = self.text[self.at..].starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub(super) fn expect(&mut self, token: &str) -> Result<()> {
        if self.take(token) { Ok(()) } else { Err(self.error(format!("expected `{token}`"))) }
    }

    /// Takes the word `keyword` if it comes next and ends there.
    pub(super) fn keyword(&mut self, keyword: &str) -> bool {
        self.skip();
        let rest = &self.text[self.at..];
        let ends =
            rest.strip_prefix(keyword).is_some_and(|r| !r.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'));
        if ends {
            self.at += keyword.len();
        }
        ends
    }

    /// A plain word, or anything quoted.
    pub(super) fn word(&mut self) -> Result<String> {
        self.skip();
        let start = self.at;
        if self.take("\"") {
            let mut out = String::new();
            let mut chars = self.text[self.at..].char_indices();
            while let Some((i, c)) = chars.next() {
                match c {
                    '"' => {
                        self.at += i + 1;
                        return Ok(out);
                    }
                    '\\' => out.extend(chars.next().map(|(_, c)| c)),
                    _ => out.push(c),
                }
            }
            return Err(self.error_at(start, "unclosed quote"));
        }
        let rest = &self.text[self.at..];
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
        let mut length = rest.find(|c: char| !plain(c)).unwrap_or(rest.len());
        // `->` ends a word.
        if rest[length..].starts_with('>') && rest[..length].ends_with('-') {
            length -= 1;
        }
        if length == 0 {
            return Err(self.error("expected a name"));
        }
        self.at += length;
        Ok(rest[..length].into())
    }

    /// A value's name with its `%`.
    pub(super) fn value(&mut self) -> Result<String> {
        self.expect("%")?;
        if self.text[self.at..].starts_with('"') {
            return Ok(format!("%\"{}", self.word()?));
        }
        let rest = &self.text[self.at..];
        let length = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if length == 0 {
            return Err(self.error("expected a value's name"));
        }
        self.at += length;
        Ok(format!("%{}", &rest[..length]))
    }

    /// `{key=value, …}` if it comes directly.
    pub(super) fn fields(&mut self) -> Result<Vec<Field>> {
        let (fields, at) = Braced::parse_fields_at(self.text, self.at)?;
        self.at = at;
        Ok(fields)
    }

    /// The text up to the bracket that closes the one just taken.
    pub(super) fn until(&mut self, close: char) -> Result<&'a str> {
        let rest = &self.text[self.at..];
        let length = rest.find(close).ok_or_else(|| self.error(format!("expected `{close}`")))?;
        self.at += length + close.len_utf8();
        Ok(&rest[..length])
    }
}
