//! Channels of random networks change places at random, wherever they may, and no output changes.
//!
//! The reference computes in f64 and rounds once at the end of each op, so that a sum in another order is the same number but
//! where it lies within 1e-16 of a border between two f32: outputs are compared within 1e-10 of the largest, and cases are fixed.

mod decoder;
mod pass;

use actc_ir::{Evaluator, Graph, Interpreter, text};
use actc_passes::reorder::{Classes, Member, Orders};
use actc_types::dim::Bindings;
use actc_types::{DType, Symbol, Tensor, TensorData};
use decoder::decoders;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig { cases: count, rng_seed: RngSeed::Fixed(4), failure_persistence: None, ..ProptestConfig::default() }
}

fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    state |= 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    }
}

fn shuffled(n: usize, next: &mut impl FnMut() -> u64) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    (1..n).rev().for_each(|i| order.swap(i, next() as usize % (i + 1)));
    order
}

fn parse(source: &str) -> Graph {
    let graph = text::parse(source, &text::unbound).unwrap_or_else(|d| panic!("{d}\n{source}"));
    assert_eq!(actc_ir::verify(&graph), [], "{source}");
    graph
}

/// Made-up inputs of `graph`, states included.
fn inputs(graph: &Graph, symbols: &Bindings, seed: u64) -> Vec<Tensor> {
    let mut next = numbers(seed);
    let inputs = graph.inputs().map(|(_, value)| {
        let ty = graph.ty(value);
        let dims = ty.shape.eval(symbols).unwrap();
        let count = dims.iter().product::<u64>();
        let number = |i: u64, x: u64| match ty.dtype {
            DType::I64 if dims.len() == 1 => (x % 7 + i % 2) as f64,
            _ => (x % 2000) as f64 / 1000.0 - 1.0,
        };
        let elements: Vec<f64> = (0..count).map(|i| number(i, next())).collect();
        Tensor::new(&dims, TensorData::from_f64(ty.dtype, &elements)).unwrap()
    });
    inputs.collect()
}

/// What `graph` gives for `inputs`: all outputs, no states.
fn outputs(graph: &Graph, inputs: Vec<Tensor>) -> Vec<f64> {
    let mut given = Interpreter.prepare(graph).unwrap().run(inputs).unwrap();
    given.truncate(graph.outputs().len());
    given.iter().flat_map(|t| t.data().to_f64()).collect()
}

/// `tensor` with axis `axis` in a new order.
fn permuted(tensor: &Tensor, axis: usize, order: &[u32]) -> Tensor {
    let (dims, data) = (tensor.dims(), tensor.data().to_f64());
    let inner: usize = dims[axis + 1..].iter().product::<u64>() as usize;
    let source = |i: usize| {
        let place = i / inner % order.len();
        i - place * inner + order[place] as usize * inner
    };
    let moved: Vec<f64> = (0..data.len()).map(|i| data[source(i)]).collect();
    Tensor::new(dims, TensorData::from_f64(tensor.dtype(), &moved)).unwrap()
}

/// Fails where `got` differs from `wanted` by more than 1e-10 of the largest.
fn same(wanted: &[f64], got: &[f64], what: &str) {
    let largest = wanted.iter().fold(0f64, |m, v| m.max(v.abs()));
    let most = wanted.iter().zip(got).fold(0f64, |m, (a, b)| m.max((a - b).abs()));
    assert!(wanted.len() == got.len() && largest > 0.0 && most <= 1e-10 * largest, "{most:e} of {largest:e}\n{what}");
}

/// Orders every class that may be ordered at random and compares; the widths of the classes that may not, with the reasons.
fn shuffle(source: &str, symbols: &[(&str, u64)], seed: u64) -> (Graph, Graph) {
    let before = parse(source);
    let symbols: Bindings = symbols.iter().map(|(s, n)| (Symbol::new(s).unwrap(), *n)).collect();
    let classes = Classes::find(&before);
    let mut next = numbers(seed);
    let free = classes.all().iter().enumerate().filter(|(_, c)| c.held.is_none());
    let by_class: BTreeMap<usize, Vec<u32>> = free.map(|(i, c)| (i, shuffled(c.width, &mut next))).collect();
    let mut after = before.clone();
    let orders = Orders::new(&classes, by_class);
    orders.apply(&mut after, &std::env::temp_dir()).unwrap();
    let given = inputs(&before, &symbols, seed);
    // A state is what an earlier step of the same graph left.
    let states: Vec<_> = before.donated().iter().map(|(old, _)| *old).collect();
    let ordered = before.inputs().zip(&given).map(|((_, value), tensor)| {
        let axes = if states.contains(&value) { 0..tensor.dims().len() } else { 0..0 };
        let order = |axis: usize| Some((axis, orders.of_value(&before, value, axis, 1)?));
        axes.filter_map(order).fold(tensor.clone(), |t, (axis, order)| permuted(&t, axis, &order))
    });
    let (ordered, wanted) = (ordered.collect(), outputs(&before, given.clone()));
    same(&wanted, &outputs(&after, ordered), source);
    (before, after)
}

