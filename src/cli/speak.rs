//! Text from a language model token by token: streamed, held back where a stop text may begin, ended by stop ids, a limit,
//! the context's end, or Ctrl-C.

use super::interrupt;
use super::render::Stop;
use actc::language::{LanguageModel, LanguageSession};
use actc::text::{Sampler, Stream};
use std::io::Write;
use std::time::{Duration, Instant};

/// Where an answer ends, besides the model's own stop ids and the context's end.
pub(super) struct Limits<'a> {
    /// Most tokens.
    pub(super) tokens: Option<usize>,
    /// Texts before which it ends.
    pub(super) stops: &'a [String],
}

/// What was said, and how long it took.
pub(super) struct Said {
    /// The text that was written.
    pub(super) text: String,
    /// Its tokens that the session has read.
    pub(super) read: Vec<u32>,
    /// Tokens generated.
    pub(super) made: usize,
    /// Time to read the prompt.
    pub(super) reading: Duration,
    /// Time to generate.
    pub(super) making: Duration,
}

/// Reads `ids` behind what `session` has read already, and writes what follows to `out`, whole characters as they come.
pub(super) fn answer(
    model: &LanguageModel,
    session: &mut LanguageSession,
    sampler: &mut Sampler,
    ids: &[u32],
    limits: &Limits<'_>,
    out: &mut impl Write,
) -> Result<Said, Stop> {
    let started = Instant::now();
    let mut next = sampler.pick(session.prefill(ids)?)?;
    let reading = started.elapsed();
    let started = Instant::now();
    let mut stream = Stream::new(model.tokenizer());
    let mut output = Output { stops: limits.stops, held: String::new(), said: String::new(), out };
    let (mut read, mut made, mut stopped) = (Vec::new(), 0, false);
    while !stopped && !interrupt::asked() && limits.tokens.is_none_or(|n| made < n) && !model.stops(next) {
        made += 1;
        stopped = output.push(&stream.push(next)?)?;
        if stopped || session.past() >= session.context() || limits.tokens == Some(made) {
            break;
        }
        let id = next;
        next = sampler.pick(session.step(id)?)?;
        read.push(id);
    }
    if !stopped {
        stopped = output.push(&stream.finish()?)?;
    }
    let making = started.elapsed();
    if !stopped {
        output.flush()?;
    }
    if !output.said.ends_with('\n') {
        output.out.write_all(b"\n")?;
        output.out.flush()?;
    }
    Ok(Said { text: output.said, read, made, reading, making })
}

/// Holds back text that may be the beginning of a stop text.
struct Output<'a, W> {
    stops: &'a [String],
    held: String,
    said: String,
    out: W,
}

impl<W: Write> Output<'_, W> {
    /// Takes more text; whether a stop text was met.
    fn push(&mut self, piece: &str) -> std::io::Result<bool> {
        self.held.push_str(piece);
        let hit = self.stops.iter().filter(|s| !s.is_empty()).filter_map(|s| self.held.find(s.as_str())).min();
        if let Some(at) = hit {
            self.held.truncate(at);
            self.flush()?;
            return Ok(true);
        }
        let keep = self.stops.iter().map(|s| overlap(&self.held, s)).max().unwrap_or(0);
        let rest = self.held.split_off(self.held.len() - keep);
        self.flush()?;
        self.held = rest;
        Ok(false)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        self.out.write_all(self.held.as_bytes())?;
        self.said.push_str(&self.held);
        self.held.clear();
        self.out.flush()
    }
}

/// Bytes at the end of `text` that begin `stop`, all of it excluded.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    (1..=longest).rev().find(|n| stop.is_char_boundary(*n) && text.ends_with(&stop[..*n])).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_a_stop_text_are_held_back() {
        assert_eq!(overlap("some te", "text"), 2);
        assert_eq!(overlap("some", "text"), 0);
        assert_eq!(overlap("tet", "text"), 1);
        assert_eq!(overlap("aé", "éb"), 2);
        assert_eq!(overlap("", "x"), 0);
        assert_eq!(overlap("text", ""), 0);
    }

    #[test]
    fn nothing_of_a_stop_text_is_written() {
        let stops = ["END".to_owned(), "\n\n".to_owned()];
        for (pieces, wanted, stopped) in [
            (&["a E", "N", "x"][..], "a ENx", false),
            (&["a E", "N", "D b"], "a ", true),
            (&["a\n", "b\n", "\nc"], "a\nb", true),
            (&["EEND"], "E", true),
        ] {
            let mut output = Output { stops: &stops, held: String::new(), said: String::new(), out: Vec::new() };
            let met = pieces.iter().any(|p| output.push(p).unwrap());
            if !met {
                output.flush().unwrap();
            }
            assert_eq!((output.said.as_str(), met), (wanted, stopped), "{pieces:?}");
            assert_eq!(output.out, output.said.as_bytes());
        }
    }
}
