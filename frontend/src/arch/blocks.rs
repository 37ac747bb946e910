//! Blocks that decoder families share: normed projections, cached attention, gated feed-forward layers.
//!
//! They only compose ordinary ops; nothing here is known to passes. Shapes: the residual stream is `[S, width]`, heads are
//! `[S, heads, head]`, caches are `[P, kv_heads, head]`. `S` counts new tokens and `P` past ones.

use super::weights::{Name, Weights};
use actc_ir::ops::attention::{Attention, CacheAppend};
use actc_ir::ops::embedding::Embedding;
use actc_ir::ops::linear::Linear;
use actc_ir::ops::norm::RmsNorm;
use actc_ir::ops::pointwise::{Binary, BinaryFunction, Unary, UnaryFunction};
use actc_ir::ops::rope::Rope;
use actc_ir::ops::shaping::{Range, Reshape};
use actc_ir::{Graph, Op, TensorType, Value};
use actc_types::{DType, Diagnostic, Dim, Result, Shape};

/// Largest count or width that a model may name; products of two stay far below 2^63.
const MAX_SIZE: u64 = 1 << 28;

/// `value` where it is a plausible size: 1 to 2^28.
pub fn size(what: &str, value: u64) -> Result<u64> {
    if (1..=MAX_SIZE).contains(&value) {
        return Ok(value);
    }
    Err(Diagnostic::new("arch-size", format!("`{what}` is {value}, expected 1 to {MAX_SIZE}")))
}

/// Sizes that decoder families have in common.
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
        Ok(self)
    }
}

/// A language model under construction.
pub struct Decoder<'w, 'a> {
    /// The graph so far.
    pub graph: Graph,
    /// Where its weights come from.
    pub weights: &'w mut Weights<'a>,
    positions: Value,
    sizes: Sizes,
}

/// How one layer attends.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Rotary embedding of queries and keys.
    pub rope: Rope,
    /// Divisors of the rotary frequencies.
    pub divisors: Option<Value>,
    /// Norms of each query and key head: what is added to their weights, where the family has them.
    pub norms: Option<f32>,
    /// Factor on the scores.
    pub scale: f64,
    /// Number of latest keys a query sees, where limited.
    pub window: Option<u32>,
}

