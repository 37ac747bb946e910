//! Llama and what has its form: pre-norm, rotary grouped-query attention, SwiGLU (Touvron et al. 2023).
//!
//! Stored query and key rows differ between containers: GGUF's are in the order of interleaved rotary pairs, Hugging
//! Face's in that of half-rotated ones. The weights stay as they are; the style of `rope` follows the container.

use super::Facts;
use super::blocks::{Decoder, Heads, Sizes};
use super::weights::{Format, Name, Weights};
use crate::safetensors::config::{RopeScaling, need};
use actc_ir::ops::pointwise::{BinaryFunction, UnaryFunction};
use actc_ir::ops::rope::{Rope, RopeStyle};
use actc_ir::{Const, Graph};
use actc_types::{Diagnostic, Result, Tensor};
use std::f64::consts::PI;

/// Base of the rotary frequencies where the file names none.
const DEFAULT_THETA: f64 = 10_000.0;

/// What a Llama has beside the common sizes.
struct Details {
    /// Elements of a head that are rotated.
    rope_dims: u64,
    theta: f64,
    /// Linear stretch of positions.
    factor: f64,
    /// Divisors of the rotary frequencies, computed from `rope_scaling`.
    divisors: Option<Vec<f32>>,
    window: Option<u32>,
    /// Whether the file says that the head is the embedding.
    tied: Option<bool>,
}

pub(super) fn build(facts: &Facts<'_>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let (sizes, details) = read(facts)?;
    let (mut model, mut x, table) = Decoder::new("llama", weights, &sizes, 1.0)?;
    let rope = Rope {
        dims: u32::try_from(details.rope_dims).unwrap_or(0),
        theta: details.theta,
        style: match model.weights.format() {
            Format::Gguf => RopeStyle::Interleaved,
            Format::HuggingFace => RopeStyle::Half,
        },
        factor: details.factor,
    };
    let stored = Name::global("rope_freqs", "rope_freqs");
    let divisors = match details.divisors {
        Some(divisors) => {
            let tensor = Tensor::f32(&[divisors.len() as u64], divisors)?;
            Some(model.graph.constant(Const::dense("rope_freqs", &tensor)))
        }
        None => model.weights.optional_vector(&mut model.graph, &stored, details.rope_dims / 2)?,
    };
    let scale = 1.0 / (sizes.head as f64).sqrt();
    let heads = Heads { rope, divisors, norms: None, scale, window: details.window };
    for i in 0..sizes.layers {
        let at = |part: &str| format!("layers.{i}.{part}");
        let name = Name::layer(i, "attn_norm", "input_layernorm");
        let normed = model.norm(x, &name, sizes.width, 0.0, &at("attention_norm"))?;
        let y = model.attention(i, normed, &heads)?;
        x = model.binary(BinaryFunction::Add, x, y, &at("attention_add"))?;
        let name = Name::layer(i, "ffn_norm", "post_attention_layernorm");
        let normed = model.norm(x, &name, sizes.width, 0.0, &at("feed_forward_norm"))?;
        let y = model.feed_forward(i, normed, UnaryFunction::Silu)?;
        x = model.binary(BinaryFunction::Add, x, y, &at("feed_forward_add"))?;
    }
    let x = model.norm(x, &Name::global("output_norm", "model.norm"), sizes.width, 0.0, "norm")?;
    let tied = details.tied.unwrap_or_else(|| !model.weights.has(&Name::global("output", "lm_head")));
    Ok((model.head(x, tied.then_some(table))?, sizes))
}

fn read(facts: &Facts<'_>) -> Result<(Sizes, Details)> {
    let (sizes, details) = match facts {
        Facts::Gguf(keys) => {
            if let Some(n) = keys.unsigned("expert_count")?.filter(|n| *n > 0) {
                return Err(unsupported(format!("a mixture of {n} experts")));
            }
            let sizes = keys.sizes()?;
            let factor = keys.rope_factor()?;
            let details = Details {
                rope_dims: keys.unsigned("rope.dimension_count")?.unwrap_or(sizes.head),
                theta: keys.float("rope.freq_base")?.unwrap_or(DEFAULT_THETA),
                factor,
                divisors: None,
                window: window(keys.unsigned("attention.sliding_window")?)?,
                tied: None,
            };
            (sizes, details)
        }
        Facts::HuggingFace(config) => {
            let activation = config.hidden_act.as_deref().unwrap_or("silu");
            if activation != "silu" {
                return Err(unsupported(format!("the activation `{activation}`")));
            }
            let sizes = config.sizes()?;
            let scaling = config.rope("full_attention")?;
            let theta = scaling.as_ref().and_then(|s| s.rope_theta).or(config.rope_theta).unwrap_or(DEFAULT_THETA);
            let (factor, divisors) = match &scaling {
                Some(scaling) => stretch(scaling, theta, sizes.head)?,
                None => (1.0, None),
            };
            let window = if config.use_sliding_window == Some(false) { None } else { window(config.sliding_window)? };
            let tied = config.tie_word_embeddings;
            (sizes.clone(), Details { rope_dims: sizes.head, theta, factor, divisors, window, tied })
        }
    };
    if details.rope_dims == 0 || details.rope_dims > sizes.head || details.rope_dims % 2 != 0 {
        return Err(unsupported(format!("rotation of {} elements in heads of {}", details.rope_dims, sizes.head)));
    }
    for (what, v) in [("base of the rotary frequencies", details.theta), ("rotary scaling factor", details.factor)] {
        if !v.is_finite() || v <= 0.0 {
            return Err(Diagnostic::new("arch-size", format!("the {what} is {v}")));
        }
    }
    Ok((sizes, details))
}

