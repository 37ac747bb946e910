//! Decoders of Llama's form: root-mean-square norms, rotary grouped-query attention, gated feed-forward layers with SiLU.
//!
//! A family of this form is a [`Form`]: its sizes, its rotary positions and where it differs.

use super::blocks::{Gated, HeadNorms, Heads, Projections, Sizes, Transformer};
use super::facts::Facts;
use super::rotary::{Model, Rotary};
use super::weights::{Name, Weights};
use actc_ir::Graph;
use actc_ir::ops::pointwise::UnaryFunction;
use actc_ir::ops::rope::RopeStyle;
use actc_types::Result;

/// Where the norms of a layer stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Norms {
    /// Before attention and before the feed-forward layer.
    Before,
    /// Behind them, before the addition.
    Behind,
}

/// What varies between families of this form.
pub(super) struct Form {
    /// Name of the graph.
    pub name: &'static str,
    pub sizes: Sizes,
    pub rotary: Rotary,
    /// Norms of queries and keys.
    pub head_norms: Option<HeadNorms>,
    pub norms: Norms,
    /// The window of each layer.
    pub windows: Vec<Option<u32>>,
    /// Whether the file says that the head is the embedding; where it does not say, there is no other head.
    pub tied: Option<bool>,
    /// Names of the projections of a layer.
    pub projections: fn(&Sizes, u64) -> Projections,
    /// Names of the feed-forward layer of a layer.
    pub gated: fn(&Sizes, u64) -> Gated,
}

impl Form {
    /// Llama itself: norms before layers, names apart, no windows.
    fn llama(name: &'static str, sizes: Sizes, rotary: Rotary) -> Form {
        Form {
            name,
            windows: vec![None; sizes.layers as usize],
            sizes,
            rotary,
            head_norms: None,
            norms: Norms::Before,
            tied: None,
            projections: |_, i| Projections::separate(i),
            gated: |_, i| Gated::separate(i),
        }
    }

    /// The same as `facts` state it: sizes, rotary positions, and whether the head is the embedding. `style` is that of a
    /// GGUF file's heads; `partial` says whether `config.json` may turn a share of each head, as GGUF files may.
    pub(super) fn read(
        family: &'static str,
        facts: &Facts<'_>,
        context: Option<u64>,
        style: RopeStyle,
        partial: bool,
    ) -> Result<Form> {
        match facts {
            Facts::Gguf(keys) => {
                keys.no_experts()?;
                let sizes = keys.rms_sizes()?;
                let model = Model { family, sizes: &sizes, partial: true, context };
                let rotary = Rotary::from_gguf(keys, style, &model)?;
                Ok(Form::llama(family, sizes, rotary))
            }
            Facts::HuggingFace(config) => {
                config.only_silu(family)?;
                let sizes = config.sizes()?;
                let model = Model { family, sizes: &sizes, partial, context };
                let rotary = Rotary::from_config(config, "full_attention", &model)?;
                Ok(Form { tied: config.tie_word_embeddings, ..Form::llama(family, sizes, rotary) })
            }
        }
    }

    /// The graph, and the sizes with the context that the rotary positions serve.
    pub(super) fn build(self, weights: &mut Weights<'_>) -> Result<(Graph, Sizes)> {
        let Form { name, sizes, rotary, head_norms, norms, windows, tied, projections, gated } = self;
        let width = sizes.width;
        let table = Name::new("token_embd", "embed_tokens");
        let (mut model, mut x, table) = Transformer::new(name, weights, &sizes, &table, width, 1.0)?;
        let rope = rotary.place(&mut model)?;
        let scale = 1.0 / (sizes.head as f64).sqrt();
        for (i, window) in (0..sizes.layers).zip(windows) {
            let at = |part: &str| format!("layers.{i}.{part}");
            let heads = Heads { rope: Some(rope), norms: head_norms, scale, window, causal: true };
            let (projections, gated) = (projections(&sizes, i), gated(&sizes, i));
            match norms {
                Norms::Before => {
                    let name = Name::layer(i, "attn_norm", "input_layernorm");
                    let normed = model.norm(x, &name, width, 0.0, &at("attention_norm"))?;
                    let y = model.attention(i, normed, &projections, &heads)?;
                    x = model.add(x, y, &at("attention_add"))?;
                    let name = Name::layer(i, "ffn_norm", "post_attention_layernorm");
                    let normed = model.norm(x, &name, width, 0.0, &at("feed_forward_norm"))?;
                    let y = model.gated(i, normed, &gated, UnaryFunction::Silu)?;
                    x = model.add(x, y, &at("feed_forward_add"))?;
                }
                Norms::Behind => {
                    let y = model.attention(i, x, &projections, &heads)?;
                    let name = Name::layer(i, "post_attention_norm", "post_attention_layernorm");
                    let y = model.norm(y, &name, width, 0.0, &at("attention_post_norm"))?;
                    x = model.add(x, y, &at("attention_add"))?;
                    let y = model.gated(i, x, &gated, UnaryFunction::Silu)?;
                    let name = Name::layer(i, "post_ffw_norm", "post_feedforward_layernorm");
                    let y = model.norm(y, &name, width, 0.0, &at("feed_forward_post_norm"))?;
                    x = model.add(x, y, &at("feed_forward_add"))?;
                }
            }
        }
        let x = model.norm(x, &Name::new("output_norm", "norm"), width, 0.0, "norm")?;
        let tied = tied.unwrap_or_else(|| !model.weights.has(&Name::new("output", "lm_head")));
        let graph = model.head(x, width, tied.then_some(table))?;
        Ok((graph, Sizes { context: rotary.context, ..sizes }))
    }
}
