//! `calibrate`: what the activations that enter each linear layer and convolution look like, channel by channel; a
//! convolution has a channel here for each tap of each channel, as its weight has columns.
//!
//! The observers are ordinary ops in a copy of the graph. Every sample starts from fresh accumulators, samples are folded
//! in f64 in their order within a chunk, and chunks in theirs, so that results do not depend on threads, and statistics
//! that keep their chunks merge exactly.

use crate::columns::Input;
use crate::context::{PassCx, Sample};
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::{PassReport, Progress};
use actc_ir::ops::statistics::ChannelStats;
use actc_ir::{Graph, Op, TensorType};
use actc_types::{DType, Diagnostic, Place, Result, Shape, Tensor};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "calibrate",
    summary: "bind the calibration data and collect channel statistics of what enters every layer",
    phase: Phase::Calibrate,
    options: &[OptionDoc {
        name: "windows",
        default: "16",
        doc: "samples that statistics are collected from; `all` for every one",
    }],
    needs: Facts::NONE,
    gives: Facts::STATISTICS,
    precedes: Facts::NONE,
    contract: Contract::Exact,
    build: |fields| {
        let windows = fields.with("windows", "a positive number or `all`", Windows::parse)?;
        Ok(Box::new(Calibrate { windows: windows.unwrap_or(Windows::First(16)) }))
    },
};

/// How many samples are observed. Passes that need second moments run all samples themselves, block by block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Windows {
    First(usize),
    All,
}

impl Windows {
    fn parse(text: &str) -> Option<Windows> {
        match text {
            "all" => Some(Windows::All),
            _ => text.parse().ok().filter(|n| *n > 0).map(Windows::First),
        }
    }
}

/// Moments of some rows, channel by channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Moments {
    /// Number of rows (tokens).
    pub count: f64,
    /// Largest magnitude of each channel.
    pub absmax: Vec<f32>,
    /// Sum of each channel.
    pub sum: Vec<f64>,
    /// Sum of squares of each channel.
    pub square: Vec<f64>,
}

impl Moments {
    fn new(channels: usize) -> Moments {
        Moments { count: 0.0, absmax: vec![0.0; channels], sum: vec![0.0; channels], square: vec![0.0; channels] }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.sum.len()
    }

    /// Adds the rows of `other`, which has the same channels.
    pub fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        self.absmax.iter_mut().zip(&other.absmax).for_each(|(a, b)| *a = a.max(*b));
        self.sum.iter_mut().zip(&other.sum).for_each(|(a, b)| *a += b);
        self.square.iter_mut().zip(&other.square).for_each(|(a, b)| *a += b);
    }

    /// The same with the channels in a new order: at place `i` stands channel `order[i]`.
    fn permuted(&self, order: &[u32]) -> Moments {
        let at = |i: &u32| *i as usize;
        Moments {
            count: self.count,
            absmax: order.iter().map(|i| self.absmax[at(i)]).collect(),
            sum: order.iter().map(|i| self.sum[at(i)]).collect(),
            square: order.iter().map(|i| self.square[at(i)]).collect(),
        }
    }

    /// From four rows of an accumulator: count, largest magnitude, sum, sum of squares.
    fn add(&mut self, rows: &[f32]) {
        let k = self.sum.len();
        self.count += f64::from(rows.first().copied().unwrap_or(0.0));
        self.absmax.iter_mut().zip(&rows[k..]).for_each(|(a, b)| *a = a.max(*b));
        self.sum.iter_mut().zip(&rows[2 * k..]).for_each(|(a, b)| *a += f64::from(*b));
        self.square.iter_mut().zip(&rows[3 * k..]).for_each(|(a, b)| *a += f64::from(*b));
    }

    /// Mean of each channel; zero where no row was seen.
    pub fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|s| s / self.count.max(1.0)).collect()
    }

    /// Mean square of each channel; zero where no row was seen.
    pub fn mean_square(&self) -> Vec<f64> {
        self.square.iter().map(|s| s / self.count.max(1.0)).collect()
    }
}

/// What was observed of the input of a layer.
#[derive(Clone, Debug, PartialEq)]
pub struct InputStatistics {
    /// All tokens of a sample but the first.
    pub rest: Moments,
    /// First tokens of samples: models put massive activations there.
    pub first: Moments,
}

