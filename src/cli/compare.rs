//! `actc compare`: two artifacts or models on the same inputs.

use super::entry;
use super::eval::{Bos, read, summary_json};
use super::open::Opening;
use super::render::{Progress, Stop, json, table};
use super::{Format, threads};
use actc::calibration::{TEXT, synthetic};
use actc::codegen::graph_of;
use actc::language::LanguageModel;
use actc::place::entries;
use actc::quality::{Evaluation, Summary, evaluate, summarise};
use actc::runtime::Placed;
use actc_types::{Diagnostic, Place, Tensor};
use serde_json::{Value, json as value};
use std::io::Write;
use std::path::PathBuf;

/// Options of `actc compare`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What is held to be right: an artifact; or a model file, which is compiled as it was shipped first
    a: PathBuf,
    /// What is compared with it
    b: PathBuf,
    /// A tensor for an input; without any, inputs are made up
    #[arg(long, value_name = "NAME=FILE.npy")]
    input: Vec<String>,
    /// Value of a symbol that no input's shape gives, such as B=8; 16 for made-up inputs
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Seed of made-up inputs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// What to run; default: the only entry, or `score` of a language model
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Text to compare language models on; default: the built-in text
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Most windows of the text; 0: no text
    #[arg(long, value_name = "N", default_value_t = 4)]
    windows: usize,
    /// Tokens of a window; default: 256, or the models' context where that is less
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
    /// Largest relative error of an output; above it: exit 1
    #[arg(long, value_name = "ERROR", value_parser = tolerance)]
    tolerance: Option<f64>,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    opening: Opening,
}

/// Tokens of a window where the user does not say.
const DEFAULT_CTX: usize = 256;

fn tolerance(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|t: &f64| *t >= 0.0 && t.is_finite()).ok_or_else(|| "expected a number from 0 up".into())
}

/// How an output of one model differs from the other's.
#[derive(Clone, Debug, PartialEq)]
struct Difference {
    name: String,
    ty: String,
    /// Largest magnitude of a difference.
    absolute: f64,
    /// The same as a share of the largest magnitude of the first model's output.
    relative: f64,
}

/// Differences of `b` from `a`, which have the same number of elements. Equal infinities and NaN on both sides are equal;
/// NaN on one side is infinitely far.
fn differ(a: &[f64], b: &[f64]) -> (f64, f64) {
    let (mut worst, mut largest) = (0.0f64, 0.0f64);
    for (x, y) in a.iter().zip(b) {
        let difference = match x == y || (x.is_nan() && y.is_nan()) {
            true => 0.0,
            false => (x - y).abs(),
        };
        worst = worst.max(if difference.is_nan() { f64::INFINITY } else { difference });
        largest = largest.max(if x.is_finite() { x.abs() } else { 0.0 });
    }
    let relative = if worst == 0.0 { 0.0 } else { worst / largest };
    (worst, relative)
}

fn mismatch(headline: String) -> Diagnostic {
    Diagnostic::request("compare-signature", headline).help("`actc inspect` shows the inputs and outputs of both")
}

/// The outputs of both models on the same inputs.
fn outputs(args: &Args, a: &Placed, b: &Placed, threads: usize) -> Result<Vec<Difference>, Stop> {
    let entry = entry::choose(entries(a), args.entry.as_deref())?;
    let other = entry::choose(entries(b), Some(&entry.name))?;
    let names = |ports: &[actc::artifact::Port]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>().join(", ");
    for (what, ours, others) in [("inputs", &entry.inputs, &other.inputs), ("outputs", &entry.outputs, &other.outputs)]
    {
        if names(ours) != names(others) {
            let headline = format!("the {what} of the first are {}, of the second {}", names(ours), names(others));
            return Err(mismatch(headline).into());
        }
    }
    let mut symbols = entry::symbols(&args.dim, entry)?;
    let inputs: Vec<Tensor> = if args.input.is_empty() {
        for symbol in &entry.symbols {
            symbols.entry(symbol.clone()).or_insert(16);
        }
        let samples = synthetic::samples(&graph_of(a.model().artifact())?, &symbols, 1, args.seed)?;
        entry::given(entry, &samples[0]).map_err(|name| mismatch(format!("no input `{name}`")))?
    } else {
        entry::tensors(&args.input, entry)?
    };
    let left = entry::call(a, entry, &inputs, &symbols, threads)?;
    let right = entry::call(b, other, &inputs, &symbols, threads)?;
    let mut out = Vec::new();
    for ((port, x), y) in entry.outputs.iter().zip(&left).zip(&right) {
        if x.dims() != y.dims() {
            let headline =
                format!("output `{}` of the first is {:?}, of the second {:?}", port.name, x.dims(), y.dims());
            return Err(mismatch(headline).into());
        }
        let (absolute, relative) = differ(&x.data().to_f64(), &y.data().to_f64());
        let ty = format!("{}{:?}", x.dtype(), x.dims());
        out.push(Difference { name: port.name.clone(), ty, absolute, relative });
    }
    Ok(out)
}

