//! `owq`: the most sensitive columns of every linear weight stay in 16 bits, the rest is swept (Lee et al., 2024).

use super::super::bias;
use super::super::budget::{
    Count, Layer as Share, another_fits, by_gain, equal_shares, falling, further, published, published_ratio,
};
use super::super::encode::decode;
use super::super::layers::Layer;
use super::super::plan::Weights;
use super::super::sensitivity::{energy as energy_of, scores};
use super::super::sequential::{Method, Scheme, run};
use super::{BIAS, Biases, Codes, DRIFT, GRID, GROUP, GridSearch, LAYERS, account, drift, eligible};
use crate::calibrate::of_layer;
use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::{Offer, PassReport, Progress};
use actc_ir::{Graph, Op};
use actc_types::braced::Fields;
use actc_types::{Diagnostic, Place, Result, WeakPlace};

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "owq",
    summary: "keep the most sensitive weight columns in 16 bits and quantise the rest, compensating errors",
    phase: Phase::Quantise,
    options: &[
        OptionDoc { name: "bits", default: "4", doc: "bits of a code, 1 to 8" },
        GROUP,
        GRID,
        DRIFT,
        BIAS,
        OptionDoc {
            name: "target",
            default: "bits + 0.1",
            doc: "bits a weight, counting codes and the extra bits of 16-bit columns",
        },
        OptionDoc {
            name: "stored",
            default: "",
            doc: "bits a weight, counting every stored part; instead of `target`",
        },
        OptionDoc {
            name: "budget",
            default: "gain",
            doc: "how layers share the bits: by `gain` over the whole model, `equal` shares, or `upstream`'s rule",
        },
    ],
    needs: Facts::STATISTICS,
    gives: Facts::QUANTISED,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| Ok(Box::new(Owq::read(fields)?)),
};

/// How layers share the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Equal,
    Gain,
    Upstream,
}

impl Sharing {
    const ALL: [Sharing; 3] = [Sharing::Equal, Sharing::Gain, Sharing::Upstream];

    fn name(self) -> &'static str {
        match self {
            Sharing::Equal => "equal",
            Sharing::Gain => "gain",
            Sharing::Upstream => "upstream",
        }
    }
}

struct Owq {
    codes: Codes,
    search: GridSearch,
    /// Share of the input drift that weights follow.
    drift: f32,
    biases: Biases,
    count: Count,
    /// Bits a weight.
    budget: f64,
    sharing: Sharing,
}

impl Owq {
    fn read(fields: &mut Fields<'_>) -> Result<Owq> {
        let codes = Codes::read(fields, 4)?;
        let search = GridSearch::read(fields)?;
        let drift = drift(fields)?;
        let biases = Biases::read(fields)?;
        let finite = |v: &str| v.parse().ok().filter(|b: &f64| b.is_finite() && *b > 0.0 && *b <= 64.0);
        let target = fields.with("target", "a number of bits", finite)?;
        let stored = fields.with("stored", "a number of bits", finite)?;
        let sharing = fields.choice("budget", &Sharing::ALL, Sharing::name)?.unwrap_or(Sharing::Gain);
        let (count, budget) = match (target, stored) {
            (Some(_), Some(_)) => {
                return Err(Diagnostic::request("option-conflict", "`owq` takes `target` or `stored`, not both"));
            }
            (None, Some(stored)) => (Count::Stored, stored),
            (Some(target), None) => (Count::Target, target),
            (None, None) => (Count::Target, f64::from(codes.bits) + 0.1),
        };
        if sharing == Sharing::Upstream && count == Count::Stored {
            return Err(Diagnostic::request(
                "option-conflict",
                "`budget=upstream` counts as `target` does, not as `stored`",
            ));
        }
        Ok(Owq { codes, search, drift, biases, count, budget, sharing })
    }

