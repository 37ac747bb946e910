//! Whether layers as they are stored are computed as fast as the same layers in 16 bits, on this machine.
//!
//! Of all quantised layers of one shape and layout the one with most weak columns is timed, by itself, on the path that
//! artifacts take: with one token as a step of decoding, with more as a piece of a prompt. The same layer with f16 weights
//! runs in turn with it; the best of several runs of each is compared, with caches that hold nothing of either before.

use crate::evaluator::Compiled;
use actc_ir::eval::new_tokens;
use actc_ir::ops::linear::Linear;
use actc_ir::{Const, Graph, NodeData, Op, TensorType};
use actc_runtime::{Model, Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Dim, Encoding, Mixed, Result, Role, Shape, Tensor};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Numbers of tokens at which layers are timed.
pub const TOKENS: [u64; 5] = [1, 4, 16, 64, 512];

/// How much longer than in 16 bits a layer may take.
pub const TOLERANCE: f64 = 1.03;

/// Fewest weights of a layer that is timed: smaller ones take less time than a clock tells apart.
const LEAST: usize = 1 << 17;

/// Most bytes of a layer's 16-bit form that is timed as a piece of a prompt.
const MOST: usize = 128 << 20;

/// Runs of each form; those that seem slower get as many again until it is certain.
const RUNS: usize = 7;

/// Time after which no further runs are begun.
const PATIENCE: Duration = Duration::from_millis(600);

/// How layers of one shape and layout did.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// The layer that was timed.
    pub layer: String,
    /// Layers of its shape and layout, itself included.
    pub layers: usize,
    /// Tokens.
    pub tokens: u64,
    /// Its time over that of 16 bits.
    pub ratio: f64,
}

impl Timing {
    /// Whether the layer is slower than in 16 bits by more than is tolerated.
    pub fn lost(&self) -> bool {
        self.ratio > TOLERANCE
    }
}

/// Times the quantised linear layers of `graph` in code by `evaluator`.
pub fn time_layers(graph: &Graph, evaluator: &Compiled, threads: usize) -> Result<Vec<Timing>> {
    let mut timings = Vec::new();
    let mut cold = vec![1u64; 8 << 20];
    for (node, weight, layers) in shapes(graph)? {
        let (rows, cols) = weight.matrix()?;
        let half = half_precision(rows, cols)?;
        // Dense weights are computed with activations as they come.
        let forms = [(node.op.clone(), weight.clone()), (Op::Linear(Linear::F32), half)];
        // A step of decoding is code for one token, a piece of a prompt code for any number.
        let symbol = new_tokens();
        let (step, prompt) = TOKENS.split_at(1);
        let mut sizes = vec![(Dim::from(1), step)];
        if 2 * rows * cols <= MOST {
            sizes.push((Dim::sym(symbol.as_str()), prompt));
        }
        for (dim, counts) in sizes {
            let [stored, dense] =
                [0, 1].map(|i| evaluator.model(&layer(forms[i].0.clone(), forms[i].1.clone(), dim.clone(), cols)?));
            let (stored, dense) = (stored?, dense?);
            for tokens in counts.iter().copied() {
                let mut stored = Timed::new(&stored, tokens, cols, threads)?;
                let mut dense = Timed::new(&dense, tokens, cols, threads)?;
                let ratio = compare(&mut stored, &mut dense, &mut cold)?;
                timings.push(Timing { layer: weight.name.clone(), layers, tokens, ratio });
            }
        }
    }
    Ok(timings)
}

/// A layer of each shape and layout, its weight, and how many layers there are of it.
fn shapes(graph: &Graph) -> Result<Vec<(&NodeData, &Const, usize)>> {
    let mut found: BTreeMap<String, (&NodeData, &Const, usize)> = BTreeMap::new();
    for node in graph.order() {
        let data = graph.node(*node);
        let Op::Linear(linear) = &data.op else { continue };
        let Some(id) = data.args.get(1).and_then(|weight| graph.as_const(*weight)) else { continue };
        let weight = graph.const_data(id);
        let (rows, cols) = weight.matrix()?;
        if rows * cols < LEAST {
            continue;
        }
        let layout = match &weight.encoding {
            Encoding::Packed(_) => weight.encoding.clone(),
            Encoding::Mixed(m) => Encoding::Mixed(Mixed { cols: m.cols.min(1), ..m.clone() }),
            Encoding::Dense | Encoding::Block(_) => continue,
        };
        let entry = found.entry(format!("{rows} {cols} {:?} {layout}", linear.act)).or_insert((data, weight, 0));
        entry.2 += 1;
        if weak_columns(weight) > weak_columns(entry.1) {
            (entry.0, entry.1) = (data, weight);
        }
    }
    Ok(found.into_values().collect())
}

