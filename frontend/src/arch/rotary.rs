//! Rotary positions as files state them: base, share of a head, and how they are stretched to longer contexts.
//!
//! Every kind of stretch becomes a [`Rope`] with divisors of its frequencies and a factor on cosines and sines:
//!
//! * `linear` (Chen et al. 2023): positions divided by `factor`;
//! * `llama3`: long waves divided by `factor`, short ones kept, a linear mix between;
//! * `yarn` (Peng et al. 2023): the same between two counts of turns, with a factor on cosines and sines;
//! * `longrope`, formerly `su` (Ding et al. 2024): one list of divisors within the original context, another beyond;
//! * `dynamic`: the base grows with the text once it is longer than the model's context.
//!
//! The last two depend on the length of the text, which a graph cannot: keys in the cache are turned already. `longrope` is
//! therefore settled by the context that the model is loaded for, which is the original one unless more is asked for;
//! `dynamic` changes nothing within the model's context, and a longer one is refused.

use super::blocks::{Sizes, Transformer};
use super::facts::{Keys, unsupported};
use super::weights::Name;
use crate::safetensors::Config;
use crate::safetensors::config::{RopeScaling, need};
use actc_ir::ops::rope::{Rope, RopeStyle};
use actc_ir::{Const, Value};
use actc_types::{Diagnostic, Result, Tensor};
use std::f64::consts::{PI, TAU};

/// Base of the rotary frequencies where neither file nor family names one.
pub(super) const DEFAULT_THETA: f64 = 10_000.0;

/// What the reader of a file's rotary positions has to know of its model.
pub(super) struct Model<'a> {
    pub family: &'static str,
    pub sizes: &'a Sizes,
    /// Whether the family may turn a share of each head only.
    pub partial: bool,
    /// The context that is asked for.
    pub context: Option<u64>,
}

/// Rotary positions.
#[derive(Clone, Debug)]
pub(super) struct Rotary {
    pub rope: Rope,
    pub divisors: Divisors,
    /// Longest context that they serve.
    pub context: u64,
}

/// What the frequencies are divided by.
#[derive(Clone, Debug)]
pub(super) enum Divisors {
    /// Nothing.
    None,
    /// These, one for each frequency.
    Computed(Vec<f32>),
    /// A tensor of the file; the second is known and not in use.
    Stored(Name, Option<Name>),
}

/// A kind of stretch, as far as the containers agree on it.
#[derive(Clone, Debug, PartialEq)]
struct Stretch {
    factor: f64,
    magnitude: f64,
    divisors: Option<Vec<f32>>,
    context: u64,
}

/// The context to build for: `wanted`, else the `longest` that there is.
pub(super) fn within(wanted: Option<u64>, longest: u64) -> Result<u64> {
    match wanted {
        Some(n) if n == 0 || n > longest => {
            let headline = format!("a context of {n} tokens is asked for, the model serves 1 to {longest}");
            Err(Diagnostic::request("arch-context", headline))
        }
        Some(n) => Ok(n),
        None => Ok(longest),
    }
}

/// Whether a context beyond `original` is asked for, and the context to build for.
fn settled(wanted: Option<u64>, original: u64, longest: u64) -> Result<(bool, u64)> {
    match wanted {
        None => Ok((false, original.min(longest))),
        Some(_) => within(wanted, longest).map(|n| (n > original, n)),
    }
}

impl Rotary {
    /// The rotary positions of layers of kind `layer`, of which `config` may say things apart.
    pub(super) fn from_config(config: &Config, layer: &str, model: &Model<'_>) -> Result<Rotary> {
        let scaling = config.rope(layer)?.unwrap_or_default();
        let theta = scaling.rope_theta.or(config.rope_theta).unwrap_or(DEFAULT_THETA);
        let share = scaling.partial_rotary_factor.or(config.partial_rotary_factor).unwrap_or(1.0);
        if share != 1.0 && !model.partial {
            let headline = format!("`partial_rotary_factor` = {share} in `config.json` is not supported");
            return Err(Diagnostic::new("config-unsupported", headline));
        }
        // Truncated, as the reference does; what is no share of a head falls out below.
        let dims = (model.sizes.head as f64 * share) as u64;
        let original = config.original_max_position_embeddings.or(scaling.original_max_position_embeddings);
        let stretch = stretch(&scaling, theta, dims, original, model)?;
        let divisors = stretch.divisors.map_or(Divisors::None, Divisors::Computed);
        let rope = Rope {
            dims: rotated(dims, model)?,
            theta,
            style: RopeStyle::Half,
            factor: stretch.factor,
            magnitude: stretch.magnitude,
        };
        Rotary { rope, divisors, context: stretch.context }.checked()
    }

