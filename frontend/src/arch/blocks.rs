//! Blocks that families share: embeddings, norms, attention with or without a cache, feed-forward layers, heads.
//!
//! They only compose ordinary ops; nothing here is known to passes. Shapes: the residual stream is `[S, width]`, heads are
//! `[S, heads, head]`, caches are `[P, kv_heads, head]`. `S` counts new tokens and `P` past ones.

use super::weights::{Name, Weights};
use actc_ir::ops::attention::{Attention, CacheAppend};
use actc_ir::ops::embedding::Embedding;
use actc_ir::ops::linear::Linear;
use actc_ir::ops::norm::{LayerNorm, RmsNorm};
use actc_ir::ops::pointwise::{Binary, BinaryFunction, Unary, UnaryFunction};
use actc_ir::ops::rope::Rope;
use actc_ir::ops::shaping::{Range, Reshape};
use actc_ir::{Graph, Op, TensorType, Value};
use actc_types::{DType, Diagnostic, Dim, Result, Shape};

/// Largest count or width that a model may name; products of two stay far below 2^63.
const MAX_SIZE: u64 = 1 << 28;

/// Most layers that a model may name: lists of them are made before a tensor is looked up.
const MAX_LAYERS: u64 = 1 << 14;

/// `value` where it is a plausible size: 1 to 2^28.
pub fn size(what: &str, value: u64) -> Result<u64> {
    if (1..=MAX_SIZE).contains(&value) {
        return Ok(value);
    }
    Err(Diagnostic::new("arch-size", format!("`{what}` is {value}, expected 1 to {MAX_SIZE}")))
}

/// Sizes that families have in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Sizes {
    /// Number of layers.
    pub layers: u64,
    /// Width of the residual stream.
    pub width: u64,
    /// Number of query heads.
    pub heads: u64,
    /// Number of key and value heads; divides `heads`.
    pub kv_heads: u64,
    /// Width of a head.
    pub head: u64,
    /// Width of the feed-forward layer.
    pub hidden: u64,
    /// Number of tokens.
    pub vocabulary: u64,
    /// Longest context.
    pub context: u64,
    /// Added to the mean square in norms.
    pub eps: f64,
}

impl Sizes {
    /// The same sizes, each plausible and the heads divisible.
    pub fn checked(self) -> Result<Sizes> {
        if self.layers > MAX_LAYERS {
            let headline = format!("`number of layers` is {}, expected 1 to {MAX_LAYERS}", self.layers);
            return Err(Diagnostic::new("arch-size", headline));
        }
        for (what, value) in [
            ("number of layers", self.layers),
            ("width", self.width),
            ("number of heads", self.heads),
            ("number of key and value heads", self.kv_heads),
            ("width of a head", self.head),
            ("width of the feed-forward layer", self.hidden),
            ("size of the vocabulary", self.vocabulary),
            ("context", self.context),
        ] {
            size(what, value)?;
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let headline = format!("{} heads are no multiple of {} key and value heads", self.heads, self.kv_heads);
            return Err(Diagnostic::new("arch-size", headline));
        }
        if !self.eps.is_finite() || self.eps < 0.0 {
            return Err(Diagnostic::new("arch-size", format!("the epsilon of the norms is {}", self.eps)));
        }
        Ok(self)
    }

    /// Width of all query heads together.
    pub fn q_width(&self) -> u64 {
        self.heads * self.head
    }

    /// Width of all key heads together.
    pub fn kv_width(&self) -> u64 {
        self.kv_heads * self.head
    }
}

/// A graph under construction.
pub struct Transformer<'w, 'a> {
    /// The graph so far.
    pub graph: Graph,
    /// Where its weights come from.
    pub weights: &'w mut Weights<'a>,
    /// Positions of the new tokens, where something asked for them, by their first.
    positions: Vec<(Dim, Value)>,
    sizes: Sizes,
}