impl<'w, 'a> Decoder<'w, 'a> {
    /// A graph with the input `tokens: i64[S]`; gives it with the embedded tokens times `scale`, and the table.
    pub fn new(
        name: &str,
        weights: &'w mut Weights<'a>,
        sizes: &Sizes,
        scale: f64,
    ) -> Result<(Decoder<'w, 'a>, Value, Value)> {
        let mut graph = Graph::new(name);
        let (s, p) = (Dim::sym("S"), Dim::sym("P"));
        let tokens = graph.input("tokens", TensorType::new(DType::I64, Shape(vec![s.clone()])));
        let table = Name::global("token_embd", "model.embed_tokens");
        let table = weights.matrix(&mut graph, &table, sizes.vocabulary, sizes.width)?;
        let x = graph.add(Op::Embedding(Embedding { scale }), &[tokens, table], "embedding")?;
        let positions = graph.add(Op::Range(Range { start: p, len: s }), &[], "positions")?;
        Ok((Decoder { graph, weights, positions, sizes: sizes.clone() }, x, table))
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

    /// Elementwise function of two tensors.
    pub fn binary(&mut self, function: BinaryFunction, a: Value, b: Value, origin: &str) -> Result<Value> {
        self.graph.add(Op::Binary(Binary { function }), &[a, b], origin)
    }

    fn split_heads(&mut self, x: Value, heads: u64, origin: &str) -> Result<Value> {
        let shape = Shape(vec![Dim::sym("S"), heads.into(), self.sizes.head.into()]);
        self.graph.add(Op::Reshape(Reshape { shape }), &[x], origin)
    }

    /// Self-attention of layer `i` over the normed stream `x`: projections, cache, attention, output projection.
    pub fn attention(&mut self, i: u64, x: Value, heads: &Heads) -> Result<Value> {
        let Sizes { width, heads: q_heads, kv_heads, head, .. } = self.sizes;
        let at = |part: &str| format!("layers.{i}.attention.{part}");
        let q = Name::layer(i, "attn_q", "self_attn.q_proj");
        let k = Name::layer(i, "attn_k", "self_attn.k_proj");
        let v = Name::layer(i, "attn_v", "self_attn.v_proj");
        let o = Name::layer(i, "attn_output", "self_attn.o_proj");
        let q = self.linear(x, &q, q_heads * head, width, &at("q"))?;
        let k = self.linear(x, &k, kv_heads * head, width, &at("k"))?;
        let v = self.linear(x, &v, kv_heads * head, width, &at("v"))?;
        let mut q = self.split_heads(q, q_heads, &at("q"))?;
        let mut k = self.split_heads(k, kv_heads, &at("k"))?;
        let v = self.split_heads(v, kv_heads, &at("v"))?;
        if let Some(shift) = heads.norms {
            q = self.norm(q, &Name::layer(i, "attn_q_norm", "self_attn.q_norm"), head, shift, &at("q_norm"))?;
            k = self.norm(k, &Name::layer(i, "attn_k_norm", "self_attn.k_norm"), head, shift, &at("k_norm"))?;
        }
        let q = self.rope(q, heads, &at("q_rope"))?;
        let k = self.rope(k, heads, &at("k_rope"))?;
        let k = self.append(&format!("k{i}"), k, &at("k_cache"))?;
        let v = self.append(&format!("v{i}"), v, &at("v_cache"))?;
        let attention = Attention { scale: heads.scale, causal: true, window: heads.window };
        let y = self.graph.add(Op::Attention(attention), &[q, k, v], at("scores"))?;
        let shape = Shape(vec![Dim::sym("S"), (q_heads * head).into()]);
        let y = self.graph.add(Op::Reshape(Reshape { shape }), &[y], at("out"))?;
        self.linear(y, &o, width, q_heads * head, &at("out"))
    }

    fn rope(&mut self, x: Value, heads: &Heads, origin: &str) -> Result<Value> {
        let mut args = vec![x, self.positions];
        args.extend(heads.divisors);
        self.graph.add(Op::Rope(heads.rope), &args, origin)
    }

    /// The state `name: f32[P, kv_heads, head]`, donated to itself with `new` behind it.
    fn append(&mut self, name: &str, new: Value, origin: &str) -> Result<Value> {
        let shape = Shape(vec![Dim::sym("P"), self.sizes.kv_heads.into(), self.sizes.head.into()]);
        let old = self.graph.input(name, TensorType::new(DType::F32, shape));
        let all = self.graph.add(Op::CacheAppend(CacheAppend), &[old, new], origin)?;
        self.graph.donate(old, all);
        Ok(all)
    }

    /// Gated feed-forward layer `i` over the normed stream `x`: `down(f(gate x) * up x)`.
    pub fn feed_forward(&mut self, i: u64, x: Value, function: UnaryFunction) -> Result<Value> {
        let Sizes { width, hidden, .. } = self.sizes;
        let at = |part: &str| format!("layers.{i}.feed_forward.{part}");
        let gate = self.linear(x, &Name::layer(i, "ffn_gate", "mlp.gate_proj"), hidden, width, &at("gate"))?;
        let up = self.linear(x, &Name::layer(i, "ffn_up", "mlp.up_proj"), hidden, width, &at("up"))?;
        let gate = self.graph.add(Op::Unary(Unary { function }), &[gate], at("gate"))?;
        let both = self.binary(BinaryFunction::Mul, gate, up, &at("product"))?;
        self.linear(both, &Name::layer(i, "ffn_down", "mlp.down_proj"), width, hidden, &at("down"))
    }

    /// Names the logits of the normed stream `x` as the output; `tied` is the embedding table where it is the head.
    pub fn head(mut self, x: Value, tied: Option<Value>) -> Result<Graph> {
        let name = Name::global("output", "lm_head");
        let Sizes { width, vocabulary, .. } = self.sizes;
        let logits = match tied {
            Some(table) => {
                self.weights.skip(&name);
                self.graph.add(Op::Linear(Linear::F32), &[x, table], "head")?
            }
            None => self.linear(x, &name, vocabulary, width, "head")?,
        };
        self.graph.output("logits", logits);
        Ok(self.graph)
    }
}
