//! The page: one HTML file that loads nothing, runs nothing but its own sorting of tables, and shows what a compile measured.
//!
//! Names come from model files and are hostile. The template escapes every value; the policy in the page's head lets only
//! the style and the script of this folder through, by their digests, so that even an escape that was missed could do
//! nothing. Equal artifacts give equal pages.

use super::activations::{Plot, maxima};
use super::figures::{megabytes, or, short};
use super::frontier::{Frontier, frontier};
use super::layers::{Errors, Row, encodings, errors, row};
use super::offers::{Offers, offers};
use super::{Measures, Quality, Report};
use crate::calibration::shown;
use crate::storage::Storage;
use actc_artifact::{Artifact, LayerRow};
use actc_types::diagnostic::one_line;
use actc_types::{Diagnostic, Result};
use minijinja::Environment;
use serde::Serialize;
use std::collections::BTreeMap;

const TEMPLATE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the page may do: be drawn with its own style and sort with its own script. A test holds the digests to the files.
const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-r8tMZhul8D2CGmorODNhQTZi2wsi0ZvYS2bA7rEEUCQ='; \
    script-src 'sha256-Do3+7X/a4iYls93MXxJS2A6jMG6ZMRZBAkgB0XGGHMg='; \
    base-uri 'none'; \
    form-action 'none'";

/// Everything that the template shows.
#[derive(Serialize)]
struct Page<'a> {
    policy: &'a str,
    style: &'a str,
    script: &'a str,
    name: String,
    tiles: Vec<Fact>,
    facts: Vec<Fact>,
    frontier: Option<Frontier>,
    errors: Option<Errors>,
    layers: Vec<Row>,
    notes: bool,
    /// What the encodings share.
    same: String,
    note: String,
    offers: Option<Offers>,
    maxima: Vec<Plot>,
}

#[derive(Serialize)]
struct Fact {
    label: &'static str,
    value: String,
    code: bool,
}

/// The page of `artifact`, with the other artifacts of the same model beside it in the plot of bits and quality.
///
/// Artifacts that were not judged on the same windows of the same model cannot be compared: `report-frontier`.
pub fn page(artifact: &Artifact, others: &[Artifact]) -> Result<String> {
    let manifest = artifact.manifest();
    let report = Report::of(artifact)?;
    let known: BTreeMap<&str, &Measures> = report.layers.iter().map(|l| (l.name.as_str(), l)).collect();
    let layers: Vec<(&LayerRow, Measures)> = manifest
        .layers
        .iter()
        .map(|l| (l, known.get(l.name.as_str()).map_or_else(Measures::default, |m| (*m).clone())))
        .collect();
    let storage = Storage::of(artifact)?;
    let (short, same) = encodings(&layers);
    let page = Page {
        policy: POLICY,
        style: STYLE,
        script: SCRIPT,
        name: or(&manifest.model.name, "a model without a name"),
        tiles: tiles(artifact, &storage, report.quality.as_ref(), &layers),
        facts: facts(artifact, &report, &layers),
        frontier: frontier(artifact, &report, others)?,
        errors: errors(&layers, report.windows),
        layers: layers.iter().zip(short).map(|((l, m), encoding)| row(l, encoding, m)).collect(),
        notes: layers.iter().any(|(l, _)| !l.reason.is_empty()),
        same,
        note: match report.windows {
            0 => "Cumulative errors were not measured: no pass went through the network block by block.".into(),
            n => format!("Cumulative errors: against the original on {n} of the calibration windows."),
        },
        offers: offers(artifact, &layers),
        maxima: maxima(artifact, &report.inputs),
    };
    render(&page)
}

fn render(page: &Page<'_>) -> Result<String> {
    let failed = |e: minijinja::Error| Diagnostic::new("report-page", format!("the page cannot be drawn: {e}"));
    let mut environment = Environment::new();
    // The name's ending turns the escaping of HTML on.
    environment.add_template("page.html", TEMPLATE).map_err(failed)?;
    environment.get_template("page.html").and_then(|t| t.render(page)).map_err(failed)
}