impl InputStatistics {
    /// All tokens.
    pub fn all(&self) -> Moments {
        let mut all = self.rest.clone();
        all.merge(&self.first);
        all
    }

    /// The same with the channels in a new order: at place `i` stands channel `order[i]`.
    #[must_use]
    pub fn permuted(&self, order: &[u32]) -> InputStatistics {
        InputStatistics { rest: self.rest.permuted(order), first: self.first.permuted(order) }
    }
}

/// Statistics of the inputs of all layers, by the name of the weight; layers with the same input share theirs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Number of samples seen.
    pub samples: u64,
    /// By weight name.
    pub layers: BTreeMap<String, Arc<InputStatistics>>,
}

/// What was observed of the input of the layer whose weight is called `weight`; an error where that is nothing, which `who` needs.
pub(crate) fn of_layer<'s>(statistics: Option<&'s Statistics>, weight: &str, who: &str) -> Result<&'s InputStatistics> {
    statistics.and_then(|s| s.layers.get(weight)).map(|seen| &**seen).ok_or_else(|| {
        Diagnostic::new("statistics-missing", format!("{who} needs the channel statistics of this layer"))
            .at(Place::Tensor(weight.into()))
    })
}

/// Samples of a chunk. Sums of chunks are what files keep: adding them up in their order gives the same bits, however
/// many files they came in.
pub const CHUNK: usize = 32;

impl Statistics {
    /// The statistics of all samples of `chunks`, at least one, in their order.
    pub fn fold(chunks: &[Statistics]) -> Result<Statistics> {
        let [first, others @ ..] = chunks else {
            return Err(Diagnostic::request("statistics-empty", "statistics of no sample"));
        };
        others.iter().try_fold(first.clone(), |mut all, chunk| all.merge(chunk).map(|()| all))
    }

    /// Statistics of the samples of both; refuses those of different models.
    pub fn merge(&mut self, other: &Statistics) -> Result<()> {
        let same = self.layers.len() == other.layers.len()
            && self
                .layers
                .iter()
                .all(|(name, a)| other.layers.get(name).is_some_and(|b| a.rest.channels() == b.rest.channels()));
        if !same {
            let (a, b) = (self.layers.len(), other.layers.len());
            return Err(Diagnostic::request(
                "statistics-model",
                format!("statistics of {a} layers and of {b} layers are not of one model"),
            ));
        }
        self.samples += other.samples;
        for (name, mine) in &mut self.layers {
            let other = &other.layers[name];
            let merged = Arc::make_mut(mine);
            merged.rest.merge(&other.rest);
            merged.first.merge(&other.first);
        }
        Ok(())
    }
}

struct Calibrate {
    windows: Windows,
}

impl Pass for Calibrate {
    fn options(&self) -> Vec<(&'static str, String)> {
        let windows = match self.windows {
            Windows::First(n) => n.to_string(),
            Windows::All => "all".into(),
        };
        vec![("windows", windows)]
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        if let Some(statistics) = &cx.statistics {
            sites(graph).iter().try_for_each(|site| site.fits(graph, statistics))?;
            return Ok(PassReport::line(format!("statistics of {} samples as given", statistics.samples)));
        }
        let samples = cx.samples()?;
        let observed = match self.windows {
            Windows::First(n) => &samples[..n.min(samples.len())],
            Windows::All => samples,
        };
        if let Some(forecast) = &mut cx.forecast {
            graph.inputs().try_for_each(|(name, v)| observed[0].input(graph, name, v).map(drop))?;
            let weights: u64 = observable(graph)?.iter().map(|s| s.weights).sum();
            forecast.observe(weights, observed);
            return Ok(PassReport::line(String::new()));
        }
        let statistics = observe(graph, cx, observed)?;
        let line = format!("{} samples through {} layers", statistics.samples, statistics.layers.len());
        cx.statistics = Some(statistics);
        Ok(PassReport::line(line))
    }
}

/// A linear layer or convolution of the graph's body.
struct Site {
    /// Name of its weight.
    name: String,
    /// Its input.
    input: Input,
    /// Elements of its weight.
    weights: u64,
}

