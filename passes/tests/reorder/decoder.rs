//! Random language models in text.

use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A language model in text.
#[derive(Clone, Debug)]
pub(crate) struct Decoder {
    pub(crate) shared: usize,
    pub(crate) group: usize,
    pub(crate) head: usize,
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) tied: bool,
    pub(crate) biases: bool,
    pub(crate) gated: bool,
    pub(crate) layer_norm: bool,
    pub(crate) head_norm: bool,
    pub(crate) rotary: bool,
    pub(crate) cache: bool,
    pub(crate) positions: bool,
}

pub(crate) fn decoders() -> impl Strategy<Value = Decoder> {
    let sizes = (1usize..3, 1usize..4, 1usize..4, 2usize..9, 2usize..12, 1usize..3);
    let flags = prop::array::uniform8(any::<bool>());
    (sizes, flags).prop_map(|((shared, group, head, width, hidden, layers), flags)| {
        let [tied, biases, gated, layer_norm, head_norm, rotary, cache, positions] = flags;
        let head = 2 * head;
        Decoder {
            shared,
            group,
            head,
            width,
            hidden,
            layers,
            tied,
            biases,
            gated,
            layer_norm,
            head_norm,
            rotary,
            cache,
            positions,
        }
    })
}

impl Decoder {
    pub(crate) fn source(&self) -> String {
        let Decoder { shared, group, head, width: d, hidden, .. } = *self;
        let heads = shared * group;
        let (mut consts, mut body, mut states, mut donated) =
            (String::new(), String::new(), String::new(), String::new());
        let mut seed = 1;
        let mut constant = |name: &str, ty: String| {
            seed += 1;
            writeln!(consts, "  %{name} = const @{name} = rng{{seed={seed}, scale=1}} : {ty}").unwrap();
        };
        constant("embed", format!("f16[9, {d}]"));
        writeln!(body, "  %x0 = embedding %ids, %embed : f32[S, {d}]").unwrap();
        if self.positions {
            constant("places", format!("f32[9, {d}]"));
            writeln!(body, "  %p = embedding %ids, %places : f32[S, {d}]").unwrap();
            writeln!(body, "  %xp = add %x0, %p : f32[S, {d}]").unwrap();
        }
        let mut x = if self.positions { "%xp".to_owned() } else { "%x0".to_owned() };
        for l in 0..self.layers {
            let norm = |constant: &mut dyn FnMut(&str, String),
                        body: &mut String,
                        name: String,
                        x: &str,
                        ty: &str,
                        n: usize| {
                constant(&format!("{name}w"), format!("f32[{n}]"));
                if self.layer_norm {
                    constant(&format!("{name}b"), format!("f32[{n}]"));
                    writeln!(body, "  %{name} = layer_norm{{eps=0.00001}} {x}, %{name}w, %{name}b : {ty}").unwrap();
                } else {
                    writeln!(body, "  %{name} = rms_norm{{eps=0.00001}} {x}, %{name}w : {ty}").unwrap();
                }
            };
            let linear = |constant: &mut dyn FnMut(&str, String),
                          body: &mut String,
                          name: String,
                          x: &str,
                          rows: usize,
                          cols: usize| {
                constant(&format!("{name}w"), format!("f32[{rows}, {cols}]"));
                let mut bias = String::new();
                if self.biases {
                    constant(&format!("{name}b"), format!("f32[{rows}]"));
                    bias = format!(", %{name}b");
                }
                writeln!(body, "  %{name} = linear {x}, %{name}w{bias} : f32[S, {rows}]").unwrap();
            };
            norm(&mut constant, &mut body, format!("n{l}"), &x, &format!("f32[S, {d}]"), d);
            let n = format!("%n{l}");
            let mut at = BTreeMap::new();
            for (part, count) in [("q", heads), ("k", shared), ("v", shared)] {
                let name = format!("{part}{l}");
                linear(&mut constant, &mut body, name.clone(), &n, count * head, d);
                let ty = format!("f32[S, {count}, {head}]");
                writeln!(body, "  %{name}h = reshape{{shape=\"S, {count}, {head}\"}} %{name} : {ty}").unwrap();
                let mut value = format!("%{name}h");
                if self.head_norm && part != "v" {
                    norm(&mut constant, &mut body, format!("{name}n"), &value, &ty, head);
                    value = format!("%{name}n");
                }
                if self.rotary && part != "v" {
                    writeln!(
                        body,
                        "  %{name}r = rope{{dims={head}, theta=100, style=half}} {value}, %positions : {ty}"
                    )
                    .unwrap();
                    value = format!("%{name}r");
                }
                if self.cache && part != "q" {
                    let ty = |rows: &str| format!("f32[{rows}, {count}, {head}]");
                    write!(states, ", %{name}0: {}", ty("P")).unwrap();
                    writeln!(body, "  %{name}c = cache_append %{name}0, {value} : {}", ty("P + S")).unwrap();
                    write!(donated, ", donate %{name}0 -> %{name}c").unwrap();
                    value = format!("%{name}c");
                }
                at.insert(part, value);
            }
            let (q, k, v) = (&at["q"], &at["k"], &at["v"]);
            writeln!(body, "  %a{l} = attention{{scale=0.5, causal}} {q}, {k}, {v} : f32[S, {heads}, {head}]").unwrap();
            let joined = heads * head;
            writeln!(body, "  %j{l} = reshape{{shape=\"S, {joined}\"}} %a{l} : f32[S, {joined}]").unwrap();
            linear(&mut constant, &mut body, format!("o{l}"), &format!("%j{l}"), d, joined);
            writeln!(body, "  %y{l} = add {x}, %o{l} : f32[S, {d}]").unwrap();
            norm(&mut constant, &mut body, format!("m{l}"), &format!("%y{l}"), &format!("f32[S, {d}]"), d);
            linear(&mut constant, &mut body, format!("up{l}"), &format!("%m{l}"), hidden, d);
            let ty = format!("f32[S, {hidden}]");
            writeln!(body, "  %act{l} = silu %up{l} : {ty}").unwrap();
            let mut inner = format!("%act{l}");
            if self.gated {
                linear(&mut constant, &mut body, format!("gate{l}"), &format!("%m{l}"), hidden, d);
                writeln!(body, "  %mul{l} = mul %act{l}, %gate{l} : {ty}").unwrap();
                inner = format!("%mul{l}");
            }
            linear(&mut constant, &mut body, format!("down{l}"), &inner, d, hidden);
            writeln!(body, "  %z{l} = add %y{l}, %down{l} : f32[S, {d}]").unwrap();
            x = format!("%z{l}");
        }
        constant("last", format!("f32[{d}]"));
        writeln!(body, "  %end = rms_norm{{eps=0.00001}} {x}, %last : f32[S, {d}]").unwrap();
        let mut head = "embed";
        if !self.tied {
            constant("head", format!("f32[9, {d}]"));
            head = "head";
        }
        writeln!(body, "  %logits = linear %end, %{head} : f32[S, 9]").unwrap();
        format!(
            "air 1\ngraph @lm(%ids: i64[S], %positions: i64[S]{states}) {{\n{consts}{body}  return logits=%logits{donated}\n}}\n"
        )
    }
}