/// How one layer attends.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Rotary embedding of queries and keys, with the divisors of its frequencies.
    pub rope: Option<(Rope, Option<Value>)>,
    /// Norms of queries and keys.
    pub norms: Option<HeadNorms>,
    /// Factor on the scores.
    pub scale: f64,
    /// Number of latest keys a query sees, where limited.
    pub window: Option<u32>,
    /// Whether tokens see past ones through a cache and are blind to later ones; else all new ones see each other.
    pub causal: bool,
}

/// Over what the root-mean-square norms of queries and keys run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HeadNorms {
    /// Each head by itself; the number is added to the stored weights.
    Each(f32),
    /// All heads together.
    Whole,
}

/// Names of the projections of an attention layer.
#[derive(Clone, Debug)]
pub struct Projections {
    /// Queries.
    pub q: Name,
    /// Keys.
    pub k: Name,
    /// Values.
    pub v: Name,
    /// Output.
    pub o: Name,
    /// Norms of queries and of keys, where the family has them.
    pub norms: [Name; 2],
}

impl Projections {
    /// The names that Llama and its kin have in layer `i`.
    pub fn separate(i: u64) -> Projections {
        Projections {
            q: Name::layer(i, "attn_q", "self_attn.q_proj"),
            k: Name::layer(i, "attn_k", "self_attn.k_proj"),
            v: Name::layer(i, "attn_v", "self_attn.v_proj"),
            o: Name::layer(i, "attn_output", "self_attn.o_proj"),
            norms: [
                Name::layer(i, "attn_q_norm", "self_attn.q_norm"),
                Name::layer(i, "attn_k_norm", "self_attn.k_norm"),
            ],
        }
    }

    /// One tensor `qkv` that holds the rows of queries, keys and values in this order.
    pub fn fused(self, sizes: &Sizes, qkv: &Name) -> Projections {
        let (q, kv) = (sizes.q_width(), sizes.kv_width());
        let part = |label, start| qkv.clone().part(label, start, q + 2 * kv);
        Projections { q: part("q", 0), k: part("k", q), v: part("v", q + kv), ..self }
    }
}

/// Names of a gated feed-forward layer.
#[derive(Clone, Debug)]
pub struct Gated {
    /// What goes through the activation.
    pub gate: Name,
    /// What it is multiplied with.
    pub up: Name,
    /// The way back.
    pub down: Name,
}

impl Gated {
    /// The names that Llama and its kin have in layer `i`.
    pub fn separate(i: u64) -> Gated {
        Gated {
            gate: Name::layer(i, "ffn_gate", "mlp.gate_proj"),
            up: Name::layer(i, "ffn_up", "mlp.up_proj"),
            down: Name::layer(i, "ffn_down", "mlp.down_proj"),
        }
    }
}

impl<'w, 'a> Transformer<'w, 'a> {
    /// A graph with the input `tokens: i64[S]`; gives it with the embedded tokens times `scale`, `[S, width]`, and the
    /// table `[vocabulary, width]`.
    pub fn new(
        name: &str,
        weights: &'w mut Weights<'a>,
        sizes: &Sizes,
        table: &Name,
        width: u64,
        scale: f64,
    ) -> Result<(Transformer<'w, 'a>, Value, Value)> {
        let mut graph = Graph::new(name);
        let tokens = graph.input("tokens", TensorType::new(DType::I64, Shape(vec![Dim::sym("S")])));
        let table = weights.matrix(&mut graph, table, sizes.vocabulary, width)?;
        let x = graph.add(Op::Embedding(Embedding { scale }), &[tokens, table], "embedding")?;
        Ok((Transformer { graph, weights, positions: Vec::new(), sizes: sizes.clone() }, x, table))
    }

    /// Consecutive integers from `first` on, one for each new token.
    fn positions(&mut self, first: Dim) -> Result<Value> {
        if let Some((_, value)) = self.positions.iter().find(|(known, _)| *known == first) {
            return Ok(*value);
        }
        let range = Range { start: first.clone(), len: Dim::sym("S") };
        let value = self.graph.add(Op::Range(range), &[], "positions")?;
        self.positions.push((first, value));
        Ok(value)
    }

