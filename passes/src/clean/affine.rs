//! Numbers that each channel of a convolution or a linear layer is multiplied by or that are added to it, made part of its
//! weight and bias: batch normalisation, biases that are written as additions, scales of layers.
//!
//! A chain of up to 64 such ops is folded as far as constants go, at once: `w' = s w`, `b' = s b + t`, in f64 and rounded once. Of a
//! linear layer the chain may lie behind a reshape that keeps channels. Left alone are results that somebody else reads, and
//! factors on weights that are not dense f32, that another layer shares, or that would not be finite; numbers that are only
//! added before the first factor fit any weight.

use super::findings::Findings;
use super::look::{channels, dense};
use super::rewrite::Rewrite;
use crate::uses::Uses;
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::ops::pointwise::{Binary, BinaryFunction};
use actc_ir::ops::shaping::Reshape;
use actc_ir::{Const, Graph, Node, NodeData, Op, TensorType, Value};
use actc_types::{DType, Encoding, Result, Role, Shape};

/// Ops behind a layer that are taken in at once.
const LONGEST: usize = 64;

/// What stands behind a layer: its result times `factor`, plus `shift`, channel by channel, is `end`.
#[derive(Clone)]
struct Chain {
    end: Value,
    factor: Option<Vec<f64>>,
    shift: Vec<f64>,
}

pub(super) fn affine(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let uses = Uses::of(graph);
    let order = graph.order().to_vec();
    let mut rewrite = Rewrite::new(graph, "affine");
    for node in order {
        let graph = rewrite.graph();
        let Some((axis, count)) = channels_of(graph, node) else { continue };
        let Some((plain, whole)) = follow(graph, &uses, node, axis, count) else { continue };
        let data = graph.node(node).clone();
        let bias = match data.args.get(2) {
            None => Some(vec![0.0; count]),
            Some(bias) => channels(graph, *bias, 1, 0, count),
        };
        let Some(bias) = bias else {
            findings.left("numbers behind layers", "a bias is computed");
            continue;
        };
        let mut scaled = None;
        let mut refusal = whole.factor.as_deref().and_then(|factor| refusal(graph, &uses, data.args[1], factor));
        if let (None, Some(factor)) = (refusal, &whole.factor) {
            scaled = scaled_weight(graph, &data, factor, findings)?;
            refusal = scaled.is_none().then_some("a weight would not be finite");
        }
        if let Some(why) = refusal {
            findings.left("factors behind layers", why);
        }
        let chain = if refusal.is_none() { Some(whole) } else { plain };
        let Some(chain) = chain else { continue };
        if !findings.take(4 * count as u64) {
            findings.left("numbers behind layers", "no room for more constants");
            continue;
        }
        let name = graph.as_const(data.args[1]).map_or("", |id| graph.const_data(id).name.as_str());
        let name = findings.fresh(&format!("{name}.bias"));
        if let Some(weight) = scaled {
            rewrite.set_constant(data.args[1], weight)?;
        }
        let factor = |m: usize| chain.factor.as_ref().map_or(1.0, |f| f[m]);
        let bytes = bias
            .iter()
            .zip(&chain.shift)
            .enumerate()
            .flat_map(|(m, (b, t))| ((b * factor(m) + t) as f32).to_le_bytes());
        let ty = TensorType::new(DType::F32, Shape::fixed(&[count as u64]));
        let bias = findings.constant(name, ty, Encoding::Dense, vec![(Role::Data, bytes.collect())])?;
        let bias = rewrite.constant(bias);
        let mut new = rewrite.add(data.op, &[data.args[0], data.args[1], bias], data.results[0])?;
        let wanted = rewrite.graph().ty(chain.end).clone();
        if *rewrite.graph().ty(new) != wanted {
            new = rewrite.add(Op::Reshape(Reshape { shape: wanted.shape }), &[new], chain.end)?;
        }
        rewrite.replace(chain.end, new);
        findings.made("numbers taken into layers");
    }
    rewrite.apply()
}

/// The axis of channels of a layer's result, and how many there are.
fn channels_of(graph: &Graph, node: Node) -> Option<(usize, usize)> {
    let data = graph.node(node);
    let shape = &graph.ty(*data.results.first()?).shape;
    let axis = match &data.op {
        Op::Conv(_) | Op::ConvTranspose(_) => 1,
        Op::Linear(Linear { act: Act::F32 }) => shape.rank().checked_sub(1)?,
        _another_op => return None,
    };
    let count = usize::try_from(shape.dims().get(axis)?.fixed()?).ok()?;
    let single = graph.ty(data.results[0]).dtype == DType::F32;
    (single && graph.as_const(data.args[1]).is_some() && count > 0).then_some((axis, count))
}

