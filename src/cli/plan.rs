//! `actc plan`: what a compile would decide for each layer, store, and take in memory and time, without computing it.
//!
//! It goes the way of `compile` with passes that decide and do not compute, so its exit code predicts that of `compile` as
//! far as activations do not decide it: what they would overflow, and conditions on the result's quality, only a compile
//! shows.

use super::data::Data;
use super::job::{Job, refused};
use super::layers::{calibration_json, layer_json, layer_table};
use super::render::{Stop, json, size};
use super::{Format, request};
use actc::artifact::LayerRow;
use actc::compile::{in_order, layer_rows, program};
use actc::storage::{Storage, artifact_bytes};
use actc_passes::forecast::{BASE_BYTES, Forecast};
use actc_types::Diagnostic;
use serde_json::{Value, json as value};
use std::io::Write;

/// Options of `actc plan`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    request: request::Args,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// Work a second that one thread of a Zen 3 core does; other machines are slower or faster by a small factor.
struct Rates {
    forward: f64,
    moments: f64,
    factors: f64,
    sweeps: f64,
    products: f64,
    searched: f64,
}

const RATES: Rates =
    Rates { forward: 1.5e10, moments: 2.5e10, factors: 3.6e10, sweeps: 1.25e10, products: 2e10, searched: 4e6 };

/// Seconds to generate code for one target and write the file.
const CODE_SECONDS: f64 = 3.0;

/// What is foreseen.
struct Plan {
    layers: Vec<LayerRow>,
    refused: Vec<Diagnostic>,
    storage: Storage,
    artifact_bytes: u64,
    forecast: Forecast,
    seconds: f64,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let mut out = std::io::stdout();
    let Some(job) = Job::asked(&args.request, &mut out)? else { return Ok(()) };
    let plan = foresee(&job, &args.request)?;
    match args.format {
        Format::Json => json(&plan.json(&job))?,
        Format::Text => {
            job.announce(&mut out)?;
            write!(out, "{}", plan.text(&job))?;
        }
    }
    job.possible(plan.refused, &plan.forecast)
}

fn foresee(job: &Job, args: &request::Args) -> Result<Plan, Stop> {
    let (graph, timed, forecast) = job.foresee(args)?;
    let layers = layer_rows(timed.iter().flat_map(|t| &t.report.layers));
    let storage = Storage::of_graph(&graph);
    let mut description = job.description()?;
    description.layers = layers.clone();
    let graph = in_order(&graph, &job.request.targets, &job.request.work)?;
    let program = program(&graph, job.request.targets.clone(), job.request.backend, job.request.products)?;
    let artifact_bytes = artifact_bytes(&program, &description, job.calibration().is_some())?;
    let seconds = seconds(job, &forecast, &storage);
    Ok(Plan { layers, refused: refused(&timed), storage, artifact_bytes, forecast, seconds })
}

fn seconds(job: &Job, f: &Forecast, storage: &Storage) -> f64 {
    // The artifact and the model as shipped both run on what is held out.
    let judged = job.data.as_ref().filter(|_| job.judged).map_or(0, Data::judged);
    let judging = 2.0 * judged as f64 * (storage.layers.weights + storage.vocabulary.weights) as f64;
    let work = (f.forward + judging) / RATES.forward
        + f.moments / RATES.moments
        + f.factors / RATES.factors
        + f.sweeps / RATES.sweeps
        + f.products / RATES.products
        + f.searched / RATES.searched;
    work / job.threads as f64 + CODE_SECONDS * job.request.targets.len() as f64
}

/// `seconds` for people: two digits are more than an estimate is worth.
fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 90.0 => format!("{:.0} s", s.max(1.0)),
        s if s < 5400.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

impl Plan {
    fn memory(&self) -> String {
        let f = &self.forecast;
        let mut parts = vec![format!("{} of code, text and buffers", size(BASE_BYTES))];
        if f.largest_block * 4 > f.largest_weight * 9 {
            let widths: Vec<String> = f.largest_hessians.iter().map(|n| format!("{n}²")).collect();
            let (times, bytes) = if f.original_beside { ("three times", 6) } else { ("twice", 4) };
            parts.push(format!("{times} the largest block in 16 bits, {}", size(bytes * f.largest_block)));
            parts.push(format!("matrices of {} in 32 bits", widths.join(" + ")));
        } else if f.largest_weight > 0 {
            parts.push(format!("the largest matrix, its rounding and its codes, {}", size(9 * f.largest_weight)));
        }
        parts.join("; ")
    }

    fn text(&self, job: &Job) -> String {
        let mut lines = vec![
            format!("layers       {}, {:.4} stored bits each", self.count(), self.storage.bits_per_weight()),
            format!("artifact     {} as {}", size(self.artifact_bytes), job.request.output.display()),
            format!("memory       {} at most: {}", size(self.forecast.peak_bytes()), self.memory()),
            format!("time         about {} on {} threads", duration(self.seconds), job.threads),
        ];
        if self.storage.cache_bytes > 0 {
            let (each, context) = (self.storage.cache_bytes, job.source.description().model.context_length);
            let all = size(each.saturating_mul(context));
            lines.push(format!("cache        {each} bytes a token, {all} for {context} tokens"));
        }
        if let Some(pass) = &self.forecast.ends_before {
            lines.push(format!("the plan ends before `{pass}`, which cannot be foreseen"));
        }
        if self.forecast.equal_shares {
            lines.push(
                "weak columns are shown in equal shares: the activations decide, at the same number of bits".into(),
            );
        }
        lines.join("\n") + "\n" + &layer_table(&self.layers, false)
    }

    fn count(&self) -> String {
        let quantised = self.layers.iter().filter(|l| l.reason.is_empty()).count();
        match self.refused.len() {
            0 => format!("{quantised} of {} quantised", self.layers.len()),
            n => format!("{quantised} of {} quantised, {n} refused", self.layers.len()),
        }
    }

    fn json(&self, job: &Job) -> Value {
        let f = &self.forecast;
        value!({
            "name": job.source.import.source.name,
            "family": job.source.import.source.family,
            "pipeline": job.request.pipeline.to_string(),
            "targets": job.request.targets.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "output": job.request.output.display().to_string(),
            "calibration": calibration_json(job.calibration()),
            "layers": self.layers.iter().map(layer_json).collect::<Vec<_>>(),
            "refused": self.refused.iter().map(|d| d.headline.as_str()).collect::<Vec<_>>(),
            "bits_per_weight": self.storage.bits_per_weight(),
            "artifact_bytes": self.artifact_bytes,
            "cache_bytes_per_token": self.storage.cache_bytes,
            "peak_bytes": f.peak_bytes(),
            "seconds": self.seconds,
            "threads": job.threads,
            "ends_before": f.ends_before,
            "work": {
                "forward": f.forward, "moments": f.moments, "factors": f.factors, "sweeps": f.sweeps, "products": f.products,
                "searched": f.searched,
            },
        })
    }
}
