//! `actc generate`: text from a language model, streamed to standard output; with `--chat` and no prompt, a conversation.

use super::device::DeviceArgs;
use super::interrupt;
use super::open::{ArtifactArgs, is_artifact};
use super::render::{Stop, note, unreadable};
use super::speak::{Limits, Said, answer};
use super::threads;
use actc::language::{LanguageModel, LanguageSession};
use actc::text::{ChatTemplate, Message, Sampler, Sampling};
use actc_types::{Diagnostic, Place};
use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};

/// Options of `actc generate`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").args(["prompt", "file", "stdin"]))]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,
    #[command(flatten)]
    device: DeviceArgs,
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
    /// Use the chat template, an error for models without one; without a prompt, a conversation: each line of standard
    /// input is a turn
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
    /// The prompt; `None` asks for a conversation.
    fn text(&self) -> Result<Option<String>, Stop> {
        let bytes = match (&self.prompt, &self.file, &self.stdin) {
            (Some(prompt), ..) => return Ok(Some(prompt.clone())),
            (None, Some(path), _) => std::fs::read(path).map_err(|e| unreadable(path, &e))?,
            (None, None, Some(_)) => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).map_err(|e| unreadable(Path::new("-"), &e))?;
                bytes
            }
            (None, None, None) if self.chat => return Ok(None),
            (None, None, None) => {
                return Err(Diagnostic::request("prompt-missing", "there is no prompt")
                    .help("give one with -p TEXT, -f FILE or -, or talk with --chat")
                    .into());
            }
        };
        let shown = self.file.as_ref().map_or("-".into(), |p| p.display().to_string());
        let text = String::from_utf8(bytes).map_err(|e| {
            let offset = e.utf8_error().valid_up_to() as u64;
            Diagnostic::request("prompt-utf8", "the prompt is not UTF-8").at(Place::Offset { file: shown, offset })
        })?;
        Ok(Some(text))
    }

    /// The model's chat template, unless it is not to be used.
    fn template(&self, model: &LanguageModel) -> Result<Option<ChatTemplate>, Diagnostic> {
        let template = if self.raw { None } else { model.chat()? };
        if template.is_none() && self.chat {
            return Err(Diagnostic::request("no-chat-template", "the model has no chat template")
                .help("leave --chat out: the prompt is given to the model as it stands"));
        }
        Ok(template)
    }

    /// Prints speeds, where they are asked for.
    fn time(&self, read: usize, said: &Said, threads: usize) {
        if self.timings {
            let rate = |n: usize, seconds: f64| n as f64 / seconds.max(1e-9);
            note(format!(
                "prompt {read} tokens, {:.1} tokens/s; generated {} tokens, {:.1} tokens/s, {threads} threads",
                rate(read, said.reading.as_secs_f64()),
                said.made,
                rate(said.made.saturating_sub(1), said.making.as_secs_f64())
            ));
        }
    }
}

/// The ids of `text`, which a template may have begun with the leading token already.
fn ids(model: &LanguageModel, text: &str) -> Result<Vec<u32>, Diagnostic> {
    let bos = model.bos().filter(|_| model.text().add_bos);
    let ids = model.tokenizer().encode_after(bos, text)?;
    if ids.is_empty() {
        let headline = "the prompt is empty, and the model has no token that begins a text";
        return Err(Diagnostic::request("prompt-empty", headline).help("give at least one character"));
    }
    Ok(ids)
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let threads = threads(args.threads);
    let path = &args.artifact.artifact;
    let how = Sampling { temperature: args.temp, top_k: args.top_k, top_p: args.top_p, seed: args.seed };
    let mut sampler = Sampler::new(how)?;
    let prompt = args.text()?;
    if !is_artifact(path)? {
        note("not an artifact: `actc compile` makes one, which starts faster");
    }
    let (model, _) = args.artifact.opening.language(path, threads, args.device.device()?)?;
    let template = args.template(&model)?;
    let prompt = match (&template, prompt) {
        (Some(template), Some(text)) => Some(ids(&model, &template.render(&[Message::new("user", text)], true)?)?),
        (None, Some(text)) => Some(ids(&model, &text)?),
        (_, None) => None,
    };
    let wanted = prompt.as_ref().map_or(0, Vec::len) + args.n.unwrap_or(0);
    let context = args.context.unwrap_or(model.context().min(DEFAULT_CONTEXT.max(wanted)));
    if context > model.context() {
        note(format!("the model was made for {} tokens of context, {context} are asked for", model.context()));
    }
    let mut session = model.session(context, threads)?;
    interrupt::watch();
    match (prompt, template) {
        (None, Some(template)) => converse(args, &model, &template, &mut session, &mut sampler, threads),
        (prompt, _) => {
            let ids = prompt.unwrap_or_default();
            let limits = Limits { tokens: args.n, stops: &args.stop };
            let said = answer(&model, &mut session, &mut sampler, &ids, &limits, &mut std::io::stdout().lock())?;
            args.time(ids.len(), &said, threads);
            if interrupt::asked() { Err(Stop::Interrupted) } else { Ok(()) }
        }
    }
}

/// Turns of a conversation from standard input. What the session has read of earlier turns is not read again.
fn converse(
    args: &Args,
    model: &LanguageModel,
    template: &ChatTemplate,
    session: &mut LanguageSession,
    sampler: &mut Sampler,
    threads: usize,
) -> Result<(), Stop> {
    let terminal = std::io::stdin().is_terminal();
    let mut messages: Vec<Message> = Vec::new();
    // What the session has read.
    let mut past: Vec<u32> = Vec::new();
    loop {
        let Some(turn) = listen(terminal)? else { return Ok(()) };
        if turn.trim().is_empty() {
            continue;
        }
        messages.push(Message::new("user", turn));
        let all = ids(model, &template.render(&messages, true)?)?;
        // The last id is read in any case: its logits are what follows.
        let common = all.iter().zip(&past).take_while(|(a, b)| a == b).count().min(all.len() - 1);
        session.rewind(common);
        let limits = Limits { tokens: args.n, stops: &args.stop };
        let said = answer(model, session, sampler, &all[common..], &limits, &mut std::io::stdout().lock())?;
        args.time(all.len() - common, &said, threads);
        past = all;
        past.extend(&said.read);
        messages.push(Message::new("assistant", said.text));
        // Ctrl-C ends an answer, not the conversation.
        interrupt::forget();
    }
}

/// The next line of standard input; none at its end.
fn listen(terminal: bool) -> Result<Option<String>, Stop> {
    if terminal {
        super::render::ask("> ");
    }
    let mut line = Vec::new();
    interrupt::waiting(true);
    let read = std::io::stdin().lock().read_until(b'\n', &mut line);
    interrupt::waiting(false);
    if read.map_err(|e| unreadable(Path::new("-"), &e))? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8(line).map_err(|e| {
        let offset = e.utf8_error().valid_up_to() as u64;
        Diagnostic::request("prompt-utf8", "the turn is not UTF-8").at(Place::Offset { file: "-".into(), offset })
    })?;
    Ok(Some(line.trim_end_matches(['\n', '\r']).to_owned()))
}
