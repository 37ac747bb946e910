//! An artifact of a decoder of given sizes with made-up weights, to measure speed where no such model is at hand.
//!
//! ```sh
//! cargo run --release --features llvm --example decoder_shape -- llama2-7b.actc 4 128 4.1 sm_90a
//! actc bench llama2-7b.actc --trust-code --device cuda
//! ```
//!
//! Arguments: the artifact; bits of a weight, 16 for f16; columns of a group; bits of a weight with those of weak columns; the GPU that
//! code is made for. The sizes are those of Llama 2 with seven billion weights. Equal arguments give equal bytes; weights repeat
//! themselves every few megabytes.

use actc::artifact::{TextInfo, Writer};
use actc::codegen::{self, Backend, Description, Entries, Options};
use actc::ir::{Const, Graph, TensorType, lower, text};
use actc_types::{
    DType, Diagnostic, Encoding, Group, Mixed, Order, Packed, Result, Role, Shape, Target, WeakPlace, Zero,
};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const WIDTH: u64 = 4096;
const INNER: u64 = 11008;
const HEADS: u64 = 32;
const HEAD: u64 = 128;
const WORDS: u64 = 32000;
const LAYERS: usize = 32;
const CONTEXT: u64 = 4096;

/// How the matrices of layers with `cols` columns are stored.
fn encoding(bits: u8, group: u32, target: f64, cols: u64) -> Encoding {
    if bits == 16 {
        return Encoding::Dense;
    }
    let body = Packed { order: Order::Mma16, zero: Zero::Packed, ..Packed::new(bits, Group::Columns(group)) };
    // A weak column costs what it has more than the others.
    let weak = (target - f64::from(bits)) * cols as f64 / f64::from(16 - bits);
    Encoding::Mixed(Mixed { body, cols: weak as u32, place: WeakPlace::Suffix, weak: DType::F16 })
}

/// Bytes of a part, the same for the same role and length.
struct Filler(BTreeMap<(Role, u64), Bytes>);

impl Filler {
    fn part(&mut self, role: Role, dtype: DType, bytes: u64) -> Bytes {
        let make = || {
            let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ bytes;
            let mut word = || {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            };
            // Small numbers of either sign; scales are positive.
            let number = |w: u64| ((w >> 40) as f32 / (1u64 << 24) as f32 - 0.5) / 32.0;
            let block: Vec<u8> = match (role, dtype) {
                (Role::Codes | Role::Zeros, _) => (0..1 << 19).flat_map(|_| word().to_le_bytes()).collect(),
                (Role::Scales, _) => {
                    let scale = |w: u64| half::f16::from_f32(0.004 + number(w).abs() / 16.0).to_le_bytes();
                    (0..1 << 16).flat_map(|_| scale(word())).collect()
                }
                (_, DType::F32) => (0..1 << 10).flat_map(|_| (1.0 + number(word())).to_le_bytes()).collect(),
                _ => (0..1 << 20).flat_map(|_| half::f16::from_f32(number(word())).to_le_bytes()).collect(),
            };
            Bytes::from(block.into_iter().cycle().take(bytes as usize).collect::<Vec<u8>>())
        };
        self.0.entry((role, bytes)).or_insert_with(make).clone()
    }
}

