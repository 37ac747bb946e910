//! The layers of an artifact against the same layers in 16 bits, each by itself on this machine.
//!
//! ```sh
//! cargo run --release --example layer_speed -- smol.actc [THREADS [BACKEND]]
//! ```

use actc::artifact::{Artifact, ReadOptions};
use actc::codegen::{Backend, graph_of};
use actc::evaluator::Compiled;
use actc::speed::{TOKENS, time_layers};
use actc_types::Result;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let path = args.next().expect("layer_speed ARTIFACT [THREADS [BACKEND]]");
    let threads = args.next().map_or(1, |n| n.parse().expect("a number of threads"));
    let backend = args.next().map_or(Ok(Backend::best()), |name| Backend::parse(&name))?;
    let artifact = Artifact::open(std::path::Path::new(&path), &ReadOptions::default())?;
    let timings = time_layers(&graph_of(&artifact)?, &Compiled::new(threads).by(backend), threads)?;
    println!("time over that of 16 bits, {threads} thread(s), {}\n", backend.full_name());
    println!("| layer | {} |", TOKENS.map(|n| format!("{n} tokens")).join(" | "));
    println!("|---|{}", "---|".repeat(TOKENS.len()));
    for layer in timings.chunk_by(|a, b| a.layer == b.layer) {
        let of = |n: &u64| layer.iter().find(|t| t.tokens == *n).map_or("".into(), |t| format!("{:.2}", t.ratio));
        println!("| {} | {} |", layer[0].layer, TOKENS.iter().map(of).collect::<Vec<_>>().join(" | "));
    }
    Ok(())
}
