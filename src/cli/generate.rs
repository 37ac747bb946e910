//! `actc generate`: text from a language model, streamed to standard output.

use super::interrupt;
use super::open::{ArtifactArgs, is_artifact};
use super::render::{Stop, note, unreadable};
use super::threads;
use actc::language::LanguageModel;
use actc::text::{Message, Sampler, Sampling, Stream};
use actc_types::{Diagnostic, Place};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Options of `actc generate`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["prompt", "file", "stdin"]))]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,
    /// The prompt
    #[arg(short, long, value_name = "TEXT")]
    prompt: Option<String>,
    /// A file with the prompt
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// `-` reads the prompt from standard input
    #[arg(value_name = "-", value_parser = ["-"])]
    stdin: Option<String>,
    /// Most tokens to generate; default: until the model stops or the context is full
    #[arg(short, value_name = "N")]
    n: Option<usize>,
    /// Context in tokens; default: the model's, at most 4096
    #[arg(short, long, value_name = "N")]
    context: Option<usize>,
    /// Use the chat template even where the default would not; an error for models without one
    #[arg(long, conflicts_with = "raw")]
    chat: bool,
    /// Give the prompt to the model as it stands
    #[arg(long)]
    raw: bool,
    /// Divide logits by T; 0 is greedy
    #[arg(long, value_name = "T", default_value_t = 0.0)]
    temp: f64,
    /// Choose among the K best tokens; 0: among all
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Choose among the best tokens whose probabilities reach P
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Seed of random choices
    #[arg(short, long, default_value_t = 0)]
    seed: u64,
    /// Stop before this text; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    /// Print speeds to standard error at the end
    #[arg(long)]
    timings: bool,
}

/// Longest context that is laid out unasked: key caches of long ones are large.
const DEFAULT_CONTEXT: usize = 4096;

impl Args {
    fn text(&self) -> Result<String, Stop> {
        let bytes = match (&self.prompt, &self.file) {
            (Some(prompt), _) => return Ok(prompt.clone()),
            (None, Some(path)) => std::fs::read(path).map_err(|e| unreadable(path, &e))?,
            (None, None) => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).map_err(|e| unreadable(Path::new("-"), &e))?;
                bytes
            }
        };
        let shown = self.file.as_ref().map_or("-".into(), |p| p.display().to_string());
        String::from_utf8(bytes).map_err(|e| {
            let offset = e.utf8_error().valid_up_to() as u64;
            Diagnostic::request("prompt-utf8", "the prompt is not UTF-8")
                .at(Place::Offset { file: shown, offset })
                .into()
        })
    }

    /// The ids that the model reads.
    fn ids(&self, model: &LanguageModel) -> Result<Vec<u32>, Stop> {
        let text = self.text()?;
        let template = if self.raw { None } else { model.chat()? };
        let mut ids = Vec::new();
        match template {
            // The template writes the leading token itself.
            Some(template) => {
                let text = template.render(&[Message::new("user", text)], true)?;
                ids.extend(model.tokenizer().encode(&text)?);
            }
            None if self.chat => {
                return Err(Diagnostic::request("no-chat-template", "the model has no chat template")
                    .help("leave --chat out: the prompt is given to the model as it stands")
                    .into());
            }
            None => ids.extend(model.tokenizer().encode(&text)?),
        }
        if let Some(bos) = model.bos().filter(|bos| model.text().add_bos && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        if ids.is_empty() {
            return Err(Diagnostic::request(
                "prompt-empty",
                "the prompt is empty, and the model has no token that begins a text",
            )
            .help("give at least one character")
            .into());
        }
        Ok(ids)
    }
}

/// Holds back text that may be the beginning of a stop text.
struct Output<'a> {
    stops: &'a [String],
    held: String,
    out: std::io::StdoutLock<'static>,
    last: Option<char>,
}

impl Output<'_> {
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
        self.last = self.held.chars().last().or(self.last);
        self.out.write_all(self.held.as_bytes())?;
        self.held.clear();
        self.out.flush()
    }
}

/// Bytes at the end of `text` that begin `stop`, all of it excluded.
fn overlap(text: &str, stop: &str) -> usize {
    let longest = stop.len().saturating_sub(1).min(text.len());
    (1..=longest).rev().find(|n| stop.is_char_boundary(*n) && text.ends_with(&stop[..*n])).unwrap_or(0)
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let threads = threads(args.threads);
    let path = &args.artifact.artifact;
    let opening = args.artifact.opening;
    if !is_artifact(path)? {
        note("not an artifact: `actc compile` makes one, which starts faster");
    }
    let (model, _) = opening.language(path, threads)?;
    let how = Sampling { temperature: args.temp, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let mut sampler = Sampler::new(how)?;
    let ids = args.ids(&model)?;
    let context = args.context.unwrap_or(model.context().min(DEFAULT_CONTEXT.max(ids.len() + args.n.unwrap_or(0))));
    if context > model.context() {
        note(format!("the model was made for {} tokens of context, {context} are asked for", model.context()));
    }
    let mut session = model.session(context, threads)?;
    interrupt::watch();

    let started = Instant::now();
    let mut next = sampler.pick(session.prefill(&ids)?)?;
    let read = started.elapsed();
    let mut stream = Stream::new(model.tokenizer());
    let mut output = Output { stops: &args.stop, held: String::new(), out: std::io::stdout().lock(), last: None };
    let started = Instant::now();
    let mut made = 0;
    let mut stopped = false;
    while !stopped && !interrupt::asked() && args.n.is_none_or(|n| made < n) && !model.stops(next) {
        made += 1;
        stopped = output.push(&stream.push(next)?)?;
        if session.past() >= session.context() || args.n == Some(made) {
            break;
        }
        next = sampler.pick(session.step(next)?)?;
    }
    if !stopped {
        let rest = stream.finish()?;
        output.push(&rest)?;
    }
    let took = started.elapsed();
    if !stopped {
        output.flush()?;
    }
    if output.last != Some('\n') {
        output.out.write_all(b"\n")?;
        output.out.flush()?;
    }
    if args.timings {
        let rate = |n: usize, seconds: f64| n as f64 / seconds.max(1e-9);
        note(format!(
            "prompt {} tokens, {:.1} tokens/s; generated {made} tokens, {:.1} tokens/s, {threads} threads",
            ids.len(),
            rate(ids.len(), read.as_secs_f64()),
            rate(made.saturating_sub(1), took.as_secs_f64())
        ));
    }
    if interrupt::asked() { Err(Stop::Interrupted) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::overlap;

    #[test]
    fn beginnings_of_a_stop_text_are_held_back() {
        assert_eq!(overlap("some te", "text"), 2);
        assert_eq!(overlap("some", "text"), 0);
        assert_eq!(overlap("tet", "text"), 1);
        assert_eq!(overlap("aé", "éb"), 2);
        assert_eq!(overlap("", "x"), 0);
        assert_eq!(overlap("text", ""), 0);
    }
}
