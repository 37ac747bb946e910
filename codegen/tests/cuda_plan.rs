//! Plans for GPUs of the shapes of real decoders: every launch gives its kernel what that takes, and what changes from one
//! recorded step to the next is in memory.

#[path = "cuda_plan/products.rs"]
mod products;

use actc_artifact::{BufferKind, Builtin, Entry, Launch, Step};
use actc_codegen::cuda::{self, Planned};
use actc_codegen::emit::SizesIn;
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::gpu::Products;
use actc_codegen::{Entries, plan::tensors::TensorTable};
use actc_ir::ops::conv::{Conv, Geometry};
use actc_ir::ops::window::Window;
use actc_ir::{Const, Graph, Op, TensorType, text};
use actc_types::{
    BlockFormat, DType, Dim, Encoding, Group, Mixed, Order, Packed, Place, Shape, Symbol, Target, WeakPlace, Zero,
    dim::Bindings,
};
use bytes::Bytes;
use std::fmt::Write as _;

/// The sizes of a decoder, and how its weights are stored.
struct Decoder {
    width: u64,
    inner: u64,
    heads: u64,
    shared: u64,
    head: u64,
    words: u64,
    layers: usize,
    /// Norms behind attention and feed-forward, and of queries and keys, as gemma has them.
    gemma: bool,
    encoding: Encoding,
    table: DType,
}

fn mixed(bits: u8, cols: u32, place: WeakPlace) -> Encoding {
    let body = Packed { zero: Zero::Packed, ..Packed::new(bits, Group::Columns(64)) };
    Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 })
}

fn smollm2() -> Decoder {
    let encoding = mixed(3, 5, WeakPlace::Scattered);
    Decoder {
        width: 576,
        inner: 1536,
        heads: 9,
        shared: 3,
        head: 64,
        words: 512,
        layers: 2,
        gemma: false,
        encoding,
        table: DType::Bf16,
    }
}

fn gemma() -> Decoder {
    let encoding = mixed(4, 16, WeakPlace::Suffix);
    Decoder {
        width: 640,
        inner: 2048,
        heads: 4,
        shared: 1,
        head: 256,
        words: 512,
        layers: 2,
        gemma: true,
        encoding,
        table: DType::Bf16,
    }
}

fn llama2() -> Decoder {
    let encoding = mixed(4, 6, WeakPlace::Suffix);
    Decoder {
        width: 4096,
        inner: 11008,
        heads: 32,
        shared: 32,
        head: 128,
        words: 512,
        layers: 1,
        gemma: false,
        encoding,
        table: DType::F16,
    }
}

/// One in blocks of GGUF, but for its table.
fn blocks() -> Decoder {
    let encoding = Encoding::Block(BlockFormat::Q4K);
    Decoder { width: 512, inner: 1536, heads: 8, shared: 2, head: 64, encoding, ..smollm2() }
}

