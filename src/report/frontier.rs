//! Artifacts of one model in bits and divergence. Only what was judged on the same windows is compared.

use super::figures::{NONE, SPAN, megabytes, tick};
use super::plot::{Scale, Tick, dots, number};
use super::{Quality, Report};
use crate::storage::Storage;
use actc_artifact::Artifact;
use actc_types::diagnostic::one_line;
use actc_types::{Diagnostic, Result};
use serde::Serialize;
use std::fmt::Write;

#[derive(Serialize)]
pub(super) struct Frontier {
    windows: usize,
    window_len: usize,
    x: Vec<Tick>,
    y: Vec<Tick>,
    errors: String,
    others: String,
    this: String,
    marks: Vec<Mark>,
    rows: Vec<Artefact>,
}

#[derive(Serialize)]
pub(super) struct Mark {
    x: String,
    y: String,
    anchor: &'static str,
    label: usize,
}

#[derive(Serialize)]
pub(super) struct Artefact {
    number: usize,
    pipeline: String,
    bits: String,
    megabytes: String,
    kl: String,
    kl_se: String,
    top1: String,
    ratio: String,
    digest: String,
}

pub(super) fn frontier(artifact: &Artifact, report: &Report, others: &[Artifact]) -> Result<Option<Frontier>> {
    let Some(first) = &report.quality else {
        return match others {
            [] => Ok(None),
            _ => Err(Diagnostic::request(
                "report-frontier",
                "the first artifact was not judged: it has no KL to compare",
            )),
        };
    };
    let mut all = vec![(artifact, first.clone(), Storage::of(artifact)?)];
    for (at, other) in others.iter().enumerate() {
        let wrong = |what: String| {
            Diagnostic::request(
                "report-frontier",
                format!("artifact {} cannot be compared with the first: {what}", at + 2),
            )
        };
        let quality = Report::of(other)?.quality.ok_or_else(|| wrong("it was not judged".into()))?;
        let (mine, theirs) = (&artifact.manifest().model, &other.manifest().model);
        if mine.source_digest != theirs.source_digest {
            let (mine, theirs) = (&mine.source_digest, &theirs.source_digest);
            return Err(wrong(format!("it is of the model {theirs}, the first of {mine}")));
        }
        if quality.text != first.text {
            return Err(wrong(format!("it was judged on the windows {}, the first on {}", quality.text, first.text))
                .help("calibrate both on the same text with the same --seed and --calib-len"));
        }
        all.push((other, quality, Storage::of(other)?));
    }
    let bits = |s: &Storage| s.bits_per_weight();
    let low = all.iter().map(|(_, _, s)| bits(s)).fold(f64::INFINITY, f64::min);
    let high = all.iter().map(|(_, _, s)| bits(s)).fold(0.0, f64::max);
    let top = all.iter().map(|(_, q, _)| q.kl + q.kl_se.unwrap_or(0.0)).fold(0.0, f64::max);
    let margin = ((high - low) * 0.12).max(0.25);
    let x = Scale::linear((low - margin).max(0.0), high + margin, SPAN);
    let y = Scale::linear(0.0, if top > 0.0 { 1.15 * top } else { 1.0 }, (215.0, 15.0));
    let place = |q: &Quality, s: &Storage| (x.at(bits(s)), y.at(q.kl));
    let errors = all.iter().fold(String::new(), |mut out, (_, q, s)| {
        let error = q.kl_se.unwrap_or(0.0);
        let _ = write!(out, "M{} {}V{}", number(x.at(bits(s))), number(y.at(q.kl - error)), number(y.at(q.kl + error)));
        out
    });
    let marks = all.iter().enumerate().map(|(i, (_, q, s))| {
        let (x, y) = place(q, s);
        Mark { x: number(x + 8.0), y: number(y), anchor: "start", label: i + 1 }
    });
    let rows = all.iter().enumerate().map(|(i, (a, q, s))| Artefact {
        number: i + 1,
        pipeline: one_line(&a.manifest().pipeline),
        bits: format!("{:.3}", bits(s)),
        megabytes: megabytes(a.length()),
        kl: format!("{:.4}", q.kl),
        kl_se: q.kl_se.map_or(NONE.into(), |e| format!("{e:.4}")),
        top1: format!("{:.1}", 100.0 * q.top1),
        ratio: format!("{:.3}", q.ppl_ratio),
        digest: a.digest().to_string()[..16].to_owned(),
    });
    Ok(Some(Frontier {
        windows: first.windows,
        window_len: first.window_len,
        x: x.ticks(tick),
        y: y.ticks(tick),
        errors,
        others: dots(all[1..].iter().map(|(_, q, s)| place(q, s))),
        this: dots(all[..1].iter().map(|(_, q, s)| place(q, s))),
        marks: marks.collect(),
        rows: rows.collect(),
    }))
}
