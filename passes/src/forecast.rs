//! What a pipeline would decide and cost, without its numbers: passes run as ever, but where they would compute, weights
//! get a stand-in of the encoding that they would have, and the work is counted instead of done.
//!
//! A graph that a forecast went over has the right encodings and sizes and no usable weights: it is for looking at only.

use crate::columns::Input;
use crate::context::Sample;
use crate::quantize::awq;
use crate::quantize::blocks::Block;
use crate::quantize::layers::Layer;
use actc_ir::{Const, ConstId, Graph};
use actc_types::{DType, Diagnostic, Encoding, Group, Mixed, Packed, Result, Role, WeakPlace};
use bytes::Bytes;
use memmap2::MmapMut;
use std::collections::BTreeMap;

/// Work counted in the unit that each kind of it grows by, and the memory that it takes at once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Multiply-adds of running the model's linear layers on samples.
    pub forward: f64,
    /// Multiply-adds of second moments.
    pub moments: f64,
    /// Cubes of the columns of each factored Hessian.
    pub factors: f64,
    /// Rows times squared columns of each swept weight.
    pub sweeps: f64,
    /// Multiply-adds of products with second moments that tell candidates apart.
    pub products: f64,
    /// Weights whose grid is searched or whose columns are scored.
    pub searched: f64,
    /// Weights of the largest block that is quantised at once.
    pub largest_block: u64,
    /// Columns of the largest square matrices of one block that are there at once, descending: where columns are swept at
    /// most three of its Hessians, one more where the result is refined, all of them twice where drift is followed.
    pub largest_hessians: Vec<u64>,
    /// Whether the block as it was runs beside the quantised one.
    pub original_beside: bool,
    /// Weights of the largest matrix that is rounded alone.
    pub largest_weight: u64,
    /// The pass that cannot be foreseen, where there is one: it and those behind it are not counted.
    pub ends_before: Option<String>,
    /// Whether weak columns stand in equal shares where the numbers would share them out.
    pub equal_shares: bool,
}

/// What is done to a swept layer besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Besides {
    /// Rounds of refinement at most.
    pub(crate) rounds: u32,
    /// Whether weights follow the drift of their inputs.
    pub(crate) drift: bool,
    /// Whether the model as it was runs beside.
    pub(crate) original: bool,
}

/// Bytes that a compile takes besides what it works on: code, tokenizer, calibration text, run-time buffers.
pub const BASE_BYTES: u64 = 300_000_000;

impl Forecast {
    /// Most anonymous memory at once: the base and the larger of these two. A sequential pass holds twice its largest
    /// block in 16 bits (the block as it runs and as it is rounded; three times with the one as it was beside) and the
    /// block's largest Hessians in f32 (the matrix, its factor, and work space); rounding alone holds a matrix, its rounding in f32 and its codes.
    pub fn peak_bytes(&self) -> u64 {
        let hessians: u64 = self.largest_hessians.iter().map(|n| n.saturating_mul(*n).saturating_mul(4)).sum();
        let block =
            self.largest_block.saturating_mul(if self.original_beside { 6 } else { 4 }).saturating_add(hessians);
        BASE_BYTES.saturating_add(block.max(self.largest_weight.saturating_mul(9)))
    }

    /// Counts `samples` runs through all linear layers of `graph`.
    pub(crate) fn observe(&mut self, weights: u64, samples: &[Sample]) {
        self.forward += weights as f64 * tokens(samples);
    }

    /// Counts rounding one matrix to nearest.
    pub(crate) fn round(&mut self, rows: usize, cols: usize) {
        let weights = rows as u64 * cols as u64;
        self.searched += weights as f64;
        self.largest_weight = self.largest_weight.max(weights);
    }