impl Decoder {
    /// The graph as importers write it, weights all zeros.
    fn graph(&self) -> Graph {
        let Decoder { width, inner, heads, shared, head, words, .. } = self;
        let (q, kv) = (heads * head, shared * head);
        let mut caches = String::new();
        let mut donated = String::new();
        for i in 0..self.layers {
            for part in ["k", "v"] {
                write!(caches, ", %{part}{i}: f32[P, {shared}, {head}]").unwrap();
                write!(donated, ", donate %{part}{i} -> %{part}n{i}").unwrap();
            }
        }
        let mut body = String::new();
        let mut line = |s: String| body.push_str(&format!("  {s}\n"));
        let hex = "0".repeat(64);
        let weight = |name: String, rows: u64, cols: u64| {
            format!("%{name} = const @{name} = digest{{hex={hex}}} : f16[{rows}, {cols}] {}", self.encoding)
        };
        let vector = |name: String, n: u64| format!("%{name} = const @{name} = digest{{hex={hex}}} : f32[{n}]");
        line(format!("%table = const @table = digest{{hex={hex}}} : {}[{words}, {width}]", self.table));
        line(format!("%x0 = embedding %t, %table : f32[S, {width}] @embedding"));
        line("%p = range{start=P, len=S} : i64[S] @positions".into());
        for i in 0..self.layers {
            line(vector(format!("n{i}"), *width));
            line(format!("%a{i} = rms_norm{{eps=1e-5}} %x{i}, %n{i} : f32[S, {width}] @{i}.norm"));
            for (name, rows) in [("q", q), ("k", kv), ("v", kv)] {
                line(weight(format!("w{name}{i}"), rows, *width));
                line(format!("%{name}l{i} = linear %a{i}, %w{name}{i} : f32[S, {rows}] @{i}.{name}"));
                let n = rows / head;
                line(format!(
                    "%{name}h{i} = reshape{{shape=\"S, {n}, {head}\"}} %{name}l{i} : f32[S, {n}, {head}] @{i}.{name}"
                ));
            }
            for (name, n) in [("q", heads), ("k", shared)] {
                let mut from = format!("{name}h{i}");
                if self.gemma {
                    line(vector(format!("n{name}{i}"), *head));
                    line(format!(
                        "%{name}n_{i} = rms_norm{{eps=1e-6}} %{from}, %n{name}{i} : f32[S, {n}, {head}] @{i}.{name}_norm"
                    ));
                    from = format!("{name}n_{i}");
                }
                line(format!(
                    "%{name}r{i} = rope{{dims={head}, theta=10000, style=half}} %{from}, %p : f32[S, {n}, {head}] @{i}.{name}_rope"
                ));
            }
            line(format!("%kn{i} = cache_append %k{i}, %kr{i} : f32[P + S, {shared}, {head}] @{i}.k_cache"));
            line(format!("%vn{i} = cache_append %v{i}, %vh{i} : f32[P + S, {shared}, {head}] @{i}.v_cache"));
            line(format!(
                "%s{i} = attention{{scale=0.125, causal}} %qr{i}, %kn{i}, %vn{i} : f32[S, {heads}, {head}] @{i}.scores"
            ));
            line(format!("%sf{i} = reshape{{shape=\"S, {q}\"}} %s{i} : f32[S, {q}] @{i}.out"));
            line(weight(format!("wo{i}"), *width, q));
            line(format!("%o{i} = linear %sf{i}, %wo{i} : f32[S, {width}] @{i}.out"));
            let mut out = format!("o{i}");
            if self.gemma {
                line(vector(format!("m{i}"), *width));
                line(format!("%on{i} = rms_norm{{eps=1e-6}} %{out}, %m{i} : f32[S, {width}] @{i}.after"));
                out = format!("on{i}");
            }
            line(format!("%y{i} = add %x{i}, %{out} : f32[S, {width}] @{i}.add"));
            line(vector(format!("f{i}"), *width));
            line(format!("%b{i} = rms_norm{{eps=1e-5}} %y{i}, %f{i} : f32[S, {width}] @{i}.ff_norm"));
            for name in ["g", "u"] {
                line(weight(format!("w{name}{i}"), *inner, *width));
                line(format!("%{name}{i} = linear %b{i}, %w{name}{i} : f32[S, {inner}] @{i}.{name}"));
            }
            let act = if self.gemma { "gelu_tanh" } else { "silu" };
            line(format!("%ga{i} = {act} %g{i} : f32[S, {inner}] @{i}.act"));
            line(format!("%gu{i} = mul %ga{i}, %u{i} : f32[S, {inner}] @{i}.product"));
            line(weight(format!("wd{i}"), *width, *inner));
            line(format!("%d{i} = linear %gu{i}, %wd{i} : f32[S, {width}] @{i}.down"));
            line(format!("%x{} = add %y{i}, %d{i} : f32[S, {width}] @{i}.ff_add", i + 1));
        }
        let last = self.layers;
        line(vector("last".into(), *width));
        line(format!("%z = rms_norm{{eps=1e-5}} %x{last}, %last : f32[S, {width}] @norm"));
        line(format!("%logits = linear %z, %table : f32[S, {words}] @head"));
        let source =
            format!("air 1\ngraph @decoder(%t: i64[S]{caches}) {{\n{body}  return logits=%logits{donated}\n}}\n");
        text::parse(&source, &|name, _| self.zeros(name)).unwrap_or_else(|e| panic!("{e}\n{source}"))
    }

