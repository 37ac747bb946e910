//! `actc eval`: perplexity on a text, and the distance from a reference, through the artifact's own kernels.

use super::device::{DeviceArgs, running};
use super::open::Opening;
use super::render::{Progress, Stop, json, note, size, unreadable};
use super::request::exists;
use super::{Format, threads};
use actc::language::LanguageModel;
use actc::quality::{Evaluation, Figure, Reference, Summary, WindowScore, evaluate, summarise};
use actc::storage::Storage;
use actc_types::{Diagnostic, Place};
use serde_json::{Map, Value, json as value};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `actc eval`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// An artifact; or a model file, which is compiled as it was shipped first
    model: PathBuf,
    /// The text to predict
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// An artifact or model file to compare with
    #[arg(long, value_name = "MODEL", conflicts_with_all = ["saved", "save_ref"])]
    reference: Option<PathBuf>,
    /// What a model said about the same text, saved with --save-ref, to compare with
    #[arg(long = "ref", id = "saved", value_name = "FILE", conflicts_with = "save_ref")]
    saved: Option<PathBuf>,
    /// Save what this model says about the text, for others to be compared with
    #[arg(long, value_name = "FILE")]
    save_ref: Option<PathBuf>,
    /// Tokens of a window; default: 1024, or the model's context where that is less, or as the saved reference has it
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
    /// Most windows; default: all that the text holds, or as the saved reference has it
    #[arg(long, value_name = "N")]
    windows: Option<usize>,
    /// Whether every window begins with the token that begins a text; auto: where the model expects it
    #[arg(long, value_enum, default_value = "auto")]
    bos: Bos,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    opening: Opening,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Bos {
    Auto,
    On,
    Off,
}

const DEFAULT_CTX: usize = 1024;

impl Bos {
    /// The token that begins every window of a text for `model`.
    pub(super) fn of(self, model: &LanguageModel) -> Result<Option<u32>, Diagnostic> {
        match self {
            Bos::Off => Ok(None),
            Bos::Auto if !model.text().add_bos => Ok(None),
            Bos::Auto | Bos::On => model.bos().map(Some).ok_or_else(|| {
                Diagnostic::request("no-bos", "the model has no token that begins a text").help("use --bos off")
            }),
        }
    }
}

/// The UTF-8 text in the file at `path`.
pub(super) fn read(path: &Path) -> Result<String, Diagnostic> {
    let bytes = std::fs::read(path).map_err(|e| unreadable(path, &e))?;
    String::from_utf8(bytes).map_err(|e| {
        let (file, offset) = (path.display().to_string(), e.utf8_error().valid_up_to() as u64);
        Diagnostic::request("eval-utf8", "the text is not UTF-8").at(Place::Offset { file, offset })
    })
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let threads = threads(args.threads);
    let (native, device) = (args.opening.native()?, args.device.device()?);
    let text = read(&args.text)?;
    if let Some(path) = args.save_ref.as_deref().filter(|p| p.symlink_metadata().is_ok()) {
        return Err(exists(path).into());
    }
    let saved = args.saved.as_deref().map(Reference::read).transpose()?;
    let (model, file_bytes) = args.opening.language(&args.model, threads, device)?;
    let reference = match &args.reference {
        Some(path) => Some(args.opening.language(path, threads, device)?.0),
        None => None,
    };
    let context = reference.as_ref().map_or(model.context(), |r| r.context().min(model.context()));
    let evaluation = Evaluation {
        ctx: args.ctx.or(saved.as_ref().map(|s| s.ctx)).unwrap_or(DEFAULT_CTX.min(context)),
        windows: args.windows.or(saved.as_ref().map(Reference::windows)),
        bos: args.bos.of(&model)?,
        threads,
    };
    let windows = evaluation.cut(&model.tokenizer().encode(&text)?)?;
    let mut session = model.session(evaluation.ctx, threads)?;
    let mut progress = Progress::new();
    let mut done = |done| progress.at("eval", "", done, windows.len());
    let scores = match (&saved, &args.save_ref) {
        (Some(saved), _) => saved.judge(&evaluation, &windows, model.vocabulary(), &mut session, &mut done)?,
        (None, Some(path)) => {
            let (digest, vocabulary) = (model.artifact().digest().0, model.vocabulary());
            let (said, scores) = Reference::record(&evaluation, &windows, digest, vocabulary, &mut session, &mut done)?;
            let bytes = said.write(path)?;
            note(format!("wrote {} ({}), {} tokens of each prediction", path.display(), size(bytes), said.kept));
            scores
        }
        (None, None) => {
            let mut other = reference.as_ref().map(|r| r.session(evaluation.ctx, threads)).transpose()?;
            evaluate(&evaluation, &windows, &mut session, other.as_mut(), &mut done)?
        }
    };
    progress.finish();
    let report = Report {
        summary: summarise(&scores),
        scores,
        tokens: windows.len() * (evaluation.ctx - 1),
        evaluation,
        storage: Storage::of(model.artifact())?,
        file_bytes,
        backend: running(model.placed(), native, threads),
        digest: model.artifact().digest().to_string(),
        kept: saved.as_ref().filter(|s| s.kept < s.vocabulary).map(|s| s.kept),
    };
    match args.format {
        Format::Json => json(&report.json()),
        Format::Text => {
            write!(std::io::stdout().lock(), "{}", report.text())?;
            Ok(())
        }
    }
}

