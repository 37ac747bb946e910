//! `reorder`: one order of channels for the whole network, in which the weak columns of every layer are its last ones.
//!
//! [`Classes`] says which channels have one order: those of the residual stream of a whole model, those inside each
//! feed-forward layer, those between two convolutions. Channels of a class are ordered by [`score`]: the last of them by
//! rising score, so that the weak columns of a layer, however many, are the end of its weight, and the others as they were.
//! [`Orders`] permutes every constant that has to follow, and the statistics; outputs stay what they were but for the order of
//! sums. Where channels belong to heads or keep their order for another reason, columns stay, or are looked up by an index.

mod axes;
mod classes;
mod gather;
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
use actc_types::{Diagnostic, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "reorder",
    summary: "put channels into one order for the whole network, those that matter most last",
    phase: Phase::Order,
    options: &[
        OptionDoc {
            name: "cols",
            default: "128",
            doc: "channels that stand last, by rising energy; no layer has more weak columns than there are of them",
        },
        OptionDoc {
            name: "heads",
            default: "scattered",
            doc: "where channels cannot change places, as those of heads: `scattered` leaves weak columns where they are, \
                  `gather` looks channels up when the model runs",
        },
    ],
    needs: Facts::STATISTICS,
    gives: Facts::ORDERED,
    precedes: Facts::NONE,
    // Sums of f32 come in another order.
    contract: Contract::Tolerance(1e-4),
    build: |fields| Ok(Box::new(Reorder::read(fields)?)),
};

/// What is done where channels cannot change places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heads {
    Scattered,
    Gather,
}

impl Heads {
    const ALL: [Heads; 2] = [Heads::Scattered, Heads::Gather];

    fn name(self) -> &'static str {
        match self {
            Heads::Scattered => "scattered",
            Heads::Gather => "gather",
        }
    }
}

struct Reorder {
    /// Channels of a class that stand by their score, at most.
    cols: u32,
    heads: Heads,
}

/// The layers that read the channels of a class as they are, by class.
type Readers = BTreeMap<usize, Vec<ConstId>>;

impl Reorder {
    fn read(fields: &mut Fields<'_>) -> Result<Reorder> {
        let cols = fields.with("cols", "a positive number", |v| v.parse().ok().filter(|n| *n > 0))?;
        let heads = fields.choice("heads", &Heads::ALL, Heads::name)?;
        Ok(Reorder { cols: cols.unwrap_or(128), heads: heads.unwrap_or(Heads::Scattered) })
    }

    /// Channels of a class of `width` that stand by their score. One stays before them, so that every layer has a body.
    fn count(&self, width: usize) -> usize {
        (self.cols as usize).min(width.saturating_sub(1))
    }

    /// The tail of each class that `readers` read.
    fn tails(
        &self,
        graph: &Graph,
        classes: &Classes,
        readers: &Readers,
        statistics: &Statistics,
    ) -> Result<BTreeMap<usize, Vec<u32>>> {
        let mut tails = BTreeMap::new();
        for (class, weights) in readers {
            let width = classes.all()[*class].width;
            let mut seen = Vec::with_capacity(weights.len());
            for id in weights {
                let constant = graph.const_data(*id);
                let of_layer = of_layer(Some(statistics), &constant.name, "`reorder`")?;
                seen.push((of_layer, constant.matrix()?.1));
            }
            tails.insert(*class, score::tail(&score::scores(width, seen.into_iter()), self.count(width)));
        }
        Ok(tails)
    }

    /// Orders the channels of `graph` by `tails`, or by some order where a forecast only asks whether they can be.
    fn order(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        let layers = wanted(graph);
        let looked_up = match self.heads {
            Heads::Scattered => 0,
            Heads::Gather => gather::gather(graph, &Classes::find(graph), &layers)?,
        };
        let layers = if looked_up > 0 { wanted(graph) } else { layers };
        let classes = Classes::find(graph);
        let mut readers = Readers::new();
        for layer in &layers {
            if let Ok(class) = columns(&classes, layer.weight) {
                readers.entry(class).or_default().push(layer.weight);
            }
        }
        if readers.is_empty() {
            let headline = format!("the channels of none of {} layers can change places", layers.len());
            let error = Diagnostic::new("nothing-to-reorder", headline);
            let why = layers.first().and_then(|l| columns(&classes, l.weight).err().map(|why| (l, why)));
            return Err(match why {
                Some((layer, why)) => error.help(format!("`{}`: {why}", graph.const_data(layer.weight).name)),
                None => error,
            });
        }
        let width = |class: &usize| classes.all()[*class].width;
        if cx.forecast.is_some() {
            let turned = |class: &usize| (*class, (1..width(class) as u32).chain([0]).collect());
            Orders::new(&classes, readers.keys().map(turned).collect()).check(graph)?;
            self.tell(graph, cx, &readers, width);
            return Ok(PassReport { layers: reports(graph, &classes, &layers, cx), ..PassReport::default() });
        }
        let Some(statistics) = &mut cx.statistics else {
            return Err(Diagnostic::new("statistics-missing", "`reorder` needs channel statistics"));
        };
        let tails = self.tails(graph, &classes, &readers, statistics)?;
        let by_class = tails.iter().map(|(class, tail)| (*class, score::order(width(class), tail))).collect();
        let orders = Orders::new(&classes, by_class);
        orders.apply(graph, &cx.work)?;
        follow(graph, &orders, statistics);
        self.tell(graph, cx, &readers, width);
        let named = |(class, tail): (usize, Vec<u32>)| ChannelOrder {
            name: graph.const_data(readers[&class][0]).name.clone(),
            width: width(&class) as u32,
            tail,
        };
        let mut summary = format!(
            "{} channels in {} classes stand in an order of their own, read by {} of {} layers",
            readers.keys().map(width).sum::<usize>(),
            readers.len(),
            readers.values().map(Vec::len).sum::<usize>(),
            layers.len(),
        );
        if looked_up > 0 {
            summary += &format!("; {looked_up} inputs are looked up");
        }
        let reports = reports(graph, &classes, &layers, cx);
        Ok(PassReport { summary, layers: reports, orders: tails.into_iter().map(named).collect() })
    }

    /// Tells later passes how many columns at the end of each weight stand by rising score.
    fn tell(&self, graph: &Graph, cx: &mut PassCx<'_>, readers: &Readers, width: impl Fn(&usize) -> usize) {
        cx.ordered.clear();
        for (class, weights) in readers {
            let (count, all) = (self.count(width(class)), width(class));
            for id in weights {
                let constant = graph.const_data(*id);
                let each = constant.matrix().map_or(0, |(_, cols)| cols / all.max(1));
                cx.ordered.insert(constant.name.clone(), (count * each) as u32);
            }
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
        let what = match columns(classes, layer.weight) {
            Ok(_) => {
                let count = cx.ordered.get(&constant.name).copied().unwrap_or(0);
                format!("its last {count} columns stand by rising energy")
            }
            Err(why) => format!("its columns keep their order: {why}"),
        };
        describe(constant, Status::Kept, None, Some(what))
    };
    layers.iter().map(report).collect()
}

/// Puts the statistics of every layer of `graph` into the order that its columns have now.
fn follow(graph: &Graph, orders: &Orders<'_>, statistics: &mut Statistics) {
    let mut done = BTreeSet::new();
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
        vec![("cols", self.cols.to_string()), ("heads", self.heads.name().into())]
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.order(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        self.order(graph, cx)
    }
}
