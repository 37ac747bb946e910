//! OWQ for one linear layer: the most sensitive columns stay in 16 bits, the rest is swept, and the weak columns take up
//! what rounding the rest left behind.

use super::cholesky::{Factor, Outcome};
use super::gptq::sweep;
use super::grid::GridSpec;
use super::hessian::Hessian;
use super::plan::{Plan, Rounded, Weights};
use super::refine::refine;
use actc_types::Result;

/// A layer rounded with the help of its Hessian.
#[derive(Clone, Debug)]
pub struct Compensated {
    /// The rounded matrix; [`Rounded::values`] holds the compensated weak columns.
    pub rounded: Rounded,
    /// `|X (W - Q)^T|^2` in the Hessian's scale, without the damping's share.
    pub output_error: f64,
}

/// Rounds `weights` in the order and groups of `plan`, with the `factor` of `hessian` in that order. The factor is that of
/// the full Hessian, weak columns included, while grids see the other columns only. Without weak columns this is GPTQ.
pub fn compensate(
    weights: Weights<'_>,
    hessian: &Hessian,
    factor: &Factor,
    spec: GridSpec,
    plan: &Plan,
) -> Result<Compensated> {
    let rounded = sweep(weights, factor, spec, plan)?;
    let output_error = output_error(weights, hessian, factor, &rounded);
    Ok(Compensated { rounded, output_error })
}

/// As [`compensate`], then [`refine`]d in at most `rounds` rounds; the plan is one of our layouts.
pub fn compensate_refined(
    weights: Weights<'_>,
    hessian: &Hessian,
    factor: &Factor,
    spec: GridSpec,
    plan: &Plan,
    rounds: u32,
) -> Result<Compensated> {
    let mut rounded = sweep(weights, factor, spec, plan)?;
    refine(weights, hessian, factor, spec, plan, &mut rounded, rounds);
    let output_error = output_error(weights, hessian, factor, &rounded);
    Ok(Compensated { rounded, output_error })
}

fn output_error(weights: Weights<'_>, hessian: &Hessian, factor: &Factor, rounded: &Rounded) -> f64 {
    match factor.outcome {
        Outcome::Damped(_) => {
            // The loss is the error under the damped Hessian; dead columns stand alone there with a diagonal of 1.
            let mut extra = vec![factor.damp(); hessian.cols()];
            hessian.dead().for_each(|j| extra[j] += 1.0);
            let added: f64 = (weights.data().chunks_exact(weights.cols()))
                .zip(rounded.values.chunks_exact(weights.cols()))
                .map(|(w, q)| w.iter().zip(q).zip(&extra).map(|((w, q), x)| x * f64::from(w - q).powi(2)).sum::<f64>())
                .sum();
            (2.0 * rounded.loss - added).max(0.0)
        }
        Outcome::DiagonalOnly => {
            let change: Vec<f32> = weights.data().iter().zip(&rounded.values).map(|(w, q)| w - q).collect();
            hessian.energy(&change)
        }
    }
}