    /// `x` with row `offset + position` of the table `name [rows, width]` added to each token; `past` tokens came before.
    pub fn learned_positions(&mut self, x: Value, name: &Name, rows: u64, offset: u64, past: Dim) -> Result<Value> {
        let first = past.checked_add(&Dim::from(offset));
        let first = first.ok_or_else(|| Diagnostic::new("dim-overflow", "positions exceed 63 bits"))?;
        let positions = self.positions(first)?;
        let table = self.weights.matrix(&mut self.graph, name, rows, self.sizes.width)?;
        let rows = self.graph.add(Op::Embedding(Embedding { scale: 1.0 }), &[positions, table], "positions")?;
        self.add(x, rows, "embedding_add")
    }

    /// `x W^T`, with a bias where the file has one.
    pub fn linear(&mut self, x: Value, name: &Name, rows: u64, cols: u64, origin: &str) -> Result<Value> {
        let weight = self.weights.matrix(&mut self.graph, name, rows, cols)?;
        let mut args = vec![x, weight];
        args.extend(self.weights.bias(&mut self.graph, name, rows)?);
        self.graph.add(Op::Linear(Linear::F32), &args, origin)
    }

    /// Root-mean-square norm over `n` channels, the weights shifted by `shift`.
    pub fn norm(&mut self, x: Value, name: &Name, n: u64, shift: f32, origin: &str) -> Result<Value> {
        let weight = self.weights.vector(&mut self.graph, name, n, shift)?;
        self.graph.add(Op::RmsNorm(RmsNorm { eps: self.sizes.eps }), &[x, weight], origin)
    }

    /// Layer norm over the stream's channels.
    pub fn layer_norm(&mut self, x: Value, name: &Name, origin: &str) -> Result<Value> {
        let weight = self.weights.vector(&mut self.graph, name, self.sizes.width, 0.0)?;
        let mut args = vec![x, weight];
        args.extend(self.weights.bias(&mut self.graph, name, self.sizes.width)?);
        self.graph.add(Op::LayerNorm(LayerNorm { eps: self.sizes.eps }), &args, origin)
    }

    /// `a + b`.
    pub fn add(&mut self, a: Value, b: Value, origin: &str) -> Result<Value> {
        self.graph.add(Op::Binary(Binary { function: BinaryFunction::Add }), &[a, b], origin)
    }

    fn split_heads(&mut self, x: Value, heads: u64, origin: &str) -> Result<Value> {
        let shape = Shape(vec![Dim::sym("S"), heads.into(), self.sizes.head.into()]);
        self.graph.add(Op::Reshape(Reshape { shape }), &[x], origin)
    }

    /// Projected queries or keys `y`: normed, split into `n` heads, turned.
    fn turn(&mut self, mut y: Value, norm: &Name, n: u64, heads: &Heads, origin: &str) -> Result<Value> {
        let head = self.sizes.head;
        let normed = format!("{origin}_norm");
        if let Some(HeadNorms::Whole) = heads.norms {
            y = self.norm(y, norm, n * head, 0.0, &normed)?;
        }
        y = self.split_heads(y, n, origin)?;
        if let Some(HeadNorms::Each(shift)) = heads.norms {
            y = self.norm(y, norm, head, shift, &normed)?;
        }
        let Some((rope, divisors)) = heads.rope else { return Ok(y) };
        let mut args = vec![y, self.positions(Dim::sym("P"))?];
        args.extend(divisors);
        self.graph.add(Op::Rope(rope), &args, format!("{origin}_rope"))
    }