fn unsupported(what: String) -> Diagnostic {
    Diagnostic::new("arch-unsupported", format!("{what} is not supported in the family `llama`"))
}

/// A window in tokens; 0 means none.
pub(super) fn window(tokens: Option<u64>) -> Result<Option<u32>> {
    match tokens {
        None | Some(0) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| Diagnostic::new("arch-size", format!("a sliding window of {n} tokens, at most {}", u32::MAX))),
    }
}

/// The linear factor and the divisors of the frequencies that a `rope_scaling` means.
///
/// `llama3` (Llama 3.1): frequencies of long waves are divided by `factor`, those of short waves stay, and between
/// `low_freq_factor` and `high_freq_factor` waves in the original context the two are mixed linearly.
fn stretch(scaling: &RopeScaling, theta: f64, head: u64) -> Result<(f64, Option<Vec<f32>>)> {
    match scaling.kind() {
        "default" => Ok((1.0, None)),
        "linear" => Ok((need("rope_scaling.factor", scaling.factor)?, None)),
        "llama3" => {
            let factor = need("rope_scaling.factor", scaling.factor)?;
            let low = need("rope_scaling.low_freq_factor", scaling.low_freq_factor)?;
            let high = need("rope_scaling.high_freq_factor", scaling.high_freq_factor)?;
            let field = "rope_scaling.original_max_position_embeddings";
            let context = need(field, scaling.original_max_position_embeddings)? as f64;
            if !(factor > 0.0 && low > 0.0 && high > low && context > 0.0 && factor.is_finite() && high.is_finite()) {
                let headline = format!("rotary scaling by {factor} between {low} and {high} waves in {context} tokens");
                return Err(Diagnostic::new("arch-size", headline));
            }
            let divisor = |i: u64| {
                let frequency = theta.powf(-2.0 * i as f64 / head as f64);
                let waves = context * frequency / (2.0 * PI);
                if waves > high {
                    1.0
                } else if waves < low {
                    factor
                } else {
                    let share = (waves - low) / (high - low);
                    1.0 / ((1.0 - share) / factor + share)
                }
            };
            Ok((1.0, Some((0..head / 2).map(|i| divisor(i) as f32).collect())))
        }
        kind => Err(unsupported(format!("`rope_scaling` of kind `{kind}`"))
            .help("`linear` and `llama3` are; without `rope_scaling` the model runs in its original context")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaling(kind: &str) -> RopeScaling {
        RopeScaling {
            rope_type: Some(kind.into()),
            old_type: None,
            factor: Some(8.0),
            high_freq_factor: Some(4.0),
            low_freq_factor: Some(1.0),
            original_max_position_embeddings: Some(8192),
            rope_theta: None,
        }
    }

    #[test]
    fn llama3_divisors() {
        // Llama 3.1 8B; the three in the middle were computed by a script from the wavelengths, as its authors define it.
        let (factor, divisors) = stretch(&scaling("llama3"), 500_000.0, 128).unwrap();
        let divisors = divisors.unwrap();
        assert_eq!((factor, divisors.len()), (1.0, 64));
        assert!(divisors[..29].iter().all(|d| *d == 1.0) && divisors[35..].iter().all(|d| *d == 8.0), "{divisors:?}");
        for (i, expected) in [(29, 1.207_483_9), (31, 2.026_313_2), (34, 5.257_326_6)] {
            assert!((divisors[i] - expected).abs() < 1e-6 * expected, "{i}: {} and {expected}", divisors[i]);
        }
    }

    #[test]
    fn other_kinds_are_named() {
        assert_eq!(stretch(&scaling("linear"), 1e4, 64).unwrap(), (8.0, None));
        let error = stretch(&scaling("yarn"), 1e4, 64).unwrap_err();
        assert_eq!(error.code, "arch-unsupported");
        assert!(error.headline.contains("`yarn`"));
    }
}
