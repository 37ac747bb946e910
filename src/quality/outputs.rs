//! How far the outputs of a model of tensors lie from its source's, on samples that no pass saw.
//!
//! Of each output, sample by sample:
//!
//! * `cosine` of both as vectors, 1 where both are zero;
//! * `same`, the share of rows along the last axis whose largest element stands at the same place, of outputs with up to three
//!   axes; of integers, the share of equal elements;
//! * `kl`, KL(source || artifact) in nats, the mean over rows, where all rows of the source's output are distributions: not
//!   negative, with a sum within 1e-3 of 1.
//!
//! `error` is the energy of the difference over that of the source's output, all samples together. An output of another
//! shape than the source's, where its shape depends on the data, has cosine 0, nothing the same and an error of 1.

use super::judge::native;
use super::summary::{Figure, figure};
use crate::compile::as_shipped;
use crate::entry::{call, choose, given};
use crate::link::Native;
use crate::place::{entries, place};
use crate::source::Source;
use actc_artifact::{Artifact, Entry};
use actc_codegen::Backend;
use actc_ir::eval::past_tokens;
use actc_passes::Sample;
use actc_runtime::{Device, Placed};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Place, Result, Tensor};

/// Most axes of an output whose rows are looked at.
const ROW_AXES: usize = 3;

/// How one output differs from the source's.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputDistance {
    /// The output.
    pub name: String,
    /// Of floats, the mean cosine over samples.
    pub cosine: Option<Figure>,
    /// Of floats, the relative energy of the difference.
    pub error: Option<f64>,
    /// The mean share of rows, or of integers, that agree, where that is looked at.
    pub same: Option<Figure>,
    /// The mean divergence of rows, where they are distributions.
    pub kl: Option<Figure>,
}

/// What one sample says of one output.
#[derive(Clone, Debug, Default)]
struct Seen {
    cosine: Option<f64>,
    lost: f64,
    energy: f64,
    same: Option<f64>,
    kl: Option<f64>,
}

/// Compares `artifact`, which this process has just made, with the model of `source` as it was shipped on `samples`. What
/// code is missing is made by `backend`; `done` hears the number of finished samples.
pub fn judge_outputs(
    artifact: Artifact,
    source: &Source,
    samples: &[Sample],
    threads: usize,
    backend: Backend,
    done: &mut dyn FnMut(usize),
) -> Result<Vec<OutputDistance>> {
    let native = native(&artifact, backend);
    let model = place(artifact, native, Device::Cpu)?;
    let reference = place(as_shipped(source, threads, backend)?, Native::Embedded, Device::Cpu)?;
    let entry = choose(entries(&model), None)?;
    let other = choose(entries(&reference), None)?;
    let names: Vec<String> = entry.outputs.iter().map(|port| port.name.clone()).collect();
    let mut seen: Vec<Vec<Seen>> = vec![Vec::with_capacity(samples.len()); names.len()];
    for (i, sample) in samples.iter().enumerate() {
        let (ours, theirs) = (run(&model, entry, sample, threads)?, run(&reference, other, sample, threads)?);
        for (((name, seen), x), y) in names.iter().zip(&mut seen).zip(&theirs).zip(&ours) {
            seen.push(compare(x, y).map_err(|d| d.at(Place::Node(name.clone())))?);
        }
        done(i + 1);
    }
    Ok(names.into_iter().zip(seen).map(|(name, seen)| summarise(name, &seen)).collect())
}

fn run(model: &Placed, entry: &Entry, sample: &Sample, threads: usize) -> Result<Vec<Tensor>> {
    let missing = |name: &str| Diagnostic::new("quality-input", format!("a sample has no `{name}`"));
    let inputs = given(entry, sample).map_err(missing)?;
    call(model, entry, &inputs, &Bindings::from([(past_tokens(), 0)]), threads)
}

/// Where the largest element of `row` stands, the first of equal ones.
fn largest(row: &[f64]) -> usize {
    row.iter().enumerate().fold(0, |best, (i, v)| if *v > row[best] { i } else { best })
}

