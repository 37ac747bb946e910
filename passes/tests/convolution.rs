//! Convolutions as the quantising passes see them: matrices whose columns meet windows of the input.

use actc_ir::{Graph, Interpreter, Op, evaluator::Evaluator, text};
use actc_passes::manager::{Config, run};
use actc_passes::{LayerReport, PASSES, PassCx, Pipeline, Progress, Sample, Status};
use actc_types::{Encoding, Tensor};
use std::ops::Range;

/// Values between -1 and 1.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Images `[1, 8, 6, 5]`, one for each seed, two of whose channels are six times as loud as the others.
fn images(seeds: Range<u64>) -> Vec<Tensor> {
    let image = |seed: u64| {
        let values = noise(240, seed).into_iter().enumerate();
        let values = values.map(|(at, v)| v * if at / 30 % 4 == 1 { 6.0 } else { 1.0 }).collect();
        Tensor::f32(&[1, 8, 6, 5], values).unwrap()
    };
    seeds.map(image).collect()
}

fn samples(name: &str, tensors: &[Tensor]) -> Vec<Sample> {
    tensors.iter().map(|t| Sample { inputs: vec![(name.into(), t.clone())] }).collect()
}

fn passed(graph: &mut Graph, pipeline: &str, samples: &[Sample]) -> Vec<LayerReport> {
    let pipeline = Pipeline::parse(pipeline, PASSES).unwrap().normalise(PASSES).unwrap();
    let mut quiet = |_: Progress<'_>| {};
    let mut cx = PassCx { samples, ..PassCx::new(&Interpreter, &mut quiet) };
    let timed = run(&pipeline, graph, &mut cx, &Config::default(), &mut |_| ()).unwrap();
    timed.into_iter().flat_map(|t| t.report.layers).collect()
}

const STRIDED: &str = "air 1
graph @g(%x: f32[1, 8, 6, 5]) {
  %w = const @w = rng{seed=3, scale=0.5} : f32[12, 4, 3, 2]
  %0 = conv{kernel=\"3, 2\", strides=\"2, 1\", dilations=\"1, 2\", pads=\"1, 0\", groups=2, extents=\"3, 3\"} %x, %w : f32[1, 12, 3, 3]
  return y=%0
}
";

/// The windows of group `group` of [`STRIDED`]'s input, a row each.
fn windows(x: &Tensor, group: usize) -> Vec<f32> {
    let values = x.as_f32().unwrap();
    let mut rows = Vec::new();
    for (oy, ox) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
        for c in group * 4..group * 4 + 4 {
            for (ky, kx) in (0..3).flat_map(|y| (0..2).map(move |x| (y, x))) {
                let (y, x) = ((oy * 2 + ky) as i64 - 1, ox + 2 * kx);
                let inside = (0..6).contains(&y) && x < 5;
                rows.push(if inside { values[(c * 6 + y as usize) * 5 + x] } else { 0.0 });
            }
        }
    }
    rows
}

/// A convolution is rounded as linear layers over its windows are, group by group, bit for bit.
#[test]
fn a_convolution_is_a_linear_layer_over_windows() {
    let images = images(1..7);
    let decoded = |graph: &Graph| {
        let (_, weight) = graph.constants().find(|(_, c)| c.name == "w").unwrap();
        (weight.decode().unwrap().as_f32().unwrap().to_vec(), weight.encoding.clone())
    };
    let mut conv = text::parse(STRIDED, &text::unbound).unwrap();
    let (dense, _) = decoded(&conv);
    let pipeline = "gptq{bits=3,group=16}";
    let reports = passed(&mut conv, pipeline, &samples("x", &images));
    let (rounded, encoding) = decoded(&conv);
    assert!(matches!(encoding, Encoding::Packed(_)), "{encoding}");
    assert!(text::print(&conv).contains("packed{bits=3, group=16"), "{}", text::print(&conv));
    assert_eq!(reports.iter().filter(|l| l.status == Status::Quantised).count(), 1);
    for group in 0..2 {
        let rows: Vec<Tensor> = images.iter().map(|x| Tensor::f32(&[9, 24], windows(x, group)).unwrap()).collect();
        let mut linear = Graph::new("linear");
        let ty = |dims: &[u64]| actc_ir::TensorType::new(actc_types::DType::F32, actc_types::Shape::fixed(dims));
        let x = linear.input("x", ty(&[9, 24]));
        let own = Tensor::f32(&[6, 24], dense[group * 144..][..144].to_vec()).unwrap();
        let w = linear.constant(actc_ir::Const::dense("w", &own));
        let y = linear.add(Op::Linear(actc_ir::ops::linear::Linear::F32), &[x, w], "y").unwrap();
        linear.output("y", y);
        passed(&mut linear, pipeline, &samples("x", &rows));
        assert_eq!(decoded(&linear).0, rounded[group * 144..][..144], "group {group}");
    }
}

