//! Decoders that come as ONNX are language models: the embedded model, exported three ways, says what it says from its own
//! file, through its state and at once, and text goes through it by the same verbs.
//!
//! The exports compute the same function in single precision in another order. Sums of up to 512 products of f32 over six
//! layers differ by about 1e-5 of logits of ten; the bound is 1e-4.

mod large;
mod nodes;
mod obstacles;
mod ordered;
mod text;
mod whale;
#[path = "../../frontend/tests/onnx/writer.rs"]
#[expect(dead_code, reason = "the tests of the reader use the rest")]
mod writer;

use actc::codegen::Backend;
use actc::compile::as_shipped;
use actc::language::LanguageModel;
use actc::link::Native;
use actc::passes::{PASSES, PassCx, Pipeline, Progress, manager};
use actc::source::Source;
use actc_ir::{Interpreter, Op};
use std::collections::BTreeMap;
use std::path::Path;
use whale::{Form, export};

/// Greatest difference of two logits.
const TOLERANCE: f32 = 1e-4;

fn open(path: &Path) -> LanguageModel {
    let source = Source::load(path).unwrap();
    assert_eq!(source.import.obstacle, None, "{}", path.display());
    LanguageModel::new(as_shipped(&source, 2, Backend::best()).unwrap(), Native::Embedded).unwrap()
}

/// Logits behind each of `ids`, read in runs of these lengths.
fn logits(model: &LanguageModel, ids: &[u32], runs: &[usize]) -> Vec<f32> {
    let mut session = model.session(ids.len(), 2).unwrap();
    let mut made = Vec::new();
    let mut rest = ids;
    for run in runs {
        let (now, later) = rest.split_at(*run);
        made.extend_from_slice(session.score(now).unwrap());
        rest = later;
    }
    for id in rest {
        made.extend_from_slice(session.step(*id).unwrap());
    }
    made
}

#[track_caller]
fn near(found: &[f32], wanted: &[f32], what: &str) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    let differences = found.iter().zip(wanted).map(|(f, w)| (f - w).abs());
    let most = differences.fold(0f32, |most, d| if d.is_nan() { f32::INFINITY } else { most.max(d) });
    assert!(most <= TOLERANCE, "{what}: logits differ by {most}");
}

/// Attentions and softmaxes of the model at `path`.
fn attentions(path: &Path) -> [usize; 2] {
    let graph = Source::load(path).unwrap().import.graph;
    let count = |is: fn(&Op) -> bool| graph.order().iter().filter(|n| is(&graph.node(**n).op)).count();
    [count(|op| matches!(op, Op::Attention(_))), count(|op| matches!(op, Op::Softmax(_)))]
}

#[test]
fn exports_say_what_the_model_says() {
    let whole = open(&whale::source());
    let ids = whole.tokenizer().encode("The state of the Union is such that we have").unwrap();
    let wanted = logits(&whole, &ids, &[ids.len()]);
    for form in Form::ALL {
        let folder = tempfile::tempdir().unwrap();
        let path = export(form, folder.path());
        assert_eq!(attentions(&path), [6, 0], "{form:?}");
        let model = open(&path);
        assert_eq!((model.context(), model.bos(), model.stops(0)), (256, Some(0), true), "{form:?}");
        near(&logits(&model, &ids, &[ids.len()]), &wanted, &format!("{form:?} at once"));
        near(&logits(&model, &ids, &[3]), &wanted, &format!("{form:?} token by token"));
        near(&logits(&model, &ids, &[1, 4, 2]), &wanted, &format!("{form:?} in pieces"));
        let mut session = model.session(64, 2).unwrap();
        let last = wanted.len() - model.vocabulary();
        near(session.prefill(&ids).unwrap(), &wanted[last..], &format!("{form:?} behind the last token"));
    }
}

/// Cleaned up, an export computes by the same ops as the model from its own file.
#[test]
fn exports_become_the_same_ops() {
    let ops = |path: &Path| {
        let mut graph = Source::load(path).unwrap().import.graph;
        let (mut quiet, pipeline) = (|_: Progress<'_>| (), Pipeline::parse("clean", PASSES).unwrap());
        let mut cx = PassCx::new(&Interpreter, &mut quiet);
        manager::run(&pipeline, &mut graph, &mut cx, &manager::Config::default(), &mut |_| ()).unwrap();
        // Shapes differ by an axis of the batch; one position a token is shared by all layers.
        let free = ["reshape", "transpose", "range", "const"];
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in graph.order().iter().map(|n| graph.node(*n).op.name()).filter(|name| !free.contains(name)) {
            *counts.entry(name).or_default() += 1;
        }
        counts
    };
    let wanted = ops(&whale::source());
    for form in Form::ALL {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(ops(&export(form, folder.path())), wanted, "{form:?}");
    }
}

/// What is not recognised is computed as it is written, over the same state.
#[test]
fn attention_of_another_form_says_the_same() {
    let mut model = whale::model(Form::Plain);
    let graph = model.graph.as_mut().unwrap();
    graph.initializer.push(nodes::weight("one", &[1], &[1.0]));
    for mut node in std::mem::take(&mut graph.node) {
        if node.op_type() != "Softmax" {
            graph.node.push(node);
            continue;
        }
        let (name, shares) = (node.output[0].clone(), format!("{}_shares", node.output[0]));
        node.output[0].clone_from(&shares);
        graph.node.push(node);
        graph.node.push(writer::node("Mul", &[&shares, "one"], &[&name]));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = whale::write(Form::Plain, &model, folder.path());
    assert_eq!(attentions(&path), [0, 6]);
    let (written, whole) = (open(&path), open(&whale::source()));
    let ids: Vec<u32> = (0..12).map(|i| 300 + 97 * i).collect();
    let wanted = logits(&whole, &ids, &[ids.len()]);
    near(&logits(&written, &ids, &[ids.len()]), &wanted, "at once");
    near(&logits(&written, &ids, &[5]), &wanted, "token by token");
}