fn weak_columns(weight: &Const) -> u32 {
    match &weight.encoding {
        Encoding::Mixed(m) => m.cols,
        Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) => 0,
    }
}

/// A matrix in f16. What it holds does not matter.
fn half_precision(rows: usize, cols: usize) -> Result<Const> {
    let ty = TensorType::new(DType::F16, Shape::fixed(&[rows as u64, cols as u64]));
    Const::new("half", ty, Encoding::Dense, vec![(Role::Data, Bytes::from(vec![0; 2 * rows * cols]))])
}

/// The graph of a layer by itself, for `tokens` tokens.
fn layer(op: Op, weight: Const, tokens: Dim, cols: usize) -> Result<Graph> {
    let mut graph = Graph::new("layer");
    let x = graph.input("x", TensorType::new(DType::F32, Shape(vec![tokens, Dim::from(cols as u64)])));
    let weight = graph.constant(weight);
    let y = graph.add(op, &[x, weight], "layer")?;
    graph.output("y", y);
    Ok(graph)
}

/// A layer by itself, ready to run.
struct Timed {
    session: Session,
    input: Tensor,
    bindings: Bindings,
    best: f64,
}

impl Timed {
    fn new(model: &Arc<Model>, tokens: u64, cols: usize, threads: usize) -> Result<Timed> {
        let bindings = if tokens == 1 { Bindings::new() } else { Bindings::from([(new_tokens(), tokens)]) };
        let options = SessionOptions { threads, state_capacity: bindings.clone(), ..SessionOptions::default() };
        let session = Session::new(model.clone(), options)?;
        let values = (0..tokens as usize * cols).map(|i| (i * 7919 % 257) as f32 / 128.0 - 1.0).collect();
        let input = Tensor::f32(&[tokens, cols as u64], values)?;
        Ok(Timed { session, input, bindings, best: f64::INFINITY })
    }

    fn run(&mut self, cold: &mut [u64]) -> Result<()> {
        cold.iter_mut().for_each(|word| *word = word.wrapping_add(1));
        black_box(&mut *cold);
        let started = Instant::now();
        self.session.execute("forward", &[&self.input], &self.bindings)?;
        self.best = self.best.min(started.elapsed().as_secs_f64());
        Ok(())
    }
}

/// The best time of `stored` over that of `dense`.
fn compare(stored: &mut Timed, dense: &mut Timed, cold: &mut [u64]) -> Result<f64> {
    let mut ratio = 0.0;
    for _ in 0..3 {
        let started = Instant::now();
        for _ in 0..RUNS {
            stored.run(cold)?;
            dense.run(cold)?;
            if started.elapsed() > PATIENCE {
                break;
            }
        }
        ratio = stored.best / dense.best;
        if ratio <= TOLERANCE {
            break;
        }
    }
    Ok(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::{Group, Packed};

    #[test]
    fn layers_of_one_layout_are_timed_once() {
        let mut graph = Graph::new("g");
        let (rows, cols) = (256u64, 512u64);
        let x = graph.input("x", TensorType::new(DType::F32, Shape(vec![Dim::sym("S"), Dim::from(cols)])));
        let packed = Packed::new(4, Group::Columns(64));
        for i in 0..3 {
            let ty = TensorType::new(DType::F16, Shape::fixed(&[rows, cols]));
            let encoding = Encoding::Packed(packed.clone());
            let parts = encoding.parts(DType::F16, rows as usize, cols as usize).unwrap();
            let parts = parts.into_iter().map(|(role, n)| (role, Bytes::from(vec![0; n as usize]))).collect();
            let weight = graph.constant(Const::new(format!("w{i}"), ty, encoding, parts).unwrap());
            let y = graph.add(Op::Linear(Linear::F32), &[x, weight], "y").unwrap();
            graph.output(format!("y{i}"), y);
        }
        let timings = time_layers(&graph, &Compiled::new(1), 1).unwrap();
        assert_eq!(timings.iter().map(|t| t.tokens).collect::<Vec<_>>(), TOKENS);
        assert!(timings.iter().all(|t| t.layers == 3 && t.ratio > 0.0 && t.ratio.is_finite()), "{timings:?}");
    }
}
