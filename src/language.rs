//! Language models as one thing: an artifact, its tokenizer and its chat template; and sessions that read and continue text.

use crate::link::Native;
use crate::place;
use crate::source::{EOS_KEY, OBSTACLE_KEY};
use crate::text::{ChatTemplate, Tokenizer};
use actc_artifact::{Artifact, TextInfo};
use actc_ir::eval::{new_tokens, past_tokens};
use actc_runtime::{AnySession, Device, Placed, SessionOptions, StepTime};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result, Tensor};
use std::collections::BTreeMap;

/// Tokens of a prompt that are read at once: bounds the memory of a run.
const PROMPT_CHUNK: usize = 512;

/// Bytes of logits that are scored at once.
const LOGIT_BYTES: usize = 64 << 20;

/// An artifact that holds a language model, linked and ready for sessions.
#[derive(Debug)]
pub struct LanguageModel {
    placed: Placed,
    tokenizer: Tokenizer,
    text: TextInfo,
    vocabulary: usize,
}

fn missing(what: &str) -> Diagnostic {
    Diagnostic::request("no-language-model", format!("the artifact has no {what}: it is no language model"))
        .help("`actc run` runs any artifact on tensors")
}

/// What `artifact` says of texts; an error that says what it lacks where it says nothing.
fn described(artifact: &Artifact) -> Result<&TextInfo> {
    let manifest = artifact.manifest();
    manifest.text.as_ref().ok_or_else(|| match manifest.metadata.get(OBSTACLE_KEY) {
        Some(obstacle) => {
            Diagnostic { headline: format!("the artifact is no language model: {obstacle}"), ..missing("") }
        }
        None => missing("text section"),
    })
}

impl LanguageModel {
    /// Links the code of `artifact` for CPUs; an artifact that is no language model is an error.
    pub fn new(artifact: Artifact, native: Native) -> Result<LanguageModel> {
        LanguageModel::on(artifact, native, Device::Cpu)
    }

    /// Links the code of `artifact` for `device`; errors are those of [`place`](place::place), and that of an artifact that is no
    /// language model.
    pub fn on(artifact: Artifact, native: Native, device: Device) -> Result<LanguageModel> {
        described(&artifact)?;
        LanguageModel::of(place::place(artifact, native, device)?)
    }

    /// The language model that `placed` is; an error where it is none.
    pub fn of(placed: Placed) -> Result<LanguageModel> {
        let artifact = placed.model().artifact();
        let text = described(artifact)?.clone();
        let tokenizer = Tokenizer::from_json(&artifact.tokenizer()?.ok_or_else(|| missing("tokenizer"))?)?;
        let entry = |name: &str| place::entries(&placed).iter().find(|e| e.name == name);
        let score = entry("score").ok_or_else(|| missing("entry `score`"))?;
        for name in ["prefill", "decode"] {
            entry(name).ok_or_else(|| missing(&format!("entry `{name}`")))?;
        }
        let vocabulary = score.outputs.first().and_then(|port| port.dims.last()?.fixed());
        let vocabulary = vocabulary.and_then(|n| usize::try_from(n).ok()).ok_or_else(|| missing("logits"))?;
        Ok(LanguageModel { placed, tokenizer, text, vocabulary })
    }

    /// The model where it runs.
    pub fn placed(&self) -> &Placed {
        &self.placed
    }

    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        self.placed.model().artifact()
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What a caller needs to feed and stop it.
    pub fn text(&self) -> &TextInfo {
        &self.text
    }

    /// Number of logits.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Longest context in tokens.
    pub fn context(&self) -> usize {
        usize::try_from(self.text.context).unwrap_or(usize::MAX)
    }

    /// The id that begins a text, where the model has one.
    pub fn bos(&self) -> Option<u32> {
        self.text.bos.and_then(|id| u32::try_from(id).ok())
    }

    /// Whether `id` ends an answer.
    pub fn stops(&self, id: u32) -> bool {
        self.text.stop.contains(&u64::from(id))
    }