struct Report {
    summary: Summary,
    scores: Vec<WindowScore>,
    tokens: usize,
    evaluation: Evaluation,
    storage: Storage,
    file_bytes: u64,
    backend: String,
    digest: String,
    /// Tokens of the reference that the divergence is taken over one by one; `None` for all.
    kept: Option<usize>,
}

/// The figures of `summary` by the names that programs know; `null` where there is no reference or no error.
pub(super) fn summary_json(summary: &Summary) -> Map<String, Value> {
    let distance = summary.distance;
    let figures = [
        ("ppl", Some(summary.ppl)),
        ("kl", distance.map(|d| d.kl)),
        ("top1", distance.map(|d| d.top1)),
        ("reference_ppl", distance.map(|d| d.reference_ppl)),
        ("nll_difference", distance.map(|d| d.nll_difference)),
    ];
    let mut out = Map::new();
    for (name, figure) in figures {
        out.insert(name.into(), figure.map(|f| f.value).into());
        out.insert(format!("{name}_se"), figure.and_then(|f| f.error).into());
    }
    out
}

fn shown(figure: Figure, digits: usize) -> String {
    let error = figure.error.map_or(String::new(), |e| format!(" ±{e:.digits$}"));
    format!("{:.digits$}{error}", figure.value)
}

impl Report {
    fn json(&self) -> Value {
        let window = |s: &WindowScore| match s.reference {
            Some(d) => value!({ "nll": s.nll, "reference_nll": d.nll, "kl": d.kl, "top1": d.top1 }),
            None => value!({ "nll": s.nll }),
        };
        let mut out = summary_json(&self.summary);
        let more = value!({
            "tokens": self.tokens,
            "ctx": self.evaluation.ctx,
            "windows": self.scores.len(),
            "bos": self.evaluation.bos.is_some(),
            "kl_tokens": self.kept,
            "bits_per_weight": self.storage.bits_per_weight(),
            "file_bytes": self.file_bytes,
            "backend": self.backend,
            "digest": self.digest,
            "per_window": self.scores.iter().map(window).collect::<Vec<_>>(),
        });
        out.extend(more.as_object().cloned().unwrap_or_default());
        Value::Object(out)
    }

    fn text(&self) -> String {
        let mut lines = vec![format!("perplexity       {}", shown(self.summary.ppl, 4))];
        if let Some(d) = self.summary.distance {
            lines.push(format!("  of reference   {}", shown(d.reference_ppl, 4)));
            lines.push(format!("nll difference   {} nats a token", shown(d.nll_difference, 5)));
            let over = self.kept.map_or(String::new(), |n| format!(", over the {n} best tokens and the rest as one"));
            lines.push(format!("KL               {} nats{over}", shown(d.kl, 5)));
            let percent = |f: Figure| Figure { value: 100.0 * f.value, error: f.error.map(|e| 100.0 * e) };
            lines.push(format!("same best token  {} %", shown(percent(d.top1), 2)));
        }
        let bos = if self.evaluation.bos.is_some() { "with" } else { "without" };
        lines.push(format!(
            "predictions      {} in {} windows of {} tokens, {bos} a leading token",
            self.tokens,
            self.scores.len(),
            self.evaluation.ctx
        ));
        lines.push(format!("bits a weight    {:.4}", self.storage.bits_per_weight()));
        lines.push(format!("file             {}", size(self.file_bytes)));
        lines.push(format!("backend          {}", self.backend));
        lines.push(format!("digest           {}", self.digest));
        lines.join("\n") + "\n"
    }
}