    /// The constant called `name`.
    fn zeros(&self, name: &str) -> actc_types::Result<Const> {
        let Decoder { width, inner, heads, shared, head, words, .. } = self;
        let (q, kv) = (heads * head, shared * head);
        let stem: String = name.chars().take_while(|c| !c.is_ascii_digit()).collect();
        let (dims, dtype, encoding): (Vec<u64>, DType, Encoding) = match stem.as_str() {
            "table" => (vec![*words, *width], self.table, Encoding::Dense),
            "wq" => (vec![q, *width], DType::F16, self.encoding.clone()),
            "wk" | "wv" => (vec![kv, *width], DType::F16, self.encoding.clone()),
            "wo" => (vec![*width, q], DType::F16, self.encoding.clone()),
            "wg" | "wu" => (vec![*inner, *width], DType::F16, self.encoding.clone()),
            "wd" => (vec![*width, *inner], DType::F16, self.encoding.clone()),
            "nq" | "nk" => (vec![*head], DType::F32, Encoding::Dense),
            _ => (vec![*width], DType::F32, Encoding::Dense),
        };
        let (rows, cols) = Shape::matrix(&dims).unwrap();
        let parts = encoding.parts(dtype, rows as usize, cols as usize)?.into_iter().map(|(role, bytes)| {
            // An index ascends.
            let mut data = vec![0u8; bytes as usize];
            if role == actc_types::Role::WeakIndex {
                data = (0..bytes as u32 / 4).flat_map(|i| (7 * i).to_le_bytes()).collect();
            }
            (role, Bytes::from(data))
        });
        Const::new(name, TensorType::new(dtype, Shape::fixed(&dims)), encoding, parts.collect())
    }

    fn plan(&self) -> Planned {
        self.plan_for(Products::Single, &["sm_80"])
    }

    fn plan_for(&self, products: Products, targets: &[&str]) -> Planned {
        let graph = self.graph();
        assert_eq!(Entries::of(&graph), Entries::Language);
        let targets: Vec<Target> = targets.iter().map(|t| Target::parse(t).unwrap()).collect();
        let planned = cuda::plan(&graph, Entries::Language, products, &targets, TensorTable::default());
        planned.unwrap_or_else(|all| panic!("{}", all.iter().map(|d| format!("{d}\n")).collect::<String>()))
    }
}

fn launches(entry: &Entry) -> Vec<&Launch> {
    let mut all = Vec::new();
    entry.each_step(&mut |step| {
        if let Step::Launch(launch) = step {
            all.push(launch);
        }
    });
    all
}

/// A run of `entry` with a few values of its symbols.
fn check(planned: &Planned, entry: &Entry) {
    let recorded = !entry.fixed.is_empty();
    for launch in launches(entry) {
        let kernel = &planned.kernels[launch.kernel as usize];
        let label = &launch.label;
        let (asked, sizes) = (kernel.buffers(), kernel.dims());
        assert_eq!((launch.bufs.len(), launch.dims.len()), (asked.len(), sizes.len()), "{label}: {kernel}");
        for (buffer, asked) in launch.bufs.iter().zip(&asked) {
            let kind = entry.buffers[*buffer as usize].kind;
            if let BufferKind::Tensor { role, .. } = kind {
                let wanted = match asked.role {
                    actc_codegen::spec::BufferRole::Weight { part, .. } => part,
                    actc_codegen::spec::BufferRole::WeakIndex(_) => actc_types::Role::WeakIndex,
                    _ => actc_types::Role::Data,
                };
                assert_eq!(role, wanted, "{label}: {kernel}");
            }
        }
        if recorded && launch.dims.iter().any(|d| d.fixed().is_none()) {
            let in_memory = match kernel {
                Kernel::Generated(_, sizes) => *sizes == SizesIn::Memory,
                Kernel::Template(template) => template.sizes() == actc_codegen::spec::gpu::Sizes::Memory,
            };
            assert!(in_memory, "{label}: {kernel} is recorded with sizes of one step");
        }
    }
    let symbols = [("S", 3), ("P", 5), ("N", 2)].map(|(name, n)| (Symbol::new(name).unwrap(), n));
    let bindings: Bindings = symbols.into_iter().filter(|(s, _)| entry.fixed.iter().all(|(f, _)| f != s)).collect();
    for buffer in &entry.buffers {
        buffer.bytes.eval(&bindings).unwrap();
    }
}

