//! `reorder`: an order of channels in which the weak columns of every layer are its last ones, for the whole network or for each input.
//!
//! [`Classes`] says which channels have one order: those of the residual stream of a whole model, those inside each
//! feed-forward layer, those between two convolutions. Channels of a class are ordered by [`score`]: the last of them by
//! rising score, so that the weak columns of a layer, however many, are the end of its weight, and the others as they were.
//! [`Orders`] permutes every constant that has to follow, and the statistics; outputs stay what they were but for the order of
//! sums. Where channels belong to heads or keep their order for another reason, columns stay, are ordered inside the heads, or
//! are looked up by an index; so are all inputs that are to have orders of their own.

mod axes;
mod classes;
mod gather;
mod inside;
mod orders;
mod permute;
mod reshape;
mod score;
mod ties;

pub use classes::{Class, Classes, Member, Part};
pub use orders::Orders;

use crate::calibrate::{Statistics, of_layer};
use crate::columns::Input;
use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::quantize::encode::describe;
use crate::quantize::layers::{Kind, Layer, survey};
use crate::report::{ChannelOrder, LayerReport, PassReport, Status};
use actc_ir::{ConstId, Graph};
use actc_types::braced::Fields;
use actc_types::{Diagnostic, Place, Result};
use score::Rule;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "reorder",
    summary: "order channels, those that matter most last, so that weak columns are the end of each weight",
    phase: Phase::Order,
    options: &[
        OptionDoc {
            name: "cols",
            default: "128",
            doc: "channels that stand last, by rising score; no layer has more weak columns than there are of them",
        },
        OptionDoc {
            name: "per",
            default: "input",
            doc: "what has an order: each `input` of layers, looked up when the model runs where others read the same channels, or \
                  the channels of the whole `network`, for which nothing is looked up",
        },
        OptionDoc {
            name: "score",
            default: "error",
            doc: "what a channel counts in a layer: its `energy`, the `error` that rounding its column makes, or one of its `votes` \
                  if it is among the strongest",
        },
        OptionDoc {
            name: "heads",
            default: "scattered",
            doc: "where channels belong to heads: `scattered` leaves weak columns where they are, `inside` moves heads, and channels \
                  inside all of them alike, `gather` looks channels up when the model runs",
        },
    ],
    needs: Facts::STATISTICS,
    gives: Facts::ORDERED,
    precedes: Facts::NONE,
    // Sums of f32 come in another order.
    contract: Contract::Tolerance(1e-4),
    build: |fields| Ok(Box::new(Reorder::read(fields)?)),
};

/// What has an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Per {
    Input,
    Network,
}

impl Per {
    const ALL: [Per; 2] = [Per::Input, Per::Network];

    fn name(self) -> &'static str {
        match self {
            Per::Input => "input",
            Per::Network => "network",
        }
    }
}

/// What is done where channels belong to heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heads {
    Scattered,
    Inside,
    Gather,
}

impl Heads {
    const ALL: [Heads; 3] = [Heads::Scattered, Heads::Inside, Heads::Gather];

    fn name(self) -> &'static str {
        match self {
            Heads::Scattered => "scattered",
            Heads::Inside => "inside",
            Heads::Gather => "gather",
        }
    }
}

struct Reorder {
    /// Channels of a class that stand by their score, at most.
    cols: u32,
    per: Per,
    rule: Rule,
    heads: Heads,
}

/// The layers that read the channels of a class as they are, by class.
type Readers = BTreeMap<usize, Vec<ConstId>>;

/// What is to be ordered.
struct Found {
    readers: Readers,
    /// Layers whose columns are channels inside heads, with what these are made of and how many can stand by score.
    inside: Vec<(ConstId, Vec<Part>, usize)>,
}

impl Reorder {
    fn read(fields: &mut Fields<'_>) -> Result<Reorder> {
        let cols = fields.with("cols", "a positive number", |v| v.parse().ok().filter(|n| *n > 0))?;
        let per = fields.choice("per", &Per::ALL, Per::name)?;
        let rule = fields.choice("score", &Rule::ALL, Rule::name)?;
        let heads = fields.choice("heads", &Heads::ALL, Heads::name)?;
        Ok(Reorder {
            cols: cols.unwrap_or(128),
            per: per.unwrap_or(Per::Input),
            rule: rule.unwrap_or(Rule::Error),
            heads: heads.unwrap_or(Heads::Scattered),
        })
    }

    /// Channels of a class of `width` that stand by their score. One stays before them, so that every layer has a body.
    fn count(&self, width: usize) -> usize {
        (self.cols as usize).min(width.saturating_sub(1))
    }