fn tiles(
    artifact: &Artifact,
    storage: &Storage,
    quality: Option<&Quality>,
    layers: &[(&LayerRow, Measures)],
) -> Vec<Fact> {
    let tile = |label: &'static str, value: String| Fact { label, value, code: false };
    let mut out = vec![
        tile("stored bits a weight, layers", format!("{:.3}", storage.bits_per_weight())),
        tile("megabytes in the file", megabytes(artifact.length())),
    ];
    match quality {
        Some(q) => {
            out.push(tile("KL from the model as shipped, nats a token", format!("{:.4}", q.kl)));
            out.push(tile("same best token", format!("{:.1} %", 100.0 * q.top1)));
            out.push(tile("perplexity, as shipped = 1", format!("×{:.3}", q.ppl_ratio)));
        }
        None => out.push(tile("quality", "not judged".into())),
    }
    if let Some((error, _)) = worst(layers) {
        out.push(tile("output error of the worst layer", format!("{} %", short(100.0 * error))));
    }
    out
}

/// The layer with the largest output error, where outputs were seen.
fn worst<'l>(layers: &[(&'l LayerRow, Measures)]) -> Option<(f64, &'l str)> {
    let errors = layers.iter().filter_map(|(l, m)| Some((m.output?, l.name.as_str())));
    errors.max_by(|a, b| a.0.total_cmp(&b.0))
}

fn facts(artifact: &Artifact, report: &Report, layers: &[(&LayerRow, Measures)]) -> Vec<Fact> {
    let manifest = artifact.manifest();
    let model = &manifest.model;
    let mut out = Vec::new();
    let mut fact = |label, value: String, code| out.push(Fact { label, value, code });
    fact("artifact", artifact.digest().to_string(), true);
    fact("pipeline", one_line(&manifest.pipeline), true);
    let family = or(&model.family, "no known family");
    fact("model", format!("{family}, {}; licence: {}", model.source_format, or(&model.licence, "not stated")), false);
    fact("source", one_line(&model.source_digest), true);
    let calibration =
        manifest.calibration.as_ref().map(|c| format!("{} (digest {})", one_line(&shown(c)), one_line(&c.digest)));
    fact("calibration", calibration.unwrap_or_else(|| "none".into()), false);
    let quality = report.quality.as_ref().map_or("not judged".to_owned(), |q| {
        let error = q.kl_se.map_or(String::new(), |e| format!(" ± {e:.4}"));
        let judged = format!("{} held-out windows of {} tokens", q.windows, q.window_len);
        let top1 = 100.0 * q.top1;
        format!(
            "KL {:.4}{error} nats, same best token {top1:.1} %, perplexity {:.3} against {:.3} as shipped, on {judged}",
            q.kl, q.ppl, q.reference_ppl
        )
    });
    fact("quality", quality, false);
    if let Some((error, name)) = worst(layers) {
        fact("worst layer", format!("{} ({} % of its output's energy)", one_line(name), short(100.0 * error)), false);
    }
    let targets: Vec<String> = manifest.targets.iter().map(ToString::to_string).collect();
    fact("targets", targets.join(", "), false);
    out
}

#[cfg(test)]
mod tests {
    use super::super::Maxima;
    use super::*;
    use crate::compile::{program, temporary};
    use actc_artifact::{Calibration, ModelInfo, Section, Writer, append};
    use actc_codegen::spec::gpu::Products;
    use actc_codegen::{Backend, Description};
    use sha2::{Digest, Sha256};