#[test]
fn launches_fit_their_kernels() {
    for decoder in [smollm2(), gemma(), llama2(), blocks()] {
        let planned = decoder.plan();
        let names: Vec<&str> = planned.entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["prefill", "decode", "score"]);
        for entry in &planned.entries {
            check(&planned, entry);
        }
        for kernel in &planned.kernels {
            kernel.check().unwrap();
        }
        for tensor in &planned.tensors.order {
            let packed = tensor.constant.starts_with('w');
            assert_eq!(tensor.order, packed.then_some(Order::Mma16), "{}", tensor.name());
        }
    }
}

#[test]
fn a_step_has_few_launches() {
    let planned = llama2().plan();
    let decode = planned.entries.iter().find(|e| e.name == "decode").unwrap();
    let of_layer: Vec<&str> =
        launches(decode).iter().map(|l| l.label.as_str()).filter(|l| l.starts_with("0.")).collect();
    let wanted = [
        "0.norm + 0.q + 0.k + 0.v (prepare)",
        "0.q + 0.k + 0.v",
        "0.q_rope + 0.k_rope + 0.k_cache + 0.v_cache",
        "0.scores",
        "0.scores (sum)",
        "0.out (prepare)",
        "0.out",
        "0.ff_norm + 0.g + 0.u (prepare)",
        "0.g + 0.u",
        "0.down (prepare)",
        "0.down",
    ];
    assert_eq!(of_layer, wanted);
    // Heads are normed where they are turned.
    let planned = gemma().plan();
    let decode = planned.entries.iter().find(|e| e.name == "decode").unwrap();
    let heads = "0.q_norm + 0.q_rope + 0.k_norm + 0.k_rope + 0.k_cache + 0.v_cache";
    assert!(launches(decode).iter().any(|l| l.label == heads), "{:?}", planned.reasons.keys());
}