impl Site {
    /// Whether `statistics` hold this layer's channels.
    fn fits(&self, graph: &Graph, statistics: &Statistics) -> Result<()> {
        let width = self.input.columns(graph).ok();
        let wrong = match statistics.layers.get(&self.name).map(|s| s.rest.channels()) {
            None => "this layer is missing".to_owned(),
            Some(given) if width != Some(given as u64) => {
                let width = width.map_or("no fixed number of".to_owned(), |w| w.to_string());
                format!("{width} channels enter this layer, they have {given}")
            }
            Some(_) => return Ok(()),
        };
        let headline = format!("the statistics given are not of this model: {wrong}");
        Err(Diagnostic::request("statistics-model", headline).at(Place::Tensor(self.name.clone())))
    }
}

/// The layers to observe, at least one.
fn observable(graph: &Graph) -> Result<Vec<Site>> {
    let sites = sites(graph);
    if sites.is_empty() {
        return Err(Diagnostic::new(
            "calibration-nothing",
            format!("{} has no linear layer and no convolution to observe", graph.name()),
        ));
    }
    Ok(sites)
}

fn sites(graph: &Graph) -> Vec<Site> {
    let mut out = Vec::new();
    for node in graph.order() {
        let data = graph.node(*node);
        if let Some(input) = Input::of(data)
            && let Some(id) = graph.as_const(data.args[1])
        {
            let constant = graph.const_data(id);
            let weights = constant.matrix().map_or(0, |(rows, cols)| rows as u64 * cols as u64);
            out.push(Site { name: constant.name.clone(), input, weights });
        }
    }
    out
}

/// The statistics of `samples` on `graph`.
pub fn observe(graph: &Graph, cx: &mut PassCx<'_>, samples: &[Sample]) -> Result<Statistics> {
    Statistics::fold(&observe_chunks(graph, cx, samples)?)
}

/// Runs `samples` through an observed copy of `graph`; the statistics of each [`CHUNK`] of them.
pub fn observe_chunks(graph: &Graph, cx: &mut PassCx<'_>, samples: &[Sample]) -> Result<Vec<Statistics>> {
    let sites = observable(graph)?;
    let mut inputs: Vec<&Input> = sites.iter().map(|s| &s.input).collect();
    inputs.sort_unstable();
    inputs.dedup();

    let mut observed = graph.clone();
    observed.clear_outputs();
    let mut widths = Vec::with_capacity(inputs.len());
    for (i, x) in inputs.iter().enumerate() {
        let width = x.columns(graph)?;
        let rows = x.rows(&mut observed, x.value, &format!("statistics.columns.{i}"))?;
        let acc = observed.input(format!("statistics.{i}"), TensorType::new(DType::F32, Shape::fixed(&[8, width])));
        let new = observed.add(Op::ChannelStats(ChannelStats { first_apart: true }), &[acc, rows], "calibrate")?;
        observed.donate(acc, new);
        widths.push(width as usize);
    }
    let observed = observed.compact();
    let mut prepared = cx.evaluator.prepare(&observed)?;
    let mut chunks = Vec::with_capacity(samples.len().div_ceil(CHUNK));
    for (c, chunk) in samples.chunks(CHUNK).enumerate() {
        let fresh = |w: &usize| InputStatistics { rest: Moments::new(*w), first: Moments::new(*w) };
        let mut seen: Vec<InputStatistics> = widths.iter().map(fresh).collect();
        for (i, sample) in chunk.iter().enumerate() {
            let done = c * CHUNK + i;
            (cx.progress)(Progress { stage: "calibrate", item: "sample", done, total: samples.len() });
            let accumulators = prepared.run(sample_inputs(graph, sample, &widths)?)?;
            for ((seen, acc), width) in seen.iter_mut().zip(&accumulators).zip(&widths) {
                let values = acc.as_f32()?;
                if let Some(i) = values.iter().position(|v| !v.is_finite()) {
                    let headline = format!("the activations of channel {} are not finite on sample {done}", i % width);
                    return Err(Diagnostic::new("activation-not-finite", headline));
                }
                seen.rest.add(&values[..4 * width]);
                seen.first.add(&values[4 * width..]);
            }
        }
        let seen: Vec<Arc<InputStatistics>> = seen.into_iter().map(Arc::new).collect();
        let of = |s: &Site| seen[inputs.binary_search(&&s.input).expect("every input is listed")].clone();
        let layers = sites.iter().map(|s| (s.name.clone(), of(s))).collect();
        chunks.push(Statistics { samples: chunk.len() as u64, layers });
    }
    Ok(chunks)
}

