//! `reorder` finds in each export the classes that it finds in the model itself, and changes no logit.

use super::whale::{self, Form, export};
use actc::evaluator::Compiled;
use actc::passes::{PASSES, PassCx, Pipeline, Progress, Sample, manager};
use actc::source::Source;
use actc::types::Tensor;
use actc_ir::{Evaluator, Graph, Interpreter};
use std::path::Path;

/// Logits of twelve tokens, from an empty state.
fn logits(evaluator: &dyn Evaluator, graph: &Graph) -> Vec<f64> {
    let sample = sample(graph, 5);
    let inputs: Vec<Tensor> = graph.inputs().map(|(name, v)| sample.input(graph, name, v).unwrap()).collect();
    evaluator.prepare(graph).unwrap().run(inputs).unwrap()[0].data().to_f64()
}

/// Twelve tokens for the first input of `graph`, of one sequence where it has an axis for several.
fn sample(graph: &Graph, step: i64) -> Sample {
    let (name, value) = graph.inputs().next().unwrap();
    let ids: Vec<i64> = (0..12).map(|i| 300 + (97 + step) * i).collect();
    let dims: Vec<u64> = if graph.ty(value).shape.rank() == 2 { vec![1, 12] } else { vec![12] };
    Sample { inputs: vec![(name.into(), Tensor::i64(&dims, ids).unwrap())] }
}

/// The graph at `path` before and behind `reorder`, and the widths of the classes that it ordered.
fn ordered(path: &Path, heads: &str) -> (Graph, Graph, Vec<u32>) {
    let mut before = Source::load(path).unwrap().import.graph;
    let samples = [1, 2].map(|step| sample(&before, step));
    let (evaluator, mut quiet) = (Compiled::new(2), |_: Progress<'_>| ());
    let mut cx = PassCx { samples: &samples, ..PassCx::new(&evaluator, &mut quiet) };
    let mut run = |graph: &mut Graph, passes: &str| {
        let pipeline = Pipeline::parse(passes, PASSES).unwrap();
        manager::run(&pipeline, graph, &mut cx, &manager::Config::default(), &mut |_| ()).unwrap()
    };
    run(&mut before, "clean");
    let mut after = before.clone();
    let timed = run(&mut after, &format!("calibrate,reorder{{per=network,heads={heads}}}"));
    let mut widths: Vec<u32> = timed.last().unwrap().report.orders.iter().map(|o| o.width).collect();
    widths.sort_unstable();
    (before, after, widths)
}

#[test]
fn exports_are_ordered_as_the_model_is() {
    for heads in ["scattered", "inside", "gather"] {
        let (_, _, wanted) = ordered(&whale::source(), heads);
        for form in Form::ALL {
            let folder = tempfile::tempdir().unwrap();
            let (before, after, widths) = ordered(&export(form, folder.path()), heads);
            assert_eq!(widths, wanted, "{form:?} {heads}");
            for (evaluator, most) in [(&Interpreter as &dyn Evaluator, 1e-10), (&Compiled::new(2), 1e-4)] {
                let (old, new) = (logits(evaluator, &before), logits(evaluator, &after));
                let largest = old.iter().fold(0f64, |m, v| m.max(v.abs()));
                let apart = old.iter().zip(&new).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
                assert!(
                    apart <= most * largest,
                    "{form:?} {heads}: {apart:e} of {largest:e} by {}",
                    evaluator.describe()
                );
            }
        }
    }
}
