//! The one `name{key=value, flag}` grammar that op payloads, encodings and pipeline strings share.
//!
//! Values are bare words (`[A-Za-z0-9_.+-]`, also `*` and spaces inside dimension expressions) or quoted strings.
//! [`Fields`] hands them out one by one and complains about what nobody asked for.

use crate::diagnostic::{Diagnostic, Place, Result, nearest};
use std::fmt;
use std::ops::Range;

/// One `name{…}` item with the places of its parts in the text it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Braced {
    /// The word before the brace.
    pub name: String,
    /// Where the name stands.
    pub span: Range<usize>,
    /// The fields in the order written.
    pub fields: Vec<Field>,
}

/// One `key=value` of a [`Braced`]; a lone `key` has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The word before `=`.
    pub key: String,
    /// What follows `=`, without quotes.
    pub value: Option<String>,
    /// Where the whole field stands.
    pub span: Range<usize>,
}

impl Braced {
    /// Reads a list of items separated by commas: `clean,owq{bits=3,group=64}`. `name:k=v:k=v` means `name{k=v,k=v}`.
    pub fn parse_list(text: &str) -> Result<Vec<Braced>> {
        let mut cursor = Cursor { text, at: 0 };
        let mut items = Vec::new();
        cursor.skip_space();
        if cursor.at == text.len() {
            return Ok(items);
        }
        loop {
            items.push(cursor.item()?);
            cursor.skip_space();
            if cursor.at == text.len() {
                return Ok(items);
            }
            cursor.expect(',')?;
            cursor.skip_space();
        }
    }

    /// Reads one item from the start of `text[at..]` and returns it with the offset behind it.
    pub fn parse_at(text: &str, at: usize) -> Result<(Braced, usize)> {
        let mut cursor = Cursor { text, at };
        let item = cursor.item()?;
        Ok((item, cursor.at))
    }

    /// Reads the optional `{…}` at `text[at..]` and returns its fields with the offset behind it.
    pub fn parse_fields_at(text: &str, at: usize) -> Result<(Vec<Field>, usize)> {
        let mut cursor = Cursor { text, at };
        let fields = cursor.fields()?;
        Ok((fields, cursor.at))
    }
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.')
}

impl Cursor<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn skip_space(&mut self) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
    }

    fn error(&self, headline: String) -> Diagnostic {
        let end = self.at + self.peek().map_or(0, char::len_utf8);
        Diagnostic::request("syntax", headline).at(Place::Span { text: self.text.into(), start: self.at, end })
    }

    fn expect(&mut self, wanted: char) -> Result<()> {
        match self.peek() {
            Some(c) if c == wanted => {
                self.at += c.len_utf8();
                Ok(())
            }
            Some(c) => Err(self.error(format!("expected `{wanted}`, found `{c}`"))),
            None => Err(self.error(format!("expected `{wanted}`, found the end"))),
        }
    }

    fn word(&mut self, what: &str) -> Result<Range<usize>> {
        let start = self.at;
        while let Some(c) = self.peek().filter(|c| is_word(*c)) {
            self.at += c.len_utf8();
        }
        if start == self.at { Err(self.error(format!("expected {what}"))) } else { Ok(start..self.at) }
    }

    fn item(&mut self) -> Result<Braced> {
        let span = self.word("a name")?;
        let name = self.text[span.clone()].to_owned();
        let mut fields = Vec::new();
        if self.peek() == Some(':') {
            while self.peek() == Some(':') {
                self.at += 1;
                fields.push(self.field()?);
            }
        } else {
            fields = self.fields()?;
        }
        Ok(Braced { name, span, fields })
    }

    fn fields(&mut self) -> Result<Vec<Field>> {
        let mut fields = Vec::new();
        if self.peek() != Some('{') {
            return Ok(fields);
        }
        self.at += 1;
        loop {
            self.skip_space();
            if self.peek() == Some('}') {
                self.at += 1;
                return Ok(fields);
            }
            fields.push(self.field()?);
            self.skip_space();
            match self.peek() {
                Some(',') => self.at += 1,
                Some('}') => {}
                _ => return Err(self.error("expected `,` or `}`".into())),
            }
        }
    }

    fn field(&mut self) -> Result<Field> {
        let start = self.at;
        let key_span = self.word("an option name")?;
        let key = self.text[key_span].to_owned();
        let mut value = None;
        if self.peek() == Some('=') {
            self.at += 1;
            value = Some(self.value()?);
        }
        Ok(Field { key, value, span: start..self.at })
    }

    fn value(&mut self) -> Result<String> {
        if self.peek() == Some('"') {
            self.at += 1;
            let mut out = String::new();
            loop {
                let c = self.peek().ok_or_else(|| self.error("unclosed quote".into()))?;
                self.at += c.len_utf8();
                match c {
                    '"' => return Ok(out),
                    '\\' => {
                        let e = self.peek().ok_or_else(|| self.error("unclosed quote".into()))?;
                        self.at += e.len_utf8();
                        out.push(e);
                    }
                    _ => out.push(c),
                }
            }
        }
        let start = self.at;
        while let Some(c) = self.peek().filter(|c| is_word(*c) || matches!(c, '+' | '*' | ' ' | '/' | '@' | '%')) {
            self.at += c.len_utf8();
        }
        let value = self.text[start..self.at].trim_end().to_owned();
        if value.is_empty() { Err(self.error("expected a value".into())) } else { Ok(value) }
    }
}

/// Hands out the fields of one item; [`Fields::finish`] refuses what is left.
pub struct Fields<'a> {
    text: &'a str,
    owner: String,
    left: Vec<Field>,
    asked: Vec<&'static str>,
}

