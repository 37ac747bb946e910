//! The model is the model: greedy text of the as-shipped artifact, prefill then decode through its own kernels, equals the
//! reference evaluator's, token by token.
//!
//! Runs on the embedded model; with `ACTC_MODELS=DIR` also on SmolLM2 for 64 tokens.

use actc::compile::as_shipped;
use actc::ir::{Evaluator, Interpreter};
use actc::language::LanguageModel;
use actc::runtime::Trust;
use actc::source::Source;
use actc::types::Tensor;
use std::path::Path;

fn best(logits: &[f32]) -> u32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|v| *v == most).unwrap() as u32
}

/// Greedy continuation by the reference: states go from run to run as tensors.
fn reference(source: &Source, prompt: &[u32], count: usize) -> Vec<u32> {
    let graph = &source.import.graph;
    let mut prepared = Interpreter.prepare(graph).unwrap();
    let mut states: Vec<Tensor> = graph
        .inputs()
        .skip(1)
        .map(|(_, v)| {
            let dims: Vec<u64> = graph.ty(v).shape.dims().iter().map(|d| d.fixed().unwrap_or(0)).collect();
            Tensor::f32(&dims, Vec::new()).unwrap()
        })
        .collect();
    let (mut made, mut next) = (Vec::new(), prompt.to_vec());
    while made.len() < count {
        let ids = Tensor::i64(&[next.len() as u64], next.iter().map(|id| i64::from(*id)).collect()).unwrap();
        let mut out = prepared.run([vec![ids], states].concat()).unwrap();
        states = out.split_off(1);
        let logits = out[0].as_f32().unwrap();
        let id = best(&logits[logits.len() / next.len() * (next.len() - 1)..]);
        made.push(id);
        next = vec![id];
    }
    made
}

fn compiled(source: &Source, prompt: &[u32], count: usize, threads: usize) -> Vec<u32> {
    let model = LanguageModel::new(as_shipped(source, threads).unwrap(), Trust::Vouch).unwrap();
    let mut session = model.session(prompt.len() + count, threads).unwrap();
    let mut made = vec![best(session.prefill(prompt).unwrap())];
    while made.len() < count {
        made.push(best(session.step(made[made.len() - 1]).unwrap()));
    }
    made
}

fn check(path: &Path, text: &str, count: usize) {
    let source = Source::load(path).unwrap();
    let prompt = source.tokenizer.as_ref().unwrap().encode(text).unwrap();
    let wanted = reference(&source, &prompt, count);
    for threads in [1, 2] {
        assert_eq!(compiled(&source, &prompt, count, threads), wanted, "{threads} threads");
    }
}

#[test]
fn the_embedded_model_continues_as_the_reference_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m");
    check(&path, "The state of the Union is", 64);
}

#[test]
#[expect(clippy::print_stderr, reason = "says that the real model was not there")]
fn smollm2_continues_as_the_reference_does() {
    let Some(folder) = std::env::var_os("ACTC_MODELS") else {
        eprintln!("skipped: ACTC_MODELS names no folder with SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    check(&Path::new(&folder).join("SmolLM2-135M-Instruct.Q4_1.gguf"), "Once upon a time, there was", 64);
}