    /// Puts an index in front of those of `layers` that need one; how many inputs have one now.
    fn look_up(&self, graph: &mut Graph, classes: &Classes, layers: &[Layer]) -> Result<usize> {
        let mut inputs: BTreeMap<usize, BTreeSet<&Input>> = BTreeMap::new();
        for layer in layers {
            if let Ok(class) = columns(classes, layer.weight) {
                inputs.entry(class).or_default().extend(&layer.inputs);
            }
        }
        let needed = |layer: &&Layer| match columns(classes, layer.weight) {
            Ok(class) => self.per == Per::Input && inputs[&class].len() > 1,
            Err(_) => self.heads == Heads::Gather,
        };
        gather::in_front(graph, layers.iter().filter(needed))
    }

    /// What of `layers` can be ordered.
    fn find(&self, graph: &Graph, classes: &Classes, layers: &[Layer]) -> Result<Found> {
        let mut found = Found { readers: Readers::new(), inside: Vec::new() };
        for layer in layers {
            if let Ok(class) = columns(classes, layer.weight) {
                found.readers.entry(class).or_default().push(layer.weight);
            }
        }
        if self.heads == Heads::Inside {
            let mut taken: BTreeSet<usize> = found.readers.keys().copied().collect();
            for layer in layers.iter().filter(|l| l.kind == Kind::Linear) {
                let parts = classes.of_constant(layer.weight, 1);
                if let Some(count) = inside::count(classes, &parts, self.cols as usize, &taken) {
                    taken.extend(parts.iter().map(|p| p.class));
                    found.inside.push((layer.weight, parts, count));
                }
            }
        }
        if found.readers.is_empty() && found.inside.is_empty() {
            let headline = format!("the channels of none of {} layers can change places", layers.len());
            let error = Diagnostic::new("nothing-to-reorder", headline);
            let why = layers.first().and_then(|l| columns(classes, l.weight).err().map(|why| (l, why)));
            return Err(match why {
                Some((layer, why)) => error.help(format!("`{}`: {why}", graph.const_data(layer.weight).name)),
                None => error,
            });
        }
        Ok(found)
    }

    /// The tails of the classes in `found`, with the name of the first weight that reads each, and the distance of its columns.
    fn tails(
        &self,
        graph: &Graph,
        classes: &Classes,
        found: &Found,
        statistics: &Statistics,
    ) -> Result<BTreeMap<usize, ChannelOrder>> {
        let counts = |id: ConstId| {
            let constant = graph.const_data(id);
            let seen = of_layer(Some(statistics), &constant.name, "`reorder`")?;
            let counts = self.rule.columns(constant, seen).map_err(|d| d.at(Place::Tensor(constant.name.clone())))?;
            Ok((counts, constant.matrix()?.1))
        };
        let name = |id: ConstId| graph.const_data(id).name.clone();
        let mut tails = BTreeMap::new();
        for (class, weights) in &found.readers {
            let width = classes.all()[*class].width;
            let seen = weights.iter().map(|id| counts(*id)).collect::<Result<Vec<_>>>()?;
            let most = self.count(width);
            let tail = score::tail(&self.rule.scores(width, most, &seen), most);
            tails.insert(*class, ChannelOrder { name: name(weights[0]), width: width as u32, each: 1, tail });
        }
        for (id, parts, count) in &found.inside {
            let (columns, _) = counts(*id)?;
            for (part, tail) in inside::inside(classes, parts, &columns, *count) {
                let (width, each) = (part.width as u32, part.inner as u32);
                tails.insert(part.class, ChannelOrder { name: name(*id), width, each, tail });
            }
        }
        Ok(tails)
    }

    /// Orders the channels of `graph` by `tails`, or by some order where a forecast only asks whether they can be.
    fn order(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        let layers = wanted(graph);
        let tables = gather::tables(graph);
        let classes = Classes::beside(graph, &tables);
        let looked_up = self.look_up(graph, &classes, &layers)?;
        let (layers, tables, classes) = if looked_up > 0 {
            // New nodes renumber constants.
            let tables = gather::tables(graph);
            let classes = Classes::beside(graph, &tables);
            (wanted(graph), tables, classes)
        } else {
            (layers, tables, classes)
        };
        let found = self.find(graph, &classes, &layers)?;
        let width = |class: &usize| classes.all()[*class].width;
        let rounded: BTreeSet<ConstId> = match cx.rounds_later {
            true => layers.iter().filter(|l| l.refusal.is_none()).map(|l| l.weight).collect(),
            false => BTreeSet::new(),
        };
        if cx.forecast.is_some() {
            let turned = |class: &usize| (*class, (1..width(class) as u32).chain([0]).collect());
            let orders = Orders::new(&classes, found.readers.keys().map(turned).collect());
            orders.unpacking(rounded).check(graph)?;
            self.tell(graph, cx, &found, width);
            return Ok(PassReport { layers: reports(graph, &classes, &layers, cx), ..PassReport::default() });
        }
        let Some(statistics) = &mut cx.statistics else {
            return Err(Diagnostic::new("statistics-missing", "`reorder` needs channel statistics"));
        };
        let tails = self.tails(graph, &classes, &found, statistics)?;
        let by_class = tails.iter().map(|(class, t)| (*class, score::order(width(class), &t.tail))).collect();
        let orders = Orders::new(&classes, by_class).unpacking(rounded);
        orders.apply(graph, &cx.work)?;
        follow(graph, &orders, &tables, statistics);
        self.tell(graph, cx, &found, width);
        let mut summary = format!(
            "{} channels in {} classes stand in an order of their own, read by {} of {} layers",
            tails.keys().map(width).sum::<usize>(),
            tails.len(),
            found.readers.values().map(Vec::len).sum::<usize>() + found.inside.len(),
            layers.len(),
        );
        let reports = reports(graph, &classes, &layers, cx);
        let looked_up = looked_up + gather::before_outputs(graph, &orders)? + gather::around(graph, &orders, &tables)?;
        if looked_up > 0 {
            summary += &format!("; channels are looked up in {looked_up} places");
        }
        Ok(PassReport { summary, layers: reports, orders: tails.into_values().collect() })
    }

