//! Biases that take up the mean of what rounding changes.

use actc_ir::{Graph, Interpreter, evaluator::Evaluator, text};
use actc_passes::checkpoint::Checkpoint;
use actc_passes::manager::{Config, run};
use actc_passes::{PASSES, PassCx, Pipeline, Progress, Sample};
use actc_types::Tensor;

/// A grouped convolution and two linear layers, whose inputs lie far from zero.
const NET: &str = "air 1
graph @net(%x: f32[1, 8, 6, 5]) {
  %a = const @a = rng{seed=3, scale=0.5} : f32[16, 4, 3, 3]
  %p = const @a.bias = rng{seed=4, scale=1} : f32[16]
  %b = const @b = rng{seed=5, scale=0.2} : f32[24, 30]
  %q = const @b.bias = rng{seed=6, scale=1} : f16[24]
  %c = const @c = rng{seed=7, scale=0.2} : f32[8, 24]
  %r = const @c.bias = rng{seed=8, scale=1} : f32[8]
  %0 = conv{kernel=\"3, 3\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"1, 1\", groups=2, extents=\"6, 5\"} %x, %a, %p : f32[1, 16, 6, 5]
  %1 = relu %0 : f32[1, 16, 6, 5]
  %2 = reshape{shape=\"16, 30\"} %1 : f32[16, 30]
  %3 = linear %2, %b, %q : f32[16, 24]
  %4 = relu %3 : f32[16, 24]
  %5 = linear %4, %c, %r : f32[16, 8]
  %6 = linear %4, %c, %r : f32[16, 8]
  return a=%0, b=%3, c=%5, d=%6
}
";

/// Images of noise about 1.5, one for each seed.
fn images(seeds: std::ops::Range<u64>) -> Vec<Tensor> {
    let image = |seed: u64| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 + 0.5
        };
        Tensor::f32(&[1, 8, 6, 5], (0..240).map(|_| next()).collect()).unwrap()
    };
    seeds.map(image).collect()
}

fn graph() -> Graph {
    text::parse(NET, &text::unbound).unwrap()
}

/// [`NET`] rounded by `pass`.
fn rounded(pass: &str, checkpoint: Option<Checkpoint>) -> Graph {
    let samples: Vec<Sample> = images(1..33).into_iter().map(|x| Sample { inputs: vec![("x".into(), x)] }).collect();
    let pipeline = Pipeline::parse(&format!("calibrate,{pass}"), PASSES).unwrap();
    let mut quiet = |_: Progress<'_>| {};
    let mut cx = PassCx { samples: &samples, checkpoint, ..PassCx::new(&Interpreter, &mut quiet) };
    let mut graph = graph();
    run(&pipeline, &mut graph, &mut cx, &Config::default(), &mut |_| ()).unwrap();
    graph
}

/// For outputs `a`, `b` and `c`: the means of their channels over the images of `seeds`, and their mean square error against those
/// of `original`.
fn outputs(graph: &Graph, original: &Graph, seeds: std::ops::Range<u64>) -> [(Vec<f64>, f64); 3] {
    let mut out = [16, 24, 8].map(|channels| (vec![0.0; channels], 0.0));
    let images = images(seeds);
    for x in &images {
        let run = |g: &Graph| Interpreter.prepare(g).unwrap().run(vec![x.clone()]).unwrap();
        for (((means, error), y), wanted) in out.iter_mut().zip(run(graph)).zip(run(original)) {
            let (y, wanted) = (y.as_f32().unwrap().to_vec(), wanted.as_f32().unwrap().to_vec());
            // The convolution's channels come first, those of the others last.
            let each = y.len() / means.len();
            let count = means.len();
            let channel = |i: usize| if count == 16 { i / each } else { i % count };
            let share = 1.0 / (each * images.len()) as f64;
            for (i, (y, w)) in y.iter().zip(&wanted).enumerate() {
                means[channel(i)] += share * f64::from(*y);
                *error += share / means.len() as f64 * f64::from(y - w).powi(2);
            }
        }
    }
    out
}

/// The largest distance of two vectors.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

#[test]
fn the_mean_output_is_that_of_the_original() {
    let original = graph();
    let wanted = outputs(&original, &original, 1..33);
    for pass in
        ["gptq{bits=3,group=16", "owq{bits=3,group=16,target=3.5,budget=equal", "gptq{bits=3,group=16,drift=0.5"]
    {
        let of = |bias: &str| outputs(&rounded(&format!("{pass},bias={bias}}}"), None), &original, 1..33);
        let (fitted, kept) = (of("fit"), of("keep"));
        for (i, name) in ["a", "b"].iter().enumerate() {
            let (with, without) = (apart(&fitted[i].0, &wanted[i].0), apart(&kept[i].0, &wanted[i].0));
            // Outputs stay below 2^6; sums of 2^9 products in f32, and a bias rounded to f32.
            assert!(with < 1e-3 && without > 5.0 * with, "{pass} {name}: {with} with, {without} without");
        }
    }
}

#[test]
fn what_calibrated_nothing_gains_too() {
    let original = graph();
    let of = |bias: &str| outputs(&rounded(&format!("gptq{{bits=3,group=16,bias={bias}}}"), None), &original, 100..116);
    let (fitted, kept) = (of("fit"), of("keep"));
    for (fitted, kept) in fitted.iter().zip(&kept) {
        assert!(fitted.1 < kept.1, "{} with, {} without", fitted.1, kept.1);
    }
}

#[test]
fn only_a_bias_that_one_layer_reads_is_fitted() {
    let constants = |graph: &Graph| {
        ["a.bias", "b.bias", "c.bias"]
            .map(|n| graph.constants().find(|(_, c)| c.name == n).unwrap().1.decode().unwrap())
    };
    let (before, after) = (constants(&graph()), constants(&rounded("gptq{bits=3,group=16}", None)));
    assert!(before[0] != after[0] && before[1] != after[1]);
    assert_eq!(before[2], after[2], "two layers read it");
    assert_eq!(constants(&rounded("gptq{bits=3,group=16,bias=keep}", None)), before);
    assert_eq!(constants(&rounded("awq{bits=3,group=16}", None)), before);
}

#[test]
fn fitted_biases_come_back_with_their_block() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = || Some(Checkpoint::new(folder.path(), blake3::hash(b"k")).unwrap());
    let made = text::print(&rounded("gptq{bits=3,group=16}", checkpoint()));
    assert!(checkpoint().unwrap().finished() > 0);
    assert_eq!(text::print(&rounded("gptq{bits=3,group=16}", checkpoint())), made);
    assert_eq!(text::print(&rounded("gptq{bits=3,group=16}", None)), made);
}