/// Whether the class that axis `axis` of the constant `name` is may be ordered, and its width; or the reason.
fn class(graph: &Graph, name: &str, axis: usize) -> Result<usize, String> {
    let classes = Classes::find(graph);
    let (id, _) = graph.constants().find(|(_, c)| c.name == name).expect(name);
    let parts = classes.of_constant(id, axis);
    assert_eq!(parts.len(), 1, "{name}: {parts:?}");
    let class = &classes.all()[parts[0].class];
    class.held.clone().map_or(Ok(class.width), Err)
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn decoders_keep_their_logits(net in decoders(), seed: u64) {
        let (before, after) = shuffle(&net.source(), &[("S", 4), ("P", 2)], seed);
        prop_assert_eq!(class(&before, "embed", 1), Ok(net.width));
        prop_assert_eq!(class(&before, "up0w", 0), Ok(net.hidden));
        prop_assert_eq!(class(&before, "down0w", 1), Ok(net.hidden));
        // One class: the table's columns, the readers' columns, the rows of what is added, the norms.
        let classes = Classes::find(&before);
        let of = |name: &str, axis: usize| {
            let (id, _) = before.constants().find(|(_, c)| c.name == name).unwrap();
            classes.of_constant(id, axis)
        };
        let stream = of("embed", 1);
        for (name, axis) in [("n0w", 0), ("q0w", 1), ("k0w", 1), ("o0w", 0), ("up0w", 1), ("down0w", 0), ("last", 0)] {
            prop_assert_eq!(&of(name, axis), &stream, "{}", name);
        }
        // What makes its channels, what reads them, and vectors with an element for each.
        let members = &classes.all()[stream[0].class].members;
        let names = |is: fn(&Member) -> bool| -> BTreeSet<String> {
            members.iter().filter(|m| is(m)).map(|m| before.const_data(m.constant).name.clone()).collect()
        };
        let (makes, reads) = (names(|m| m.makes), names(|m| m.reads));
        prop_assert!(["embed", "o0w", "down0w"].iter().all(|n| makes.contains(*n)) && !makes.contains("up0w"), "{:?}", makes);
        prop_assert!(["q0w", "k0w", "v0w", "up0w"].iter().all(|n| reads.contains(*n)) && !reads.contains("o0w"), "{:?}", reads);
        prop_assert_eq!(reads.contains("embed"), net.tied);
        let neither = names(|m| !m.makes && !m.reads);
        prop_assert!(neither.contains("n0w") && neither.contains("last") && neither.is_disjoint(&reads));
        // Each row of the table is the same row, its columns in another order.
        let table = |g: &Graph| g.constants().find(|(_, c)| c.name == "embed").unwrap().1.decode().unwrap().data().to_f64();
        for (a, b) in table(&before).chunks(net.width).zip(table(&after).chunks(net.width)) {
            let sorted = |row: &[f64]| { let mut row = row.to_vec(); row.sort_by(f64::total_cmp); row };
            prop_assert_eq!(sorted(a), sorted(b));
        }
    }

    #[test]
    fn convolutions_keep_their_outputs(
        channels in 1usize..5, groups in 1usize..4, own in 1usize..4, multiple in 1usize..3, mix: bool, flat: bool, seed: u64,
    ) {
        let (c, g) = (channels * groups * own, groups);
        let conv = |k: usize, pad: usize, groups: usize| format!(
            "conv{{kernel=\"{k}, {k}\", strides=\"1, 1\", dilations=\"1, 1\", pads=\"{pad}, {pad}\", groups={groups}, extents=\"4, 4\"}}");
        let (one, three) = (conv(1, 0, 1), conv(3, 1, 1));
        let (deep, grouped) = (conv(3, 1, c), conv(1, 0, g));
        let (m, image) = (c * multiple, |n: usize| format!("f32[N, {n}, 4, 4]"));
        let mut body = format!("
  %stem = const @stem = rng{{seed=1, scale=1}} : f32[{c}, 3, 3, 3]
  %sb = const @sb = rng{{seed=2, scale=1}} : f32[{c}]
  %mean = const @mean = rng{{seed=3, scale=1}} : f32[1, {c}, 1, 1]
  %scale = const @scale = rng{{seed=4, scale=1}} : f32[{c}, 1, 1]
  %deep = const @deep = rng{{seed=5, scale=1}} : f32[{m}, 1, 3, 3]
  %db = const @db = rng{{seed=6, scale=1}} : f32[{m}]
  %point = const @point = rng{{seed=7, scale=1}} : f32[{c}, {m}, 1, 1]
  %group = const @group = rng{{seed=8, scale=1}} : f32[{m}, {}, 1, 1]
  %pw = const @pw = rng{{seed=9, scale=1}} : f32[{c}, {m}, 1, 1]
  %0 = {three} %x, %stem, %sb : {}
  %1 = sub %0, %mean : {}
  %2 = mul %1, %scale : {}
  %3 = relu %2 : {}
  %4 = {deep} %3, %deep, %db : {}
  %5 = {one} %4, %point : {}
  %6 = add %3, %5 : {}
  %7 = {grouped} %6, %group : {}
", c / g, image(c), image(c), image(c), image(c), image(m), image(c), image(c), image(m));
        let mut last = "%7";
        if mix {
            // Groups of channels change places, as shuffles of channels do.
            write!(body, "  %8 = reshape{{shape=\"N, {g}, {}, 4, 4\"}} %7 : f32[N, {g}, {}, 4, 4]
  %9 = transpose{{order=\"0, 2, 1, 3, 4\"}} %8 : f32[N, {}, {g}, 4, 4]
  %10 = reshape{{shape=\"N, {m}, 4, 4\"}} %9 : {}
", m / g, m / g, m / g, image(m)).unwrap();
            last = "%10";
        }
        write!(body, "  %11 = {one} {last}, %pw : {}
  %12 = pool{{function=average, kernel=\"2, 2\", strides=\"2, 2\", dilations=\"1, 1\", pads=\"0, 0\", behind=\"0, 0\", extents=\"2, 2\"}} %11 : f32[N, {c}, 2, 2]
", image(c)).unwrap();
        let cols = if flat { 4 * c } else { c };
        if flat {
            writeln!(body, "  %13 = reshape{{shape=\"N, {cols}\"}} %12 : f32[N, {cols}]").unwrap();
        } else {
            writeln!(body, "  %t = reshape{{shape=\"N, {c}, 4\"}} %12 : f32[N, {c}, 4]").unwrap();
            writeln!(body, "  %13 = reduce{{function=sum}} %t : f32[N, {c}]").unwrap();
        }
        writeln!(body, "  %fc = const @fc = rng{{seed=10, scale=1}} : f32[5, {cols}]\n  %14 = linear %13, %fc : f32[N, 5]").unwrap();
        let source = format!("air 1\ngraph @net(%x: f32[N, 3, 4, 4]) {{{body}  return y=%14\n}}\n");
        let (before, _) = shuffle(&source, &[("N", 2)], seed);
        if c > 1 {
            let classes = Classes::find(&before);
            let of = |name: &str, axis: usize| {
                let (id, _) = before.constants().find(|(_, k)| k.name == name).unwrap();
                classes.of_constant(id, axis)
            };
            for (name, axis) in [("sb", 0), ("mean", 1), ("scale", 0), ("point", 0)] {
                prop_assert_eq!(of(name, axis), of("stem", 0), "{}", name);
            }
            let parts = of("fc", 1);
            let channels = parts.iter().find(|p| p.width == c && classes.all()[p.class].held.is_none());
            prop_assert_eq!(channels.map(|p| (p.outer, p.inner)), Some((1, cols / c)));
        }
    }
}

#[test]
fn what_tells_channels_apart_holds_them_and_says_so() {
    let graph = |middle: &str, result: &str| {
        parse(&format!(
            "air 1
graph @g(%x: f32[S, 4], %i: i64[S]) {{
  %up = const @up = rng{{seed=1, scale=1}} : f32[8, 4]
  %down = const @down = rng{{seed=2, scale=1}} : f32[4, 8]
  %n = const @n = rng{{seed=3, scale=1}} : f32[4]
  %0 = linear %x, %up : f32[S, 8]
{middle}  %2 = linear %1, %down : f32[S, 4]
  return y=%2{result}
}}
"
        ))
    };
    let held = |middle: &str, result: &str| class(&graph(middle, result), "up", 0).unwrap_err();
    assert_eq!(class(&graph("  %1 = silu %0 : f32[S, 8]\n", ""), "up", 0), Ok(8));
    assert_eq!(class(&graph("  %1 = softmax %0 : f32[S, 8]\n", ""), "up", 0), Ok(8));
    assert_eq!(held("  %1 = silu %0 : f32[S, 8]\n", ", z=%0"), "the output `z` keeps its order");
    assert_eq!(
        class(&graph("  %1 = silu %0 : f32[S, 8]\n", ""), "up", 1).unwrap_err(),
        "the input `x` keeps its order"
    );
    let says = |middle: &str, what: &str| {
        let why = held(middle, "");
        assert!(why.ends_with(what), "{why}");
    };
    let parts = "  %a = slice{axis=1, start=0, len=3} %0 : f32[S, 3]
  %b = slice{axis=1, start=3, len=5} %0 : f32[S, 5]
  %1 = concat{axis=1} %b, %a : f32[S, 8]\n";
    says(parts, "takes a run of its elements");
    says(
        "  %1 = concat{axis=1} %0 : f32[S, 8]\n  %t = cumulate{function=sum} %1, %z : f32[S, 8]\n"
            .replace("  %t", "  %z = const @z = [1] : i64[]\n  %t")
            .as_str(),
        "tells its elements by their order",
    );
    says(
        "  %a = gather{axis=1} %0, %i : f32[S, S]\n  %b = reduce{function=sum} %a : f32[S]\n  %c = reshape{shape=\"S, 1\"} %b : f32[S, 1]\n  %1 = add %c, %0 : f32[S, 8]\n",
        "finds elements by their number",
    );
    says(
        "  %1 = linear{act=int8} %0, %w : f32[S, 8]\n"
            .replace("  %1", "  %w = const @w = rng{seed=9, scale=1} : f32[8, 8]\n  %1")
            .as_str(),
        "rounds runs of its channels together",
    );
}

#[test]
fn channels_of_equal_runs_have_one_order() {
    // A gate and what it gates in one weight, and two inputs joined.
    let source = "air 1
graph @g(%x: f32[S, 4]) {
  %a = const @a = rng{seed=1, scale=1} : f32[12, 4]
  %b = const @b = rng{seed=2, scale=1} : f32[4, 6]
  %c = const @c = rng{seed=3, scale=1} : f32[3, 12]
  %0 = linear %x, %a : f32[S, 12]
  %1 = slice{axis=1, start=0, len=6} %0 : f32[S, 6]
  %2 = slice{axis=1, start=6, len=6} %0 : f32[S, 6]
  %3 = silu %1 : f32[S, 6]
  %4 = mul %3, %2 : f32[S, 6]
  %5 = linear %4, %b : f32[S, 4]
  %6 = concat{axis=1} %4, %2 : f32[S, 12]
  %7 = linear %6, %c : f32[S, 3]
  return y=%5, z=%7
}
";
    let (before, _) = shuffle(source, &[("S", 3)], 6);
    assert_eq!(class(&before, "b", 1), Ok(6));
    let classes = Classes::find(&before);
    for name in ["a", "c"] {
        let (id, _) = before.constants().find(|(_, c)| c.name == name).unwrap();
        let parts = classes.of_constant(id, usize::from(name == "c"));
        let shown: Vec<_> =
            parts.iter().map(|p| (p.width, p.outer, p.inner, classes.all()[p.class].held.is_none())).collect();
        assert_eq!(shown, [(2, 1, 6, false), (6, 2, 1, true)], "{name}");
    }
}

#[test]
fn weights_inside_regions_stay() {
    let source = "air 1
graph @g(%x: f32[2, 4], %c: bool[]) {
  %0 = if %c, %x { |%p: f32[2, 4]|
    %a = const @a = rng{seed=1, scale=1} : f32[6, 4]
    %b = const @b = rng{seed=2, scale=1} : f32[4, 6]
    %1 = linear %p, %a : f32[2, 6]
    %2 = linear %1, %b : f32[2, 4]
    return %2
  } { |%q: f32[2, 4]|
    return %q
  } : f32[2, 4]
  return y=%0
}
";
    assert_eq!(class(&parse(source), "a", 0).unwrap_err(), "it is used inside a region");
}

#[test]
fn constants_that_are_alike_everywhere_tie_nothing() {
    // Both biases are one constant, as `clean` leaves them: the class that keeps its order does not hold the other one.
    let source = |bias: &str| {
        format!(
            "air 1
graph @g(%x: f32[S, 4]) {{
  %a = const @a = rng{{seed=1, scale=1}} : f32[4, 4]
  %b = const @b = rng{{seed=2, scale=1}} : f32[4, 4]
  %z = const @z = {bias} : f32[4]
  %0 = linear %x, %a, %z : f32[S, 4]
  %1 = relu %0 : f32[S, 4]
  %2 = linear %1, %b, %z : f32[S, 4]
  return y=%2
}}
"
        )
    };
    assert_eq!(class(&parse(&source("[0, 0, 0, 0]")), "a", 0), Ok(4));
    shuffle(&source("[0.5, 0.5, 0.5, 0.5]"), &[("S", 3)], 5);
    assert_eq!(class(&parse(&source("[0, 0, 1, 0]")), "a", 0).unwrap_err(), "the output `y` keeps its order");
}
