//! What rounding activations to 8 bits costs, with nothing else changed: one artifact's weights, computed with activations as
//! they come and with rounded ones.
//!
//! ```sh
//! cargo run --release --example rounded_activations -- smol.actc models/texts/sotu-2016.txt 3
//! ```
//!
//! The artifact is one compiled with `act`; its graph is compiled a second time with that taken back. Both run on the same
//! windows of 1024 tokens, so that the error of the difference is that of pairs.

use actc::artifact::{Artifact, ReadOptions, Writer};
use actc::codegen::{Backend, Entries, Options, compile, graph_of};
use actc::ir::ops::linear::Linear;
use actc::ir::{Op, lower};
use actc::language::LanguageModel;
use actc::link::{Native, redescribe};
use actc::quality::{Evaluation, evaluate, summarise};
use actc_types::{Diagnostic, Result, Target};

/// The artifact with activations as they come, in `folder`.
fn as_they_come(artifact: &Artifact, folder: &std::path::Path) -> Result<Artifact> {
    let mut graph = graph_of(artifact)?;
    for node in graph.order().to_vec() {
        if matches!(graph.node(node).op, Op::Linear(_)) {
            graph.set_op(node, Op::Linear(Linear::F32))?;
        }
    }
    let options = Options::new(vec![Target::host()], Backend::best(), Entries::of(&graph));
    let first = |mut errors: Vec<Diagnostic>| errors.swap_remove(0);
    let program = compile(&lower(&graph).map_err(first)?, &options).map_err(first)?;
    let path = folder.join("plain.actc");
    program.write(Writer::to_file(&path, false)?, redescribe(artifact)?)?;
    Artifact::open(&path, &ReadOptions::default())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, text, windows] = &args[..] else { panic!("rounded_activations ARTIFACT TEXT WINDOWS") };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string(text).expect("a text in UTF-8");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let artifact = Artifact::open(std::path::Path::new(path), &ReadOptions::default())?;
    let plain = as_they_come(&artifact, folder.path())?;
    let native = Native::Made(Backend::best());
    let (rounded, plain) = (LanguageModel::new(artifact, native)?, LanguageModel::new(plain, native)?);
    let windows = Some(windows.parse().expect("a number of windows"));
    let evaluation = Evaluation { ctx: 1024, windows, bos: None, threads };
    let windows = evaluation.cut(&rounded.tokenizer().encode(&text)?)?;
    let mut sessions = (rounded.session(1024, threads)?, plain.session(1024, threads)?);
    let scores = evaluate(&evaluation, &windows, &mut sessions.0, Some(&mut sessions.1), &mut |_| ())?;
    let summary = summarise(&scores);
    let distance = summary.distance.expect("there is a reference");
    let difference = distance.nll_difference;
    println!(
        "perplexity {:.3} as they come, {:.3} rounded: {:+.2} % ±{:.2}; KL {:.5}",
        distance.reference_ppl.value,
        summary.ppl.value,
        100.0 * difference.value.exp_m1(),
        100.0 * difference.error.unwrap_or(f64::NAN),
        distance.kl.value
    );
    Ok(())
}
