//! The model is the model: greedy text of the as-shipped artifact, prefill then decode through its own kernels, equals the
//! reference evaluator's, token by token; with caches of 8 and 16 bits too.
//!
//! Runs on the embedded model; with `ACTC_MODELS=DIR` also on SmolLM2 for 64 tokens.

use actc::codegen::Backend;
use actc::compile::as_shipped;
use actc::ir::eval::{new_tokens, past_tokens};
use actc::ir::{Evaluator, Interpreter};
use actc::language::LanguageModel;
use actc::link::Native;
use actc::passes::manager::{self, Config};
use actc::passes::{PASSES, PassCx, Pipeline, Progress};
use actc::runtime::{Session, SessionOptions};
use actc::source::Source;
use actc::types::dim::Bindings;
use actc::types::{Tensor, TensorData};
use std::path::{Path, PathBuf};

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
            Tensor::new(&dims, TensorData::zeros(graph.ty(v).dtype, 0)).unwrap()
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
    let model = LanguageModel::new(as_shipped(source, threads, Backend::best()).unwrap(), Native::Embedded).unwrap();
    let mut session = model.session(prompt.len() + count, threads).unwrap();
    let mut made = vec![best(session.prefill(prompt).unwrap())];
    while made.len() < count {
        made.push(best(session.step(made[made.len() - 1]).unwrap()));
    }
    made
}

/// The model at `path` after `pipeline`.
fn load(path: &Path, pipeline: &str) -> Source {
    let mut source = Source::load(path).unwrap();
    let pipeline = Pipeline::parse(pipeline, PASSES).unwrap();
    let mut quiet = |_: Progress<'_>| ();
    let mut cx = PassCx::new(&Interpreter, &mut quiet);
    manager::run(&pipeline, &mut source.import.graph, &mut cx, &Config::default(), &mut |_| ()).unwrap();
    source
}

fn check(path: &Path, pipeline: &str, text: &str, count: usize) {
    let source = load(path, pipeline);
    let prompt = source.tokenizer.as_ref().unwrap().encode(text).unwrap();
    let wanted = reference(&source, &prompt, count);
    for threads in [1, 2] {
        assert_eq!(compiled(&source, &prompt, count, threads), wanted, "{threads} threads");
    }
}

#[test]
fn the_embedded_model_continues_as_the_reference_does() {
    for pipeline in ["clean", "clean,kv{bits=16}", "clean,kv{bits=8}"] {
        check(&whale(), pipeline, "The state of the Union is", 64);
    }
}

fn whale() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m")
}

#[test]
fn a_saved_session_with_rounded_caches_goes_on() {
    let bindings = |past: u64, new: u64| Bindings::from([(past_tokens(), past), (new_tokens(), new)]);
    let open = |pipeline: &str| {
        let model =
            actc::link::open(as_shipped(&load(&whale(), pipeline), 1, Backend::best()).unwrap(), Native::Embedded)
                .unwrap();
        let options = SessionOptions { threads: 1, state_capacity: bindings(32, 0), ..SessionOptions::default() };
        Session::new(model, options).unwrap()
    };
    let ids = |ids: &[i64]| Tensor::i64(&[ids.len() as u64], ids.to_vec()).unwrap();
    let mut sizes = Vec::new();
    for pipeline in ["clean", "clean,kv{bits=16}", "clean,kv{bits=8}"] {
        let mut session = open(pipeline);
        session.run("prefill", &[ids(&[5, 6, 7, 8, 9])], &bindings(0, 5)).unwrap();
        let saved = session.save(&bindings(5, 0)).unwrap();
        let wanted = session.run("decode", &[ids(&[10])], &bindings(5, 1)).unwrap();
        let mut other = open(pipeline);
        other.load(&saved).unwrap();
        assert_eq!(other.run("decode", &[ids(&[10])], &bindings(5, 1)).unwrap(), wanted, "{pipeline}");
        let into_bytes = open("clean,kv{bits=8}").load(&saved).map_err(|d| d.code);
        assert_eq!(into_bytes, if pipeline.contains('8') { Ok(()) } else { Err("snapshot-model") }, "{pipeline}");
        sizes.push(session.footprint().states);
    }
    assert!(sizes[0] > sizes[1] && sizes[1] > sizes[2], "{sizes:?}");
}

#[test]
#[expect(clippy::print_stderr, reason = "says that the real model was not there")]
fn smollm2_continues_as_the_reference_does() {
    let Some(folder) = std::env::var_os("ACTC_MODELS") else {
        eprintln!("skipped: ACTC_MODELS names no folder with SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    check(&Path::new(&folder).join("SmolLM2-135M-Instruct.Q4_1.gguf"), "clean", "Once upon a time, there was", 64);
}