/// The source's output `x` and ours, `y`.
fn compare(x: &Tensor, y: &Tensor) -> Result<Seen> {
    let (a, b) = (x.data().to_f64(), y.data().to_f64());
    let floats = x.dtype().is_float();
    let square = |v: &[f64]| v.iter().filter(|v| v.is_finite()).map(|v| v * v).sum::<f64>();
    if x.dims() != y.dims() {
        let energy = square(&a);
        return Ok(Seen { cosine: floats.then_some(0.0), lost: energy, energy, same: Some(0.0), kl: None });
    }
    if !floats {
        let equal = a.iter().zip(&b).filter(|(x, y)| x == y).count();
        let same = if a.is_empty() { 1.0 } else { equal as f64 / a.len() as f64 };
        return Ok(Seen { same: Some(same), ..Seen::default() });
    }
    let (mut dot, mut lost) = (0.0, 0.0);
    for (x, y) in a.iter().zip(&b) {
        // Masks are infinite on both sides.
        if !x.is_finite() && (x == y || x.is_nan() && y.is_nan()) {
            continue;
        }
        if !x.is_finite() || !y.is_finite() {
            return Err(Diagnostic::new("quality-not-finite", format!("{y} where the source has {x}")));
        }
        dot += x * y;
        lost += (x - y) * (x - y);
    }
    let (energy, ours) = (square(&a), square(&b));
    let cosine = match (energy * ours).sqrt() {
        0.0 => f64::from(energy == ours),
        norms => (dot / norms).clamp(-1.0, 1.0),
    };
    let mut seen = Seen { cosine: Some(cosine), lost, energy, same: None, kl: None };
    let width = x.dims().last().copied().unwrap_or(0) as usize;
    if width > 1 && x.dims().len() <= ROW_AXES && !a.is_empty() {
        let rows = || a.chunks_exact(width).zip(b.chunks_exact(width));
        let count = (a.len() / width) as f64;
        seen.same = Some(rows().filter(|(x, y)| largest(x) == largest(y)).count() as f64 / count);
        let distribution = |row: &[f64]| row.iter().all(|p| *p >= 0.0) && (row.iter().sum::<f64>() - 1.0).abs() < 1e-3;
        if a.chunks_exact(width).all(distribution) {
            // What is shared out by nobody stands for the smallest normal number.
            let least = f64::from(f32::MIN_POSITIVE);
            let term = |(p, q): (&f64, &f64)| if *p > 0.0 { p * (p / q.max(least)).ln() } else { 0.0 };
            seen.kl = Some(rows().map(|(x, y)| x.iter().zip(y).map(term).sum::<f64>()).sum::<f64>() / count);
        }
    }
    Ok(seen)
}

/// The figures of an output; those that a sample does not have are left out.
fn summarise(name: String, seen: &[Seen]) -> OutputDistance {
    let of = |value: fn(&Seen) -> Option<f64>| {
        let all: Option<Vec<f64>> = seen.iter().map(value).collect();
        all.filter(|all| !all.is_empty()).map(|all| figure(all.into_iter()))
    };
    let (lost, energy): (f64, f64) = (seen.iter().map(|s| s.lost).sum(), seen.iter().map(|s| s.energy).sum());
    let cosine = of(|s| s.cosine);
    let error = match energy {
        0.0 if lost == 0.0 => 0.0,
        energy => lost / energy,
    };
    OutputDistance { name, error: cosine.map(|_| error), cosine, same: of(|s| s.same), kl: of(|s| s.kl) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::TensorData;

    fn floats(dims: &[u64], values: &[f32]) -> Tensor {
        Tensor::f32(dims, values.to_vec()).unwrap()
    }

    #[test]
    fn figures_of_an_output() {
        let seen = [
            compare(&floats(&[1, 2], &[3.0, 4.0]), &floats(&[1, 2], &[3.0, 4.0])).unwrap(),
            compare(&floats(&[1, 2], &[3.0, 4.0]), &floats(&[1, 2], &[4.0, 3.0])).unwrap(),
        ];
        let all = summarise("y".into(), &seen);
        assert!((all.cosine.unwrap().value - (1.0 + 24.0 / 25.0) / 2.0).abs() < 1e-12);
        assert_eq!((all.error, all.same.unwrap().value, all.kl), (Some(2.0 / 50.0), 0.5, None));
        let zero = compare(&floats(&[2], &[0.0; 2]), &floats(&[2], &[0.0; 2])).unwrap();
        assert_eq!(summarise("y".into(), &[zero]).error, Some(0.0));
    }

    #[test]
    fn distributions_have_a_divergence() {
        let seen = compare(&floats(&[1, 2], &[0.5, 0.5]), &floats(&[1, 2], &[0.25, 0.75])).unwrap();
        assert!((seen.kl.unwrap() - 0.5 * (2f64.ln() + (2f64 / 3.0).ln())).abs() < 1e-12);
        let image = compare(&floats(&[1, 1, 1, 2], &[0.5, 0.5]), &floats(&[1, 1, 1, 2], &[0.5, 0.5])).unwrap();
        assert_eq!((image.kl, image.same), (None, None));
    }

    #[test]
    fn other_shapes_and_integers_are_told_apart_and_infinity_on_one_side_is_an_error() {
        let other = compare(&floats(&[2], &[1.0, 2.0]), &floats(&[1], &[1.0])).unwrap();
        assert_eq!((other.cosine, other.lost, other.same), (Some(0.0), 5.0, Some(0.0)));
        let whole = |v: &[i64]| Tensor::new(&[2], TensorData::I64(v.to_vec())).unwrap();
        let seen = compare(&whole(&[1, 2]), &whole(&[1, 3])).unwrap();
        assert_eq!((seen.same, seen.cosine), (Some(0.5), None));
        let masked = floats(&[2], &[f32::NEG_INFINITY, 1.0]);
        assert_eq!(compare(&masked, &masked).unwrap().cosine, Some(1.0));
        assert_eq!(compare(&masked, &floats(&[2], &[0.0, 1.0])).unwrap_err().code, "quality-not-finite");
    }
}
