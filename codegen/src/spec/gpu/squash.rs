//! The functions in the cells of recurrent layers, as CUDA functions `squash0`, `squash1`, ….

use super::each::SIGMOID;
use actc_types::recurrent::{Squash, SquashKind};
use actc_types::{Diagnostic, Result};

/// Refuses parameters that are no finite floats.
pub(super) fn check(function: &Squash) -> Result<()> {
    let Squash { kind, alpha, beta } = function;
    if [alpha, beta].iter().all(|x| (**x as f32).is_finite()) {
        return Ok(());
    }
    Err(Diagnostic::new(
        "kernel-function",
        format!("`{}` with {alpha} and {beta}, expected finite numbers", kind.name()),
    ))
}

/// What each function is of `x`. What is no number stays that.
fn value(function: &Squash) -> String {
    let [alpha, beta] = [function.alpha, function.beta].map(|x| format!("({:?}f)", x as f32));
    let formula = match function.kind {
        SquashKind::Relu => "x < 0.0f ? 0.0f : x",
        SquashKind::Tanh => "tanhf(x)",
        SquashKind::Sigmoid => "sigmoid(x)",
        SquashKind::Affine => "alpha * x + beta",
        SquashKind::LeakyRelu => "x < 0.0f ? alpha * x : x",
        SquashKind::ThresholdedRelu => "x < alpha ? 0.0f : x",
        SquashKind::ScaledTanh => "alpha * tanhf(beta * x)",
        SquashKind::HardSigmoid => "alpha * x + beta < 0.0f ? 0.0f : alpha * x + beta > 1.0f ? 1.0f : alpha * x + beta",
        SquashKind::Elu => "x < 0.0f ? alpha * expm1f(x) : x",
        SquashKind::Softsign => "x / (1.0f + fabsf(x))",
        SquashKind::Softplus => "(x < 0.0f ? 0.0f : x) + log1pf(expf(-fabsf(x)))",
    };
    formula.replace("alpha", &alpha).replace("beta", &beta)
}

/// The texts of `functions`, with what they call.
pub(super) fn functions(functions: &[Squash]) -> Vec<String> {
    let sigmoid = functions.iter().any(|f| f.kind == SquashKind::Sigmoid).then(|| SIGMOID.to_owned());
    let each = |(i, function): (usize, &Squash)| {
        format!("__device__ __forceinline__ float squash{i}(float x) {{ return {}; }}", value(function))
    };
    sigmoid.into_iter().chain(functions.iter().enumerate().map(each)).collect()
}