/// Both language models on a text.
fn on_text(args: &Args, a: &LanguageModel, b: &LanguageModel, threads: usize) -> Result<(Summary, Evaluation), Stop> {
    let text = args.text.as_deref().map_or_else(|| Ok(TEXT.to_owned()), read)?;
    let ids = a.tokenizer().encode(&text)?;
    if b.tokenizer().encode(&text)? != ids {
        return Err(mismatch("the two read the text as different tokens".into()).into());
    }
    let context = a.context().min(b.context());
    let bos = Bos::Auto.of(a)?;
    let ctx = args.ctx.unwrap_or(DEFAULT_CTX.min(context));
    let evaluation = Evaluation { ctx, windows: Some(args.windows), bos, threads };
    let windows = evaluation.cut(&ids)?;
    let (mut model, mut reference) = (b.session(ctx, threads)?, a.session(ctx, threads)?);
    let mut progress = Progress::new();
    let scores = evaluate(&evaluation, &windows, &mut model, Some(&mut reference), &mut |done| {
        progress.at("compare", "", done, windows.len());
    })?;
    let evaluation = Evaluation { windows: Some(windows.len()), ..evaluation };
    Ok((summarise(&scores), evaluation))
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let threads = threads(args.threads);
    let (a, b) = (args.opening.model(&args.a, threads)?, args.opening.model(&args.b, threads)?);
    let found = outputs(args, &Placed::Cpu(a.clone()), &Placed::Cpu(b.clone()), threads)?;
    let both = a.artifact().manifest().text.is_some() && b.artifact().manifest().text.is_some();
    if args.text.is_some() && !both {
        return Err(Diagnostic::request("no-language-model", "a text compares language models only").into());
    }
    let on_text = match both && args.windows > 0 {
        true => {
            let [a, b] = [&a, &b].map(|model| LanguageModel::of(Placed::Cpu(model.clone())));
            Some(on_text(args, &a?, &b?, threads)?)
        }
        false => None,
    };
    let digests = [a.artifact().digest().to_string(), b.artifact().digest().to_string()];
    match args.format {
        Format::Json => json(&shown(&digests, &found, on_text.as_ref()))?,
        Format::Text => write!(std::io::stdout().lock(), "{}", text(&digests, &found, on_text.as_ref()))?,
    }
    let Some(allowed) = args.tolerance else { return Ok(()) };
    // Written so that NaN is above it.
    let above: Vec<Diagnostic> = found
        .iter()
        .filter(|d| d.relative.is_nan() || d.relative > allowed)
        .map(|d| {
            let headline =
                format!("output `{}` differs by {:e} of its size, allowed is {allowed:e}", d.name, d.relative);
            Diagnostic::new("compare-tolerance", headline).at(Place::Node(d.name.clone()))
        })
        .collect();
    if above.is_empty() { Ok(()) } else { Err(above.into()) }
}

fn shown(digests: &[String; 2], found: &[Difference], on_text: Option<&(Summary, Evaluation)>) -> Value {
    let on_text = on_text.map(|(summary, evaluation)| {
        let mut figures = summary_json(summary);
        figures.insert("ctx".into(), evaluation.ctx.into());
        figures.insert("windows".into(), evaluation.windows.into());
        Value::Object(figures)
    });
    value!({
        "digests": digests,
        "outputs": found.iter().map(|d| value!({
            "name": d.name, "type": d.ty, "max_abs": d.absolute, "relative": d.relative,
        })).collect::<Vec<_>>(),
        "text": on_text,
    })
}

fn text(digests: &[String; 2], found: &[Difference], on_text: Option<&(Summary, Evaluation)>) -> String {
    let mut out = format!("a    {}\nb    {}\n\n", digests[0], digests[1]);
    let mut rows = vec![["output", "type", "max abs", "relative"].map(String::from).to_vec()];
    let numbers = |d: &Difference| [format!("{:.3e}", d.absolute), format!("{:.3e}", d.relative)];
    rows.extend(found.iter().map(|d| [vec![d.name.clone(), d.ty.clone()], numbers(d).to_vec()].concat()));
    out.push_str(&table("<<>>", &rows));
    if let Some((summary, evaluation)) = on_text
        && let Some(d) = summary.distance
    {
        let error = d.kl.error.map_or(String::new(), |e| format!(" ±{e:.5}"));
        out.push_str(&format!(
            "\nKL(a || b) {:.5}{error} nats, same best token {:.2} %, perplexity {:.4} and {:.4}, {} windows of {} tokens\n",
            d.kl.value,
            100.0 * d.top1.value,
            d.reference_ppl.value,
            summary.ppl.value,
            evaluation.windows.unwrap_or(0),
            evaluation.ctx
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::differ;

    #[test]
    fn differences_are_of_the_largest_value() {
        assert_eq!(differ(&[1.0, -4.0], &[1.0, -4.0]), (0.0, 0.0));
        assert_eq!(differ(&[1.0, -4.0], &[2.0, -4.0]), (1.0, 0.25));
        assert_eq!(differ(&[0.0], &[0.0]), (0.0, 0.0));
        assert_eq!(differ(&[0.0], &[1e-9]).1, f64::INFINITY);
        assert_eq!(differ(&[f64::NAN, f64::INFINITY, 1.0], &[f64::NAN, f64::INFINITY, 1.0]), (0.0, 0.0));
        assert_eq!(differ(&[f64::NAN, 1.0], &[0.0, 1.0]).0, f64::INFINITY);
        assert_eq!(differ(&[f64::INFINITY], &[f64::NEG_INFINITY]).0, f64::INFINITY);
    }
}