    /// Counts the sequential driver's work on `block` of `layers`; `last` blocks are not run again.
    #[expect(clippy::too_many_arguments, reason = "what the driver knows of a block")]
    pub(crate) fn block(
        &mut self,
        graph: &Graph,
        block: &Block,
        layers: &[Layer],
        weak: impl Fn(usize) -> bool,
        besides: Besides,
        samples: &[Sample],
        last: bool,
    ) -> Result<()> {
        let tokens = tokens(samples);
        let runs = if besides.original { 2.0 } else { 1.0 };
        let (mut before, mut hessians) = (0u64, Vec::new());
        for stage in &block.stages {
            let mut widths: BTreeMap<&[Input], u64> = BTreeMap::new();
            let mut weights = 0;
            for l in stage {
                let (rows, cols) = graph.const_data(layers[*l].weight).matrix()?;
                let (rows, cols) = (rows as u64, cols as u64);
                weights += rows * cols;
                let product = rows as f64 * (cols as f64).powi(2);
                self.sweeps += product;
                // Slopes before and after, and two products a round; three to follow the drift.
                let refining = if besides.rounds > 0 { 2 + 2 * besides.rounds } else { 0 };
                self.products += product * f64::from(refining + if besides.drift { 3 } else { 0 });
                self.searched += (rows * cols) as f64;
                let cube = (cols as f64).powi(3);
                let shared = widths.contains_key(&layers[*l].inputs[..]);
                // Weak columns give a layer an order of its own, and so a factor of its own.
                if !shared || weak(*l) {
                    self.factors += cube;
                }
                widths.entry(&layers[*l].inputs).or_insert(cols);
            }
            for cols in widths.values() {
                let sums = if besides.drift { 2.0 } else { 1.0 };
                self.moments += (*cols as f64).powi(2) * tokens * sums;
                hessians.push(*cols);
            }
            self.forward += before as f64 * tokens * runs;
            before += weights;
        }
        if !last {
            self.forward += before as f64 * tokens * runs;
        }
        hessians.sort_unstable_by(|a, b| b.cmp(a));
        hessians.truncate(3);
        if besides.drift {
            hessians = hessians.iter().flat_map(|n| [*n, *n]).collect();
        }
        if let Some(largest) = hessians.first().copied().filter(|_| besides.rounds > 0) {
            hessians.insert(0, largest);
        }
        self.original_beside |= besides.original;
        self.holds(before, hessians);
        Ok(())
    }

    /// Counts scaling and rounding `block` of `layers`, by `groups`, with or without `clip`; `last` blocks are not run again.
    #[expect(clippy::too_many_arguments, reason = "what the driver knows of a block")]
    pub(crate) fn scaled(
        &mut self,
        graph: &Graph,
        block: &Block,
        layers: &[Layer],
        groups: &[Group],
        clip: bool,
        samples: &[Sample],
        last: bool,
    ) -> Result<()> {
        let tokens = tokens(samples);
        let mut inputs: BTreeMap<&Input, u64> = BTreeMap::new();
        let mut weights = 0u64;
        for l in block.stages.iter().flatten() {
            let (rows, cols) = graph.const_data(layers[*l].weight).matrix()?;
            weights += rows as u64 * cols as u64;
            let square = (cols as f64).powi(2);
            let looked_at = rows.min(awq::SEARCH_ROWS) as f64;
            self.products += (f64::from(awq::RATIOS) * looked_at + rows as f64) * square;
            let clips = if clip { awq::CLIPS } else { 0 };
            self.products += f64::from(clips) * rows as f64 * cols as f64 * groups[*l].width(cols) as f64;
            // A search for each ratio has a fifth of the last one's steps; whole ranges are looked up.
            let searches = if clip { looked_at * f64::from(awq::RATIOS) / 5.0 + rows as f64 } else { 0.0 };
            self.searched += searches * cols as f64;
            inputs.extend(layers[*l].inputs.iter().map(|x| (x, cols as u64)));
        }
        self.moments += inputs.values().map(|n| (*n as f64).powi(2)).sum::<f64>() * tokens;
        // Once to observe, once for the next block's inputs.
        self.forward += weights as f64 * tokens * if last { 1.0 } else { 2.0 };
        let mut hessians: Vec<u64> = inputs.into_values().collect();
        hessians.sort_unstable_by(|a, b| b.cmp(a));
        self.holds(weights, hessians);
        Ok(())
    }

