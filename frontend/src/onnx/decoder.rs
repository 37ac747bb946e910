//! Which ports of a model make it a decoder: tokens and past keys and values in, logits and present ones out.
//!
//! Exporters agree on names: those of Optimum are the usual ones, and `genai_config.json` of onnxruntime may give others. A
//! model that has one port of past keys is meant as a decoder; what keeps it from being one is said in words that name the
//! port. Nothing here looks at nodes.

use super::value::{Dimension, ValueInfo, ValueType};
use super::{ElementType, Graph};
use std::collections::BTreeSet;

/// Most layers that a decoder may have: they are counted before anything of them is looked up.
const MAX_LAYERS: usize = 1 << 14;

/// The names of a decoder's ports. `%d` stands for the number of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// New tokens.
    pub tokens: String,
    /// Which of all tokens count.
    pub mask: String,
    /// Positions of the new tokens.
    pub positions: String,
    /// Past keys and past values.
    pub past: [String; 2],
    /// Logits of the next token.
    pub logits: String,
    /// Keys and values with the new ones behind them.
    pub present: [String; 2],
}

impl Default for Names {
    fn default() -> Names {
        Names {
            tokens: "input_ids".into(),
            mask: "attention_mask".into(),
            positions: "position_ids".into(),
            past: ["past_key_values.%d.key".into(), "past_key_values.%d.value".into()],
            logits: "logits".into(),
            present: ["present.%d.key".into(), "present.%d.value".into()],
        }
    }
}

/// A state of a decoder: keys or values of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot {
    pub(super) layer: usize,
    pub(super) part: Part,
}

/// What a state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    Keys,
    Values,
}

impl Slot {
    /// The name of the state.
    pub(super) fn name(self) -> String {
        match self.part {
            Part::Keys => format!("k{}", self.layer),
            Part::Values => format!("v{}", self.layer),
        }
    }
}

/// What an input of a decoder is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given {
    /// New tokens, `[1, S]`.
    Tokens,
    /// Ones, `[1, P + S]`.
    Mask,
    /// Positions of the new tokens, `[1, S]`.
    Positions,
    /// Whether there are past keys: true. Past keys may be none, and a graph that puts new keys behind past ones gives for
    /// none what the graph for the first tokens gives, which differs from it in nothing but that it joins nothing.
    Cached,
    /// Keys or values `[1, heads, P, width]`.
    Past { slot: Slot, heads: u64, width: u64 },
}

/// What an output of a decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    Logits,
    Present(Slot),
    /// Nothing that a language model needs.
    Other,
}

/// The ports of a decoder, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    /// Each input with the type of its elements.
    pub(super) inputs: Vec<(Given, ElementType)>,
    pub(super) outputs: Vec<Made>,
}

/// The layer that `name` speaks of, where it has the form `pattern`.
fn layer(name: &str, pattern: &str) -> Option<usize> {
    let (before, behind) = pattern.split_once("%d")?;
    let digits = name.strip_prefix(before)?.strip_suffix(behind)?;
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|n| plain && *n < MAX_LAYERS)
}

/// The state that `name` is, by the patterns of keys and of values.
fn slot(name: &str, patterns: &[String; 2]) -> Option<Slot> {
    let of = |part, pattern: &String| layer(name, pattern).map(|layer| Slot { layer, part });
    of(Part::Keys, &patterns[0]).or_else(|| of(Part::Values, &patterns[1]))
}

/// Whether a model with this extent takes any number there.
fn open(dimension: &Dimension) -> bool {
    match dimension {
        Dimension::Named(_) | Dimension::Unknown => true,
        Dimension::Fixed(_) => false,
    }
}

/// Whether a model with this extent takes one sequence.
fn one(dimension: &Dimension) -> bool {
    open(dimension) || *dimension == Dimension::Fixed(1)
}

/// What `input` is for; an error says why a decoder cannot have it.
fn given(input: &ValueInfo, names: &Names) -> Result<(Given, ElementType), String> {
    let name = &input.name;
    let Some(ValueType::Tensor { dtype, shape: Some(shape) }) = &input.ty else {
        return Err(format!("the input `{name}` is no tensor of known rank"));
    };
    let wrong = |wanted: &str| Err(format!("the input `{name}` is {dtype} {}, expected {wanted}", shown(shape)));
    let integers = matches!(dtype, ElementType::Int64 | ElementType::Int32);
    let rows = matches!(&shape[..], [batch, tokens] if one(batch) && open(tokens));
    let role = if let Some(slot) = slot(name, &names.past) {
        match (&shape[..], dtype) {
            (
                [batch, Dimension::Fixed(heads), past, Dimension::Fixed(width)],
                ElementType::Float32 | ElementType::Float16,
            ) if one(batch) && open(past) => Given::Past { slot, heads: *heads, width: *width },
            _ => return wrong("float32 or float16 [batch, heads, past, width] of any batch and past"),
        }
    } else if *name == names.tokens {
        if !rows || !integers {
            return wrong("integers [batch, tokens] of any number");
        }
        Given::Tokens
    } else if *name == names.positions {
        if !rows || !integers {
            return wrong("integers [batch, tokens] of any number");
        }
        Given::Positions
    } else if *name == names.mask {
        let numbers = matches!(dtype, ElementType::Bool | ElementType::Float32 | ElementType::Float16);
        if !rows || !(integers || numbers) {
            return wrong("numbers [batch, past and new tokens] of any number");
        }
        Given::Mask
    } else if name == "use_cache_branch" && *dtype == ElementType::Bool && shape.iter().all(one) {
        Given::Cached
    } else {
        return Err(format!("a language model has no use for the input `{name}`"));
    };
    Ok((role, *dtype))
}

