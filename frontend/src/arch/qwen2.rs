//! Qwen 2 and 2.5 (Yang et al. 2024): Llama's form with biases on queries, keys and values, and a window on the later
//! layers where the file puts it in use.

use super::blocks::{Projections, Sizes};
use super::facts::Facts;
use super::swiglu::Form;
use super::weights::Weights;
use actc_ir::Graph;
use actc_ir::ops::rope::RopeStyle;
use actc_types::Result;

const FAMILY: &str = "qwen2";

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let form = read(FAMILY, facts, context)?;
    let projections = |_: &Sizes, i| {
        let names = Projections::separate(i);
        Projections { q: names.q.with_bias(), k: names.k.with_bias(), v: names.v.with_bias(), ..names }
    };
    Form { projections, ..form }.build(weights)
}

/// What Qwen 2 and its successor have in common. GGUF files do not state windows and hold half-rotated heads.
pub(super) fn read(family: &'static str, facts: &Facts<'_>, context: Option<u64>) -> Result<Form> {
    let form = Form::read(family, facts, context, RopeStyle::Half, false)?;
    match facts {
        Facts::Gguf(_) => Ok(form),
        Facts::HuggingFace(config) => {
            let windows = config.windows(family, form.sizes.layers)?;
            Ok(Form { windows, ..form })
        }
    }
}