    /// The rotary positions of a GGUF file whose heads are in the order of `style`.
    pub(super) fn from_gguf(keys: &Keys<'_>, style: RopeStyle, model: &Model<'_>) -> Result<Rotary> {
        let sizes = model.sizes;
        let theta = keys.float("rope.freq_base")?.unwrap_or(DEFAULT_THETA);
        let dims = keys.unsigned("rope.dimension_count")?.unwrap_or(sizes.head);
        let mut factor = 1.0;
        let mut magnitude = keys.float("rope.scaling.attn_factor")?.unwrap_or(1.0);
        let original = keys.unsigned("rope.scaling.original_context_length")?.unwrap_or(sizes.context);
        let mut context = None;
        let stored = |name: &str| Name::new(name, name);
        let has = |name: &str| keys.tensors.get(&format!("{name}.weight")).is_some();
        let mut divisors =
            if has("rope_freqs") { Divisors::Stored(stored("rope_freqs"), None) } else { Divisors::None };
        let lists = has("rope_factors_long") || has("rope_factors_short");
        let kind = keys.text("rope.scaling.type")?.unwrap_or(if lists { "longrope" } else { "linear" });
        match kind {
            "none" => {}
            "linear" => factor = linear_factor(keys)?,
            "yarn" => {
                factor = 1.0;
                if let Divisors::Stored(..) = divisors {
                    return Err(unsupported(model.family, "`rope_freqs` beside `yarn`".into()));
                }
                for (key, only) in [("rope.scaling.yarn_ext_factor", 1.0), ("rope.scaling.yarn_log_multiplier", 0.0)] {
                    if let Some(v) = keys.float(key)?.filter(|v| *v != only) {
                        return Err(unsupported(model.family, format!("`{}` = {v}", keys.key(key))));
                    }
                }
                let stretch =
                    keys.metadata.need(&keys.key("rope.scaling.factor"), keys.float("rope.scaling.factor")?)?;
                magnitude *= keys.float("rope.scaling.yarn_attn_factor")?.unwrap_or(1.0) * yarn_magnitude(stretch, 1.0);
                let turns = [
                    keys.float("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                    keys.float("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                ];
                divisors = Divisors::Computed(yarn(theta, dims, stretch, original as f64, turns, true)?);
            }
            "longrope" => {
                let (long, chosen) = settled(model.context, original, sizes.context)?;
                let [this, other] = if long {
                    ["rope_factors_long", "rope_factors_short"]
                } else {
                    ["rope_factors_short", "rope_factors_long"]
                };
                if !has(this) {
                    let headline =
                        format!("the model has no tensor `{this}.weight`, which a context of {chosen} needs");
                    return Err(Diagnostic::new("arch-missing", headline));
                }
                context = Some(chosen);
                divisors = Divisors::Stored(stored(this), Some(stored(other)));
            }
            other => {
                let headline = format!("`{}` = `{other}` is not supported", keys.key("rope.scaling.type"));
                return Err(Diagnostic::new("arch-unsupported", headline)
                    .help("supported are `none`, `linear`, `yarn` and `longrope`"));
            }
        }
        let rope = Rope { dims: rotated(dims, model)?, theta, style, factor, magnitude };
        let context = context.map_or_else(|| within(model.context, sizes.context), Ok)?;
        Rotary { rope, divisors, context }.checked()
    }

    fn checked(self) -> Result<Rotary> {
        for (what, v) in [
            ("base of the rotary frequencies", self.rope.theta),
            ("rotary scaling factor", self.rope.factor),
            ("factor on cosines and sines", self.rope.magnitude),
        ] {
            if !v.is_finite() || v <= 0.0 {
                return Err(Diagnostic::new("arch-size", format!("the {what} is {v}")));
            }
        }
        if let Divisors::Computed(all) = &self.divisors
            && let Some(bad) = all.iter().find(|d| !d.is_finite() || **d <= 0.0)
        {
            return Err(Diagnostic::new("arch-size", format!("a divisor of the rotary frequencies is {bad}")));
        }
        Ok(self)
    }

    /// The op and its divisors, a constant of `model`.
    pub(super) fn place(&self, model: &mut Transformer<'_, '_>) -> Result<(Rope, Option<Value>)> {
        let count = u64::from(self.rope.dims) / 2;
        let divisors = match &self.divisors {
            Divisors::None => None,
            Divisors::Computed(all) => {
                let tensor = Tensor::f32(&[count], all.clone())?;
                Some(model.graph.constant(Const::dense("rope_freqs", &tensor)))
            }
            Divisors::Stored(name, idle) => {
                if let Some(idle) = idle {
                    model.weights.skip(idle);
                }
                Some(model.weights.vector(&mut model.graph, name, count, 0.0)?)
            }
        };
        Ok((self.rope, divisors))
    }
}

/// The linear stretch of a GGUF file; 0 means none.
pub(super) fn linear_factor(keys: &Keys<'_>) -> Result<f64> {
    match keys.text("rope.scaling.type")?.unwrap_or("linear") {
        "none" => Ok(1.0),
        "linear" => {
            let factor = keys.float("rope.scaling.factor")?.or(keys.float("rope.scale_linear")?);
            Ok(factor.filter(|f| *f != 0.0).unwrap_or(1.0))
        }
        kind => {
            let headline = format!("`{}` = `{kind}` is not supported", keys.key("rope.scaling.type"));
            Err(Diagnostic::new("arch-unsupported", headline).help("supported are `none` and `linear`"))
        }
    }
}

fn rotated(dims: u64, model: &Model<'_>) -> Result<u32> {
    match u32::try_from(dims) {
        Ok(n) if n > 0 && n % 2 == 0 && dims <= model.sizes.head => Ok(n),
        Ok(_) | Err(_) => {
            Err(unsupported(model.family, format!("rotation of {dims} elements in heads of {}", model.sizes.head)))
        }
    }
}

/// What the `rope_scaling` of a `config.json` means for `dims` rotated elements; `original` is the context before.
fn stretch(s: &RopeScaling, theta: f64, dims: u64, original: Option<u64>, model: &Model<'_>) -> Result<Stretch> {
    let longest = model.sizes.context;
    let plain = |factor: f64| -> Result<Stretch> {
        Ok(Stretch { factor, magnitude: 1.0, divisors: None, context: within(model.context, longest)? })
    };
    let original = original.unwrap_or(longest);
    match s.kind() {
        "default" => plain(1.0),
        "linear" => plain(need("rope_scaling.factor", s.factor)?),
        "dynamic" => match model.context {
            Some(n) if n > longest => {
                let headline = format!("`dynamic` rotary scaling to {n} tokens, the model's own context is {longest}");
                Err(Diagnostic::new("arch-unsupported", headline)
                    .help("beyond its own context the frequencies change with every token, also those of cached keys"))
            }
            Some(_) | None => plain(1.0),
        },
        "llama3" => {
            let divisors = llama3(s, theta, dims, original as f64)?;
            Ok(Stretch { divisors: Some(divisors), ..plain(1.0)? })
        }
        "yarn" => {
            let factor = s.factor.unwrap_or(longest as f64 / original as f64);
            let magnitude = s.attention_factor.unwrap_or_else(|| match (s.mscale, s.mscale_all_dim) {
                (Some(m), Some(all)) if m != 0.0 && all != 0.0 => {
                    yarn_magnitude(factor, m) / yarn_magnitude(factor, all)
                }
                (Some(_) | None, _) => yarn_magnitude(factor, 1.0),
            });
            let stated = |v: Option<f64>, usual: f64| v.filter(|v| *v != 0.0).unwrap_or(usual);
            let turns = [stated(s.beta_fast, 32.0), stated(s.beta_slow, 1.0)];
            let divisors = yarn(theta, dims, factor, original as f64, turns, s.truncate.unwrap_or(true))?;
            Ok(Stretch { divisors: Some(divisors), magnitude, ..plain(1.0)? })
        }
        "longrope" | "su" => {
            for (field, value) in [("short_mscale", s.short_mscale), ("long_mscale", s.long_mscale)] {
                if let Some(v) = value {
                    return Err(unsupported(model.family, format!("`{field}` = {v} of `rope_scaling`")));
                }
            }
            let factor = s.factor.unwrap_or(longest as f64 / original as f64);
            let usual = if factor <= 1.0 { 1.0 } else { (1.0 + factor.ln() / (original as f64).ln()).sqrt() };
            let magnitude = s.attention_factor.unwrap_or(usual);
            let (long, context) = settled(model.context, original, longest)?;
            let (field, list) = if long {
                ("rope_scaling.long_factor", &s.long_factor)
            } else {
                ("rope_scaling.short_factor", &s.short_factor)
            };
            let list = need(field, list.clone())?;
            if list.len() as u64 != dims / 2 {
                let headline =
                    format!("`{field}` has {} numbers, {} frequencies ask for as many", list.len(), dims / 2);
                return Err(Diagnostic::new("arch-size", headline));
            }
            Ok(Stretch { factor: 1.0, magnitude, divisors: Some(list), context })
        }
        kind => Err(unsupported(model.family, format!("`rope_scaling` of kind `{kind}`")).help(
            "`linear`, `dynamic`, `llama3`, `yarn` and `longrope` are; without `rope_scaling` the model runs in its \
             original context",
        )),
    }
}

/// Divisors of `llama3` (Llama 3.1): frequencies of long waves are divided by `factor`, those of short waves stay, and
/// between `low_freq_factor` and `high_freq_factor` waves in the `original` context the two are mixed linearly.
fn llama3(s: &RopeScaling, theta: f64, dims: u64, original: f64) -> Result<Vec<f32>> {
    let factor = need("rope_scaling.factor", s.factor)?;
    let low = need("rope_scaling.low_freq_factor", s.low_freq_factor)?;
    let high = need("rope_scaling.high_freq_factor", s.high_freq_factor)?;
    if !(factor > 0.0 && low > 0.0 && high > low && original > 0.0 && factor.is_finite() && high.is_finite()) {
        let headline = format!("rotary scaling by {factor} between {low} and {high} waves in {original} tokens");
        return Err(Diagnostic::new("arch-size", headline));
    }
    let divisor = |i: u64| {
        let frequency = theta.powf(-2.0 * i as f64 / dims as f64);
        let waves = original * frequency / TAU;
        if waves > high {
            1.0
        } else if waves < low {
            factor
        } else {
            let share = (waves - low) / (high - low);
            1.0 / ((1.0 - share) / factor + share)
        }
    };
    Ok((0..dims / 2).map(|i| divisor(i) as f32).collect())
}

/// The factor on cosines and sines that goes with a stretch of `factor`.
fn yarn_magnitude(factor: f64, weight: f64) -> f64 {
    if factor <= 1.0 { 1.0 } else { 0.1 * weight * factor.ln() + 1.0 }
}

/// Divisors of `yarn`: frequencies that turn more than `turns[0]` times in the `original` context stay, those that turn
/// less than `turns[1]` times are divided by `factor`, and between the two, counted along the index, they are mixed
/// linearly. With `truncate` the bounds are rounded outwards to whole indices.
fn yarn(theta: f64, dims: u64, factor: f64, original: f64, turns: [f64; 2], truncate: bool) -> Result<Vec<f32>> {
    let sane = [theta - 1.0, factor, original, turns[0], turns[1]].iter().all(|v| v.is_finite() && *v > 0.0);
    if !sane {
        let headline =
            format!("`yarn` by {factor} from {original} tokens between {turns:?} turns over a base of {theta}");
        return Err(Diagnostic::new("arch-size", headline));
    }
    let index = |turns: f64| dims as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (index(turns[0]), index(turns[1]));
    if truncate {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(dims as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    let divisor = |i: u64| {
        let stretched = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
        1.0 / (stretched / factor + 1.0 - stretched)
    };
    Ok((0..dims / 2).map(|i| divisor(i) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(head: u64) -> Sizes {
        Sizes {
            layers: 1,
            width: 64,
            heads: 1,
            kv_heads: 1,
            head,
            hidden: 64,
            vocabulary: 8,
            context: 131_072,
            eps: 1e-5,
        }
    }

    fn scaling(kind: &str) -> RopeScaling {
        RopeScaling {
            rope_type: Some(kind.into()),
            factor: Some(8.0),
            high_freq_factor: Some(4.0),
            low_freq_factor: Some(1.0),
            ..RopeScaling::default()
        }
    }

    fn meant(s: &RopeScaling, theta: f64, head: u64, original: u64, context: Option<u64>) -> Result<Stretch> {
        let sizes = sizes(head);
        stretch(s, theta, head, Some(original), &Model { family: "llama", sizes: &sizes, partial: false, context })
    }

    #[test]
    fn llama3_divisors() {
        // Llama 3.1 8B; the three in the middle were computed by a script from the wavelengths, as its authors define it.
        let found = meant(&scaling("llama3"), 500_000.0, 128, 8192, None).unwrap();
        let divisors = found.divisors.unwrap();
        assert_eq!((found.factor, found.magnitude, divisors.len()), (1.0, 1.0, 64));
        assert!(divisors[..29].iter().all(|d| *d == 1.0) && divisors[35..].iter().all(|d| *d == 8.0), "{divisors:?}");
        for (i, expected) in [(29, 1.207_483_9), (31, 2.026_313_2), (34, 5.257_326_6)] {
            assert!((divisors[i] - expected).abs() < 1e-6 * expected, "{i}: {} and {expected}", divisors[i]);
        }
    }

    #[test]
    fn contexts_settle_what_depends_on_length() {
        let mut s = scaling("su");
        s.short_factor = Some(vec![1.0, 2.0]);
        s.long_factor = Some(vec![3.0, 4.0]);
        for (context, list, length) in
            [(None, vec![1.0, 2.0], 4096), (Some(4096), vec![1.0, 2.0], 4096), (Some(4097), vec![3.0, 4.0], 4097)]
        {
            let found = meant(&s, 1e4, 4, 4096, context).unwrap();
            assert_eq!((found.divisors, found.context), (Some(list), length), "{context:?}");
            assert!((found.magnitude - (1.0 + 8f64.ln() / 4096f64.ln()).sqrt()).abs() < 1e-12);
        }
        assert_eq!(meant(&s, 1e4, 4, 4096, Some(131_073)).unwrap_err().code, "arch-context");
        assert_eq!(meant(&s, 1e4, 6, 4096, None).unwrap_err().code, "arch-size");
        s.long_factor = None;
        assert_eq!(meant(&s, 1e4, 4, 4096, Some(8192)).unwrap_err().code, "config");
        s.short_mscale = Some(1.1);
        assert_eq!(meant(&s, 1e4, 4, 4096, None).unwrap_err().code, "arch-unsupported");

        let dynamic = scaling("dynamic");
        assert_eq!(meant(&dynamic, 1e4, 4, 4096, None).unwrap().divisors, None);
        assert_eq!(meant(&dynamic, 1e4, 4, 4096, Some(131_073)).unwrap_err().code, "arch-unsupported");
    }

    #[test]
    fn other_kinds_are_named() {
        assert_eq!(meant(&scaling("linear"), 1e4, 64, 4096, None).unwrap().factor, 8.0);
        let error = meant(&scaling("proportional"), 1e4, 64, 4096, None).unwrap_err();
        assert_eq!(error.code, "arch-unsupported");
        assert!(error.headline.contains("`proportional`"));
        let mut yarn = scaling("yarn");
        yarn.beta_fast = Some(-1.0);
        assert_eq!(meant(&yarn, 1e4, 64, 4096, None).unwrap_err().code, "arch-size");
    }
}