/// What CPUs call their library for.
#[test]
fn calls_of_the_library_become_kernels() {
    let source = "air 1\ngraph @g(%x: f32[N, 6, 8, 9], %i: i64[3]) {
  %w = const @w = rng{seed=1, scale=1} : f32[4, 6, 3, 3]
  %b = const @b = rng{seed=2, scale=1} : f32[4]
  %0 = conv{kernel=\"3, 3\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"1, 1\", groups=1, extents=\"8, 9\"} %x, %w, %b \
        : f32[N, 4, 8, 9] @conv
  %1 = transpose{order=\"0, 2, 3, 1\"} %0 : f32[N, 8, 9, 4] @transpose
  %2 = softmax %1 : f32[N, 8, 9, 4] @softmax
  %3 = gather{axis=1} %2, %i : f32[N, 3, 9, 4] @gather
  %4, %5 = top_k{k=2, of=most} %3 : f32[N, 3, 9, 2], i64[N, 3, 9, 2] @top_k
  return y=%4, at=%5\n}\n";
    let graph = text::parse(source, &text::unbound).unwrap();
    let planned = cuda::plan(&graph, Entries::Forward, Products::Single, &[], TensorTable::default());
    let planned = planned.unwrap_or_else(|all| panic!("{all:?}"));
    check(&planned, &planned.entries[0]);
    let labels: Vec<&str> = launches(&planned.entries[0]).iter().map(|l| l.label.as_str()).collect();
    assert_eq!(labels, ["conv", "transpose", "softmax", "gather", "top_k"]);
}

/// Accumulators are updated where they stand, and eliminations have memory to work in.
#[test]
fn accumulators_and_working_memory() {
    let source = "air 1\ngraph @g(%x: f32[N, 6], %m: f32[N, 5, 5], %a: f32[6, 6], %s: f32[8, 6]) {
  %0 = gram %a, %x : f32[6, 6] @gram
  %1 = channel_stats{first_apart} %s, %x : f32[8, 6] @channels
  %2 = det %m : f32[N] @det
  return y=%2, donate %a -> %0, donate %s -> %1\n}\n";
    let graph = text::parse(source, &text::unbound).unwrap();
    let planned = cuda::plan(&graph, Entries::Forward, Products::Single, &[], TensorTable::default());
    let planned = planned.unwrap_or_else(|all| panic!("{all:?}"));
    let entry = &planned.entries[0];
    check(&planned, entry);
    let kinds = |label: &str| {
        let launch = launches(entry).into_iter().find(|l| l.label == label).unwrap();
        launch.bufs.iter().map(|b| entry.buffers[*b as usize].kind).collect::<Vec<_>>()
    };
    for label in ["gram", "channels"] {
        assert!(matches!(kinds(label)[..], [BufferKind::Input(_), BufferKind::State(_)]), "{:?}", kinds(label));
    }
    let [_, BufferKind::Slot(_), BufferKind::Output(_)] = kinds("det")[..] else { panic!("{:?}", kinds("det")) };
}

/// Stored weights: a product where there is enough for tensor cores, else decoded for a kernel that takes any.
#[test]
fn convolutions_of_stored_weights() {
    let graph = |m: u64, c: u64, groups: u64, [n, high, wide]: [Dim; 3]| {
        let encoding = mixed(4, 3, WeakPlace::Suffix);
        let ty = TensorType::new(DType::F32, Shape::fixed(&[m, c / groups, 3, 3]));
        let parts = encoding.parts(DType::F32, m as usize, (9 * c / groups) as usize).unwrap();
        let parts = parts.into_iter().map(|(role, bytes)| (role, Bytes::from(vec![0; bytes as usize]))).collect();
        let mut graph = Graph::new("g");
        let x = Shape(vec![n, Dim::from(c), high.clone(), wide.clone()]);
        let x = graph.input("x", TensorType::new(DType::F32, x));
        let w = graph.constant(Const::new("w", ty, encoding, parts).unwrap());
        let list = |n: u64| vec![n; 2];
        let window = Window { kernel: list(3), strides: list(1), dilations: list(1), pads: list(1) };
        let conv = Conv(Geometry { groups, window, extents: vec![high, wide] });
        let y = graph.add(Op::Conv(conv), &[x, w], "conv").unwrap();
        graph.output("y", y);
        graph
    };
    let product = ["conv (windows)", "conv", "conv (transpose)"];
    for (m, c, groups, wanted, why) in [
        (64, 32, 1, &product[..], "a token for each place"),
        (64, 32, 2, &["conv (decode)", "conv"], "2 groups of channels"),
        (64, 6, 1, &["conv (decode)", "conv"], "64 rows of 54 columns"),
    ] {
        let graph = graph(m, c, groups, [Dim::sym("N"), Dim::from(8), Dim::from(9)]);
        let planned = cuda::plan(&graph, Entries::Forward, Products::Single, &[], TensorTable::default());
        let planned = planned.unwrap_or_else(|all| panic!("{all:?}"));
        check(&planned, &planned.entries[0]);
        let labels: Vec<&str> = launches(&planned.entries[0]).iter().map(|l| l.label.as_str()).collect();
        assert_eq!(labels, wanted);
        assert!(planned.reasons.values().any(|reason| reason.contains(why)), "{:?}", planned.reasons);
    }
    // Twice as many places are a few where products are rounded, as tokens of linears are.
    for (products, wanted) in [(Products::Single, "about 12 places"), (Products::Half, "for 12 place(s)")] {
        let graph = graph(64, 32, 1, [1, 3, 4].map(Dim::from));
        let planned = cuda::plan(&graph, Entries::Forward, products, &[], TensorTable::default());
        let planned = planned.unwrap_or_else(|all| panic!("{all:?}"));
        assert!(planned.reasons["conv"].contains(wanted), "{}", planned.reasons["conv"]);
    }
}