impl<'a> Fields<'a> {
    /// The fields of `owner`, which stand in `text`.
    pub fn new(text: &'a str, owner: impl Into<String>, fields: Vec<Field>) -> Fields<'a> {
        Fields { text, owner: owner.into(), left: fields, asked: Vec::new() }
    }

    fn wrong(&self, field: &Field, headline: String) -> Diagnostic {
        Diagnostic::request("bad-option", headline).at(Place::Span {
            text: self.text.into(),
            start: field.span.start,
            end: field.span.end,
        })
    }

    fn take_field(&mut self, key: &'static str) -> Result<Option<Field>> {
        self.asked.push(key);
        let Some(i) = self.left.iter().position(|f| f.key == key) else { return Ok(None) };
        let field = self.left.remove(i);
        match self.left.iter().find(|f| f.key == key) {
            Some(twice) => Err(self.wrong(twice, format!("`{key}` is given twice"))),
            None => Ok(Some(field)),
        }
    }

    /// The text of `key`, if given.
    pub fn text(&mut self, key: &'static str) -> Result<Option<String>> {
        match self.take_field(key)? {
            None => Ok(None),
            Some(Field { value: Some(v), .. }) => Ok(Some(v)),
            Some(field) => Err(self.wrong(&field, format!("`{key}` needs a value"))),
        }
    }

    /// The value of `key` read by `read`, which says in words what it wants where it returns `None`.
    pub fn with<T>(&mut self, key: &'static str, wanted: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(field) = self.take_field(key)? else { return Ok(None) };
        let value = field.value.as_deref().unwrap_or("");
        match read(value) {
            Some(v) => Ok(Some(v)),
            None => Err(self.wrong(&field, format!("`{key}={value}`: expected {wanted}"))),
        }
    }

    /// That of `all` whose `name` stands at `key`, if given.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        all: &[T],
        name: impl Fn(T) -> &'static str,
    ) -> Result<Option<T>> {
        let names: Vec<String> = all.iter().map(|one| format!("`{}`", name(*one))).collect();
        let wanted = match names.split_last() {
            Some((last, before)) if !before.is_empty() => format!("{} or {last}", before.join(", ")),
            Some(_) | None => names.concat(),
        };
        self.with(key, &wanted, |v| all.iter().copied().find(|one| name(*one) == v))
    }

    /// The number at `key`, if given.
    pub fn number<T: std::str::FromStr>(&mut self, key: &'static str) -> Result<Option<T>> {
        self.with(key, "a number", |v| v.parse().ok())
    }

    /// Whether the flag `key` is given: bare, or `key=true`.
    pub fn flag(&mut self, key: &'static str) -> Result<bool> {
        match self.take_field(key)? {
            None => Ok(false),
            Some(Field { value: None, .. }) => Ok(true),
            Some(field) => match field.value.as_deref() {
                Some("true") => Ok(true),
                Some("false") => Ok(false),
                _ => Err(self.wrong(&field, format!("`{key}` is true or false"))),
            },
        }
    }

    /// `Err` where `key` was not given.
    pub fn need<T>(&self, key: &'static str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| Diagnostic::request("missing-option", format!("`{}` needs `{key}`", self.owner)))
    }

    /// Refuses every field that was not asked for.
    pub fn finish(self) -> Result<()> {
        let Some(field) = self.left.first() else { return Ok(()) };
        let error = self.wrong(field, format!("`{}` has no option `{}`", self.owner, field.key));
        Err(match nearest(&field.key, self.asked.iter().copied()) {
            Some(word) => error.help(format!("did you mean `{word}`?")),
            None if self.asked.is_empty() => error.help("it takes no options"),
            None => error.help(format!("its options are {}", self.asked.join(", "))),
        })
    }
}

/// Writes `{a=1, b}` from keys and values, nothing for an empty list; values that are no bare words are quoted.
pub fn write_fields(f: &mut impl fmt::Write, fields: &[(&str, Option<String>)]) -> fmt::Result {
    if fields.is_empty() {
        return Ok(());
    }
    f.write_char('{')?;
    for (i, (key, value)) in fields.iter().enumerate() {
        write!(f, "{}{key}", if i > 0 { ", " } else { "" })?;
        match value {
            None => {}
            Some(v)
                if !v.is_empty() && v.chars().all(|c| is_word(c) || matches!(c, '+' | '*' | ' ' | '/' | '@' | '%')) =>
            {
                write!(f, "={v}")?;
            }
            Some(v) => write!(f, "=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\""))?,
        }
    }
    f.write_char('}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_and_colons_mean_the_same() {
        let a = Braced::parse_list("clean, owq{bits=3,target=3.25,group=64}").unwrap();
        let b = Braced::parse_list("clean,owq:bits=3:target=3.25:group=64").unwrap();
        let plain = |l: &[Braced]| -> Vec<(String, Vec<(String, Option<String>)>)> {
            l.iter()
                .map(|i| (i.name.clone(), i.fields.iter().map(|f| (f.key.clone(), f.value.clone())).collect()))
                .collect()
        };
        assert_eq!(plain(&a), plain(&b));
    }

    #[test]
    fn mistakes_point_into_the_text() {
        let text = "owq{bit=3}";
        let item = Braced::parse_list(text).unwrap().remove(0);
        let mut fields = Fields::new(text, item.name, item.fields);
        assert_eq!(fields.number::<u8>("bits").unwrap(), None);
        let error = fields.finish().unwrap_err();
        assert_eq!(
            error.to_string(),
            "error[bad-option]: `owq` has no option `bit`\n  owq{bit=3}\n      ^^^^^\n  help: did you mean `bits`?"
        );
        for text in ["owq{bits=3", "owq{bits=}", "{", ",", "a,,b", "a b", "owq{bits=\"3}"] {
            assert!(Braced::parse_list(text).is_err(), "{text}");
        }
    }
}
