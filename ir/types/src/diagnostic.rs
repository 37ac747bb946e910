//! The one error type of actc: a stable code, a place, a headline that names both values, and a help line.
//!
//! Libraries return [`Diagnostic`]; only the command line turns one into text or JSON. Names that come from files pass
//! through [`printable`] before they reach a terminal.

use std::fmt;

/// Shorthand for results that fail with a [`Diagnostic`].
pub type Result<T, E = Diagnostic> = std::result::Result<T, E>;

/// Where something went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// No better place than the request as a whole.
    Request,
    /// A file or folder, by the name the user gave.
    File(String),
    /// A byte offset in a file.
    Offset {
        /// The file, by the name the user gave.
        file: String,
        /// Bytes from its start.
        offset: u64,
    },
    /// A node of a graph, by its text name.
    Node(String),
    /// A named tensor or constant.
    Tensor(String),
    /// Bytes `start..end` of a text that the user typed or wrote.
    Span {
        /// The text, for the caret.
        text: String,
        /// First byte of the span.
        start: usize,
        /// One past the last byte of the span.
        end: usize,
    },
}

/// Whose mistake it is; decides the exit code of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The work could not be done as asked (exit code 1).
    Work,
    /// The request itself is wrong (exit code 2).
    Request,
}

/// A finding with a stable code, a place, a headline and a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Stable, kebab-case identifier such as `gguf-truncated`.
    pub code: &'static str,
    /// Where it was found.
    pub place: Place,
    /// Lower case, no full stop, names the thing and both values.
    pub headline: String,
    /// What to do about it.
    pub help: Option<String>,
    /// Whose mistake it is.
    pub blame: Blame,
}

impl Diagnostic {
    /// A finding about the work: what was asked could not be done.
    pub fn new(code: &'static str, headline: impl Into<String>) -> Self {
        Self { code, place: Place::Request, headline: headline.into(), help: None, blame: Blame::Work }
    }

    /// A finding about the request: what was asked makes no sense.
    pub fn request(code: &'static str, headline: impl Into<String>) -> Self {
        Self { blame: Blame::Request, ..Self::new(code, headline) }
    }

    /// The same finding at `place`.
    #[must_use]
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// The same finding with a way out.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Several findings may be joined in one headline; only the first begins a line, so that no name can forge another.
        write!(f, "error[{}]: {}", self.code, printable(&self.headline).replace('\n', "\n  "))?;
        match &self.place {
            Place::Request => {}
            Place::File(path) => write!(f, "\n  in {}", one_line(path))?,
            Place::Offset { file, offset } => write!(f, "\n  in {} at byte {offset}", one_line(file))?,
            Place::Node(name) => write!(f, "\n  at {}", one_line(name))?,
            Place::Tensor(name) => write!(f, "\n  tensor {}", one_line(name))?,
            Place::Span { text, start, end } => write_span(f, text, *start, *end)?,
        }
        if let Some(help) = &self.help {
            write!(f, "\n  help: {}", printable(help).replace('\n', "\n  "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// Most characters of a line that an error shows, and of these most before the place that it points at.
const SHOWN: usize = 100;
const BEFORE: usize = 40;

/// The bytes of `line` to show where `start` is pointed at: all of a short line, else a window.
fn window(line: &str, start: usize) -> (usize, usize) {
    let back = |from: &str, n: usize| from.char_indices().rev().nth(n - 1).map_or(0, |(i, _)| i);
    let from = back(&line[..start], BEFORE).min(back(line, SHOWN));
    let to = line[from..].char_indices().nth(SHOWN).map_or(line.len(), |(i, _)| from + i);
    (from, to)
}

fn write_span(f: &mut fmt::Formatter<'_>, text: &str, start: usize, end: usize) -> fmt::Result {
    let start = text.floor_char_boundary(start);
    let end = text.floor_char_boundary(end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
    let line = &text[line_start..line_end];
    let number = text[..start].matches('\n').count() + 1;
    let (from, to) = window(line, start - line_start);
    let end = end.min(line_start + to).max(start);
    let (left, right) = (if from > 0 { "…" } else { "" }, if to < line.len() { "…" } else { "" });
    let wide = |text: &str| printable(text).chars().count();
    let before = left.chars().count() + wide(&text[line_start + from..start]);
    let width = wide(&text[start..end]).max(1);
    if text.contains('\n') {
        write!(f, "\n  line {number}:")?;
    }
    write!(f, "\n  {left}{}{right}\n  {}{}", printable(&line[from..to]), " ".repeat(before), "^".repeat(width))
}

/// `text` with control characters escaped, so that a name from a hostile file cannot drive a terminal.
pub fn printable(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) && c != '\n' {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// The same on one line: for names where a line has a meaning of its own, as in tables.
pub fn one_line(text: &str) -> String {
    printable(text).replace('\n', "\\u{a}")
}

/// The member of `known` nearest to `word`, if one is near enough to be what was meant.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(2);
    known.into_iter().map(|k| (edit_distance(word, k), k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_points_at_the_word() {
        let d = Diagnostic::request("unknown-pass", "unknown pass `owk`")
            .at(Place::Span { text: "calibrate,owk{bits=3}".into(), start: 10, end: 13 })
            .help("did you mean `owq`?");
        assert_eq!(
            d.to_string(),
            "error[unknown-pass]: unknown pass `owk`\n  calibrate,owk{bits=3}\n            ^^^\n  help: did you mean `owq`?"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let show = |text: &str, start, end| {
            let said = Diagnostic::request("c", "h").at(Place::Span { text: text.into(), start, end }).to_string();
            let lines: Vec<&str> = said.lines().skip(1).collect();
            let (line, mark) = (lines[lines.len() - 2].to_owned(), lines[lines.len() - 1].to_owned());
            assert!(line.chars().count() <= 2 + SHOWN + 2, "{line}");
            let marked = mark.find('^').unwrap();
            let under: String = line.chars().skip(marked).take(mark.matches('^').count()).collect();
            (line, under)
        };
        let long = format!("{}owk{}", "é,".repeat(500), ",clean".repeat(500));
        let at = long.find("owk").unwrap();
        let (line, under) = show(&long, at, at + 3);
        assert!(line.starts_with("  …") && line.ends_with('…') && under == "owk", "{line}");
        let (line, under) = show(&long, 0, 2);
        assert!(line.starts_with("  é,") && line.ends_with('…') && under == "é", "{line}");
        let (line, under) = show(&long, long.len() - 5, long.len());
        assert!(line.starts_with("  …") && line.ends_with(",clean") && under == "clean", "{line}");
        assert_eq!(show(&long, at, long.len()).1.chars().count(), SHOWN - BEFORE, "the mark ends with the window");
        let all = "x".repeat(SHOWN);
        assert_eq!(show(&all, 50, 51).0, format!("  {all}"));
        // Behind the end, and behind what takes more room than a character.
        assert_eq!(show("ab", 9, 9).0, "  ab");
        assert_eq!(show("a\u{1b}b", 2, 3), ("  a\\u{1b}b".into(), "b".into()));
    }

    #[test]
    fn hostile_names_are_escaped() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        let name = "x\nerror[forged]: y";
        let d = Diagnostic::new("a-code", format!("no `{name}`")).at(Place::Tensor(name.into())).help(name);
        assert_eq!(d.to_string().lines().filter(|l| l.starts_with("error[")).count(), 1, "{d}");
    }

    #[test]
    fn nearest_word() {
        assert_eq!(nearest("calbrate", ["owq", "calibrate"]), Some("calibrate"));
        assert_eq!(nearest("zzzzzz", ["owq", "calibrate"]), None);
    }
}