    /// Tells later passes how many columns at the end of each weight stand by rising score.
    fn tell(&self, graph: &Graph, cx: &mut PassCx<'_>, found: &Found, width: impl Fn(&usize) -> usize) {
        cx.ordered.clear();
        for (class, weights) in &found.readers {
            let (count, all) = (self.count(width(class)), width(class));
            for id in weights {
                let constant = graph.const_data(*id);
                let each = constant.matrix().map_or(0, |(_, cols)| cols / all.max(1));
                cx.ordered.insert(constant.name.clone(), (count * each) as u32);
            }
        }
        for (id, _, count) in &found.inside {
            cx.ordered.insert(graph.const_data(*id).name.clone(), *count as u32);
        }
    }
}

/// The layers whose columns may be weak, those that are quantised already included.
fn wanted(graph: &Graph) -> Vec<Layer> {
    let rounded = |l: &Layer| match l.kind {
        Kind::Linear | Kind::Convolution => true,
        Kind::Depthwise | Kind::Vocabulary => false,
    };
    survey(graph).into_iter().filter(rounded).collect()
}

/// The class that the columns of `weight` are, channel by channel; or why they cannot have another order, for people.
fn columns(classes: &Classes, weight: ConstId) -> std::result::Result<usize, String> {
    let parts = classes.of_constant(weight, 1);
    let held = |p: &Part| classes.all()[p.class].held.clone();
    match parts.as_slice() {
        [] => Err("its channels are all alike".into()),
        [part] if part.is_whole() => held(part).map_or(Ok(part.class), Err),
        _several_axes => {
            let why = parts.iter().find_map(held).map_or_else(String::new, |why| format!(": {why}"));
            Err(format!("its channels are several axes in one{why}"))
        }
    }
}

/// What is said of each of `layers`.
fn reports(graph: &Graph, classes: &Classes, layers: &[Layer], cx: &PassCx<'_>) -> Vec<LayerReport> {
    let report = |layer: &Layer| {
        let constant = graph.const_data(layer.weight);
        let what = match (cx.ordered.get(&constant.name), columns(classes, layer.weight)) {
            (Some(count), _) => format!("its last {count} columns stand by rising score"),
            (None, Err(why)) => format!("its columns keep their order: {why}"),
            (None, Ok(_)) => "its columns keep their order".into(),
        };
        describe(constant, Status::Kept, None, Some(what))
    };
    layers.iter().map(report).collect()
}

/// Puts the statistics of every layer of `graph` but `tables` into the order that its columns have now.
fn follow(graph: &Graph, orders: &Orders<'_>, tables: &BTreeSet<ConstId>, statistics: &mut Statistics) {
    let mut done = tables.clone();
    for node in graph.order() {
        let data = graph.node(*node);
        let (Some(input), Some(id)) = (Input::of(data), data.args.get(1).and_then(|w| graph.as_const(*w))) else {
            continue;
        };
        let (axis, each) = match &input.windows {
            None => (graph.ty(input.value).shape.rank() - 1, 1),
            Some(geometry) => (1, geometry.window.taps()),
        };
        let order = orders.of_value(graph, input.value, axis, each).filter(|_| done.insert(id));
        if let (Some(order), Some(seen)) = (order, statistics.layers.get_mut(&graph.const_data(id).name)) {
            *seen = Arc::new(seen.permuted(&order));
        }
    }
}

impl Pass for Reorder {
    fn options(&self) -> Vec<(&'static str, String)> {
        let name = |name: &str| name.to_owned();
        vec![
            ("cols", self.cols.to_string()),
            ("per", name(self.per.name())),
            ("score", name(self.rule.name())),
            ("heads", name(self.heads.name())),
        ]
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.order(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        self.order(graph, cx)
    }
}