/// Extents that have to agree are no kernel's business: the host compares them.
#[test]
fn the_host_compares_extents() {
    let source = "air 1\ngraph @g(%x: f32[N, 5], %z: f32[M, 5]) {
  %0 = expect{shape=\"M, 5\"} %x : f32[M, 5] @fits
  %1 = softmax %0 : f32[M, 5] @softmax
  return y=%1\n}\n";
    let graph = text::parse(source, &text::unbound).unwrap();
    let planned = cuda::plan(&graph, Entries::Forward, Products::Single, &[], TensorTable::default());
    let planned = planned.unwrap_or_else(|all| panic!("{all:?}"));
    let steps = &planned.entries[0].steps;
    assert!(
        matches!(&steps[..], [Step::Builtin(call), Step::Launch(_)] if call.builtin == Builtin::Expect),
        "{steps:?}"
    );
}

#[test]
fn all_that_has_no_kernel_is_said_at_once() {
    let source = "air 1\ngraph @g(%x: f32[2, 8]) {\n  %0, %1 = non_zero %x : i64[2, 16], i64[] @first\n  \
        %2, %3 = non_zero %x : i64[2, 16], i64[] @second\n  return a=%0, b=%2\n}\n";
    let graph = text::parse(source, &text::unbound).unwrap();
    let findings = cuda::plan(&graph, Entries::Forward, Products::Single, &[], TensorTable::default()).unwrap_err();
    let shown: Vec<String> = findings.iter().map(|d| format!("{} {:?} {}", d.code, d.place, d.headline)).collect();
    assert_eq!(findings.len(), 2, "{shown:?}");
    for (finding, node) in findings.iter().zip(["first", "second"]) {
        assert_eq!(finding.code, "codegen-cuda");
        assert_eq!(finding.place, Place::Node(node.into()));
        assert!(finding.headline.contains("`non_zero`") && finding.help.as_ref().unwrap().contains("CPU"), "{finding}");
    }
}

/// A norm that a round gives away is written, though a product alone reads it; one that it keeps is not.
#[test]
fn what_regions_give_is_written() {
    for (given, wanted) in [("%a", vec!["norm", "y (prepare)", "y"]), ("%y", vec!["norm + y (prepare)", "y"])] {
        let source = format!(
            "air 1\ngraph @g(%n: i64[], %live: bool[], %x: f32[4, 64]) {{
  %l, %z, %u = loop{{captures=0}} %n, %live, %x, %x {{ |%i: i64[], %b: bool[], %v: f32[4, 64], %q: f32[4, 64]|
    %s = const @s = rng{{seed=1, scale=1}} : f32[64]
    %w = const @w = rng{{seed=2, scale=1}} : f16[64, 64]
    %a = rms_norm{{eps=1e-5}} %v, %s : f32[4, 64] @norm
    %y = linear %a, %w : f32[4, 64] @y
    return %b, %y, {given}
  }} : bool[], f32[4, 64], f32[4, 64] @rounds
  return z=%z, u=%u\n}}\n"
        );
        let graph = text::parse(&source, &text::unbound).unwrap_or_else(|e| panic!("{e}"));
        let planned = cuda::plan(&graph, Entries::Forward, Products::Single, &[], TensorTable::default());
        let planned = planned.unwrap_or_else(|all| panic!("{all:?}"));
        let labels: Vec<&str> = launches(&planned.entries[0]).iter().map(|l| l.label.as_str()).collect();
        let of: Vec<&str> = labels.into_iter().filter(|l| l.contains("norm") || l.starts_with('y')).collect();
        assert_eq!(of, wanted, "a round gives {given}");
    }
}