    /// The chat template, if the model has one.
    pub fn chat(&self) -> Result<Option<ChatTemplate>> {
        let token =
            |id: Option<u64>| id.and_then(|id| self.tokenizer.token(u32::try_from(id).ok()?)).unwrap_or_default();
        let eos = self.artifact().manifest().metadata.get(EOS_KEY).and_then(|id| id.parse().ok());
        let template = self.text.chat_template.as_deref();
        template.map(|source| ChatTemplate::new(source, &token(self.text.bos), &token(eos))).transpose()
    }

    /// A session with room for `context` tokens.
    pub fn session(&self, context: usize, threads: usize) -> Result<LanguageSession> {
        self.session_of(context, SessionOptions { threads, ..SessionOptions::default() })
    }

    /// A session with room for `context` tokens that keeps the time of every step, see [`LanguageSession::profile`].
    pub fn timed_session(&self, context: usize, threads: usize) -> Result<LanguageSession> {
        self.session_of(context, SessionOptions { threads, profile: true, ..SessionOptions::default() })
    }

    fn session_of(&self, context: usize, options: SessionOptions) -> Result<LanguageSession> {
        let state_capacity = Bindings::from([(past_tokens(), context as u64), (new_tokens(), 0)]);
        let options = SessionOptions { state_capacity, ..options };
        let session = self.placed.session(options)?;
        Ok(LanguageSession { session, past: 0, context, chunk: self.score_chunk() })
    }

    fn score_chunk(&self) -> usize {
        (LOGIT_BYTES / 4 / self.vocabulary.max(1)).clamp(16, PROMPT_CHUNK)
    }
}

/// One text on a language model. Positions count from the last [`LanguageSession::reset`].
pub struct LanguageSession {
    session: AnySession,
    past: usize,
    context: usize,
    chunk: usize,
}

impl LanguageSession {
    /// Starts a new text.
    pub fn reset(&mut self) {
        self.rewind(0);
    }

    /// Forgets all but the first `past` tokens read; more than were read are all of them.
    pub fn rewind(&mut self, past: usize) {
        // Rows of a cache are only read below the past length, so they need not be cleared.
        self.past = self.past.min(past);
    }

    /// Tokens read so far.
    pub fn past(&self) -> usize {
        self.past
    }

    /// Time per step, by `entry/label`, of a timed session.
    pub fn profile(&self) -> &BTreeMap<String, StepTime> {
        self.session.profile()
    }

    /// Tokens that fit.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Most tokens of one [`LanguageSession::score`].
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    fn execute(&mut self, entry: &str, ids: &[u32]) -> Result<()> {
        if ids.is_empty() || ids.len() > self.context - self.past {
            let headline =
                format!("{} tokens behind {} do not fit a context of {}", ids.len(), self.past, self.context);
            return Err(
                Diagnostic::request("context-full", headline).help("ask for a longer context, or give less text")
            );
        }
        let tokens = Tensor::i64(&[ids.len() as u64], ids.iter().map(|id| i64::from(*id)).collect())?;
        self.session.execute(entry, &[&tokens], &Bindings::from([(past_tokens(), self.past as u64)]))?;
        self.past += ids.len();
        Ok(())
    }

    /// Reads `ids`, at least one; gives the logits behind the last.
    pub fn prefill(&mut self, ids: &[u32]) -> Result<&[f32]> {
        let (most, last) = ids.split_at(ids.len().saturating_sub(1) / PROMPT_CHUNK * PROMPT_CHUNK);
        for chunk in most.chunks(PROMPT_CHUNK) {
            self.execute("prefill", chunk)?;
        }
        self.execute("prefill", last)?;
        self.logits()
    }

    /// Reads one id; gives the logits behind it.
    pub fn step(&mut self, id: u32) -> Result<&[f32]> {
        self.execute("decode", &[id])?;
        self.logits()
    }

    /// Reads at most [`LanguageSession::chunk`] ids; gives the logits behind each, row after row.
    pub fn score(&mut self, ids: &[u32]) -> Result<&[f32]> {
        self.execute("score", ids)?;
        self.logits()
    }

    fn logits(&self) -> Result<&[f32]> {
        self.session.output(0)?.as_f32()
    }
}
