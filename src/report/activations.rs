//! What enters the layers, channel by channel, and which columns were kept in 16 bits for it.

use super::Maxima;
use super::figures::{short, tick};
use super::plot::{Scale, Tick, bars, pooled, some_bars};
use actc_artifact::Artifact;
use actc_types::diagnostic::one_line;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Bins of a plot of activations.
const BINS: usize = 720;

#[derive(Serialize)]
pub(super) struct Plot {
    names: String,
    summary: String,
    peaks: String,
    channels: usize,
    bins: usize,
    pooled: bool,
    height: usize,
    y: Vec<Tick>,
    bars: String,
    weak: String,
    rows: Vec<WeakRow>,
    counts: String,
}

#[derive(Serialize)]
pub(super) struct WeakRow {
    label: String,
    y: usize,
    #[serde(skip)]
    count: usize,
    path: String,
}

/// `names` as one: what they share written once, the rest in braces.
fn joined(names: &[String]) -> String {
    let (prefix, suffix) = shared(names);
    let [first, _, ..] = names else { return names.concat() };
    let middles: Vec<&str> = names.iter().map(|n| &n[prefix..n.len() - suffix]).collect();
    format!("{}{{{}}}{}", &first[..prefix], middles.join(","), &first[first.len() - suffix..])
}

/// Bytes that all `names` share at their beginning and at their end, on borders of characters, without overlap.
fn shared(names: &[String]) -> (usize, usize) {
    let Some((first, others)) = names.split_first() else { return (0, 0) };
    let shortest = names.iter().map(String::len).min().unwrap_or(0);
    let same = |a: &str, b: &str| a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let back = |a: &str, b: &str| a.bytes().rev().zip(b.bytes().rev()).take_while(|(x, y)| x == y).count();
    let mut prefix = others.iter().map(|n| same(first, n)).min().unwrap_or(0).min(shortest);
    while names.iter().any(|n| !n.is_char_boundary(prefix)) {
        prefix -= 1;
    }
    let mut suffix = others.iter().map(|n| back(first, n)).min().unwrap_or(0).min(shortest - prefix);
    while names.iter().any(|n| !n.is_char_boundary(n.len() - suffix)) {
        suffix -= 1;
    }
    (prefix, suffix)
}

pub(super) fn maxima(artifact: &Artifact, inputs: &[Maxima]) -> Vec<Plot> {
    let manifest = artifact.manifest();
    let places: BTreeMap<&str, usize> =
        manifest.tensors.iter().enumerate().map(|(i, t)| (t.name.as_str(), i)).collect();
    let mut drawn = BTreeSet::new();
    let mut out = Vec::new();
    for input in inputs {
        // Each tensor reads one input: no more plots than there are weights, whatever the report says.
        let known: Vec<String> = input.layers.iter().filter(|n| places.contains_key(n.as_str())).cloned().collect();
        if known.is_empty() || input.absmax.is_empty() || !known.iter().all(|n| drawn.insert(n.clone())) {
            continue;
        }
        let weak = |name: &str| -> Vec<usize> {
            let view = places.get(name).and_then(|i| artifact.weight(*i).ok());
            view.map_or(Vec::new(), |v| v.weak_columns().filter(|c| *c < input.absmax.len()).collect())
        };
        out.push(plot(&known, &known.iter().map(|n| weak(n)).collect::<Vec<_>>(), &input.absmax));
    }
    out
}

fn plot(names: &[String], weak: &[Vec<usize>], absmax: &[f32]) -> Plot {
    let (bins, bin) = pooled(absmax, BINS);
    // The bars are a picture of their own, eight units down in the figure.
    let scale = |span| Scale::log(bins.iter().map(|v| f64::from(*v)), span);
    let ticks = scale((108.0, 8.0)).map_or(Vec::new(), |s| s.ticks(tick));
    let scale = scale((100.0, 0.0));
    let top = |v: f32| scale.map_or(100, |s| if v > 0.0 { s.at(f64::from(v)).round().min(99.0) as u32 } else { 100 });
    let mut marked: Vec<usize> = weak.iter().flatten().map(|c| bin(*c)).collect();
    marked.sort_unstable();
    marked.dedup();
    let (prefix, suffix) = shared(names);
    let rows: Vec<WeakRow> = names
        .iter()
        .zip(weak)
        .filter(|(_, columns)| !columns.is_empty())
        .enumerate()
        .map(|(i, (name, columns))| {
            let label = if names.len() > 1 { one_line(&name[prefix..name.len() - suffix]) } else { "weak".into() };
            let mut places: Vec<usize> = columns.iter().map(|c| bin(*c)).collect();
            places.dedup();
            WeakRow {
                label,
                y: 118 + 14 * i,
                count: columns.len(),
                path: some_bars(10, places.into_iter().map(|p| (p, 0))),
            }
        })
        .collect();
    let mut order: Vec<usize> = (0..absmax.len()).collect();
    order.sort_by(|a, b| absmax[*b].total_cmp(&absmax[*a]).then(a.cmp(b)));
    let peak = |i: &usize| format!("{} in channel {i}", short(f64::from(absmax[*i])));
    let peaks: Vec<String> = order.iter().take(5).map(peak).collect();
    let median = f64::from(absmax[order[order.len() / 2]]);
    let largest = f64::from(absmax[order[0]]);
    let ratio = if median > 0.0 { format!(", {} times the median", short(largest / median)) } else { String::new() };
    Plot {
        names: one_line(&joined(names)),
        summary: format!("{} channels, largest {}{ratio}", absmax.len(), short(largest)),
        peaks: peaks.join(", "),
        channels: absmax.len(),
        bins: bins.len(),
        pooled: bins.len() < absmax.len(),
        height: 124 + 14 * rows.len(),
        y: ticks,
        bars: bars(100, bins.iter().map(|v| top(*v))),
        counts: match &rows[..] {
            [one] if names.len() == 1 => one.count.to_string(),
            all => all.iter().map(|r| format!("{} {}", r.label, r.count)).collect::<Vec<_>>().join(", "),
        },
        weak: some_bars(100, marked.into_iter().map(|b| (b, top(bins[b])))),
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_where_they_differ() {
        let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(joined(&names(&["blk.0.attn_q.weight", "blk.0.attn_k.weight"])), "blk.0.attn_{q,k}.weight");
        assert_eq!(joined(&names(&["one"])), "one");
        assert_eq!(joined(&names(&["aa", "a"])), "a{a,}");
        assert_eq!(joined(&names(&["é1", "è1"])), "{é,è}1");
        assert_eq!(joined(&[]), "");
    }
}