    /// Self-attention of layer `i` over the stream `x`: projections, cache, attention, output projection.
    pub fn attention(&mut self, i: u64, x: Value, names: &Projections, heads: &Heads) -> Result<Value> {
        let Sizes { width, heads: q_heads, kv_heads, .. } = self.sizes;
        let (q_width, kv_width) = (self.sizes.q_width(), self.sizes.kv_width());
        let at = |part: &str| format!("layers.{i}.attention.{part}");
        // Side by side, so that one kernel can do all three.
        let q = self.linear(x, &names.q, q_width, width, &at("q"))?;
        let k = self.linear(x, &names.k, kv_width, width, &at("k"))?;
        let v = self.linear(x, &names.v, kv_width, width, &at("v"))?;
        let q = self.turn(q, &names.norms[0], q_heads, heads, &at("q"))?;
        let mut k = self.turn(k, &names.norms[1], kv_heads, heads, &at("k"))?;
        let mut v = self.split_heads(v, kv_heads, &at("v"))?;
        if heads.causal {
            k = self.append(&format!("k{i}"), k, &at("k_cache"))?;
            v = self.append(&format!("v{i}"), v, &at("v_cache"))?;
        }
        let attention = Attention { scale: heads.scale, causal: heads.causal, window: heads.window };
        let y = self.graph.add(Op::Attention(attention), &[q, k, v], at("scores"))?;
        let shape = Shape(vec![Dim::sym("S"), q_width.into()]);
        let y = self.graph.add(Op::Reshape(Reshape { shape }), &[y], at("out"))?;
        self.linear(y, &names.o, width, q_width, &at("out"))
    }

    /// The state `name: f32[P, kv_heads, head]`, donated to itself with `new` behind it.
    fn append(&mut self, name: &str, new: Value, origin: &str) -> Result<Value> {
        let shape = Shape(vec![Dim::sym("P"), self.sizes.kv_heads.into(), self.sizes.head.into()]);
        let old = self.graph.input(name, TensorType::new(DType::F32, shape));
        let all = self.graph.add(Op::CacheAppend(CacheAppend), &[old, new], origin)?;
        self.graph.donate(old, all);
        Ok(all)
    }

    /// Gated feed-forward layer `i` over the stream `x`: `down(f(gate x) * up x)`.
    pub fn gated(&mut self, i: u64, x: Value, names: &Gated, function: UnaryFunction) -> Result<Value> {
        let Sizes { width, hidden, .. } = self.sizes;
        let at = |part: &str| format!("layers.{i}.feed_forward.{part}");
        let gate = self.linear(x, &names.gate, hidden, width, &at("gate"))?;
        let up = self.linear(x, &names.up, hidden, width, &at("up"))?;
        let gate = self.graph.add(Op::Unary(Unary { function }), &[gate], at("gate"))?;
        let product = Op::Binary(Binary { function: BinaryFunction::Mul });
        let both = self.graph.add(product, &[gate, up], at("product"))?;
        self.linear(both, &names.down, width, hidden, &at("down"))
    }

    /// Plain feed-forward layer `i` over the stream `x`: `down(f(up x))`.
    pub fn feed_forward(&mut self, i: u64, x: Value, names: [&Name; 2], function: UnaryFunction) -> Result<Value> {
        let Sizes { width, hidden, .. } = self.sizes;
        let at = |part: &str| format!("layers.{i}.feed_forward.{part}");
        let up = self.linear(x, names[0], hidden, width, &at("up"))?;
        let up = self.graph.add(Op::Unary(Unary { function }), &[up], at("activation"))?;
        self.linear(up, names[1], width, hidden, &at("down"))
    }

    /// Names the logits of the normed stream `x [S, width]` as the output; `tied` is the embedding table where it is the
    /// head, else the head is its own matrix.
    pub fn head(mut self, x: Value, width: u64, tied: Option<Value>) -> Result<Graph> {
        let name = Name::new("output", "lm_head");
        let logits = match tied {
            Some(table) => {
                self.weights.skip(&name);
                self.graph.add(Op::Linear(Linear::F32), &[x, table], "head")?
            }
            None => self.linear(x, &name, self.sizes.vocabulary, width, "head")?,
        };
        self.graph.output("logits", logits);
        Ok(self.graph)
    }

    /// Names the stream `x` itself as the output `name`.
    pub fn finish(mut self, name: &str, x: Value) -> Graph {
        self.graph.output(name, x);
        self.graph
    }
}
