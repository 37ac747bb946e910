//! Graphs written as ONNX and read again: the same numbers, the same bytes each time, and typed refusals.

use actc_frontend::onnx::{Exported, Model, export, import};
use actc_ir::ops::control::If;
use actc_ir::ops::linear::Linear;
use actc_ir::{Const, Evaluator, Graph, Interpreter, Op, TensorType, text, verify};
use actc_types::{
    DType, Dim, Encoding, Group, Mixed, Order, Packed, Role, Shape, Symbol, Tensor, TensorData, WeakPlace, Zero,
};

/// Bodies of graphs by family, each with its inputs and results.
const FAMILIES: &[(&str, &str, &str, &str)] = &[
    (
        "products",
        "%x: f32[S, 8], %y: f32[8, 3], %t: i64[S]",
        "%w = const @w = rng{seed=1, scale=0.5} : f16[6, 8]
         %b = const @b = rng{seed=2, scale=0.5} : f32[6]
         %e = const @e = rng{seed=3, scale=0.5} : f16[9, 8]
         %0 = linear %x, %w, %b : f32[S, 6]
         %1 = matmul %x, %y : f32[S, 3]
         %2 = embedding %t, %e : f32[S, 8]",
        "a=%0, b=%1, c=%2",
    ),
    (
        "norms",
        "%x: f32[S, 8]",
        "%w = const @w = rng{seed=1, scale=0.5} : f32[8]
         %0 = rms_norm{eps=0.00001} %x, %w : f32[S, 8]
         %1 = layer_norm{eps=0.00001} %x, %w, %w : f32[S, 8]
         %2 = softmax %x : f32[S, 8]",
        "a=%0, b=%1, c=%2",
    ),
    (
        "pointwise",
        "%x: f32[S, 8], %y: f32[8], %i: i64[S, 8]",
        "%0 = silu %x : f32[S, 8]
         %1 = gelu_tanh %0 : f32[S, 8]
         %2 = sub %1, %y : f32[S, 8]
         %3 = less %x, %y : bool[S, 8]
         %4 = select %3, %x, %2 : f32[S, 8]
         %5 = cast{to=f32} %i : f32[S, 8]
         %6 = div %5, %y : f32[S, 8]
         %7 = floor %6 : f32[S, 8]
         %8 = tanh %x : f32[S, 8]",
        "a=%0, b=%1, c=%2, d=%3, e=%4, f=%7, g=%8",
    ),
    (
        "rows",
        "%x: f32[S, 8]",
        "%0 = reduce{function=sum} %x : f32[S]
         %1 = reduce{function=most} %x : f32[S]
         %2 = transpose{order=\"1, 0\"} %x : f32[8, S]
         %3 = slice{axis=1, start=2, len=5} %x : f32[S, 5]
         %4 = concat{axis=1} %3, %x : f32[S, 13]
         %5 = reshape{shape=\"S, 2, 4\"} %x : f32[S, 2, 4]
         %6 = range{start=2, len=\"S\"} : i64[S]",
        "a=%0, b=%1, c=%2, d=%4, e=%5, f=%6",
    ),
    (
        "windows",
        "%x: f32[N, 4, 8, 9], %w: f32[6, 2, 3, 3], %t: f32[4, 3, 2, 2], %v: f32[]",
        "%0 = conv{kernel=\"3, 3\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"1, 1\", groups=2, extents=\"8, 9\"} %x, %w : f32[N, 6, 8, 9]
         %1 = conv_transpose{kernel=\"2, 2\", strides=\"2, 2\", dilations=\"1, 1\", pads=\"0, 0\", groups=2, extents=\"16, 18\"} %x, %t : f32[N, 6, 16, 18]
         %2 = pool{function=most, kernel=\"3, 3\", strides=\"2, 2\", dilations=\"1, 1\", pads=\"1, 1\", behind=\"1, 1\", extents=\"4, 5\"} %x : f32[N, 4, 4, 5]
         %4 = pool{function=norm, kernel=\"3, 3\", strides=\"2, 2\", dilations=\"1, 1\", pads=\"1, 1\", behind=\"1, 1\", p=3, extents=\"4, 5\"} %x : f32[N, 4, 4, 5]
         %5 = reshape{shape=\"N, 4, 72\"} %x : f32[N, 4, 72]
         %6 = fold{kernel=\"2, 2\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"0, 0\", windows=\"8, 9\", extents=\"9, 10\"} %5 : f32[N, 1, 9, 10]
         %3 = pad{before=\"0, 0, 1, 0\", behind=\"0, 0, 1, 2\"} %x, %v : f32[N, 4, 10, 11]",
        "a=%0, b=%1, c=%2, d=%3, e=%4, f=%6",
    ),
    (
        "windows of a number that runs tell",
        "%x: f32[N, 4, S], %t: f32[T], %w: f32[6, 4, 3], %c: i8[N, 4, S], %z: i8[], %u: u8[6, 4, 3], %a: u8[6]",
        "%0 = conv{kernel=3, strides=1, dilations=1, pads=1, groups=1, extents=T} %x, %w : f32[N, 6, T]
         %1 = conv_integer{kernel=3, strides=1, dilations=1, pads=1, groups=1, extents=T} %c, %u, %z, %a : i32[N, 6, T]
         %2 = pool{function=most, kernel=3, strides=1, dilations=1, pads=1, behind=1, extents=T} %x : f32[N, 4, T]
         %3 = pool{function=average, kernel=3, strides=1, dilations=1, pads=1, behind=1, extents=T} %x : f32[N, 4, T]
         %4 = pool{function=norm, kernel=3, strides=1, dilations=1, pads=1, behind=1, p=2, extents=T} %x : f32[N, 4, T]",
        "a=%0, b=%1, c=%2, d=%3, e=%4, t=%t",
    ),
    (
        "recurrent",
        "%x: f32[T, B, 12], %r: f32[12, 3], %h: f32[B, 3], %c: f32[B, 3], %p: f32[9], %n: i64[B], %g: f32[9, 3], %i: f32[3]",
        RECURRENT,
        "a=%0, b=%1, c=%2, d=%4, e=%5, f=%6, g=%7",
    ),
    (
        "attention",
        "%q: f32[S, 4, 8], %k: f32[S, 2, 8], %v: f32[S, 2, 8], %k0: f32[P, 2, 8], %v0: f32[P, 2, 8]",
        "%k1 = cache_append %k0, %k : f32[P + S, 2, 8]
         %v1 = cache_append %v0, %v : f32[P + S, 2, 8]
         %0 = attention{scale=0.5, causal, window=3} %q, %k1, %v1 : f32[S, 4, 8]",
        "y=%0, donate %k0 -> %k1, donate %v0 -> %v1",
    ),
    (
        "attention of a batch",
        "%q: f32[B, S, 4, 8], %k: f32[B, T, 2, 8], %v: f32[B, T, 2, 8], %m: f32[B, 1, 1, T], %n: f32[S, T], %o: f32[4, S, S]",
        "%0 = attention{scale=0.5} %q, %k, %v, %m : f32[B, S, 4, 8]
         %1 = attention{scale=0.5} %q, %k, %v, %n : f32[B, S, 4, 8]
         %2 = attention{scale=0.5, causal} %q, %q, %q, %o : f32[B, S, 4, 8]",
        "y=%0, z=%1, o=%2",
    ),
    ("branches", "%n: bool[], %x: f32[S, 8], %f: bool[]", BRANCHES, "a=%0, b=%1, c=%2, d=%3"),
    ("loops", "%x: f32[S, 8], %n: i64[]", LOOPS, "a=%0, b=%1, c=%2, d=%3, e=%4, f=%5, g=%6, h=%7"),
];

/// The first flag of the inputs is false, the other true. Constants of regions and captures that are constants, and either given back.
const BRANCHES: &str = "
    %w = const @w = rng{seed=1, scale=0.5} : f16[6, 8]
    %0, %1 = if %f, %x, %w { |%p: f32[S, 8], %q: f16[6, 8]|
      %b = const @b = rng{seed=2, scale=0.5} : f32[6]
      %r = linear %p, %q, %b : f32[S, 6]
      return %r, %p
    } { |%p: f32[S, 8], %q: f16[6, 8]|
      %u = const @u = rng{seed=3, scale=0.5} : f32[6, 8]
      %r = linear %p, %u : f32[S, 6]
      return %r, %p
    } : f32[S, 6], f32[S, 8]
    %2, %3 = if %n, %0, %1, %w { |%p: f32[S, 6], %q: f32[S, 8], %v: f16[6, 8]|
      return %q, %v
    } { |%p: f32[S, 6], %q: f32[S, 8], %v: f16[6, 8]|
      %k = const @k = rng{seed=4, scale=0.5} : f16[6, 8]
      %j = concat{axis=1} %p, %q : f32[S, 14]
      %r = slice{axis=1, start=3, len=8} %j : f32[S, 8]
      return %r, %k
    } : f32[S, 8], f16[6, 8]";

/// Rows of three rounds of five; rounds until a condition, with what it was last; no round; a branch and an integer that rounds tell.
const LOOPS: &str = "
    %w = const @w = rng{seed=1, scale=0.5} : f16[8, 8]
    %0, %1 = loop{captures=1} %n, %x, %w { |%i: i64[], %c: f32[S, 8], %q: f16[8, 8]|
      %y = linear %c, %q : f32[S, 8]
      %a = tanh %y : f32[S, 8]
      %r = reduce{function=sum} %a : f32[S]
      return %a, %r
    } : f32[S, 8], f32[5, S]
    %seven = const @seven = [7] : i64[]
    %one = const @one = [1] : i64[]
    %live = less %one, %n : bool[]
    %2, %3, %4 = loop{guarded, captures=1} %seven, %live, %one, %n { |%i: i64[], %on: bool[], %c: i64[], %m: i64[]|
      %o = const @o = [1] : i64[]
      %next = add %c, %o : i64[]
      %again = less %next, %m : bool[]
      return %again, %next, %c
    } : bool[], i64[], i64[7]
    %none = const @none = [0] : i64[]
    %5 = loop %none, %x { |%i: i64[], %c: f32[S, 8]|
      %s = silu %c : f32[S, 8]
      return %s
    } : f32[S, 8]
    %6, %7 = loop{captures=1} %n, %x, %none { |%i: i64[], %c: f32[S, 8], %z: i64[]|
      %first = equal %i, %z : bool[]
      %p = if %first, %c { |%d: f32[S, 8]|
        %s = silu %d : f32[S, 8]
        return %s
      } { |%d: f32[S, 8]|
        return %d
      } : f32[S, 8]
      %b = bind{symbols=U} %i : i64[]
      %r = slice{axis=0, start=U, len=1} %p : f32[1, 8]
      return %p, %r
    } : f32[S, 8], f32[3, 1, 8]";

const RECURRENT: &str = "
    %0, %1, %2 = recurrent{cell=lstm, f=sigmoid, g=tanh, h=tanh, reverse, peepholes, lengths} %x, %r, %h, %c, %p, %n : f32[T, B, 3], f32[B, 3], f32[B, 3]
    %3 = slice{axis=2, start=0, len=9} %x : f32[T, B, 9]
    %4, %5 = recurrent{cell=gru_linear, f=sigmoid, g=tanh, clip=2} %3, %g, %h, %i : f32[T, B, 3], f32[B, 3]
    %6, %7 = recurrent{cell=gru, f=sigmoid, g=tanh} %3, %g, %h : f32[T, B, 3], f32[B, 3]";

fn graph(inputs: &str, body: &str, results: &str) -> Graph {
    let source = format!("air 1\ngraph @g({inputs}) {{\n{body}\nreturn {results}\n}}\n");
    let graph = text::parse(&source, &text::unbound).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(verify(&graph), []);
    graph
}

/// Tensors for the inputs of `graph`, each symbol one more than the last: floats of -1.25 to 1.25, none of them 0, small integers.
fn inputs(graph: &Graph) -> Vec<Tensor> {
    let mut extents: Vec<(Symbol, u64)> = Vec::new();
    let mut tensor = |(i, (_, value)): (usize, (&str, actc_ir::Value))| {
        let ty = graph.ty(value);
        let mut extent = |dim: &Dim| {
            let mut dim = dim.clone();
            for symbol in dim.symbols().into_iter().cloned().collect::<Vec<_>>() {
                let count = extents.len() as u64;
                let known = extents.iter().find(|(s, _)| *s == symbol).map(|(_, n)| *n);
                let n = known.unwrap_or(count + 3);
                if known.is_none() {
                    extents.push((symbol.clone(), n));
                }
                dim = dim.substitute(&symbol, &Dim::from(n)).unwrap();
            }
            dim.fixed().unwrap()
        };
        let dims: Vec<u64> = ty.shape.dims().iter().map(&mut extent).collect();
        let number = |at: u64| {
            let step = (at * 7 + i as u64 * 3) % 11;
            if ty.dtype.is_float() { (step as f64 - 5.25) / 4.0 } else { (step % 4) as f64 }
        };
        let numbers: Vec<f64> = (0..dims.iter().product()).map(number).collect();
        Tensor::new(&dims, TensorData::from_f64(ty.dtype, &numbers)).unwrap()
    };
    graph.inputs().enumerate().map(&mut tensor).collect()
}

fn read_again(exported: &Exported) -> Graph {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("m.onnx");
    std::fs::write(&path, &exported.model).unwrap();
    exported.write_data(&mut std::fs::File::create(folder.path().join("m.data")).unwrap()).unwrap();
    import(&Model::open(&path).unwrap_or_else(|e| panic!("{e}"))).unwrap_or_else(|e| panic!("{e:?}"))
}

/// `graph` written and read gives what it gave, within `tolerance` of the largest number.
fn agrees(name: &str, graph: &Graph, tolerance: f64) {
    let write = || export(graph, "m.data").unwrap_or_else(|e| panic!("{name}: {e:?}"));
    let exported = write();
    assert_eq!(exported.model, write().model, "{name}: the bytes are the graph's alone");
    let again = read_again(&exported);
    assert_eq!(verify(&again), [], "{name}");
    let run = |graph: &Graph| Interpreter.prepare(graph).unwrap().run(inputs(graph)).unwrap();
    let (wanted, found) = (run(graph), run(&again));
    assert_eq!(wanted.len(), found.len(), "{name}");
    for (i, (w, f)) in wanted.iter().zip(&found).enumerate() {
        assert_eq!((w.dims(), w.dtype()), (f.dims(), f.dtype()), "{name}, output {i}");
        let (w, f) = (w.data().to_f64(), f.data().to_f64());
        let scale = w.iter().fold(0f64, |m, v| m.max(v.abs()));
        for (w, f) in w.iter().zip(&f) {
            assert!((w - f).abs() <= tolerance * scale, "{name}, output {i}: {f}, expected {w}");
        }
    }
}

/// Ops that are written as several round f32 after each: a few units of 2^-24 of sums of at most 20 terms.
const STEPS: f64 = 1e-5;

#[test]
fn graphs_mean_the_same_when_they_are_read_again() {
    for (name, inputs, body, results) in FAMILIES {
        agrees(name, &graph(inputs, body, results), STEPS);
    }
}

const ROWS: usize = 11;
const COLS: usize = 80;

/// A matrix of codes of `layout`, with `weak` columns of `place`.
fn weight(layout: Packed, weak: Option<(u32, WeakPlace)>) -> Const {
    let body = match weak {
        Some((k, WeakPlace::Suffix)) => COLS - k as usize,
        _ => COLS,
    };
    let groups = layout.group.count(body);
    let top = 1usize << layout.bits;
    let index: Vec<usize> = (0..weak.map_or(0, |(k, _)| k as usize)).map(|i| 5 + 7 * i).collect();
    let scattered = matches!(weak, Some((_, WeakPlace::Scattered)));
    let middle = (top / 2) as u8;
    let code = |i: usize| match scattered && index.contains(&(i % COLS)) {
        // Slots of weak columns hold the zero point.
        true => middle,
        false => (i * 29 % top) as u8,
    };
    let codes: Vec<u8> = (0..ROWS * body).map(code).collect();
    let scales: Vec<f32> = (0..ROWS * groups).map(|i| (i % 5 + 1) as f32 / 16.0).collect();
    let zeros: Vec<u8> = (0..ROWS * groups).map(|i| if scattered { middle } else { (i * 3 % top) as u8 }).collect();
    let minima: Vec<f32> = scales.iter().map(|scale| -0.5 * scale).collect();
    let mut parts =
        vec![(Role::Codes, layout.pack_codes(&codes, ROWS, body)), (Role::Scales, layout.pack_scales(&scales, ROWS))];
    parts.extend(layout.pack_offsets(&zeros, &minima, ROWS).map(|offsets| (Role::Zeros, offsets)));
    let mut encoding = Encoding::Packed(layout);
    if let Some((cols, place)) = weak {
        let rows = ROWS.next_multiple_of(actc_types::packed::PANEL);
        let columns: Vec<f64> = (0..rows * cols as usize).map(|i| (i % 9) as f64 / 4.0 - 1.0).collect();
        parts.push((Role::Weak, TensorData::from_f64(DType::F16, &columns).to_le_bytes()));
        if scattered {
            parts.push((Role::WeakIndex, index.iter().flat_map(|i| (*i as u32).to_le_bytes()).collect()));
        }
        encoding = Encoding::Mixed(Mixed { body: layout, cols, place, weak: DType::F16 });
    }
    let ty = TensorType::new(DType::F32, Shape::fixed(&[ROWS as u64, COLS as u64]));
    let parts = parts.into_iter().map(|(role, bytes)| (role, bytes.into())).collect();
    Const::new("w", ty, encoding, parts).unwrap_or_else(|e| panic!("{e}"))
}

fn rows(width: usize) -> TensorType {
    TensorType::new(DType::F32, Shape(vec![Dim::sym("S"), Dim::from(width as u64)]))
}

/// `y = x W^T`.
fn product(weight: Const) -> Graph {
    let mut graph = Graph::new("product");
    let x = graph.input("x", rows(COLS));
    let w = graph.constant(weight);
    let y = graph.add(Op::Linear(Linear::F32), &[x, w], "layer").unwrap();
    graph.output("y", y);
    assert_eq!(verify(&graph), []);
    graph
}

/// `y = x W^T` in both branches of a flag: the weight is a constant of the one, and given to the other, where it is given back too.
fn product_in_branches(weight: Const) -> Graph {
    let mut graph = Graph::new("branches");
    let (flag, x) = (graph.input("flag", TensorType::new(DType::Bool, Shape::default())), graph.input("x", rows(COLS)));
    let (ty, id) = (weight.ty.clone(), graph.add_const(weight));
    let outer = graph.const_node(graph.body(), id);
    let mut regions = Vec::new();
    for own in [true, false] {
        let (region, params) = graph.add_region(&[rows(COLS), ty.clone()]);
        let w = if own { graph.const_node(region, id) } else { params[1] };
        let y = graph.add_in(region, Op::Linear(Linear::F32), &[params[0], w], Vec::new(), "layer").unwrap();
        graph.set_region_results(region, vec![y[0], w]);
        regions.push(region);
    }
    let op = Op::If(If { results: vec![rows(ROWS), ty] });
    let made = graph.add_in(graph.body(), op, &[flag, x, outer], regions, "branches").unwrap();
    graph.output("y", made[0]);
    graph.output("w", made[1]);
    assert_eq!(verify(&graph), []);
    graph
}

#[test]
fn codes_of_every_width_keep_their_numbers() {
    for bits in 1..=8 {
        for group in [Group::Channel, Group::Columns(16), Group::Columns(48), Group::Columns(64)] {
            for zero in [Zero::Symmetric, Zero::Packed, Zero::Minimum] {
                for scale in [DType::F16, DType::F32] {
                    let layout = Packed { bits, group, zero, scale, order: Order::Panels8 };
                    agrees(&format!("{layout:?}"), &product(weight(layout, None)), STEPS);
                }
            }
        }
    }
}

#[test]
fn weak_columns_are_a_product_of_their_own() {
    for place in [WeakPlace::Scattered, WeakPlace::Suffix] {
        for (bits, cols) in [(3, 1), (4, 6)] {
            let group = Group::Columns(64);
            let layout = Packed { bits, group, zero: Zero::Packed, scale: DType::F16, order: Order::Panels8 };
            let weight = || weight(layout, Some((cols, place)));
            agrees(&format!("{place:?} {bits}"), &product(weight()), STEPS);
            agrees(&format!("{place:?} {bits} in branches"), &product_in_branches(weight()), STEPS);
        }
    }
}

#[test]
fn every_op_without_a_form_is_named_at_once() {
    let graph = graph(
        "%x: f32[S, 8], %n: f32[N, 4, 8, 9], %p: i64[N, 4, 4, 5], %m: f32[N, 4, 4, 5], %f: bool[]",
        "%w = const @w = rng{seed=1, scale=0.5} : f32[8, 8]
         %0 = linear{act=int8} %x, %w : f32[S, 8]
         %2 = if %f, %m, %p { |%a: f32[N, 4, 4, 5], %b: i64[N, 4, 4, 5]|
           %c = unpool{shape=\"N, 4, 8, 9\"} %a, %b : f32[N, 4, 8, 9]
           return %c
         } { |%a: f32[N, 4, 4, 5], %b: i64[N, 4, 4, 5]|
           %c = unpool{shape=\"N, 4, 8, 9\"} %a, %b : f32[N, 4, 8, 9]
           return %c
         } : f32[N, 4, 8, 9]
         %3 = silu %2 : f32[N, 4, 8, 9]",
        "a=%0, b=%3",
    );
    let findings = export(&graph, "m.data").unwrap_err();
    let shown: Vec<_> = findings.iter().map(|f| (f.code, f.to_string())).collect();
    assert_eq!(shown.iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["onnx-export"; 3]);
    assert!(shown[0].1.contains("`linear`") && shown[1..].iter().all(|s| s.1.contains("`unpool`")), "{shown:?}");
}