const NET: &str = "air 1
graph @net(%x: f32[1, 8, 6, 5]) {
  %a = const @a = rng{seed=3, scale=0.5} : f32[16, 8, 3, 3]
  %d = const @depthwise = rng{seed=4, scale=0.5} : f32[16, 1, 3, 3]
  %b = const @b = rng{seed=5, scale=0.5} : f32[8, 16, 1, 1]
  %c = const @c = rng{seed=6, scale=0.2} : f32[4, 240]
  %0 = conv{kernel=\"3, 3\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"1, 1\", groups=1, extents=\"6, 5\"} %x, %a : f32[1, 16, 6, 5]
  %1 = relu %0 : f32[1, 16, 6, 5]
  %2 = conv{kernel=\"3, 3\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"1, 1\", groups=16, extents=\"6, 5\"} %1, %d : f32[1, 16, 6, 5]
  %3 = conv{kernel=\"1, 1\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"0, 0\", groups=1, extents=\"6, 5\"} %2, %b : f32[1, 8, 6, 5]
  %4 = reshape{shape=\"1, 240\"} %3 : f32[1, 240]
  %5 = linear %4, %c : f32[1, 4]
  return y=%5
}
";

/// The relative error of the output of [`NET`] on images that calibrated nothing, and what became of its layers.
fn quantised(pipeline: &str) -> (f64, Vec<LayerReport>) {
    let original = text::parse(NET, &text::unbound).unwrap();
    let mut graph = original.clone();
    let (seen, held) = (images(1..49), images(100..106));
    let layers = passed(&mut graph, pipeline, &samples("x", &seen));
    let of = |graph: &Graph, x: &Tensor| Interpreter.prepare(graph).unwrap().run(vec![x.clone()]).unwrap().remove(0);
    let (mut lost, mut energy) = (0.0, 0.0);
    for x in &held {
        let (a, b) = (of(&original, x), of(&graph, x));
        for (a, b) in a.as_f32().unwrap().iter().zip(b.as_f32().unwrap()) {
            lost += f64::from(a - b).powi(2);
            energy += f64::from(*a).powi(2);
        }
    }
    (lost / energy, layers)
}

#[test]
fn depthwise_convolutions_are_kept_with_a_reason_and_everything_else_is_rounded() {
    let (nearest, layers) = quantised("rtn{bits=3,group=16}");
    let of = |name: &str| layers.iter().find(|l| l.name == name).unwrap();
    assert_eq!(["a", "b", "c"].map(|n| of(n).status), [Status::Quantised; 3]);
    let kept = of("depthwise");
    assert!(kept.status == Status::Kept && kept.reason.as_deref().unwrap().contains("one channel each"), "{kept:?}");
    let (weak, layers) = quantised("owq{bits=3,group=16,target=3.5,budget=equal}");
    let of = |name: &str| layers.iter().find(|l| l.name == name).unwrap();
    assert!(["a", "b", "c"].iter().all(|n| of(n).weak_columns > 0), "{layers:?}");
    // Taps of loud channels are what is kept, and their rounding hurt most.
    assert!(weak < 0.5 * nearest, "owq {weak}, rtn {nearest}");
    let (by_gain, _) = quantised("owq{bits=3,group=16,target=3.5}");
    assert!(by_gain < 0.6 * nearest, "owq by gain {by_gain}, rtn {nearest}");
}

#[test]
fn awq_leaves_convolutions_alone_and_says_so() {
    let (_, layers) = quantised("awq{bits=4,group=16}");
    let of = |name: &str| layers.iter().find(|l| l.name == name).unwrap();
    assert_eq!((of("a").status, of("c").status), (Status::Kept, Status::Quantised));
    assert!(of("a").reason.as_deref().unwrap().contains("convolution"));
}
