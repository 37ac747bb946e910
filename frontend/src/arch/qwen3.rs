//! Qwen 3, dense (Yang et al. 2025): Qwen 2 without biases, with a norm of each query and key head, and heads whose width
//! is stated apart from the stream's.

use super::blocks::{HeadNorms, Sizes};
use super::facts::Facts;
use super::qwen2;
use super::swiglu::Form;
use super::weights::Weights;
use actc_ir::Graph;
use actc_types::Result;

const FAMILY: &str = "qwen3";
/// Width of a head where `config.json` does not say.
const HEAD: u64 = 128;

pub(super) fn build(facts: &Facts<'_>, context: Option<u64>, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
    let stated;
    let facts = match facts {
        Facts::HuggingFace(config) if config.head_dim.is_none() => {
            let mut config = (*config).clone();
            config.head_dim = Some(HEAD);
            stated = config;
            &Facts::HuggingFace(&stated)
        }
        Facts::HuggingFace(_) | Facts::Gguf(_) => facts,
    };
    let form = qwen2::read(FAMILY, facts, context)?;
    Form { head_norms: Some(HeadNorms::Each(0.0)), ..form }.build(weights)
}