    #[test]
    fn the_policy_names_the_style_and_the_script_as_they_stand() {
        for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
            let digest = base64::encode(Sha256::digest(text));
            let wanted = format!("{kind}-src 'sha256-{digest}'");
            assert!(POLICY.contains(&wanted), "the policy has no {wanted}");
            assert!(!text.contains("</"), "nothing in the {kind} may end its element");
        }
        let open = TEMPLATE.matches("|safe").count();
        assert_eq!(open, 2, "only the style and the script go in as they are");
        for word in ["style=", "onclick", "onload", "href=\"http", "src="] {
            assert!(!TEMPLATE.contains(word), "the policy forbids `{word}`");
        }
    }

    const HOSTILE: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{ 7 * 7 }}\u{202e}\n";

    /// An artifact whose every name is [`HOSTILE`], with `report` in it.
    fn hostile(report: &Report) -> Artifact {
        let name = HOSTILE.replace('\\', "\\\\").replace('"', "\\\"");
        let text = format!(
            "air 1\ngraph @g(%x: f32[S, 32]) {{\n  %w = const @\"{name}\" = rng{{seed=1, scale=1}} : f32[16, 32]\n  \
             %0 = linear %x, %w : f32[S, 16]\n  return y=%0\n}}\n"
        );
        let graph = actc_ir::text::parse(&text, &actc_ir::text::unbound).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let said = || HOSTILE.to_owned();
        let row = LayerRow { name: said(), encoding: said(), reason: said(), bits: 3.0, ..LayerRow::default() };
        let description = Description {
            model: ModelInfo { name: said(), family: said(), licence: said(), ..ModelInfo::default() },
            pipeline: said(),
            calibration: Some(Calibration { digest: said(), description: said(), ..Calibration::default() }),
            layers: vec![row],
            report: Some(report.encode()),
            ..Description::default()
        };
        temporary(&program(&graph, Vec::new(), Backend::best(), Products::Single).unwrap(), description).unwrap()
    }

    fn measured() -> Report {
        let layer = Measures {
            name: HOSTILE.into(),
            weight: Some(0.01),
            output: Some(0.02),
            cumulative: Some(0.03),
            bit: Some(0.015),
            ..Measures::default()
        };
        let maxima = Maxima { layers: vec![HOSTILE.into()], absmax: (0..32).map(|i| i as f32).collect() };
        Report { format: super::super::FORMAT.into(), layers: vec![layer], inputs: vec![maxima], ..Report::default() }
    }

    #[test]
    fn no_name_becomes_markup() {
        let page = page(&hostile(&measured()), &[]).unwrap();
        let body = page.replace(STYLE, "").replace(SCRIPT, "");
        for word in ["alert(1)</script", "<img", "onerror=alert(2)>", "\u{202e}"] {
            assert!(!body.contains(word), "{word} is in the page");
        }
        assert_eq!(page.matches("<script").count(), 1);
        assert!(page.contains("{{ 7 * 7 }}"), "names are not templates");
        assert!(page.matches("&lt;script&gt;alert(1)").count() >= 7, "every name is there, escaped");
        assert!(!page.contains("=\"&quot;") && page.contains("&quot;&#x27;&gt;&lt;img"), "quotes are escaped");
    }

    #[test]
    fn reports_that_lie_draw_a_page_or_an_error() {
        let base = measured();
        let all = |f: &dyn Fn(&mut Report)| {
            let mut report = base.clone();
            f(&mut report);
            page(&hostile(&report), &[]).unwrap()
        };
        // No maxima, far too many, nonsense, the same layer again and again, layers that are not there.
        assert!(!all(&|r| r.inputs[0].absmax.clear()).contains("<details>"));
        let many = all(&|r| r.inputs[0].absmax = (0u64..100_000).map(|i| (i * i % 10_007) as f32 + 0.5).collect());
        assert!(many.contains("720 bins") && many.len() < 100_000, "{}", many.len());
        all(&|r| r.inputs[0].absmax = vec![-1.0, 0.0, f32::MAX, f32::MIN_POSITIVE]);
        let again = all(&|r| r.inputs = vec![r.inputs[0].clone(); 20]);
        assert_eq!(again.matches("<details>").count(), 1);
        assert!(!all(&|r| r.inputs[0].layers = vec!["nobody".into()]).contains("<details>"));
        let wild = all(&|r| {
            r.layers[0].weight = Some(-1.0);
            r.layers[0].output = Some(f64::MAX);
            r.layers[0].cumulative = Some(5e-324);
        });
        let wild = wild.replace(SCRIPT, "");
        assert!(!wild.contains("NaN") && !wild.contains("inf"));
        for text in ["", "{}", "[]", "{\"format\": \"actc report 2\"}", "{\"format\": 1}", "null", &"[".repeat(5000)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.actc");
            Writer::to_file(&path, false).unwrap().finish(&actc_artifact::Manifest::default()).unwrap();
            append(&path, Section::Report, text.as_bytes()).unwrap();
            let artifact = Artifact::open(&path, &actc_artifact::ReadOptions::default()).unwrap();
            assert_eq!(Report::of(&artifact).unwrap_err().code, "artifact-report", "{text}");
        }
    }
}