/// The graph's text as importers write it; `stored` says how a matrix with so many columns is.
fn source(stored: &dyn Fn(u64) -> Encoding, digests: &dyn Fn(&str) -> String) -> String {
    let (mut caches, mut donated, mut body) = (String::new(), String::new(), String::new());
    let mut line = |s: String| writeln!(body, "  {s}").expect("strings grow");
    let weight = |name: &str, rows: u64, cols: u64| {
        let encoding = match stored(cols) {
            Encoding::Dense => String::new(),
            packed => format!(" {packed}"),
        };
        format!("%{name} = const @{name} = digest{{hex={}}} : f16[{rows}, {cols}]{encoding}", digests(name))
    };
    let vector = |name: &str| format!("%{name} = const @{name} = digest{{hex={}}} : f32[{WIDTH}]", digests(name));
    line(format!("%table = const @table = digest{{hex={}}} : f16[{WORDS}, {WIDTH}]", digests("table")));
    line(format!("%x0 = embedding %tokens, %table : f32[S, {WIDTH}] @embedding"));
    line("%p = range{start=P, len=S} : i64[S] @positions".into());
    for i in 0..LAYERS {
        for part in ["k", "v"] {
            write!(caches, ", %{part}{i}: f16[P, {HEADS}, {HEAD}]").expect("strings grow");
            write!(donated, ", donate %{part}{i} -> %{part}n{i}").expect("strings grow");
        }
        line(vector(&format!("n{i}")));
        line(format!("%a{i} = rms_norm{{eps=1e-5}} %x{i}, %n{i} : f32[S, {WIDTH}] @{i}.norm"));
        for name in ["q", "k", "v"] {
            line(weight(&format!("w{name}{i}"), WIDTH, WIDTH));
            line(format!("%{name}l{i} = linear %a{i}, %w{name}{i} : f32[S, {WIDTH}] @{i}.{name}"));
            let shape = format!("S, {HEADS}, {HEAD}");
            line(format!("%{name}h{i} = reshape{{shape=\"{shape}\"}} %{name}l{i} : f32[{shape}] @{i}.{name}"));
        }
        for name in ["q", "k"] {
            let rope = format!("rope{{dims={HEAD}, theta=10000, style=half}}");
            line(format!("%{name}r{i} = {rope} %{name}h{i}, %p : f32[S, {HEADS}, {HEAD}] @{i}.{name}_rope"));
        }
        for (name, from) in [("k", "kr"), ("v", "vh")] {
            line(format!("%{name}c{i} = round_rows{{to=f16}} %{from}{i} : f16[S, {HEADS}, {HEAD}] @{i}.{name}_cache"));
            let ty = format!("f16[P + S, {HEADS}, {HEAD}]");
            line(format!("%{name}n{i} = cache_append %{name}{i}, %{name}c{i} : {ty} @{i}.{name}_cache"));
        }
        let scores = format!("attention{{scale=0.08838834764831845, causal}} %qr{i}, %kn{i}, %vn{i}");
        line(format!("%s{i} = {scores} : f32[S, {HEADS}, {HEAD}] @{i}.scores"));
        line(format!("%sf{i} = reshape{{shape=\"S, {WIDTH}\"}} %s{i} : f32[S, {WIDTH}] @{i}.out"));
        line(weight(&format!("wo{i}"), WIDTH, WIDTH));
        line(format!("%o{i} = linear %sf{i}, %wo{i} : f32[S, {WIDTH}] @{i}.out"));
        line(format!("%y{i} = add %x{i}, %o{i} : f32[S, {WIDTH}] @{i}.add"));
        line(vector(&format!("f{i}")));
        line(format!("%b{i} = rms_norm{{eps=1e-5}} %y{i}, %f{i} : f32[S, {WIDTH}] @{i}.ff_norm"));
        for name in ["g", "u"] {
            line(weight(&format!("w{name}{i}"), INNER, WIDTH));
            line(format!("%{name}{i} = linear %b{i}, %w{name}{i} : f32[S, {INNER}] @{i}.{name}"));
        }
        line(format!("%ga{i} = silu %g{i} : f32[S, {INNER}] @{i}.act"));
        line(format!("%gu{i} = mul %ga{i}, %u{i} : f32[S, {INNER}] @{i}.product"));
        line(weight(&format!("wd{i}"), WIDTH, INNER));
        line(format!("%d{i} = linear %gu{i}, %wd{i} : f32[S, {WIDTH}] @{i}.down"));
        line(format!("%x{} = add %y{i}, %d{i} : f32[S, {WIDTH}] @{i}.ff_add", i + 1));
    }
    line(vector("last"));
    line(format!("%z = rms_norm{{eps=1e-5}} %x{LAYERS}, %last : f32[S, {WIDTH}] @norm"));
    line(format!("%head = const @head = digest{{hex={}}} : f16[{WORDS}, {WIDTH}]", digests("head")));
    line(format!("%logits = linear %z, %head : f32[S, {WORDS}] @head"));
    format!("air 1\ngraph @decoder(%tokens: i64[S]{caches}) {{\n{body}  return logits=%logits{donated}\n}}\n")
}

fn graph(stored: &dyn Fn(u64) -> Encoding) -> Result<Graph> {
    let mut filler = Filler(BTreeMap::new());
    let mut made: BTreeMap<String, Const> = BTreeMap::new();
    let mut constant = |name: String, dims: &[u64], dtype: DType, encoding: Encoding| -> Result<()> {
        let (rows, cols) = Shape::matrix(dims).expect("small extents");
        let parts = encoding.parts(dtype, rows as usize, cols as usize)?;
        let parts = parts.into_iter().map(|(role, bytes)| (role, filler.part(role, dtype, bytes))).collect();
        let made_of = Const::new(&name, TensorType::new(dtype, Shape::fixed(dims)), encoding, parts)?;
        made.insert(name, made_of);
        Ok(())
    };
    for name in ["table", "head"] {
        constant(name.into(), &[WORDS, WIDTH], DType::F16, Encoding::Dense)?;
    }
    constant("last".into(), &[WIDTH], DType::F32, Encoding::Dense)?;
    for i in 0..LAYERS {
        for name in ["n", "f"] {
            constant(format!("{name}{i}"), &[WIDTH], DType::F32, Encoding::Dense)?;
        }
        for name in ["wq", "wk", "wv", "wo"] {
            constant(format!("{name}{i}"), &[WIDTH, WIDTH], DType::F16, stored(WIDTH))?;
        }
        for name in ["wg", "wu"] {
            constant(format!("{name}{i}"), &[INNER, WIDTH], DType::F16, stored(WIDTH))?;
        }
        constant(format!("wd{i}"), &[WIDTH, INNER], DType::F16, stored(INNER))?;
    }
    let source = source(stored, &|name| made[name].digest().to_hex().to_string());
    text::parse(&source, &|name, _| Ok(made[name].clone()))
}

fn first(mut all: Vec<Diagnostic>) -> Diagnostic {
    all.remove(0)
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, bits, group, target, gpu] = &args[..] else { panic!("decoder_shape FILE BITS GROUP TARGET GPU") };
    let (bits, group) = (bits.parse().expect("bits"), group.parse().expect("columns of a group"));
    let target: f64 = target.parse().expect("bits with those of weak columns");
    let graph = graph(&|cols| encoding(bits, group, target, cols))?;
    let options = Options::new(vec![Target::parse(gpu)?], Backend::best(), Entries::Language);
    let lowered = lower(&graph).map_err(first)?;
    let program = codegen::compile(&lowered, &options).map_err(first)?;
    let text = TextInfo { bos: Some(1), add_bos: true, stop: vec![2], chat_template: None, context: CONTEXT };
    let mut description = Description { text: Some(text), ..Description::default() };
    description.model.name = format!("Llama 2 7B's shape, {target} bits");
    description.model.context_length = CONTEXT;
    let written = program.write(Writer::to_file(Path::new(path), true)?, description)?;
    println!("{path}: {written:?}");
    Ok(())
}