fn sample_inputs(graph: &Graph, sample: &Sample, widths: &[usize]) -> Result<Vec<Tensor>> {
    let mut inputs: Vec<Tensor> =
        graph.inputs().map(|(name, v)| sample.input(graph, name, v)).collect::<Result<_>>()?;
    for width in widths {
        inputs.push(Tensor::f32(&[8, *width as u64], vec![0.0; 8 * width])?);
    }
    Ok(inputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::{Interpreter, text};

    #[test]
    fn moments_are_those_of_the_rows_that_entered() {
        let source = "air 1
graph @g(%x: f32[S, 2]) {
  %w = const @up = rng{seed=1, scale=0.5} : f32[3, 2]
  %v = const @gate = rng{seed=2, scale=0.5} : f32[3, 2]
  %0 = linear %x, %w : f32[S, 3]
  %1 = linear %x, %v : f32[S, 3]
  %2 = mul %0, %1 : f32[S, 3]
  return y=%2
}
";
        let mut graph = text::parse(source, &text::unbound).unwrap();
        let sample = |v: &[f32]| Sample {
            inputs: vec![("x".into(), Tensor::f32(&[v.len() as u64 / 2, 2], v.to_vec()).unwrap())],
        };
        let samples = [sample(&[9.0, 1.0, 2.0, -3.0, 4.0, 1.0]), sample(&[-7.0, 0.0, 0.0, 2.0])];
        let mut quiet = |_: Progress<'_>| {};
        let mut cx = PassCx { samples: &samples, ..PassCx::new(&Interpreter, &mut quiet) };
        Calibrate { windows: Windows::All }.run(&mut graph, &mut cx).unwrap();
        let mut got = cx.statistics.clone().unwrap();
        assert!(Arc::ptr_eq(&got.layers["up"], &got.layers["gate"]));
        let rest = &got.layers["up"].rest;
        assert_eq!((rest.count, &rest.absmax[..], &rest.sum[..]), (3.0, &[4.0, 3.0][..], &[6.0, 0.0][..]));
        assert_eq!(rest.square, [20.0, 14.0]);
        assert_eq!(got.layers["up"].first.sum, [2.0, 1.0]);
        assert_eq!(got.layers["up"].all().mean(), [8.0 / 5.0, 1.0 / 5.0]);

        // The parts merge to the whole.
        let part = |s: &[Sample]| {
            let mut quiet = |_: Progress<'_>| {};
            observe(&graph, &mut PassCx::new(&Interpreter, &mut quiet), s).unwrap()
        };
        let many: Vec<Sample> = samples.iter().cycle().take(2 * CHUNK + 1).cloned().collect();
        let mut cx = PassCx::new(&Interpreter, &mut quiet);
        let chunks = observe_chunks(&graph, &mut cx, &many).unwrap();
        assert_eq!(chunks.iter().map(|c| c.samples as usize).collect::<Vec<_>>(), [CHUNK, CHUNK, 1]);
        assert_eq!(Statistics::fold(&chunks).unwrap().layers["up"].rest.count, 3.0 * CHUNK as f64 + 2.0);
        assert_eq!(Statistics::fold(&[]).unwrap_err().code, "statistics-empty");
        let mut merged = part(&samples[..1]);
        merged.merge(&part(&samples[1..])).unwrap();
        assert_eq!(merged, got);
        got.layers.clear();
        assert_eq!(merged.merge(&got).unwrap_err().code, "statistics-model");
    }

    #[test]
    fn data_that_is_missing_is_named() {
        let source = "air 1\ngraph @g(%x: f32[S, 2]) {\n  %w = const @up = iota : f32[3, 2]\n  %0 = linear %x, %w : f32[S, 3]\n  return y=%0\n}\n";
        let mut graph = text::parse(source, &text::unbound).unwrap();
        let mut quiet = |_: Progress<'_>| {};
        let mut cx = PassCx::new(&Interpreter, &mut quiet);
        assert_eq!(
            Calibrate { windows: Windows::First(16) }.run(&mut graph, &mut cx).unwrap_err().code,
            "calibration-missing"
        );
        let samples = [Sample::tokens("tokens", &[1, 2])];
        cx.samples = &samples;
        let error = Calibrate { windows: Windows::First(16) }.run(&mut graph, &mut cx).unwrap_err();
        assert!(error.headline.contains("`x`"), "{error}");
    }
}