/// What stands behind a layer with `count` channels along `axis`: up to the first factor, where something is, and in all.
fn follow(graph: &Graph, uses: &Uses, node: Node, axis: usize, count: usize) -> Option<(Option<Chain>, Chain)> {
    let result = graph.node(node).results[0];
    let ends_in_channels = axis + 1 == graph.ty(result).shape.rank();
    let mut chain = Chain { end: result, factor: None, shift: vec![0.0; count] };
    let (mut at, mut axis, mut plain) = (result, axis, None);
    for _ in 0..LONGEST {
        let Some(user) = uses.sole(at) else { break };
        let data = graph.node(user);
        let [next] = data.results[..] else { break };
        match &data.op {
            Op::Reshape(_) if ends_in_channels => {
                let shape = &graph.ty(next).shape;
                if shape.last() != graph.ty(at).shape.last() {
                    break;
                }
                (at, axis) = (next, shape.rank() - 1);
            }
            Op::Binary(Binary { function }) => {
                let first = data.args[0] == at;
                let other = if first { data.args[1] } else { data.args[0] };
                let (here, there) = (graph.ty(at), graph.ty(next));
                let Some(numbers) = channels(graph, other, here.shape.rank(), axis, count).filter(|_| here == there)
                else {
                    break;
                };
                if !chain.extend(*function, first, &numbers) {
                    break;
                }
                (at, chain.end) = (next, next);
                if chain.factor.is_none() {
                    plain = Some(chain.clone());
                }
            }
            _another_op => break,
        }
    }
    (chain.end != result).then_some((plain, chain))
}

impl Chain {
    /// Takes in `function` of the chain's end and `numbers`; `first` says whether the end is the first argument. Not if it is no
    /// factor and no shift.
    fn extend(&mut self, function: BinaryFunction, first: bool, numbers: &[f64]) -> bool {
        type Factor = fn(f64) -> f64;
        let (factor, shift): (Option<Factor>, fn(f64, f64) -> f64) = match (function, first) {
            (BinaryFunction::Add, _) => (None, |t, n| t + n),
            (BinaryFunction::Sub, true) => (None, |t, n| t - n),
            (BinaryFunction::Sub, false) => (Some(|_| -1.0), |t, n| n - t),
            (BinaryFunction::Mul, _) => (Some(|n| n), |t, n| t * n),
            (BinaryFunction::Div, true) => (Some(|n| 1.0 / n), |t, n| t / n),
            _another_function => return false,
        };
        self.shift.iter_mut().zip(numbers).for_each(|(t, n)| *t = shift(*t, *n));
        if let Some(factor) = factor {
            let all = self.factor.get_or_insert_with(|| vec![1.0; numbers.len()]);
            all.iter_mut().zip(numbers).for_each(|(f, n)| *f *= factor(*n));
        }
        true
    }
}

/// Why factors on the rows of weight `value` cannot become part of it.
fn refusal(graph: &Graph, uses: &Uses, value: Value, factor: &[f64]) -> Option<&'static str> {
    match dense(graph, value) {
        Some(constant) if constant.ty.dtype == DType::F32 => {}
        Some(_) | None => return Some("their weights are not dense f32"),
    }
    if !uses.owned(graph, value) {
        return Some("their weights have other users");
    }
    let finite = |f: &f64| f.is_finite() && f.abs() < f64::from(f32::MAX);
    (!factor.iter().all(finite)).then_some("the factors are not finite")
}

/// The weight of the layer `data` with each output channel times its factor; `None` where a finite element would not stay so.
fn scaled_weight(graph: &Graph, data: &NodeData, factor: &[f64], findings: &Findings<'_>) -> Result<Option<Const>> {
    let id = graph.as_const(data.args[1]).expect("only layers with constant weights are found");
    let constant = graph.const_data(id);
    let dims = constant.fixed_dims()?;
    let taps: usize = dims.iter().skip(2).product::<u64>() as usize;
    // Elements of one output channel side by side, and which channel a run of them is of.
    let channel: Box<dyn Fn(usize) -> usize> = match &data.op {
        Op::ConvTranspose(conv) => {
            let (groups, outs) = (conv.0.groups.max(1) as usize, dims[1] as usize);
            let own = dims[0] as usize / groups;
            Box::new(move |run| run / outs / own * outs + run % outs)
        }
        _rows_are_channels => {
            let inputs = dims[1] as usize;
            Box::new(move |run| run / inputs)
        }
    };
    let mut bytes = Vec::with_capacity(constant.parts[0].1.len());
    for (i, w) in constant.parts[0].1.chunks_exact(4).enumerate() {
        let w = f32::from_le_bytes([w[0], w[1], w[2], w[3]]);
        let new = (f64::from(w) * factor[channel(i / taps)]) as f32;
        if w.is_finite() && !new.is_finite() {
            return Ok(None);
        }
        bytes.extend(new.to_le_bytes());
    }
    let parts = vec![(Role::Data, bytes)];
    findings.constant(constant.name.clone(), constant.ty.clone(), Encoding::Dense, parts).map(Some)
}
