//! PTX text as tokens, each with its line. Comments vanish; a `.` that begins or continues a word belongs to it, so that
//! `ld.global.v4.f32`, `.reg`, `%tid.x` and `shared::cta` are one word each.

use crate::report::LoadError;

/// One token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Word(String),
    Integer(u64),
    /// Bits of a float: `0f3F800000`, `0d3FF0000000000000`, or a decimal, which counts as a double.
    F32(u32),
    F64(u64),
    Text(String),
    Mark(char),
}

/// A token and the line that it stands in, counted from 1.
#[derive(Clone, Debug)]
pub(crate) struct Spot {
    pub(crate) token: Token,
    pub(crate) line: u32,
}

pub(crate) fn lex(text: &str) -> Result<Vec<Spot>, LoadError> {
    let bytes = text.as_bytes();
    let mut spots = Vec::with_capacity(text.len() / 4);
    let (mut at, mut line) = (0, 1u32);
    while at < bytes.len() {
        let rest = &text[at..];
        let byte = bytes[at];
        if byte == b'\n' {
            line += 1;
            at += 1;
        } else if byte.is_ascii_whitespace() || byte == 0 {
            at += 1;
        } else if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            let end = rest.find("*/").ok_or_else(|| LoadError::syntax(line, "a comment without an end"))?;
            line += rest[..end].matches('\n').count() as u32;
            at += end + 2;
        } else if byte == b'"' {
            let end = rest[1..].find('"').ok_or_else(|| LoadError::syntax(line, "a text without an end"))?;
            spots.push(Spot { token: Token::Text(rest[1..=end].to_owned()), line });
            at += end + 2;
        } else if byte.is_ascii_digit() {
            let length = number_length(rest.as_bytes());
            let token = number(&rest[..length]).ok_or_else(|| LoadError::syntax(line, &rest[..length]))?;
            spots.push(Spot { token, line });
            at += length;
        } else if begins_word(rest.as_bytes()) {
            let length = word_length(rest.as_bytes());
            spots.push(Spot { token: Token::Word(rest[..length].to_owned()), line });
            at += length;
        } else if byte.is_ascii() {
            spots.push(Spot { token: Token::Mark(char::from(byte)), line });
            at += 1;
        } else {
            return Err(LoadError::syntax(line, "a character that PTX does not have"));
        }
    }
    Ok(spots)
}

fn letter(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte == b'%'
}

fn begins_word(rest: &[u8]) -> bool {
    letter(rest[0]) || (rest[0] == b'.' && rest.get(1).is_some_and(|b| letter(*b)))
}

fn word_length(rest: &[u8]) -> usize {
    let mut length = 1;
    while length < rest.len() {
        let joins = rest[length] == b'.' && rest.get(length + 1).is_some_and(|b| letter(*b));
        let pair = rest[length..].starts_with(b"::");
        if pair {
            length += 2;
        } else if letter(rest[length]) || joins {
            length += 1;
        } else {
            break;
        }
    }
    length
}

fn number_length(rest: &[u8]) -> usize {
    let mut length = 0;
    while length < rest.len() {
        let byte = rest[length];
        let sign = (byte == b'+' || byte == b'-')
            && matches!(rest[length - 1], b'e' | b'E')
            && !rest.starts_with(b"0x")
            && !rest.starts_with(b"0f")
            && !rest.starts_with(b"0d");
        if byte.is_ascii_alphanumeric()
            || sign
            || (byte == b'.' && rest.get(length + 1).is_some_and(u8::is_ascii_digit))
        {
            length += 1;
        } else {
            break;
        }
    }
    length
}

fn number(text: &str) -> Option<Token> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits.trim_end_matches('U'), radix).ok().map(Token::Integer);
    match text.get(..2) {
        Some("0f" | "0F") => u32::from_str_radix(&text[2..], 16).ok().map(Token::F32),
        Some("0d" | "0D") => u64::from_str_radix(&text[2..], 16).ok().map(Token::F64),
        Some("0x" | "0X") => radix(&text[2..], 16),
        Some("0b" | "0B") => radix(&text[2..], 2),
        _ if text.contains(['.', 'e', 'E']) => text.parse::<f64>().ok().map(|v| Token::F64(v.to_bits())),
        _ if text.len() > 1 && text.starts_with('0') => radix(&text[1..], 8),
        _ => radix(text, 10),
    }
}

#[cfg(test)]
mod tests {
    use super::{Token, lex};

    #[test]
    fn words_numbers_and_marks() {
        let tokens: Vec<Token> =
            lex("@!%p1 ld.global.v2.u32 {%r1,%r2}, [%rd1+-8]; // c\n 0f3F800000 0x10U 1.5 017 shared::cta")
                .expect("it is PTX")
                .into_iter()
                .map(|s| s.token)
                .collect();
        let word = |w: &str| Token::Word(w.to_owned());
        assert_eq!(tokens[..4], [Token::Mark('@'), Token::Mark('!'), word("%p1"), word("ld.global.v2.u32")]);
        let end = [
            Token::F32(0x3f80_0000),
            Token::Integer(16),
            Token::F64(1.5f64.to_bits()),
            Token::Integer(15),
            word("shared::cta"),
        ];
        assert_eq!(tokens[tokens.len() - 5..], end);
    }
}