    fn holds(&mut self, weights: u64, hessians: Vec<u64>) {
        let size = |h: &[u64]| h.iter().map(|n| n.saturating_mul(*n)).fold(0u64, u64::saturating_add);
        if size(&hessians) > size(&self.largest_hessians) {
            self.largest_hessians = hessians;
        }
        self.largest_block = self.largest_block.max(weights);
    }
}

/// Rows that enter a layer, all samples together: tokens, for language models.
fn tokens(samples: &[Sample]) -> f64 {
    let rows = |s: &Sample| s.inputs.first().and_then(|(_, t)| t.dims().first().copied()).unwrap_or(1);
    samples.iter().map(|s| rows(s) as f64).sum()
}

/// Gives the weight `id` the encoding of `weak` 16-bit columns at `place` over `body`, its stored parts zero.
pub(crate) fn stand_in(graph: &mut Graph, id: ConstId, body: Packed, weak: u32, place: WeakPlace) -> Result<()> {
    let constant = graph.const_data(id);
    let (rows, cols) = constant.matrix()?;
    let encoding = match weak {
        0 => Encoding::Packed(body),
        cols => Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 }),
    };
    let part = |(role, bytes): (Role, u64)| match role {
        // Any columns will do, as long as they are ascending.
        Role::WeakIndex => Ok((role, Bytes::from((0..weak).flat_map(u32::to_le_bytes).collect::<Vec<u8>>()))),
        Role::Data | Role::Codes | Role::Scales | Role::Zeros | Role::Weak => Ok((role, zeros(bytes)?)),
    };
    let parts = encoding.parts(constant.ty.dtype, rows, cols)?.into_iter().map(part).collect::<Result<_>>()?;
    let replaced = Const::new(constant.name.clone(), constant.ty.clone(), encoding, parts)?;
    graph.set_const(id, replaced)
}