    /// Weak columns of each layer, and what more of them would buy where that was looked at.
    fn weak(&self, graph: &Graph, cx: &mut PassCx<'_>, layers: &[Layer]) -> Result<(Vec<u32>, Option<Vec<Offer>>)> {
        let body = self.codes.body();
        let shares = layers
            .iter()
            .map(|l| {
                let constant = graph.const_data(l.weight);
                let (rows, cols) = constant.matrix()?;
                let most = cx.ordered.get(&constant.name).map_or(cols, |n| *n as usize);
                Ok(Share { rows, cols, body, place: place(cx, &constant.name), most })
            })
            .collect::<Result<Vec<_>>>()?;
        match self.sharing {
            Sharing::Equal => Ok((self.spent(&shares, equal_shares(&shares, self.budget, self.count)?)?, None)),
            Sharing::Gain => {
                // Gains need numbers; equal shares spend the same bits.
                if let Some(forecast) = &mut cx.forecast {
                    forecast.equal_shares = true;
                    return Ok((self.spent(&shares, equal_shares(&shares, self.budget, self.count)?)?, None));
                }
                let gains = self.gains(graph, cx, layers)?;
                let weak = self.spent(&shares, by_gain(&shares, self.budget, self.count, &gains)?)?;
                let more = further(&shares, &weak, MEGABYTE, &gains)?;
                let offers = offers(&weak, &more, &gains);
                Ok((weak, Some(offers)))
            }
            Sharing::Upstream => {
                // Refuses a budget below the floor as the other rules do.
                equal_shares(&shares, self.budget, self.count)?;
                let attentions =
                    graph.order().iter().filter(|n| matches!(graph.node(**n).op, Op::Attention(_))).count();
                let in_block = layers.len() / attentions.max(1);
                let width = residual_width(graph).unwrap_or_else(|| shares.iter().map(|s| s.cols).min().unwrap_or(0));
                let rule = |s: &Share| {
                    let ratio = published_ratio(in_block, width, s.rows, s.cols);
                    published(s.cols, self.codes.bits, self.budget, in_block, ratio)
                };
                let weak: Vec<u32> = shares.iter().map(rule).collect();
                if let Some(i) = (0..weak.len()).find(|i| weak[*i] as usize > shares[*i].most) {
                    let (wanted, most) = (weak[i], shares[i].most);
                    let headline =
                        format!("`budget=upstream` asks for {wanted} weak columns, `reorder` ordered {most}");
                    return Err(Diagnostic::request("option-conflict", headline)
                        .at(Place::Tensor(graph.const_data(layers[i].weight).name.clone()))
                        .help("ask `reorder` for more `cols`, or for another `budget`"));
                }
                Ok((weak, None))
            }
        }
    }

    /// The columns `weak`, unless the budget would buy more than `reorder` ordered in any layer.
    fn spent(&self, shares: &[Share], weak: Vec<u32>) -> Result<Vec<u32>> {
        let full = shares.iter().zip(&weak).all(|(s, n)| *n as usize == s.most);
        if full && shares.iter().any(|s| s.most < s.cols) && another_fits(shares, &weak, self.budget, self.count)? {
            let (name, most) = (self.count.name(), weak.iter().max().copied().unwrap_or(0));
            let headline =
                format!("`{name}={}` asks for more weak columns than the {most} that `reorder` ordered", self.budget);
            return Err(Diagnostic::request("option-conflict", headline)
                .help("ask `reorder` for more `cols`, or for fewer bits"));
        }
        Ok(weak)
    }

