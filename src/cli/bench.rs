//! `actc bench`: how fast an artifact runs on this machine.

use super::device::{DeviceArgs, running};
use super::open::ArtifactArgs;
use super::render::{Progress, Stop, json, note};
use super::{Format, threads};
use actc::language::LanguageModel;
use actc::runtime::Placed;
use actc::storage::Storage;
use actc_types::Diagnostic;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::Write;
use std::time::Instant;

/// Options of `actc bench`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    artifact: ArtifactArgs,
    #[command(flatten)]
    device: DeviceArgs,
    /// Tokens of the prompt
    #[arg(long, value_name = "N", default_value_t = 512)]
    prompt: usize,
    /// Tokens generated behind it
    #[arg(long, value_name = "N", default_value_t = 64)]
    generate: usize,
    /// Times that everything is measured; medians are printed
    #[arg(long, value_name = "N", default_value_t = 5)]
    repeat: usize,
    /// Also list where the time of a decoded token goes: steps that differ in nothing but a block's number together
    #[arg(long)]
    steps: bool,
    /// Threads
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Middle of `values`, of two middles the lower.
pub(super) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Bytes a second that `threads` threads read from memory together: the best of three passes over more than any cache.
fn bandwidth(threads: usize) -> f64 {
    const WORDS: usize = 32 << 20;
    let share = WORDS / threads;
    let memory = vec![1u64; share * threads];
    let pass = || {
        let started = Instant::now();
        std::thread::scope(|scope| {
            for part in memory.chunks(share) {
                scope.spawn(move || {
                    let mut sums = [0u64; 8];
                    for words in part.chunks_exact(8) {
                        sums.iter_mut().zip(words).for_each(|(s, w)| *s = s.wrapping_add(*w));
                    }
                    black_box(sums);
                });
            }
        });
        (memory.len() * 8) as f64 / started.elapsed().as_secs_f64()
    };
    (0..3).map(|_| pass()).fold(0.0, f64::max)
}

/// Shares of the time of a step of `decode`, the largest first: its label without numbers of blocks, seconds a token.
fn steps(
    model: &LanguageModel,
    ids: &[u32],
    generate: usize,
    threads: usize,
) -> Result<Vec<(String, f64)>, Diagnostic> {
    let mut session = model.timed_session(ids.len() + generate, threads)?;
    session.prefill(ids)?;
    for i in 0..generate {
        session.step(ids[i % ids.len()])?;
    }
    let mut shares: BTreeMap<String, f64> = BTreeMap::new();
    for (label, time) in session.profile() {
        if let Some(label) = label.strip_prefix("decode/") {
            let words = label.split('.').map(|w| if w.bytes().all(|b| b.is_ascii_digit()) { "*" } else { w });
            let words: Vec<&str> = words.collect();
            *shares.entry(words.join(".")).or_default() += time.nanoseconds as f64 / 1e9 / generate as f64;
        }
    }
    let mut shares: Vec<(String, f64)> = shares.into_iter().collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(shares)
}

/// What `share` is of where `placed` is.
fn of_machine(share: f64, placed: &Placed) -> String {
    let what = match placed {
        Placed::Cpu(_) => "this machine reads",
        #[cfg(feature = "cuda")]
        Placed::Cuda(_) => "a copy within this GPU moves",
    };
    format!(", {:.0} % of what {what}", 100.0 * share)
}

/// Bytes a second that the memory reaches from which weights are read.
fn memory_rate(placed: &Placed, threads: usize) -> Result<f64, Diagnostic> {
    match placed {
        Placed::Cpu(_) => Ok(bandwidth(threads)),
        #[cfg(feature = "cuda")]
        Placed::Cuda(model) => model.device().copy_rate(),
    }
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let threads = threads(args.threads);
    let opening = &args.artifact.opening;
    let artifact = opening.artifact(&args.artifact.artifact)?;
    let storage = Storage::of(&artifact)?;
    let name = artifact.manifest().model.name.clone();
    let digest = artifact.digest().to_string();
    let native = opening.native()?;
    let model = LanguageModel::on(artifact, native, args.device.device()?)?;

    let generate = args.generate.max(1);
    let prompt = args.prompt.min(model.context().saturating_sub(generate)).max(1);
    if prompt + generate > model.context() {
        let headline = format!("{prompt} and {generate} tokens exceed the model's context of {}", model.context());
        return Err(Diagnostic::request("bench-context", headline).into());
    }
    // Which tokens they are does not matter; equal ones could be kinder to caches than text is.
    let ids: Vec<u32> = (0..prompt).map(|i| (i * 7919 % model.vocabulary()) as u32).collect();
    let mut session = model.session(prompt + generate, threads)?;
    session.prefill(&ids)?;
    session.step(ids[0])?;

    let (mut prefill, mut decode) = (Vec::new(), Vec::new());
    let mut progress = Progress::new();
    for round in 0..args.repeat.max(1) {
        progress.at("bench", "", round, args.repeat.max(1));
        session.reset();
        let started = Instant::now();
        session.prefill(&ids)?;
        prefill.push(prompt as f64 / started.elapsed().as_secs_f64());
        let started = Instant::now();
        for i in 0..generate {
            session.step(ids[i % ids.len()])?;
        }
        decode.push(generate as f64 / started.elapsed().as_secs_f64());
    }
    progress.finish();
    let steps = if args.steps { steps(&model, &ids, generate, threads)? } else { Vec::new() };
    let (prefill, decode) = (median(prefill), median(decode));
    let seconds = 1.0 / decode;
    let rate = storage.read_bytes as f64 / seconds;
    let share = match memory_rate(model.placed(), threads) {
        Ok(whole) => Some(rate / whole),
        // A GPU that the model fills is measured without.
        Err(d) => {
            note(format!("no share of the bandwidth: {}", d.headline));
            None
        }
    };
    let backend = running(model.placed(), native, threads);
    match args.format {
        Format::Json => json(&serde_json::json!({
            "name": name,
            "seconds": seconds,
            "bytes": storage.read_bytes,
            "gb_per_s": rate / 1e9,
            "bandwidth_share": share,
            "prefill_tok_s": prefill,
            "decode_tok_s": decode,
            "prompt": prompt,
            "generate": generate,
            "repeat": args.repeat.max(1),
            "threads": threads,
            "backend": backend,
            "digest": digest,
            "steps": steps.iter().map(|(label, seconds)| serde_json::json!({"step": label, "seconds": seconds})).collect::<Vec<_>>(),
        })),
        Format::Text => {
            let mut lines = vec![
                format!("model      {name}"),
                format!("prefill    {prefill:.1} tokens/s ({prompt} tokens)"),
                format!("decode     {decode:.1} tokens/s ({generate} tokens behind them)"),
                format!(
                    "weights    {:.2} GB/s{}",
                    rate / 1e9,
                    share.map_or(String::new(), |share| of_machine(share, model.placed()))
                ),
                format!("backend    {backend}"),
                format!("digest     {digest}"),
            ];
            let whole: f64 = steps.iter().map(|(_, seconds)| seconds).sum();
            lines.extend(steps.iter().map(|(label, seconds)| {
                format!("{:7.1} us {:5.1} %  {label}", seconds * 1e6, 100.0 * seconds / whole)
            }));
            writeln!(std::io::stdout().lock(), "{}", lines.join("\n"))?;
            Ok(())
        }
    }
}