/// Extents as messages show them.
fn shown(shape: &[Dimension]) -> String {
    let extent = |d: &Dimension| match d {
        Dimension::Fixed(n) => n.to_string(),
        Dimension::Named(name) => name.clone(),
        Dimension::Unknown => "?".into(),
    };
    format!("[{}]", shape.iter().map(extent).collect::<Vec<_>>().join(", "))
}

impl Ports {
    /// The ports of `graph` where it is a decoder; `None` where no input speaks of past keys. An error says what keeps it from
    /// being one.
    pub(super) fn of(graph: &Graph, names: &Names) -> Result<Option<Ports>, String> {
        let likely = |input: &ValueInfo| slot(&input.name, &names.past).is_some() || input.name.starts_with("past");
        if !graph.inputs.iter().any(likely) {
            return Ok(None);
        }
        let inputs = graph.inputs.iter().map(|input| given(input, names)).collect::<Result<Vec<_>, String>>()?;
        if !inputs.iter().any(|(role, _)| *role == Given::Tokens) {
            return Err(format!("there is no input `{}`", names.tokens));
        }
        let past: BTreeSet<Slot> = inputs
            .iter()
            .filter_map(|(role, _)| match role {
                Given::Past { slot, .. } => Some(*slot),
                Given::Tokens | Given::Mask | Given::Positions | Given::Cached => None,
            })
            .collect();
        let made = |output: &ValueInfo| match slot(&output.name, &names.present) {
            _ if output.name == names.logits => Made::Logits,
            Some(slot) if past.contains(&slot) => Made::Present(slot),
            Some(_) | None => Made::Other,
        };
        let outputs: Vec<Made> = graph.outputs.iter().map(made).collect();
        if !outputs.contains(&Made::Logits) {
            return Err(format!("there is no output `{}`", names.logits));
        }
        for slot in &past {
            if !outputs.contains(&Made::Present(*slot)) {
                let pattern = &names.present[usize::from(slot.part == Part::Values)];
                return Err(format!("there is no output `{}`", pattern.replace("%d", &slot.layer.to_string())));
            }
        }
        Ok(Some(Ports { inputs, outputs }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(name: &str, dtype: ElementType, shape: &[Dimension]) -> ValueInfo {
        ValueInfo { name: name.into(), ty: Some(ValueType::Tensor { dtype, shape: Some(shape.to_vec()) }) }
    }

    fn any(name: &str) -> Dimension {
        Dimension::Named(name.into())
    }

    fn whole() -> Graph {
        let past = [any("b"), Dimension::Fixed(2), any("past"), Dimension::Fixed(8)];
        let rows = [any("b"), any("s")];
        let inputs = vec![
            port("input_ids", ElementType::Int64, &rows),
            port("attention_mask", ElementType::Int64, &[any("b"), any("past + s")]),
            port("past_key_values.0.key", ElementType::Float32, &past),
            port("past_key_values.0.value", ElementType::Float32, &past),
        ];
        let output = |name: &str| ValueInfo { name: name.into(), ty: None };
        let outputs = ["logits", "present.0.key", "present.0.value", "hidden"].map(output).to_vec();
        Graph { inputs, outputs, ..Graph::default() }
    }

    #[test]
    fn ports_are_told_by_their_names() {
        let ports = Ports::of(&whole(), &Names::default()).unwrap().unwrap();
        let slot = |part| Slot { layer: 0, part };
        let past = |part| Given::Past { slot: slot(part), heads: 2, width: 8 };
        let roles: Vec<Given> = ports.inputs.iter().map(|(role, _)| *role).collect();
        assert_eq!(roles, [Given::Tokens, Given::Mask, past(Part::Keys), past(Part::Values)]);
        let present = |part| Made::Present(slot(part));
        assert_eq!(ports.outputs, [Made::Logits, present(Part::Keys), present(Part::Values), Made::Other]);
        assert_eq!(layer("past.7.k", "past.%d.k"), Some(7));
        for name in ["past..k", "past.-1.k", "past.99999999.k", "past.1.v", "past.k"] {
            assert_eq!(layer(name, "past.%d.k"), None, "{name}");
        }
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let refused = |change: &dyn Fn(&mut Graph)| {
            let mut graph = whole();
            change(&mut graph);
            Ports::of(&graph, &Names::default())
        };
        let encoder = |g: &mut Graph| g.inputs.truncate(2);
        assert_eq!(refused(&encoder), Ok(None));
        let cases: [(&dyn Fn(&mut Graph), &str); 5] = [
            (&|g| g.inputs[0].name = "inputs_embeds".into(), "`inputs_embeds`"),
            (&|g| drop(g.inputs.remove(0)), "`input_ids`"),
            (&|g| drop(g.outputs.remove(0)), "`logits`"),
            (&|g| drop(g.outputs.remove(2)), "`present.0.value`"),
            (&|g| g.inputs[2] = port("past_key_values.0.key", ElementType::Float32, &[Dimension::Fixed(4)]), "[4]"),
        ];
        for (change, word) in cases {
            let why = refused(change).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