    /// For each layer, what each next weak column saves of its output energy, by the channel statistics alone.
    fn gains(&self, graph: &Graph, cx: &mut PassCx<'_>, layers: &[Layer]) -> Result<Vec<Vec<f64>>> {
        let mut gains = Vec::with_capacity(layers.len());
        for (done, layer) in layers.iter().enumerate() {
            let constant = graph.const_data(layer.weight);
            (cx.progress)(Progress { stage: "owq budget", item: &constant.name, done, total: layers.len() });
            let all = of_layer(cx.statistics.as_ref(), &constant.name, "`budget=gain`")?.all();
            let mut square = all.mean_square();
            if layer.bias.is_some() {
                square.iter_mut().zip(all.mean()).for_each(|(s, m)| *s = (*s - bias::SHARE * m * m).max(0.0));
            }
            let square: Vec<f32> = square.iter().map(|v| *v as f32).collect();
            let (data, cols) = decode(constant)?;
            let (mut gain, mut energy) = (vec![0.0; cols], 0.0);
            let rows = data.chunks_exact((data.len() / layer.groups).max(1));
            // Each group meets channels of its own.
            for (data, square) in rows.zip(square.chunks_exact(cols)) {
                let weights = Weights::new(data, cols).map_err(|d| d.at(Place::Tensor(constant.name.clone())))?;
                energy += energy_of(weights, square);
                let own = scores(weights, square, self.codes.grid(self.search));
                gain.iter_mut().zip(own).for_each(|(g, s)| *g += s);
            }
            match place(cx, &constant.name) {
                WeakPlace::Scattered => gain.sort_by(|a, b| b.total_cmp(a)),
                // The last column is the first to be weak.
                WeakPlace::Suffix => gain = falling(gain.into_iter().rev()),
            }
            gain.iter_mut().for_each(|g| *g /= energy.max(f64::MIN_POSITIVE));
            gains.push(gain);
        }
        Ok(gains)
    }
}

/// Where the weak columns of the weight `name` lie.
fn place(cx: &PassCx<'_>, name: &str) -> WeakPlace {
    if cx.ordered.contains_key(name) { WeakPlace::Suffix } else { WeakPlace::Scattered }
}

/// A megabyte, as sizes of files are told.
const MEGABYTE: u64 = 1_000_000;

/// What bytes more would buy of each layer that has `weak` columns and would have `more`; `gains` of each next one.
fn offers(weak: &[u32], more: &[u32], gains: &[Vec<f64>]) -> Vec<Offer> {
    let of = |((weak, more), gains): ((&u32, &u32), &Vec<f64>)| {
        let left = gains.get(*weak as usize..).unwrap_or_default();
        let columns = more - weak;
        Offer {
            column: left.first().copied().unwrap_or(0.0),
            // A bit halves the step, and the squared error goes with its square.
            bit: 0.75 * left.iter().sum::<f64>(),
            columns,
            columns_gain: left[..columns as usize].iter().sum(),
        }
    };
    weak.iter().zip(more).zip(gains).map(of).collect()
}

/// Width of the residual stream: what the first embedding gives.
fn residual_width(graph: &Graph) -> Option<usize> {
    let node = graph.order().iter().find(|n| matches!(graph.node(**n).op, Op::Embedding(_)))?;
    let result = *graph.node(*node).results.first()?;
    graph.ty(result).shape.last()?.fixed().map(|w| w as usize)
}

impl Pass for Owq {
    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = self.codes.options();
        options.push(("grid", self.search.name().into()));
        options.push(("drift", self.drift.to_string()));
        options.push(("bias", self.biases.name().into()));
        options.push((self.count.name(), self.budget.to_string()));
        options.push(("budget", self.sharing.name().into()));
        options
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        cx.samples()?;
        let mut survey = eligible(graph, LAYERS)?;
        self.biases.choose(&mut survey.eligible);
        let (weak, offers) = self.weak(graph, cx, &survey.eligible)?;
        let (body, grid) = (self.codes.body(), self.codes.grid(self.search));
        let scheme = |(weak, layer): (u32, &Layer)| {
            let place = place(cx, &graph.const_data(layer.weight).name);
            Scheme { body, grid, weak, place }
        };
        let schemes: Vec<Scheme> = weak.into_iter().zip(&survey.eligible).map(scheme).collect();
        let method = Method::Sweep { drift: self.drift };
        let mut done = run("owq", graph, cx, &survey.eligible, &schemes, method)?;
        for (report, offer) in done.iter_mut().zip(offers.into_iter().flatten()) {
            report.measured.offer = Some(offer);
        }
        Ok(account(graph, &survey, LAYERS, done))
    }
}