/// So many zeros. Larger ones are pages that nothing was written to, which take no memory, even when they are read.
fn zeros(bytes: u64) -> Result<Bytes> {
    let failed = |e: std::io::Error| Diagnostic::new("forecast", format!("cannot map {bytes} bytes: {e}"));
    let length = usize::try_from(bytes).map_err(|e| failed(std::io::Error::other(e)))?;
    if length < 1 << 16 {
        return Ok(Bytes::from(vec![0; length]));
    }
    MmapMut::map_anon(length).and_then(MmapMut::make_read_only).map(Bytes::from_owner).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::PassCx;
    use crate::manager::{self, Config};
    use crate::{PASSES, Pipeline, Progress};
    use actc_ir::{Interpreter, text};
    use actc_types::Tensor;

    const SOURCE: &str = "air 1
graph @g(%x: f32[S, 64]) {
  %u = const @up = rng{seed=5, scale=1} : f32[128, 64]
  %d = const @down = rng{seed=6, scale=1} : f32[64, 128]
  %0 = linear %x, %u : f32[S, 128]
  %1 = silu %0 : f32[S, 128]
  %2 = linear %1, %d : f32[S, 64]
  return y=%2
}
";

    fn layers(pipeline: &str, forecast: Option<Forecast>) -> (Vec<(String, f64, u64)>, Option<Forecast>) {
        let mut graph = text::parse(SOURCE, &text::unbound).unwrap();
        let sample = |i: u32| Sample {
            inputs: vec![(
                "x".into(),
                Tensor::f32(&[6, 64], (0..384).map(|v| ((v * (i + 3)) % 17) as f32 - 8.0).collect()).unwrap(),
            )],
        };
        let samples = [sample(1), sample(2), sample(4)];
        let pipeline = Pipeline::parse(pipeline, PASSES).unwrap().normalise(PASSES).unwrap();
        let mut quiet = |_: Progress<'_>| {};
        let mut cx = PassCx { samples: &samples, forecast, ..PassCx::new(&Interpreter, &mut quiet) };
        let timed = manager::run(&pipeline, &mut graph, &mut cx, &Config::default(), &mut |_| ()).unwrap();
        let rows = timed.iter().flat_map(|t| &t.report.layers);
        (rows.map(|l| (format!("{} {}", l.name, l.encoding), l.stored_bits, l.bytes)).collect(), cx.forecast)
    }

    #[test]
    fn a_forecast_decides_as_the_passes_do() {
        for pipeline in [
            "rtn{bits=4,group=32}",
            "gptq{bits=3,group=32}",
            "awq{bits=3,group=32}",
            "awq{bits=4,group=channel,clip=off}",
            "owq{bits=3,target=3.5,group=32,budget=equal}",
            "owq{bits=3,target=3.5,group=32,budget=upstream}",
            "reorder{cols=24},owq{bits=3,target=3.5,group=32,budget=equal}",
            "reorder,gptq{bits=3,group=32}",
        ] {
            let (done, none) = layers(pipeline, None);
            let (planned, counted) = layers(pipeline, Some(Forecast::default()));
            assert_eq!(done, planned, "{pipeline}");
            assert!(none.is_none() && counted.unwrap() != Forecast::default(), "{pipeline}");
        }
    }

    #[test]
    fn a_forecast_ends_before_a_pass_that_cannot_be_foreseen() {
        struct Secret;
        impl crate::Pass for Secret {
            fn options(&self) -> Vec<(&'static str, String)> {
                Vec::new()
            }
            fn run(&self, _: &mut Graph, _: &mut PassCx<'_>) -> Result<crate::PassReport> {
                panic!("a forecast runs nothing")
            }
        }
        let mut table = PASSES.to_vec();
        let clean = PASSES.iter().find(|p| p.name == "clean").unwrap();
        table.push(crate::PassInfo { name: "secret", build: |_| Ok(Box::new(Secret)), ..*clean });
        let pipeline = Pipeline::parse("clean,secret,rtn", &table).unwrap();
        let mut graph = text::parse(SOURCE, &text::unbound).unwrap();
        let mut quiet = |_: Progress<'_>| {};
        let mut cx = PassCx { forecast: Some(Forecast::default()), ..PassCx::new(&Interpreter, &mut quiet) };
        let timed = manager::run(&pipeline, &mut graph, &mut cx, &Config::default(), &mut |_| ()).unwrap();
        assert_eq!(timed.len(), 1);
        assert_eq!(cx.forecast.unwrap().ends_before.as_deref(), Some("secret"));
    }

    #[test]
    fn work_is_counted_by_its_sizes() {
        let (_, counted) = layers("gptq{bits=3,group=32}", Some(Forecast::default()));
        let counted = counted.unwrap();
        let (tokens, weights) = (18.0, 128.0 * 64.0);
        // Each weight is an own block: `up` runs once to give the next input; statistics ran both.
        assert_eq!(counted.forward, 2.0 * weights * tokens + weights * tokens);
        assert_eq!(counted.moments, (64f64.powi(2) + 128f64.powi(2)) * tokens);
        assert_eq!(counted.factors, 64f64.powi(3) + 128f64.powi(3));
        assert_eq!(counted.sweeps, 128.0 * 64f64.powi(2) + 64.0 * 128f64.powi(2));
        assert_eq!(counted.products, 8.0 * counted.sweeps);
        assert_eq!((counted.largest_block, &counted.largest_hessians[..]), (8192, &[128, 128][..]));
        assert_eq!(counted.peak_bytes(), BASE_BYTES + 4 * 8192 + 2 * 4 * 128 * 128);
        let (_, plain) = layers("gptq{bits=3,group=32,grid=norm}", Some(Forecast::default()));
        let plain = plain.unwrap();
        assert_eq!((plain.products, &plain.largest_hessians[..]), (0.0, &[128][..]));
        let (_, followed) = layers("gptq{bits=3,group=32,drift=0.5}", Some(Forecast::default()));
        let followed = followed.unwrap();
        // Statistics run the model once.
        assert_eq!(followed.forward, 2.0 * weights * tokens + 2.0 * weights * tokens);
        assert_eq!((followed.moments, followed.products), (2.0 * counted.moments, 11.0 * counted.sweeps));
        assert_eq!(followed.largest_hessians, [128, 128, 128]);
        assert_eq!(followed.peak_bytes(), BASE_BYTES + 6 * 8192 + 3 * 4 * 128 * 128);
    }
}
