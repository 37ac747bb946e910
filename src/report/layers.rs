//! The layers: the rows of their table, and their errors through the network.

use super::Measures;
use super::figures::{SPAN, kilobytes, percent, tick};
use super::plot::{Scale, Tick, dots, line, number};
use actc_artifact::LayerRow;
use actc_types::diagnostic::one_line;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

#[derive(Serialize)]
pub(super) struct Row {
    name: String,
    encoding: String,
    bits: String,
    stored: String,
    weak: u32,
    kilobytes: String,
    weight: String,
    output: String,
    cumulative: String,
    block: String,
    note: String,
}

#[derive(Serialize)]
pub(super) struct Errors {
    text: String,
    y: Vec<Tick>,
    step: String,
    weight: String,
    output: String,
    cumulative: String,
    hits: Vec<Hit>,
}

#[derive(Serialize)]
pub(super) struct Hit {
    id: usize,
    x: String,
    title: String,
}

/// The layers' encodings without what all of a kind share, and a sentence that says it once. Bits and groups stay.
pub(super) fn encodings(layers: &[(&LayerRow, Measures)]) -> (Vec<String>, String) {
    /// Name and fields of an encoding's text.
    fn parts(text: &str) -> (&str, Vec<&str>) {
        match text.strip_suffix('}').and_then(|t| t.split_once('{')) {
            Some((name, fields)) => (name, fields.split(", ").collect()),
            None => (text, Vec::new()),
        }
    }
    let all: Vec<(&str, Vec<&str>)> = layers.iter().map(|(l, _)| parts(&l.encoding)).collect();
    let mut shared: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, fields) in &all {
        let held = |f: &&str| !["bits=", "group=", "cols="].iter().any(|known| f.starts_with(known));
        let known = shared.entry(name).or_insert_with(|| fields.iter().copied().filter(held).collect());
        known.retain(|f| fields.contains(f));
    }
    let short = all.iter().map(|(name, fields)| {
        // The number of weak columns has a column of its own.
        let left = fields.iter().filter(|f| !shared[name].contains(f) && !f.starts_with("cols="));
        let left: Vec<&str> = left.copied().collect();
        one_line(&if left.is_empty() { (*name).to_owned() } else { format!("{name}{{{}}}", left.join(", ")) })
    });
    let short = short.collect();
    let said = shared.iter().filter(|(_, fields)| !fields.is_empty());
    let said: Vec<String> = said.map(|(name, fields)| format!("every `{name}`: {}", fields.join(", "))).collect();
    (short, if said.is_empty() { String::new() } else { one_line(&format!("{}.", said.join("; "))) })
}

pub(super) fn row(layer: &LayerRow, encoding: String, measures: &Measures) -> Row {
    Row {
        name: one_line(&layer.name),
        encoding,
        bits: format!("{:.3}", layer.bits),
        stored: format!("{:.3}", layer.stored_bits),
        weak: layer.weak_columns,
        kilobytes: kilobytes(layer.bytes),
        weight: percent(measures.weight),
        output: percent(measures.output),
        cumulative: percent(measures.cumulative),
        block: percent(measures.block),
        note: one_line(&layer.reason),
    }
}

pub(super) fn errors(layers: &[(&LayerRow, Measures)], windows: usize) -> Option<Errors> {
    let all = layers.iter().flat_map(|(_, m)| [m.weight, m.output, m.cumulative]).flatten();
    let scale = Scale::log(all, (230.0, 10.0))?;
    let step = (SPAN.1 - SPAN.0) / layers.len().max(1) as f64;
    let x = |i: usize| SPAN.0 + (i as f64 + 0.5) * step;
    let points = |of: fn(&Measures) -> Option<f64>| {
        let value =
            move |(i, (_, m)): (usize, &(&LayerRow, Measures))| Some((x(i), scale.at(of(m).filter(|v| *v > 0.0)?)));
        layers.iter().enumerate().filter_map(value)
    };
    let hits = layers.iter().enumerate().map(|(i, (l, m))| {
        let mut title = one_line(&l.name);
        for (what, value) in [("weight", m.weight), ("alone", m.output), ("cumulative", m.cumulative)] {
            if value.is_some() {
                let _ = write!(title, "\n{what} {} %", percent(value));
            }
        }
        Hit { id: i + 1, x: number(SPAN.0 + i as f64 * step), title }
    });
    let text = match windows {
        0 => "Each layer by itself; no pass compared the network with the original on the way.".into(),
        n => format!(
            "Each layer by itself and with everything before it rounded, measured while the network was rounded block by block. \
             The cumulative error is against the original on {n} of the calibration windows."
        ),
    };
    Some(Errors {
        text,
        y: scale.ticks(|v| format!("{} %", tick(100.0 * v))),
        step: number(step),
        weight: dots(points(|m| m.weight)),
        output: dots(points(|m| m.output)),
        cumulative: line(points(|m| m.cumulative)),
        hits: hits.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_say_once_what_they_share() {
        let row = |encoding: &str| LayerRow { encoding: encoding.into(), ..LayerRow::default() };
        let rows = [
            row("mixed{bits=3, group=64, scale=f16, cols=2, place=suffix}"),
            row("mixed{bits=4, group=64, scale=f16, cols=3, place=scattered}"),
            row("packed{bits=3, group=64}"),
            row("dense"),
            row("odd}{"),
        ];
        let layers: Vec<(&LayerRow, Measures)> = rows.iter().map(|r| (r, Measures::default())).collect();
        let (short, same) = encodings(&layers);
        let wanted = ["mixed{bits=3, group=64, place=suffix}", "mixed{bits=4, group=64, place=scattered}"];
        assert_eq!(short[..2], wanted);
        assert_eq!(short[2..], ["packed{bits=3, group=64}", "dense", "odd}{"]);
        assert_eq!(same, "every `mixed`: scale=f16.");
    }
}
